"""The way back: what the drivers would observe after a commit, adopted, compiles to the very same sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.adopter import MulticastAdopter
from nf.clock import RealClock
from nf.contracts.driver import DriverContext, State
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from nf.media.adopter import MediaAdopter
from nf.media.edge.driver import EdgeDriver
from nf.media.origin.driver import S3Origin
from nf.media.packager.driver import Packager
from nf.media.shield.driver import ShieldDriver
from nf.noc.adoption import Documents, compose
from nf.planning.compiler import Compiled, compile_lineup
from tests.nf.media.test_planner import ENDPOINT, PLANNERS, built, fleet_data, lineup_data, path

UID = "tag:tv.example,2026:"
ADOPTERS = (MediaAdopter(), MulticastAdopter())
Observed = dict[str, dict[str, Any]]


def drivers(appliance: str, place: Path) -> tuple[Any, ...]:
    context = DriverContext(appliance, place, place, None, RealClock())  # type: ignore[arg-type]  # plan is pure: no unit is asked
    return S3Origin(context), Packager(context), ShieldDriver(context), EdgeDriver(context)


def observed(compiled: Compiled) -> Observed:
    """As the drivers answer: sections as JSON, and those that every appliance has, also where nothing runs."""
    always: dict[str, Any] = {"multicast-source": {"stages": []}, "packager": {"channels": []}}
    return {
        name: always | {section: value.to_json() for section, value in config.sections.items()}
        for name, config in compiled.configs.items()
    }


def identities(fleet: Fleet) -> Fleet:
    """What remains when the documents are lost: who the appliances are."""
    bare = [one.model_copy(update={"interfaces": (), "loopback": None}) for one in fleet.spec.appliances]
    kept = {part: value for part, value in fleet.spec.equipment.items() if part not in {"cdn", "cdn-front", "anycast"}}
    changes = {"appliances": tuple(bare), "links": (), "placement": (), "equipment": kept}
    spec = fleet.spec.model_copy(update=changes)
    return fleet.model_copy(update={"spec": spec})


def adopted(have: Observed, fleet: Fleet, lineup: LineUp | None = None) -> Documents:
    found = [adopter.adopt(have, fleet) for adopter in ADOPTERS]
    assert [one.problems for one in found] == [(), ()]
    return compose(fleet, lineup or LineUp.empty(), found, UID)


def recompiled(documents: Documents) -> Compiled:
    fleet = load_fleet(documents.fleet_yaml, file="fleet.yaml").document
    lineup = load_lineup(documents.lineup_yaml, file="lineup.yaml").document
    return compile_lineup(lineup, fleet, PLANNERS)


def assert_nothing_to_do(have: Observed, compiled: Compiled, place: Path) -> None:
    """Every driver plans nothing from what it observed to what the adopted documents say."""
    for name, config in compiled.configs.items():
        for driver in drivers(name, place):
            want = config.sections.get(driver.section)
            assert driver.plan(State(have[name].get(driver.section)), want) == (), f"{name}: {driver.section}"
        multicast = {key: value for key, value in have[name].items() if value.get("stages") != []}
        ours = {key: value.to_json() for key, value in config.sections.items()}
        assert ours == {key: multicast[key] for key in ours}


def both_paths() -> dict[str, Any]:
    """The sample with multicast beside the CDN."""
    data = lineup_data()
    for number, channel in enumerate(data["spec"]["channels"], start=1):
        group = f"232.10.1.{number}"
        channel["delivery"].append(
            {"id": "iptv", "type": "ssm", "group": group, "port": 5000, "rate": "1M", "sites": ["pop1", "pop2"]}
        )
    return data


def test_both_paths_are_adopted_from_nothing_but_identities(tmp_path: Path) -> None:
    fleet, lineup = built(Fleet, fleet_data()), built(LineUp, both_paths())
    have = observed(compile_lineup(lineup, fleet, PLANNERS))
    documents = adopted(have, identities(fleet))
    assert_nothing_to_do(have, recompiled(documents), tmp_path)
    found = load_lineup(documents.lineup_yaml, file="lineup.yaml").document
    assert [channel.source for channel in found.spec.channels] == ["headend-6001", "headend-6002"]
    assert {source.id for source in found.spec.sources} == {f"headend-{n}" for n in (6001, 6002, 6011, 6012)}


def test_a_ladder_and_a_key_server_are_read_back_from_the_packager(tmp_path: Path) -> None:
    data = both_paths()
    server = {
        "url": "https://keys.example/cenc",
        "content_id": "ch1",
        "signer": "us",
        "signing_key": "secret:signing",
        "signing_iv": "0" * 32,
    }
    data["spec"]["channels"][0]["delivery"][0] |= {
        "scrambled": True,
        "ladder": [{"id": "hd", "height": 720, "bitrate": "900k"}, {"id": "sd", "height": 360, "bitrate": "300k"}],
        "protection": {"scheme": "cenc", "key_server": server},
    }
    data["spec"]["channels"][1]["delivery"][0]["cues"] = True
    fleet, lineup = built(Fleet, fleet_data()), built(LineUp, data)
    have = observed(compile_lineup(lineup, fleet, PLANNERS))
    assert [one["cues"] for one in have["headend"]["packager"]["channels"]] == [False, True]
    assert [rung["id"] for rung in have["headend"]["packager"]["channels"][0]["ladder"]] == ["hd", "sd"]
    assert_nothing_to_do(have, recompiled(adopted(have, identities(fleet))), tmp_path)


def test_what_the_documents_know_already_is_kept(tmp_path: Path) -> None:
    fleet, lineup = built(Fleet, fleet_data()), built(LineUp, both_paths())
    have = observed(compile_lineup(lineup, fleet, PLANNERS))
    documents = adopted(have, fleet, lineup)
    assert documents.doubts == ()
    found = load_lineup(documents.lineup_yaml, file="lineup.yaml").document
    assert set(found.spec.sources) == set(lineup.spec.sources)
    for before, after in zip(lineup.spec.channels, found.spec.channels, strict=True):
        assert sorted(after.delivery, key=lambda p: p.id) == sorted(before.delivery, key=lambda p: p.id)
        assert after.source == before.source
    assert_nothing_to_do(have, recompiled(documents), tmp_path)


SITES = st.sets(st.sampled_from(["pop1", "pop2"]), min_size=1).map(sorted)
OTT = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["cdn.streamverse.test", "other.example"]),
        "rate": st.integers(100, 900).map(lambda kbps: f"{kbps}k"),
        "sites": SITES,
        "segment": st.sampled_from(["1s", "2s", "1500ms"]),
        "window": st.sampled_from(["20s", "60s"]),
        "bucket": st.sampled_from(["media", "media-west"]),
        "credentials": st.sampled_from(["secret:origin-writer", "secret:other"]),
    }
)
# How the contribution of each channel's CDN path comes in.
PLAIN: dict[str, Any] = {}
SRT = {"type": "srt", "arrival": 20_000, "latency": "300ms"}
CALLED = {"type": "srt", "peer": "192.0.2.7:9000"}
RIST = {"type": "rist", "arrival": 20_000}
BACKED = {"arrival": 20_000, "backup": True}
BACKED_AUTO = {"type": "srt", "arrival": 20_000, "backup": True, "switch": {"failback": "auto", "hold": "5s"}}
PULLED = {"pulled": True}
ARRIVING = st.sampled_from([PLAIN, SRT, CALLED, RIST, BACKED, BACKED_AUTO, PULLED])
ENGINE = {
    "endpoint": "http://10.1.0.30:8081", "token": "secret:ome-token", "app": "tv", "to": "10.1.0.10",
    "pull": ["rtsp://192.0.2.9/one", "ovt://192.0.2.9/two"],
}  # fmt: skip
TLS = {"appliances": ["pop2"], "tls": {"certificates": ["secret:cdn-tls"]}}
FRONTED = {"cdn-front": {"certificates": ["secret:front-tls"], "port": 8443}}
VIPS = [
    {"address": "198.18.0.1", "prefix": "198.18.0.0/24", "appliances": ["pop1", "pop2"]},
    {"address": "198.18.1.1", "appliances": ["pop2"]},
]
ANYCAST = {"anycast": {"vips": VIPS, "health": {"hold": "5s"}}}
EQUIPMENT = st.sampled_from([{}, {"cdn": {"edges": [TLS]}}, FRONTED, ANYCAST, FRONTED | ANYCAST])
CHANNELS = st.dictionaries(
    st.sampled_from([f"ch-{letter}" for letter in "abcdef"]), st.tuples(OTT, SITES, st.booleans(), ARRIVING), max_size=5
)
PLACED = st.fixed_dictionaries(
    {
        "cdn_shield": st.sets(st.sampled_from(["c1", "c2", "pop2"]), min_size=1).map(sorted),
        "s3_origin": st.sampled_from([[], ["c1"], ["headend"]]),
    }
)


def contribution(name: str, number: int, arriving: dict[str, Any]) -> list[dict[str, Any]]:
    """The source of the channel's CDN path, and its backup."""
    here = {"appliance": "headend", "bitrate": "1M"}
    said = {key: value for key, value in arriving.items() if key not in {"backup", "pulled"}}
    if "arrival" in said:
        said["arrival"] += number
    source = {**here, "id": f"{name}-ott", "port": 6100 + number, **said}
    if "backup" not in arriving:
        return [source]
    return [source | {"backup": f"{name}-spare"}, {**here, "id": f"{name}-spare", "port": 6200 + number}]


