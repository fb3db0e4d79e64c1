"""One influence, as the NOC orders it, at both mechanisms: they take the same ones and mean the same by them."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from core5g.pfcp.proxy.control import Control
from core5g.steering.contract import InfluenceOrder, Listing
from core5g.steering.n6.explain import View, explain
from core5g.steering.n6.influences import changed
from nf.errors import InputError
from tests.core5g.pfcp.proxy.peers import UE, Net
from tests.core5g.steering.n6.network import section

ORDERS = (
    InfluenceOrder("game", "add", (ip_network("198.51.100.0/24"),), (ip_network(f"{UE}/32"),), (443,)),
    InfluenceOrder("9f1c-3", "add", (ip_network("198.51.100.0/25"), ip_network("198.51.100.128/25"))),
    InfluenceOrder("others", "add", (ip_network("198.51.100.0/24"),), (ip_network("10.45.9.0/24"),)),
    InfluenceOrder("v6", "add", (ip_network("2001:db8:9::/48"),), ports=(80, 443)),
)
DESTINATIONS = ("198.51.100.7", "198.51.101.7", "203.0.113.9")


def asked(control: Control, **command: Any) -> dict[str, Any]:
    return dict(control.answer(json.dumps(command).encode()))


def at_n6(influences: Any, destination: str) -> tuple[str, str]:
    wanted = section(local=True, ports=[80])
    names = frozenset({ip_address("198.18.0.1")})
    told = explain(View(wanted, influences, True, "", wanted.prefixes, names, "ogstun"), UE, destination)
    return str(told["exit"]), str(told["rule"]).replace("prefix 203.0.113.0/24", "cdn").removeprefix("influence ")


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.id)
def test_both_steer_what_it_says_until_it_is_removed(order: InfluenceOrder) -> None:
    net = Net(rules=[{"id": "cdn", "prefixes": ["203.0.113.0/24"], "ports": [80]}])
    net.steered()
    control, n6 = Control(net.proxy), changed((), order.to_json())
    assert asked(control, command="influence", **order.to_json()) == {"state": "active"}
    net.pass_time(1)
    for destination in DESTINATIONS:
        told = net.proxy.explain(UE, destination)
        assert (told["exit"], told["rule"]) == at_n6(n6, destination)
    assert Listing.of(control.answer(b'{"command": "list"}')).influences == {one.id for one in n6} == {order.id}
    gone = InfluenceOrder(order.id, "remove").to_json()
    assert asked(control, command="influence", **gone) == {"state": "active"}
    assert changed(n6, gone) == ()
    assert Listing.of(control.answer(b'{"command": "list"}')).influences == frozenset()


@pytest.mark.parametrize(
    "bad",
    [
        {"action": "add"},
        {"id": "a", "action": "keep"},
        {"id": "a", "action": "add"},
        {"id": "a", "action": "add", "prefixes": []},
        {"id": "a", "action": "add", "prefixes": ["x"]},
        {"id": "a", "action": "add", "prefixes": ["198.51.100.1/24"]},
        {"id": "a", "action": "add", "prefixes": ["198.51.100.0/24"], "ues": ["nobody"]},
        {"id": "a", "action": "add", "prefixes": ["198.51.100.0/24"], "ues": "10.45.0.2/32"},
        {"id": "a", "action": "add", "prefixes": ["198.51.100.0/24"], "ports": [0]},
        {"id": "a", "action": "add", "prefixes": ["198.51.100.0/24"], "ports": ["80"]},
    ],
)
def test_both_refuse_the_same(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        changed((), bad)
    assert "error" in asked(Control(Net().proxy), command="influence", **bad)
