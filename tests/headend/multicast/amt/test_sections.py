from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from unittest.mock import create_autospec

from headend.multicast.amt.documents import AmtFlow, AmtSection
from headend.multicast.amt.driver import create
from headend.multicast.amt.sections import gateway_part, relay_part
from headend.multicast.amt.telemetry import hop_samples
from headend.multicast.amt.units import part_of, unit_spec
from nf.clock import VirtualClock
from nf.contracts.driver import DriverContext, State
from nf.contracts.json import JsonObject
from nf.contracts.units import Units

S = IPv4Address("10.1.0.10")
RELAY = IPv4Address("10.2.0.1")
G1, G2, G3 = (IPv4Address(f"232.1.1.{number}") for number in (1, 2, 3))


def test_a_gateway_asks_for_what_its_pop_needs_once_and_waits_for_its_interfaces() -> None:
    part = gateway_part(RELAY, [(S, G2), (S, G1), (S, G2)], ["nfout0"], appliance="pop9", provides=["x"])
    assert part is not None
    assert [flow.group for flow in part.flows] == [G1, G2]
    assert (part.requires, part.provides) == (("pop9.interface.nfout0",), ("x",))
    assert gateway_part(RELAY, [], ["nfout0"], appliance="pop9") is None


def test_a_relay_gives_what_some_gateway_needs_and_has_room_for_restarts() -> None:
    part = relay_part(RELAY, "eth1", {"pop8": [(S, G1), (S, G2)], "pop9": [(S, G3)]}, appliance="c1")
    assert part is not None
    assert (part.groups, part.max_flows, part.max_gateways) == ((G1, G2, G3), 2, 4)
    assert part.requires == ("c1.interface.eth1",)
    assert relay_part(RELAY, "eth1", {"pop8": []}, appliance="c1") is None


def test_a_part_is_a_step_of_its_own_with_its_facts_and_is_read_back_from_its_unit(tmp_path: Path) -> None:
    driver = create(DriverContext("pop9", tmp_path, tmp_path, create_autospec(Units), VirtualClock()))
    gateway = gateway_part(RELAY, [(S, G1)], ["nfout0"], appliance="pop9", provides=["x"])
    assert gateway is not None
    want = AmtSection(gateway=gateway)
    (step,) = driver.plan(State(None), want)
    assert (step.requires, step.provides) == ({"pop9.interface.nfout0"}, {"x"})
    assert driver.plan(State(want.to_json()), want) == ()
    (change,) = driver.plan(State(want.to_json()), AmtSection(gateway=gateway.model_copy(update={"port": 2269})))
    assert "stops for about a second" in change.disruption
    (stop,) = driver.plan(State(want.to_json()), None)
    assert stop.kind == "amt.stop"
    assert part_of("gateway", unit_spec("gateway", gateway, tmp_path)) == gateway
    assert part_of("relay", unit_spec("gateway", gateway, tmp_path)) is None


def test_a_gateway_says_of_every_path_what_it_delivered() -> None:
    flows = [AmtFlow(source=S, group=group, channel="ch1", path="twin") for group in (G1, G2)]
    flows += [AmtFlow(source=S, group=G3)]
    counted: JsonObject = {
        f"{S},{G1}": {"packets": 5, "age_s": 0.5},
        f"{S},{G2}": {"packets": 4, "age_s": 0.25},
        f"{S},{G3}": {"packets": 9, "age_s": 0.0},
    }
    (sample,) = hop_samples(flows, {"flows": counted}, 7.0)
    assert sample.labels == {"channel": "ch1", "path": "twin", "point": "amt-gateway"}
    assert sample.values == {"packets": 9.0, "age_ms": 250.0}
    (silent,) = hop_samples(flows, {"flows": {}}, 7.0)
    assert silent.values == {"packets": 0.0}


def test_a_relay_provides_its_facts_with_its_step(tmp_path: Path) -> None:
    driver = create(DriverContext("c1", tmp_path, tmp_path, create_autospec(Units), VirtualClock()))
    relay = relay_part(RELAY, "eth1", {"pop8": [(S, G1)]}, appliance="c1")
    assert relay is not None
    (step,) = driver.plan(State(None), AmtSection(relay=relay.model_copy(update={"provides": ("amt.relay=x",)})))
    assert (step.requires, step.provides) == ({"c1.interface.eth1"}, {"amt.relay=x"})
