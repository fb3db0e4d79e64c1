"""What is rendered names its section, and nothing that is not rendered passes for it."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nf.clock import VirtualClock
from nf.contracts.driver import State
from nf.errors import DriverError, InputError
from nf.media.documents import CdnPath, EdgeChannel, EdgeSection, EdgeTls, Parent, ShieldChannel, ShieldSection
from nf.media.edge import render as edge
from nf.media.edge.access_log import AccessLog, Served
from nf.media.edge.driver import EdgeDriver
from nf.media.edge.telemetry import EdgeWatch, check_statistics
from nf.media.shield import render as shield
from nf.media.shield.driver import ShieldDriver
from nf.media.shield.telemetry import ShieldWatch
from nf.media.shield.varnish import parse_statistics as parse_varnish
from tests.nf.media.cdn import HOST, edge_section, shield_section

PLACES = edge.Places(Path("/run/nf/cdn-edge"), Path("/var/lib/nf/cdn-edge"))

names = st.text("az09-", max_size=5).map(lambda text: f"c{text}")
buckets = st.text("az09-", min_size=1, max_size=5).map(lambda text: f"b{text}b")
addresses = st.ip_addresses(v=4)
ports = st.integers(1, 65535)
facts = st.lists(st.text(max_size=20), max_size=2).map(tuple)

shields = st.builds(
    ShieldSection,
    listen=addresses,
    port=ports,
    requires=facts,
    channels=st.lists(
        st.builds(
            ShieldChannel,
            channel=names,
            path=names,
            bucket=buckets,
            endpoint=st.builds(lambda a, p: f"http://{a}:{p}", addresses, ports),
            segment=st.integers(1000, 10_000),
            requires=facts,
            provides=facts,
        ),
        max_size=3,
    ).map(tuple),
)
edges = st.builds(
    EdgeSection,
    listen=st.lists(addresses, min_size=1, max_size=3).map(tuple),
    port=ports,
    requires=facts,
    shields=st.lists(addresses, min_size=1, max_size=3, unique=True).map(
        lambda found: tuple(Parent(address=address) for address in found)
    ),
    channels=st.lists(
        st.builds(EdgeChannel, channel=names, path=names, host=st.just("cdn.test"), bucket=buckets, provides=facts),
        max_size=3,
    ).map(tuple),
)


@settings(max_examples=50, deadline=None)
@given(shields)
def test_vcl_names_its_section(section: ShieldSection) -> None:
    assert shield.section_of(shield.render(section)) == section
    assert ShieldSection.model_validate(section.to_json()) == section


@settings(max_examples=50, deadline=None)
@given(edges)
def test_remap_names_its_section_and_generation(section: EdgeSection) -> None:
    files = edge.render(section, PLACES)
    assert edge.section_of(files) == section
    assert edge.generation_of(files) == edge.generation(section)
    assert edge.altered(files, section, PLACES) == ()


@settings(max_examples=50, deadline=None)
@given(edges, st.data())
def test_one_changed_octet_is_noticed(section: EdgeSection, data: st.DataObject) -> None:
    files = edge.render(section, PLACES)
    name = data.draw(st.sampled_from(sorted(files)))
    files[name] += data.draw(st.sampled_from(["#", "\n", "x"]))
    assert edge.altered(files, section, PLACES) == (name,)


@pytest.mark.parametrize("text", ["", "vcl 4.1;\n", "# section \n", "# section {}\n", "vcl 4.1;\n# section [1]\n"])
def test_what_names_no_section(text: str) -> None:
    assert shield.section_of(text) is None
    assert edge.section_of({edge.REMAP: text}) is None


def test_no_request_goes_to_an_address_in_the_remap_table() -> None:
    files = edge.render(edge_section("ch1", "ch2"), PLACES)
    targets = [line.split()[2] for line in files[edge.REMAP].splitlines() if line.startswith("map ")]
    assert targets
    assert all(target.startswith(f"http://{edge.SHIELD_HOST}/media/") for target in targets)
    assert "go_direct=false" in files["parent.config"]


def test_an_edge_with_ipv6_listens_there_too_and_everybody_may_ask() -> None:
    tls = EdgeTls(certificates=("secret:cdn-tls",))
    section = edge_section("ch1").model_copy(update={"listen6": IPv6Address("2001:db8:ff::3"), "tls": tls})
    files, without = (edge.render(one, PLACES) for one in (section, section.model_copy(update={"listen6": None})))
    (ports,) = re.findall(r"http.server_ports STRING (.*)", files["records.config"])
    own = str(section.listen[0])
    assert ports.split() == [
        *(f"{section.port}:ip-in={place}" for place in (own, "[2001:db8:ff::3]")),
        *(f"443:ssl:ip-in={place}" for place in (own, "[2001:db8:ff::3]")),
    ]
    own6, *others = yaml.safe_load(files["ip_allow.yaml"])["ip_allow"]
    assert own6["ip_addrs"] == ["127.0.0.1", own, "2001:db8:ff::3"]
    assert [one["ip_addrs"] for one in others] == ["0/0", "::/0"]
    assert {tuple(one["methods"]) for one in others} == {("GET", "HEAD", "OPTIONS")}
    assert "allow_ip6=::1/128,2001:db8:ff::3/128" in files[edge.STATS]
    assert "::/0" not in without["ip_allow.yaml"]
    assert {name for name in files if files[name] != without[name]} == {
        "records.config",
        edge.REMAP,
        "ip_allow.yaml",
        edge.STATS,
    }


def test_two_shields_have_two_addresses() -> None:
    with pytest.raises(ValueError, match="two shields share an address"):
        edge_section("ch1", shields=("10.0.0.1", "10.0.0.1"))


@pytest.mark.parametrize(
    "endpoint",
    ["http://10.0.0.1", "https://10.0.0.1:1", "http://origin:1", "http://10.0.0.1:99999", "http://u@10.0.0.1:1", "x"],
)
def test_an_endpoint_is_an_address_and_a_port(endpoint: str) -> None:
    good = {"endpoint": "http://10.0.0.1:1", "bucket": "media", "credentials": "secret:w"}
    path = {
        "id": "ott",
        "type": "cdn",
        "host": "cdn.test",
        "source": "s",
        "rate": "1M",
        "sites": ["pop1"],
        "origin": good,
    }
    assert CdnPath.model_validate(path).segment_ms == 2000
    with pytest.raises(ValueError, match="endpoint of an S3 API"):
        CdnPath.model_validate({**path, "origin": {**good, "endpoint": endpoint}})
    with pytest.raises(ValueError, match="four segments"):
        CdnPath.model_validate({**path, "origin": good, "segment": "2s", "window": "7s"})


def test_a_restart_is_told_and_a_reload_is_free() -> None:
    moved = edge_section("ch1").model_copy(update={"listen": (IPv4Address("127.0.1.99"),)})
    driver = EdgeDriver.__new__(EdgeDriver)
    have = State(edge_section("ch1").to_json())
    assert driver.plan(have, edge_section("ch1")) == ()
    assert driver.plan(have, edge_section("ch1", "ch2"))[0].disruption == ""
    assert "restarts" in driver.plan(have, moved)[0].disruption
    assert driver.plan(have, None)[0].kind == "edge.remove"
    assert driver.plan(State(None), None) == ()
    other = ShieldDriver.__new__(ShieldDriver)
    step = other.plan(State(None), shield_section("ch1"))[0]
    assert step.provides == {"shield ch1"}
    assert other.plan(State(shield_section("ch1").to_json()), None)[0].kind == "shield.remove"
    with pytest.raises(InputError):
        other.plan(State(None), edge_section("ch1"))


def test_statistics_that_are_none() -> None:
    assert parse_varnish('{"counters": {"MAIN.cache_hit": {"value": 3}}}') == {"MAIN.cache_hit": 3}
    with pytest.raises(DriverError, match="no statistics"):
        parse_varnish("{}")
    check_statistics(b'{"global": {"proxy.node.hostname": "x"}}')
    with pytest.raises(ValueError, match="no statistics"):
        check_statistics(b"{}")


async def test_a_channel_is_wanted_while_it_is_asked_for() -> None:
    clock = VirtualClock()
    watch = EdgeWatch("pop1", clock, AccessLog(Path("/nowhere")))
    section = edge_section("ch1")

    def sample(requests: int) -> tuple[float, float | None]:
        watch.count(section, {(HOST, "ch1"): Served(requests)} if requests else {})
        (found,) = watch.samples(section)
        return found.values["wanted"], found.values.get("age_ms")

    assert sample(0) == (0.0, None)
    await clock.advance(2)
    assert sample(1) == (1.0, 0.0)
    await clock.advance(11)
    assert sample(0) == (0.0, 11_000.0)


async def test_the_rate_of_a_shield_is_taken_over_some_segments_and_survives_new_counters() -> None:
    clock = VirtualClock()
    watch = ShieldWatch("c1", clock)
    section = shield_section("ch1")

    def rate(vcl: str, fetches: int, octets: int) -> float:
        counters = {f"VBE.{vcl}.ch1__ott.req": fetches, f"VBE.{vcl}.ch1__ott.beresp_bodybytes": octets}
        return watch.samples(section, counters)[0].values["bitrate_bps"]

    assert rate("boot", 1, 1000) == 0.0
    await clock.advance(2)
    assert rate("boot", 2, 2000) == 4000.0
    await clock.advance(2)
    assert rate("boot", 2, 2000) == 2000.0
    await clock.advance(2)
    assert rate("nf_1", 1, 500) == 0.0
