"""The NOC's policy on what a fleet measures: verdicts, switches, what is kept, what appliances do by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nf.clock import VirtualClock
from nf.contracts.paths import Ranking, Verdict
from nf.control.convert import alarm_event_to_proto, sample_to_proto
from nf.control.v1 import fleet_pb2 as pb
from nf.documents.loader import load_fleet, load_lineup
from nf.errors import NotFoundError, StorageError
from nf.noc import policy_measure as measuring
from nf.noc.lineups import Current
from nf.noc.policy import UNKEPT, Policy
from nf.noc.policy_alarms import SITE_OUT
from nf.noc.policy_records import Hold
from nf.noc.policy_view import BARRED, FAILOVER, PATH_DOWN, WAITS
from nf.noc.records import Book, HopRecord
from nf.noc.sessions import Sessions
from nf.noc.telemetry import Telemetry
from nf.policy.health import ON_FALLBACK
from nf.policy.model import Phase
from nf.store.sqlite import SqliteStore
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.support.fleet import Place, fleet_text

NOC_ID = "spiffe://lab.example/noc/noc"
EVE = "spiffe://lab.example/operator/eve"
PLACES = (Place("head", "hub", "headend"), Place("pop1", "pop1"), Place("r1", "pop1", "probe"), Place("pop2", "pop2"))
ORIGIN = {"endpoint": "http://10.1.0.20:8333", "bucket": "media", "credentials": "secret:origin"}


def lineup(failover: Mapping[str, Any] | None = None, *, paths: tuple[str, ...] = ("sat", "iptv", "ott")) -> str:
    sites = ["pop1", "pop2"]
    known: dict[str, dict[str, Any]] = {
        "sat": {"type": "dvb-s2x", "carrier": "c1", "service_id": 101, "input": 7001, "fallback": "iptv"}
        | {"output": {"group": "232.20.1.1"}, "sites": sites},
        "iptv": {"type": "ssm", "group": "232.10.1.1", "sites": sites},
        "ott": {"type": "cdn", "host": "cdn.test", "source": "feed", "sites": sites, "origin": ORIGIN},
    }
    delivery = [{"id": name, "rate": "1M", **known[name]} for name in paths]
    channel = {"id": "ch1", "name": "One", "lcn": 1, "uid": "tag:tv.example,2026:ch1", "source": "feed"}
    source = {"id": "feed", "appliance": "head", "port": 6001, "bitrate": "1M"}
    spec = {
        "sources": [source],
        "channels": [{**channel, "delivery": delivery}],
        "policy": {"failover": dict(failover or {})},
    }
    return json.dumps({"apiVersion": "streamverse.nf/v1", "kind": "LineUp", "metadata": {"name": "t"}, "spec": spec})


def hops(paths: tuple[str, ...] = ("sat", "iptv", "ott")) -> tuple[HopRecord, ...]:
    return tuple(
        hop
        for path in paths
        for hop in (
            HopRecord("ch1", path, 0, "head", "source"),
            HopRecord("ch1", path, 1, "pop1", "edge"),
            HopRecord("ch1", path, 1, "pop2", "edge"),
            HopRecord("ch1", path, 2, "r1", "receiver"),
        )
    )


@dataclass
class Network:
    """A policy that is evaluated by hand, on samples that the test makes up."""

    store: SqliteStore
    clock: VirtualClock = field(default_factory=VirtualClock)
    online: set[str] = field(default_factory=lambda: {place.id for place in PLACES})
    current: Any = None

    async def begin(self, text: str | None = None) -> Policy:
        self.telemetry = Telemetry(self.clock)
        self.commit(text or lineup())
        sessions = SimpleNamespace(online=lambda: frozenset(self.online))
        self.policy = Policy(
            book=Book(self.store),
            lineups=cast("Any", self),
            sessions=cast("Sessions", sessions),
            telemetry=self.telemetry,
            clock=self.clock,
            author=NOC_ID,
        )
        await self.policy.load()
        for place in PLACES:
            self.telemetry.take(place.id, pb.TelemetryBatch(alarms_complete=True))
        return self.policy

    def commit(self, text: str, paths: tuple[str, ...] = ("sat", "iptv", "ott")) -> None:
        revision = self.current.record.revision + 1 if self.current is not None else 1
        record = SimpleNamespace(revision=revision, hops=hops(paths))
        documents = load_lineup(text, file="l").document, load_fleet(fleet_text(PLACES), file="f").document
        self.current = Current(cast("Any", record), *documents)

    def sample(self, appliance: str, sample: Sample) -> None:
        self.telemetry.take(appliance, pb.TelemetryBatch(items=[pb.TelemetryItem(sample=sample_to_proto(sample))]))

    def received(self, *, at: float | None = None, **up: bool) -> None:
        """What the receiver r1 proves of each path."""
        for path, is_up in up.items():
            labels = {"channel": "ch1", "path": path, "point": "receiver"}
            values = {"up": float(is_up), "bitrate_bps": 1e6 * is_up, "continuity_errors": 0.0}
            moment = self.clock.now() if at is None else at
            self.sample("r1", Sample("path.probe", moment, labels, values, "" if is_up else "nothing arrives"))

    def alarm(self, appliance: str, cause: str, subject: str, severity: Severity = Severity.MINOR) -> None:
        event = AlarmEvent(cause, subject, severity, self.clock.now(), f"{cause} of {subject}")
        self.telemetry.take(appliance, pb.TelemetryBatch(items=[pb.TelemetryItem(alarm=alarm_event_to_proto(event))]))

    async def passes(self, seconds: float, *, step: float = 1.0, **up: bool) -> None:
        """Time, in which the receiver goes on proving."""
        passed = 0.0
        while passed < seconds:
            await self.clock.advance(step)
            passed += step
            self.received(**up)
            await self.policy.evaluate()

    def ranking(self, site: str = "pop1") -> Ranking:
        return next(one for one in self.policy.rankings() if one.site == site)

    def verdicts(self, site: str = "pop1") -> dict[str, str]:
        return {one.path: one.verdict.value for one in self.policy.health() if one.site == site}

    def alarms(self) -> set[tuple[str, str]]:
        return {(alarm.cause, alarm.object) for name, alarm in self.telemetry.alarms() if name == ""}


ALL_UP = {"sat": True, "iptv": True, "ott": True}


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[Network]:
    store = await SqliteStore.open(tmp_path / "noc.db", sign=lambda data: data, clock=VirtualClock())
    yield Network(store)
    await store.close()


async def test_a_path_that_fails_is_left_for_the_next_within_the_second_and_on_record(network: Network) -> None:
    policy = await network.begin()
    await network.passes(3, **ALL_UP)
    assert network.verdicts() == {"sat": "up", "iptv": "up", "ott": "up"}
    assert network.verdicts("pop2") == {"sat": "unknown", "iptv": "unknown", "ott": "unknown"}
    calm = network.ranking()
    assert (calm.paths, calm.active, calm.alert) == (("sat", "iptv", "ott"), "sat", False)
    await network.passes(0.8, step=0.2, sat=False, iptv=True, ott=True)
    moved = network.ranking()
    assert (moved.paths, moved.active, moved.alert) == (("iptv", "ott", "sat"), "iptv", True)
    assert moved.number > calm.number
    assert network.alarms() == {(FAILOVER, "ch1/pop1")}
    made = policy.records.switches[-1]
    assert (made.kind, made.tier, made.source, made.target) == ("failover", "T1", "sat", "iptv")
    assert made.reason == "sat is down: r1: nothing arrives"
    audit = (await network.store.audit_records(1))[0]
    assert (audit.actor, audit.action, audit.object) == (NOC_ID, "path.failover", "path/ch1/pop1")


async def test_the_way_back_waits_for_an_operator_whose_name_is_on_record(network: Network) -> None:
    policy = await network.begin()
    await network.passes(2, **ALL_UP)
    await network.passes(2, sat=False, iptv=True, ott=True)
    await network.passes(301, step=4, **ALL_UP)
    assert (WAITS, "ch1/pop1") in network.alarms()
    assert network.ranking().active == "iptv"
    look = await policy.approve(("ch1", "pop1"), "sat", EVE)
    assert look.ranking.active == "sat"
    assert network.alarms() == set()
    made = policy.records.switches[-1]
    assert (made.kind, made.author) == ("failback", EVE)
    with pytest.raises(NotFoundError, match="no path of this channel"):
        await policy.approve(("ch1", "hub"), "sat", EVE)


async def test_a_noc_that_starts_anew_goes_on_where_it_was(network: Network) -> None:
    await network.begin()
    await network.passes(2, **ALL_UP)
    await network.passes(2, sat=False, iptv=True, ott=True)
    before = network.ranking()
    policy = await network.begin()
    await network.passes(1, **ALL_UP)
    assert network.ranking().active == "iptv"
    assert network.ranking().number > before.number
    assert len(policy.records.switches) == 1
    await network.passes(20, iptv=False, sat=True, ott=True)
    assert network.ranking().active == "iptv"  # the hold-down of before holds
    assert (BARRED, "ch1/pop1") in network.alarms()
    await network.passes(20, iptv=False, sat=True, ott=True)
    assert network.ranking().active == "sat"
    assert BARRED not in {cause for cause, _ in network.alarms()}


async def test_a_path_that_flaps_for_hours_makes_no_more_switches_than_the_line_up_allows(network: Network) -> None:
    failback = {"after": "1s", "approve": "auto"}
    policy = await network.begin(lineup({"hold_down": "10s", "max_per_hour": 3, "failback": failback}))
    for _ in range(90):
        await network.passes(20, step=2, **ALL_UP)
        await network.passes(20, step=2, sat=False, iptv=True, ott=True)
    moments = [one.at for one in policy.records.switches]
    assert moments
    for moment in moments:
        assert sum(moment - 3600 < other <= moment for other in moments) <= 3


async def test_what_an_appliance_has_done_by_itself_is_a_fact(network: Network) -> None:
    policy = await network.begin()
    await network.passes(2, **ALL_UP)
    network.alarm("pop1", ON_FALLBACK, "ch1/sat")
    await policy.evaluate()
    assert network.ranking().active == "iptv"
    assert network.verdicts()["sat"] == "down"
    assert (policy.records.switches[-1].tier, policy.records.switches[-1].kind) == ("T0", "failover")
    await network.passes(400, step=4, **ALL_UP)  # the receiver gets it, by the fallback
    assert network.ranking().active == "iptv"
    assert len(policy.records.switches) == 1
    network.alarm("pop1", ON_FALLBACK, "ch1/sat", Severity.CLEARED)
    await policy.evaluate()
    assert network.ranking().active == "sat"
    assert (policy.records.switches[-1].tier, policy.records.switches[-1].kind) == ("T0", "failback")
    assert (PATH_DOWN, "ch1/sat/pop1") not in network.alarms()


async def test_after_a_restart_an_appliance_that_has_said_nothing_yet_is_still_where_it_was(network: Network) -> None:
    await network.begin()
    await network.passes(2, **ALL_UP)
    network.alarm("pop1", ON_FALLBACK, "ch1/sat")
    await network.policy.evaluate()
    policy = await network.begin()
    policy._measurements.told.clear()
    await network.passes(2, **ALL_UP)
    assert network.ranking().active == "iptv"
    batch = pb.TelemetryBatch(alarms_complete=True)
    for name in ("pop1", "r1"):
        network.telemetry.take(name, batch)
    await policy.evaluate()
    assert network.ranking().active == "sat"


async def test_a_site_that_is_out_of_contact_is_out_for_who_asks_within_the_minute(network: Network) -> None:
    await network.begin()
    await network.passes(2, **ALL_UP)
    network.online -= {"pop1", "r1"}
    for _ in range(30):
        await network.clock.advance(1)
        await network.policy.evaluate()
    assert network.verdicts() == {"sat": "down", "iptv": "down", "ott": "down"}
    assert network.ranking().active == ""
    assert (SITE_OUT, "pop1") in network.alarms()
    made = network.policy.records.switches[-1]
    assert (made.kind, made.tier, made.channel, made.site, made.source, made.target) == (
        "site-out", "T2", "ch1", "pop1", "sat", ""
    )  # fmt: skip
    network.online |= {"pop1", "r1"}
    await network.passes(2, **ALL_UP)
    assert network.ranking().active == "sat"
    assert (SITE_OUT, "pop1") not in network.alarms()
    made = network.policy.records.switches[-1]
    assert (made.kind, made.tier, made.source, made.target) == ("site-back", "T2", "", "sat")
    audit = (await network.store.audit_records(1))[0]
    assert (audit.action, audit.object) == ("path.site-back", "path/ch1/pop1")


async def test_a_noc_that_is_cut_off_itself_declares_nobody_dead(network: Network) -> None:
    await network.begin()
    await network.passes(2, **ALL_UP)
    network.online.clear()
    for _ in range(120):
        await network.clock.advance(1)
        await network.policy.evaluate()
    assert network.verdicts() == {"sat": "unknown", "iptv": "unknown", "ott": "unknown"}
    assert network.ranking().active == "sat"


async def test_a_held_channel_is_not_switched_until_the_time_is_over(network: Network) -> None:
    policy = await network.begin()
    await network.passes(2, **ALL_UP)
    hold = Hold(EVE, "measuring", network.clock.now(), network.clock.now() + 20)
    await policy.hold(("ch1", "pop1"), hold)
    await network.passes(10, sat=False, iptv=True, ott=True)
    assert network.ranking().active == "sat"
    assert (BARRED, "ch1/pop1") in network.alarms()
    await network.passes(11, sat=False, iptv=True, ott=True)
    assert network.ranking().active == "iptv"
    assert policy.require("ch1", "pop1").record.hold is None


async def test_an_appliance_whose_clock_is_wrong_is_judged_all_the_same_and_told(network: Network) -> None:
    await network.begin()
    for _ in range(15):
        await network.clock.advance(1)
        network.received(at=network.clock.now() - 900, **ALL_UP)
        await network.policy.evaluate()
    assert network.verdicts() == {"sat": "up", "iptv": "up", "ott": "up"}
    assert (measuring.SKEW, "r1") in network.alarms()
    await network.passes(25, **ALL_UP)
    assert (measuring.SKEW, "r1") not in network.alarms()


async def test_the_margin_of_the_satellite_receiver_counts(network: Network) -> None:
    await network.begin()
    labels = {"carrier": "c1", "device": "rx1"}
    for values, verdict in (({"locked": 1.0, "margin_db": 0.4}, "degraded"), ({"locked": 0.0}, "down")):
        network.received(**ALL_UP)
        network.sample("pop1", Sample("satellite.receiver", network.clock.now(), labels, values))
        await network.policy.evaluate()
        assert network.verdicts()["sat"] == verdict


async def test_a_stale_manifest_at_the_origin_is_a_path_that_is_down_where_nobody_receives(network: Network) -> None:
    await network.begin()
    labels = {"channel": "ch1", "path": "ott", "point": "source"}
    values = {"up": 0.0, "age_ms": 9000.0}
    network.sample("head", Sample("path.hop", network.clock.now(), labels, values, "nothing new for 9 s"))
    await network.policy.evaluate()
    assert network.verdicts("pop2")["ott"] == "down"
    found = next(one for one in network.policy.health() if one.site == "pop2" and one.path == "ott")
    assert found.reason == "source at head: nothing new for 9 s"
    for _ in range(4):
        await network.clock.advance(1)
        await network.policy.evaluate()
    assert (PATH_DOWN, "ch1/ott/pop2") in network.alarms()  # no receiver there says it


async def test_a_path_that_leaves_the_line_up_is_left(network: Network) -> None:
    policy = await network.begin()
    await network.passes(2, **ALL_UP)
    network.commit(lineup(paths=("iptv", "ott")), ("iptv", "ott"))
    await policy.evaluate()
    assert network.ranking().paths == ("iptv", "ott")
    assert policy.records.switches[-1].kind == "restart"
    network.commit(lineup(paths=()), ())
    await policy.evaluate()
    assert policy.rankings() == ()
    assert await network.store.list("policy", "spot/") == ()


async def test_a_reader_gets_what_is_and_then_what_changes(network: Network) -> None:
    policy = await network.begin()
    await network.passes(2, **ALL_UP)
    changes = policy.changes()
    first = [await anext(changes), await anext(changes)]
    assert {(one.site, one.active) for one in first} == {("pop1", "sat"), ("pop2", "sat")}
    waiting = asyncio.ensure_future(anext(changes))
    await network.passes(2, sat=False, iptv=True, ott=True)
    last = await waiting
    assert last.site == "pop1"
    assert last.alert
    await policy.close()
    assert [one async for one in changes] in ([], [network.ranking()])


async def test_a_full_disk_keeps_no_viewer_on_a_dead_path(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = await network.begin()
    await network.passes(2, **ALL_UP)
    write = network.store.write

    async def full(*_: object) -> int:
        raise StorageError("no space left on device", where="noc.db", remedy="free space")

    monkeypatch.setattr(network.store, "write", full)
    await network.passes(2, sat=False, iptv=True, ott=True)
    assert network.ranking().active == "iptv"
    assert (UNKEPT, NOC_ID) in network.alarms()
    assert not policy.records.switches
    monkeypatch.setattr(network.store, "write", write)
    await network.passes(2, sat=False, iptv=True, ott=True)
    assert (UNKEPT, NOC_ID) not in network.alarms()
    assert [one.target for one in policy.records.switches] == ["iptv"]
    again = await network.begin()
    assert again.records.spots["ch1", "pop1"].state is not None


async def test_phases_and_verdicts_are_words_of_the_contract(network: Network) -> None:
    policy = await network.begin()
    await network.passes(2, **ALL_UP)
    look = policy.require("ch1", "pop1")
    assert look.record.state is not None
    assert look.record.state.phase is Phase.SETTLED
    assert {one.verdict for one in look.health} == {Verdict.UP}