@settings(max_examples=40, deadline=None)
@given(channels=CHANNELS, placed=PLACED, equipment=EQUIPMENT, known=st.booleans())
def test_plan_of_adopted_is_empty(
    tmp_path_factory: pytest.TempPathFactory,
    channels: dict[str, Any],
    placed: dict[str, list[str]],
    equipment: dict[str, Any],
    known: bool,
) -> None:
    """plan(adopt(observe(compile(documents)))) is empty, whatever the channels, how they come in, caches, buckets,
    sites and entrances; with the documents, and with nothing but identities."""
    data = fleet_data(**placed, cdn_front=["pop1", "pop2"] if "cdn-front" in equipment else [])
    data["spec"]["equipment"] = equipment
    lineup, fleet = lineup_data(), built(Fleet, data)
    lineup["spec"]["sources"], lineup["spec"]["channels"] = [], []
    for number, (name, (ott, sites, multicast, arriving)) in enumerate(channels.items()):
        given_origin = {"endpoint": ENDPOINT, "bucket": ott["bucket"], "credentials": ott["credentials"]}
        simple = {key: ott[key] for key in ("host", "rate", "sites", "segment", "window")}
        engine = {"engine": ENGINE} if "pulled" in arriving else {}
        delivery = [path(name, origin=given_origin, **simple, **engine)]
        group = f"232.10.2.{number}"
        ssm = {"id": "iptv", "type": "ssm", "group": group, "port": 5000, "rate": "1M", "sites": sites}
        lineup["spec"]["channels"].append(
            {
                "id": name, "name": name, "lcn": number + 1, "uid": f"{UID}{name}",
                "source": f"{name}-in" if multicast else f"{name}-ott", "delivery": delivery + [ssm] * multicast,
            }
        )  # fmt: skip
        plain = {"id": f"{name}-in", "appliance": "headend", "port": 6000 + number, "bitrate": "1M"}
        lineup["spec"]["sources"] += [plain, *contribution(name, number, arriving)]
    written = built(LineUp, lineup)
    have = observed(compile_lineup(written, fleet, PLANNERS))
    documents = adopted(have, identities(fleet), written if known else None)
    again = recompiled(documents)
    assert_nothing_to_do(have, again, tmp_path_factory.getbasetemp())
    assert observed(again) == have


