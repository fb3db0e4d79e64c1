"""The section, the driver's plan, explanations and influences with plain values."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core5g.steering.n6 import reading, render, units
from core5g.steering.n6.documents import Influence, N6Section, collapsed
from core5g.steering.n6.driver import create, differences
from core5g.steering.n6.explain import View, explain
from core5g.steering.n6.influences import InfluenceStore, changed
from core5g.steering.n6.telemetry import SteeringWatch
from nf.clock import VirtualClock
from nf.contracts.driver import DriverContext, State
from nf.contracts.units import Units
from nf.errors import InputError, IntegrityError
from nf.telemetry.alarms import AlarmEvent, Severity
from tests.core5g.steering.n6.network import section

PREFIXES = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 32)), max_size=30)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"names": ["cdn.example.test"]}, "nobody learns what the names resolve to"),
        ({"tuns": ["ogstun", "ogstun"]}, "a TUN device is named twice"),
        ({"tuns": ["cache0"]}, "the cache is not behind the UEs' TUN device"),
        ({"prefixes": ["203.0.113.1/24"]}, "bits beyond its prefix length"),
        ({"ports": [0]}, "greater than or equal to 1"),
        ({"cache": {"address": "127.0.0.1", "local": True, "health": {"host": "a.b"}}}, "to a loopback address"),
        ({"cache": {"address": "10.9.0.2", "health": {"host": "a.b"}}}, "the cache is behind no interface"),
    ],
)
def test_what_a_section_may_not_say(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        section(local=False, **given)


@given(PREFIXES)
def test_prefixes_are_read_back_as_they_were_written(drawn: list[tuple[int, int]]) -> None:
    networks = collapsed(ip_network((address >> (32 - length) << (32 - length), length)) for address, length in drawn)
    elements = [render.element(network) for network in networks]
    assert reading.prefixes_of([{"set": {"name": "cdn4", "elem": elements}}]) == networks
    again = N6Section.model_validate(section(local=True, prefixes=[*map(str, networks)]).to_json())
    assert again.prefixes == networks


@pytest.mark.parametrize("local", [True, False])
def test_a_plan_is_empty_when_converged_and_one_step_else(tmp_path: Path, local: bool) -> None:
    units_ = create_autospec(Units)
    driver = create(DriverContext("pop1", tmp_path / "run", tmp_path / "state", units_, VirtualClock()))
    wanted = section(local=local)
    assert driver.plan(State(None), None) == ()
    assert driver.plan(State(wanted.to_json()), wanted) == ()
    (step,) = driver.plan(State(None), wanted)
    assert (step.kind, step.disruption, step.provides) == ("n6.steer", "", frozenset({"pop1.steering"}))
    (step,) = driver.plan(State(section(local=not local).to_json()), wanted)
    assert "ask once more" in step.disruption
    (step,) = driver.plan(State({**wanted.to_json(), "altered": ["the rules"]}), wanted)
    assert step.disruption == ""
    (step,) = driver.plan(State(wanted.to_json()), None)
    assert step.kind == "n6.remove"


def test_differences_are_in_an_operators_words() -> None:
    wanted = section(local=True)
    assert differences(wanted.to_json(), wanted) == ()
    assert differences(None, wanted) == ("steering at N6 is not there",)
    assert differences({**wanted.to_json(), "altered": ["n6-gate does not run"]}, wanted) == ("n6-gate does not run",)
    assert differences(section(local=True, ports=[80]).to_json(), wanted) == ("ports is another one",)


def test_a_unit_says_for_which_section_it_runs(tmp_path: Path) -> None:
    wanted = section(local=True)
    spec = units.gate_spec(wanted, tmp_path, tmp_path)
    assert units.section_of(spec) == wanted.model_copy(update={"prefixes": ()})
    assert max(map(len, spec.argv)) < 128 << 10
    assert units.section_of(None) is None


def view(**given: object) -> View:
    wanted = section(local=True)
    influence = Influence.model_validate({"id": "a", "prefixes": ["192.0.2.0/24"], "ues": ["10.45.0.3/32"]})
    values: dict[str, object] = {
        "section": wanted,
        "influences": (influence,),
        "is_open": True,
        "why": "the cache is well",
        "prefixes": wanted.prefixes,
        "names": frozenset({IPv4Address("198.18.0.1")}),
        "behind": "ogstun",
    }
    return View(**{**values, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ue", "destination", "exit_", "rule"),
    [
        ("10.45.0.2", "203.0.113.10", "cache", "prefix 203.0.113.0/24"),
        ("10.45.0.2", "2001:db8:cd::1", "cache", "prefix 2001:db8:cd::/48"),
        ("10.45.0.2", "198.18.0.1", "cache", "an address of the CDN's names"),
        ("10.45.0.3", "192.0.2.1", "cache", "influence a"),
        ("10.45.0.2", "192.0.2.1", "default", ""),
        ("10.45.0.2", "203.0.113.128/25", "cache", "prefix 203.0.113.0/24"),
        ("10.45.0.2", "203.0.112.0/23", "partly", "prefix 203.0.113.0/24"),
        ("10.45.0.2", "203.0.112.0/24", "default", ""),
        ("10.45.0.2", "198.18.0.0/16", "partly", "an address of the CDN's names"),
        ("10.45.0.3", "192.0.0.0/8", "partly", "influence a"),
        ("10.45.0.3", "192.0.0.0/2", "partly", "influence a, prefix 203.0.113.0/24, an address of the CDN's names"),
        ("10.45.0.2", "other.example.test", "default", ""),
        ("imsi-999700000000001", "203.0.113.10", "unknown-ue", ""),
    ],
)
def test_where_a_ues_traffic_goes(ue: str, destination: str, exit_: str, rule: str) -> None:
    told = explain(view(), ue, destination)
    assert (told["exit"], told["rule"]) == (exit_, rule)


def test_a_shut_gate_is_why_traffic_takes_the_default_exit() -> None:
    told = explain(view(is_open=False, why="the cache answers 503"), "10.45.0.2", "203.0.113.10")
    assert told == {
        "exit": "default",
        "why": "the gate is shut: the cache answers 503",
        "rule": "prefix 203.0.113.0/24",
        "cache": None,
    }
    assert explain(view(behind="eth1"), "10.45.0.2", "203.0.113.10")["exit"] == "unknown-ue"


def test_influences_are_added_replaced_removed_and_kept(tmp_path: Path) -> None:
    store = InfluenceStore(tmp_path / "state")
    assert store.read() == ()
    one = changed((), {"action": "add", "id": "b", "prefixes": ["192.0.2.0/24"], "author": "noc", "elapsed_s": 0.1})
    both = changed(one, {"action": "add", "id": "a", "prefixes": ["192.0.2.0/25"], "ports": [443]})
    assert [influence.id for influence in both] == ["a", "b"]
    store.write(both)
    assert store.read() == both
    assert changed(both, {"action": "remove", "id": "b"}) == both[:1]
    assert changed(both, {"action": "remove", "id": "unknown"}) == both
    for bad in ({"id": "a"}, {"action": "add", "id": "a"}, {"action": "add", "id": "a", "prefixes": ["x"]}):
        with pytest.raises(InputError):
            changed((), {**bad})
    (tmp_path / "state" / "influences.json").write_text("{")
    with pytest.raises(IntegrityError):
        store.read()


def test_alarms_are_raised_and_cleared_once() -> None:
    watch, wanted = SteeringWatch("pop1"), section(local=True)

    def alarms(gate: dict[str, object] | None) -> list[tuple[str, Severity]]:
        events = watch.take(wanted, gate, None, 1.0)  # type: ignore[arg-type]
        return [(event.cause, event.severity) for event in events if isinstance(event, AlarmEvent)]

    assert alarms({"open": True}) == []
    assert alarms({"open": False, "why": "x"}) == [("steering-shut", Severity.MAJOR)]
    assert alarms({"open": False, "why": "x"}) == []
    assert alarms(None) == [("steering-gate-down", Severity.MAJOR), ("steering-shut", Severity.CLEARED)]
    assert alarms({"open": True}) == [("steering-gate-down", Severity.CLEARED)]
