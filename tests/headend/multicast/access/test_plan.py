"""Rendering, reading back and planning with plain values: what nft and the kernel would list is made of the section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.access.bridge import ALIAS, BRIDGE_SETTINGS, Link, port_settings
from headend.multicast.access.client import FollowerStatus, PortStatus, parse
from headend.multicast.access.documents import AccessLan, AccessPort, AccessSection
from headend.multicast.access.driver import AccessDriver, create
from headend.multicast.access.render import (
    counters,
    parse_devices,
    parse_table,
    passing,
    restore_commands,
    table_commands,
)
from headend.multicast.access.state import Observed, all_ports, canonical, differences, problems, to_value
from headend.multicast.access.telemetry import AccessWatch
from nf.clock import VirtualClock
from nf.contracts.driver import DriverContext, State
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import Units
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Quality, Sample

groups = st.integers(0x100, 0x400).map(lambda low: f"232.1.{low >> 8}.{low & 255}")
ports = st.builds(
    lambda **given: AccessPort.model_validate(given),
    name=st.from_regex(r"eth[1-9][0-9]?(\.[1-9])?", fullmatch=True),
    max_channels=st.integers(1, 1000),
    igmp_rate=st.integers(1, 10_000),
    fast_leave=st.booleans(),
    groups=st.none() | st.lists(groups, max_size=4, unique=True),
)


def _section(found: list[AccessPort], cut: int) -> AccessSection:
    plain = [AccessLan(ports=(port,)) for port in found[:cut]]
    return AccessSection(lans=(*plain, *([AccessLan(bridge="bracc", ports=tuple(found[cut:]))] if found[cut:] else [])))


sections = st.builds(
    _section, st.lists(ports, min_size=1, max_size=5, unique_by=lambda port: port.name), st.integers(0, 5)
)


def listed(commands: list[JsonObject]) -> tuple[list[JsonObject], dict[str, str]]:
    """What nft lists when these commands were all it ever got: with handles, without the devices."""
    entries: list[JsonObject] = []
    devices: dict[str, str] = {}
    for number, command in enumerate(commands[2:]):
        added = command["add"]
        assert isinstance(added, dict)
        ((kind, body),) = added.items()
        assert isinstance(body, dict)
        if kind == "chain":
            devices[str(body["name"])] = str(body["dev"])
        entries.append({kind: {k: v for k, v in body.items() if k != "dev"} | {"handle": number}})
    return entries, devices


def live(section: AccessSection, **links: Link) -> Observed:
    table, devices = listed(table_commands(all_ports(section), {}))
    found: dict[str, Link] = {}
    for number, lan in enumerate(section.lans):
        if lan.bridge is not None:
            found[lan.bridge] = Link(lan.bridge, 100 + number, True, kind="bridge", alias=ALIAS, bridge=BRIDGE_SETTINGS)
        for port in lan.ports:
            settings = port_settings(fast_leave=port.fast_leave) if lan.bridge is not None else {}
            found[port.name] = Link(port.name, number, True, lan.bridge, port=settings)
    follower = FollowerStatus({port.name: PortStatus() for port in all_ports(section)})
    return Observed({**found, **links}, table, devices, follower)


@pytest.fixture
def driver(tmp_path: Path) -> AccessDriver:
    return create(DriverContext("p", tmp_path, tmp_path, create_autospec(Units), VirtualClock()))


@given(sections)
def test_what_stands_needs_no_step(section: AccessSection) -> None:
    value = to_value(live(section))
    assert value == canonical(section).to_json()
    assert differences(value, section) == ()
    assert differences(None, section) != ()
    assert differences(value, None) != ()
    assert to_value(Observed()) is None


@given(sections, sections)
def test_two_sections_differ_exactly_when_their_values_do(one: AccessSection, other: AccessSection) -> None:
    assert (differences(to_value(live(one)), other) == ()) is (canonical(one) == canonical(other))


ONE = AccessSection(
    lans=(AccessLan(bridge="bracc", ports=(AccessPort(name="eth1"), AccessPort(name="eth2", max_channels=2))),)
)


def _told(observed: Observed) -> str:
    return " / ".join(differences(to_value(observed), ONE))


def test_every_kind_of_drift_is_told() -> None:
    good = live(ONE)
    bridge, port = good.links["bracc"], good.links["eth1"]
    changed: Mapping[str, Observed] = {
        "mcast_snooping is 0": live(ONE, bracc=replace(bridge, bridge={**BRIDGE_SETTINGS, "mcast_snooping": 0})),
        "bracc is down": live(ONE, bracc=replace(bridge, up=False)),
        "eth1 is down": live(ONE, eth1=replace(port, up=False)),
        "fast_leave is 0": live(ONE, eth1=replace(port, port=port_settings(fast_leave=False))),
        "eth9 is a port of bridge bracc without limits": live(ONE, eth9=replace(port, name="eth9")),
        "the follower does not answer": replace(good, follower=None),
        "the follower follows nothing": replace(good, follower=FollowerStatus()),
        "table nf_access does not exist": replace(good, table=None, devices={}),
        "chain in_eth1 is not hooked": replace(good, devices={**good.devices, "in_eth1": "eth2"}),
        "wanted": live(ONE, eth1=replace(port, master=None)),
    }
    for text, observed in changed.items():
        assert text in _told(observed), text
    assert good.table is not None
    for number, entry in enumerate(good.table):
        if "table" not in entry:
            rest = [*good.table[:number], *good.table[number + 1 :]]
            assert _told(replace(good, table=rest)), entry
    assert "mine" in _told(replace(good, table=[*good.table, {"set": {"name": "mine", "table": "nf_access"}}]))


def test_a_step_waits_for_nothing_and_gives_the_bridge(driver: AccessDriver) -> None:
    (step,) = driver.plan(State(None), ONE)
    assert (step.requires, step.provides) == (frozenset(), {"p.bridge.bracc"})
    assert driver.plan(State(to_value(live(ONE))), ONE) == ()
    (step,) = driver.plan(State(to_value(live(ONE))), None)
    assert "eth1, eth2" in step.disruption
    assert driver.plan(State(None), AccessSection()) == ()


def test_what_passes_goes_on_passing_in_a_table_made_anew_and_a_table_is_restored_as_it_was() -> None:
    ports = all_ports(ONE)
    pairs = tuple((f"10.0.0.{n}", f"232.1.1.{n}") for n in range(1, 5))
    table, devices = listed(table_commands(ports, {"eth1": pairs, "eth2": pairs}))
    assert passing(table) == {"eth1": pairs, "eth2": pairs[:2]}
    restored = restore_commands(table, devices)
    assert listed(restored)[0] == [
        {kind: {**body, "handle": number}}
        for number, (kind, body) in enumerate(
            (k, b) for wanted in ("table", "set", "chain", "rule") for e in table for k, b in e.items() if k == wanted
        )
        if isinstance(body, dict)
    ]
    assert listed(restored)[1] == devices
    # A device that went took its chains along; what is left of the table is restored without them.
    assert parse_table(listed(restore_commands(table, {}))[0], {})[0] == ()


def test_devices_are_read_from_the_text_of_nft() -> None:
    text = """table netdev other {
	chain in_eth9 {
		type filter hook ingress device "eth9" priority filter; policy accept;
	}
}
table netdev nf_access {
	set pass_eth1 {
		type ipv4_addr . ipv4_addr
	}

	chain out_eth1 {
		type filter hook egress device "eth1" priority filter; policy accept;
	}
}
"""
    assert parse_devices(text) == {"out_eth1": "eth1"}


def test_rules_of_a_section_are_all_told_at_once() -> None:
    links = {"eth1": Link("eth1", 1, True, "brx"), "brx": Link("brx", 2, True, kind="bridge")}
    wrong = AccessSection(
        lans=(
            AccessLan(bridge="brx", ports=(AccessPort(name="eth1"), AccessPort(name="eth0"))),
            AccessLan(ports=(AccessPort(name="eth1"), AccessPort(name="eth3"))),
        )
    )
    told = {(problem.key, problem.rule) for problem in problems(wrong, links)}
    assert told == {
        ("eth1", "named more than once"),
        ("eth0", "is not part of the data plane"),
        ("eth1", "more than one port without a bridge"),
        ("brx", "there is such an interface, and it is not ours"),
        ("eth1", "is a port of brx already"),
        ("eth0", "does not exist"),
        ("eth3", "does not exist"),
    }


def _counted(**dropped: int) -> list[JsonObject]:
    """The table with these packets dropped by the rules of eth1, named by the beginning of their comments."""
    table, _ = listed(table_commands(all_ports(ONE), {}))
    for entry in table:
        rule = entry.get("rule")
        if isinstance(rule, dict) and str(rule["chain"]).endswith("eth1"):
            count = next((n for word, n in dropped.items() if str(rule["comment"]).startswith(word)), 0)
            expression = rule["expr"]
            assert isinstance(expression, list)
            counter: Json = {"counter": {"packets": count, "bytes": 0}}
            rule["expr"] = [counter if isinstance(s, dict) and "counter" in s else s for s in expression]
    return table


def test_samples_and_alarms_follow_the_counters_and_the_follower() -> None:
    watch = AccessWatch("p")
    full = FollowerStatus({"eth1": PortStatus(("a", "b"), ("c",), 1, 0), "eth2": PortStatus()})
    first = list(watch.take(_counted(above=5), full, 0.0, 100.0))
    (one, two) = [event for event in first if isinstance(event, Sample)]
    assert (one.labels["port"], one.values["channels"], one.values["waiting"]) == ("eth1", 2, 1)
    assert (one.values["igmp_dropped"], two.values["igmp_dropped"]) == (5, 0)
    alarms = {(e.cause, e.object): e for e in first if isinstance(e, AlarmEvent) and e.severity is not Severity.CLEARED}
    assert alarms.keys() == {("channel-limit", "p/eth1")}
    assert "asks for 3 channels and may have 2: refused c" in alarms["channel-limit", "p/eth1"].text

    def changes(*given: object) -> set[tuple[str, str, bool]]:
        events = watch.take(*given)  # type: ignore[arg-type]  # as take takes them
        return {(e.cause, e.object, e.severity is not Severity.CLEARED) for e in events if isinstance(e, AlarmEvent)}

    free = FollowerStatus({"eth1": PortStatus(), "eth2": PortStatus()})
    assert changes(_counted(above=6, queries=1), free, 1.0, 101.0) == {
        ("channel-limit", "p/eth1", False),
        ("igmp-rate", "p/eth1", True),
        ("subscriber-not-a-router", "p/eth1", True),
    }
    assert changes(_counted(above=6, queries=1), None, 5.0, 105.0) == {("access-follower-down", "p/access", True)}
    stale = [e for e in watch.take(_counted(above=6, queries=1), None, 6.0, 106.0) if isinstance(e, Sample)]
    assert {sample.quality for sample in stale} == {Quality.STALE}
    assert changes(_counted(above=6, queries=1), free, 12.0, 112.0) == {
        ("igmp-rate", "p/eth1", False),
        ("subscriber-not-a-router", "p/eth1", False),
        ("access-follower-down", "p/access", False),
    }
    assert changes(_counted(above=7, queries=1), full, 13.0, 113.0) == {
        ("igmp-rate", "p/eth1", True),
        ("channel-limit", "p/eth1", True),
    }
    assert changes(None, None, 14.0, 114.0) == {("igmp-rate", "p/eth1", False), ("channel-limit", "p/eth1", False)}
    assert counters(_counted(queries=3))["eth1"]["queries"] == 3


def test_a_followers_word_is_read_back() -> None:
    told = {"ports": {"eth1": {"passing": ["x"], "waiting": [], "refused": 1, "unentitled": 2}}}
    status = parse({**told, "counts": {"events": 3}, "last_error": ""})
    assert status == FollowerStatus({"eth1": PortStatus(("x",), (), 1, 2)}, {"events": 3}, "")