def sample() -> tuple[Observed, Fleet]:
    fleet = built(Fleet, fleet_data())
    return observed(compile_lineup(built(LineUp, both_paths()), fleet, PLANNERS)), identities(fleet)


Section = dict[str, Any]


@pytest.mark.parametrize(
    ("appliance", "section", "change", "told"),
    [
        ("headend", "packager", lambda s: s.update(channels=[]), "has a bucket, and nothing packages it"),
        ("headend", "s3-origin", lambda s: s.update(buckets=s["buckets"][:1]), "kept by nobody"),
        ("headend", "s3-origin", lambda s: s.update(unreachable=[ENDPOINT]), "unreachable"),
        ("c1", "cdn-shield", lambda s: s.update(channels=s["channels"][:1]), "does not serve ch2/ott"),
        ("c1", "cdn-shield", lambda s: s["channels"][0].update(segment="4s"), "otherwise than it is packaged"),
        ("c1", "cdn-shield", lambda s: s.update(unit="failed"), "section cdn-shield: unit: failed"),
        ("c2", "cdn-shield", lambda s: s.update(port=6082), "port 6082"),
        ("pop1", "cdn-edge", lambda s: s["channels"][0].update(host="x.example"), "several hosts"),
        ("pop1", "cdn-edge", lambda s: s.update(altered=["remap.config"]), "altered"),
        ("pop1", "cdn-edge", lambda s: s.update(shields=s["shields"][::-1]), "asks other shields than c1, c2"),
        ("pop1", "cdn-edge", lambda s: s.update(listen="nonsense"), "pop1, section cdn-edge: listen"),
    ],
)
def test_what_no_document_can_say_is_named(
    appliance: str, section: str, change: Callable[[Section], object], told: str
) -> None:
    have, fleet = sample()
    change(have[appliance][section])
    assert told in "\n".join(MediaAdopter().adopt(have, fleet).problems)


def test_caches_without_a_channel_are_placed(tmp_path: Path) -> None:
    fleet = built(Fleet, fleet_data())
    lineup = lineup_data()
    lineup["spec"]["channels"] = []
    have = observed(compile_lineup(built(LineUp, lineup), fleet, PLANNERS))
    found: Mapping[str, Any] = {p.function: p.appliances for p in MediaAdopter().adopt(have, fleet).placement}
    assert found == {"cdn-shield": ("c1", "c2"), "cdn-edge": ("pop1", "pop2")}
    assert_nothing_to_do(have, recompiled(adopted(have, identities(fleet))), tmp_path)


def test_what_edges_have_beyond_their_place_is_written_into_the_equipment() -> None:
    data = fleet_data()
    data["spec"]["equipment"] = {
        "cdn": {"edges": [{"appliances": ["pop2"], "tls": {"certificates": ["secret:cdn-tls"]}}]}
    }
    fleet = built(Fleet, data)
    compiled = compile_lineup(built(LineUp, lineup_data()), fleet, PLANNERS)
    have = observed(compiled)
    bare = identities(fleet)
    found = MediaAdopter().adopt(have, bare)
    assert found.problems == ()
    assert found.equipment["cdn"] == fleet.spec.equipment["cdn"]
    assert MediaAdopter().adopt(have, fleet).equipment == {}


def test_how_a_contribution_comes_in_is_taken_from_the_box_and_its_rate_from_the_document(tmp_path: Path) -> None:
    """The documents still say plain UDP; what runs is SRT with a backup, and an engine that pulls."""
    before, now = lineup_data(), lineup_data(path("ch1", engine=ENGINE))
    spare = {"id": "spare", "appliance": "headend", "port": 6500, "bitrate": "1M"}
    now["spec"]["sources"] = [
        source | BACKED_AUTO | {"backup": "spare"} if source["id"] == "ch1-ott" else source
        for source in now["spec"]["sources"]
    ] + [spare]
    fleet = built(Fleet, fleet_data())
    have = observed(compile_lineup(built(LineUp, now), fleet, PLANNERS))
    documents = adopted(have, fleet, built(LineUp, before))
    found = load_lineup(documents.lineup_yaml, file="lineup.yaml").document
    source = next(one for one in found.spec.sources if one.id == "ch1-ott")
    assert (source.type, source.arrival, source.backup, source.bitrate_bps) == (
        "srt",
        20_000,
        "headend-6500",
        1_000_000,
    )
    assert observed(recompiled(documents)) == have
    have["headend"]["ome"]["streams"][0]["port"] = 6011
    assert "is pushed to port 6011" in "\n".join(MediaAdopter().adopt(have, fleet).problems)


def test_entrances_that_no_equipment_can_say_are_named() -> None:
    data = fleet_data(cdn_front=["pop1", "pop2"])
    data["spec"]["equipment"] = FRONTED | ANYCAST
    fleet = built(Fleet, data)
    have = observed(compile_lineup(built(LineUp, lineup_data()), fleet, PLANNERS))
    have["pop2"]["cdn-front"]["port"] = 9443
    have["pop2"]["cdn-anycast"]["vips"][0]["prefix"] = "198.18.0.0/25"
    problems = "\n".join(MediaAdopter().adopt(have, identities(fleet)).problems)
    assert "differ in certificates or port" in problems
    assert "198.18.0.1 is announced as 198.18.0.0/24 and, by pop2, as 198.18.0.0/25" in problems
