"""Each thing that a fleet may not say of its voice core, with its key, its value and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from nf.contracts.planner import Planner
from sip.freeswitch.planner import FreeswitchPlanner
from sip.kamailio.documents import KamailioSection
from sip.kamailio.planner import KamailioPlanner
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.planner import RtpenginePlanner
from sip.rules import KEY, problems, warnings
from sip.webrtc.planner import WebrtcPlanner
from tests.sip.kamailio.fleets import DOMAIN, fleet, lineup, voice

R1 = {"id": "r1", "appliance": "core1", "address": "10.0.0.1"}
R2 = {"id": "r2", "appliance": "core2", "address": "10.0.0.2"}
P1 = {"id": "p1", "appliance": "core1", "address": "10.0.0.1"}
P2 = {"id": "p2", "appliance": "core2", "address": "10.0.0.2"}
M1 = {"id": "m1", "appliance": "core1", "address": "10.1.0.1", "password": "secret:esl"}
VIP = {"id": "vip", "address": "10.0.0.9/24", "interface": "eth1", "proxies": ["p1", "p2"], "vrid": 9}


def test_a_core_in_order_has_none() -> None:
    assert problems(voice(), fleet(voice())) == ()
    assert warnings(voice()) == ()


@pytest.mark.parametrize("planner", [KamailioPlanner(), RtpenginePlanner(), FreeswitchPlanner(), WebrtcPlanner()])
def test_every_planner_takes_relays_whose_addresses_move(planner: Planner) -> None:
    made = planner.plan(lineup(), fleet(voice()))
    assert made.problems == ()


def test_relays_may_ask_from_where_proxies_know_them() -> None:
    made = fleet(voice())
    proxies = KamailioPlanner().plan(lineup(), made).sections
    relays = RtpenginePlanner().plan(lineup(), made).sections
    for appliance in ("core1", "core2"):
        proxy, relay = proxies[appliance]["kamailio"], relays[appliance]["rtpengine"]
        assert isinstance(proxy, KamailioSection)
        assert isinstance(relay, RtpengineSection)
        assert relay.source in proxy.askers
        assert [(one.id, str(one.address), one.transport) for one in relay.proxies] == [
            ("p1", "10.0.0.1", "udp"),
            ("p2", "10.0.0.2", "udp"),
        ]


@pytest.mark.parametrize(
    ("changed", "key", "value", "rule"),
    [
        ({"proxies": [{**P1, "appliance": "cora1"}, P2]}, "proxies[0].appliance", "cora1", "no such appliance"),
        ({"proxies": [{**P1, "address": "10.0.0.7"}, P2]}, "proxies[0].address", "10.0.0.7", "does not have this"),
        ({"proxies": [P1, {**P1, "id": "p2"}]}, "proxies[1].appliance", "core1", "has a proxy already"),
        ({"proxies": [P1, {**P2, "id": "r1"}]}, "relays[0].id", "r1", "has this name already"),
        (
            {"relays": [R1, {**R2, "appliance": "core1", "address": "10.1.0.1"}]},
            "relays[1].appliance",
            "core1",
            "relay already",
        ),
        ({"relays": [{**R1, "ports": [2000, 6000]}, R2]}, "relays[0].control", "2223", None),
        (
            {"relays": [{**R1, "ports": [5000, 6000]}, R2]},
            "relays[0].ports",
            "[5000, 6000]",
            "ports of 10.0.0.1 among these",
        ),
        ({"relays": [{**R1, "partner": "r9"}, R2]}, "relays[0].partner", "r9", "no such relay"),
        ({"relays": [{**R1, "partner": "r1"}, R2]}, "relays[0].partner", "r1", "its own calls"),
        ({"relays": [{**R1, "partner": "r2"}, R2]}, "relays[0].partner", "r2", "the partner of r2 is none"),
        (
            {"relays": [{**R1, "partner": "r2"}, {**R2, "partner": "r1", "ports": [40000, 49999]}]},
            "relays[0].partner",
            "r2",
            "other ports for media",
        ),
        (
            {"proxies": [{**P1, "listeners": [{"transport": "tls", "port": 5059}]}, P2]},
            "proxies[0].address",
            "5059",
            "tcp ports of 10.0.0.1 among these",
        ),
        ({"media_servers": []}, "services", "9001", "the fleet has none"),
        ({"media_servers": [{**M1, "control": 8090}]}, "media_servers[0].control", "8090", "tcp ports of 127.0.0.1"),
        (
            {"relays": [{**R1, "address": "10.1.0.1", "ports": [19000, 29999]}, R2]},
            "media_servers[0].address",
            "[10000, 19999]",
            "ports of 10.1.0.1 among these",
        ),
        ({"domains": [DOMAIN, DOMAIN]}, "domains[1]", DOMAIN, "stands here already"),
        ({"domains": ["other.test"]}, "subscribers[0].domain", DOMAIN, "no such domain"),
        (
            {"subscribers": [{"user": "alice", "domain": DOMAIN}, {"user": "alice", "domain": DOMAIN}]},
            "subscribers[1].user",
            f"alice@{DOMAIN}",
            "stands here already",
        ),
        (
            {"subscribers": [{"user": "alice", "domain": DOMAIN, "numbers": ["9001"]}]},
            "subscribers[0].numbers[0]",
            "9001",
            "leads somewhere else",
        ),
        ({"services": [{"number": "112", "kind": "echo"}]}, "services[0].number", "112", "leads somewhere else"),
        ({"plan": [{"prefix": "0", "trunks": ["carier"]}]}, "plan[0].trunks[0]", "carier", "no such trunk"),
        ({"plan": [{"prefix": "0", "trunks": ["carrier", "carrier"]}]}, "plan[0].trunks[1]", "carrier", "named twice"),
        ({"plan": [{"prefix": "0", "trunks": ["carrier"], "strip": 2}]}, "plan[0].strip", "2", "takes 2 digits away"),
        (
            {"plan": [{"prefix": "0", "trunks": ["carrier"]}, {"prefix": "0", "trunks": ["carrier"]}]},
            "plan[1].prefix",
            "0",
            "stands here already",
        ),
        ({"emergency": {"trunks": ["nobody"]}}, "emergency.trunks[0]", "nobody", "no such trunk"),
        (
            {"trunks": [{"id": "carrier", "gateways": [{"address": "10.1.0.1"}]}]},
            "trunks[0].gateways[0].address",
            "10.1.0.1",
            "media server m1",
        ),
        (
            {"trunks": [{"id": "carrier", "gateways": [{"address": "192.0.2.1"}, {"address": "192.0.2.1"}]}]},
            "trunks[0].gateways[1].address",
            "192.0.2.1",
            "twice",
        ),
        ({"limits": {"registration": [900, 600]}}, "limits.registration", "[900, 600]", "longer than the most"),
        (
            {"virtual_addresses": [{**VIP, "proxies": ["p1", "p3"]}]},
            "virtual_addresses[0].proxies[1]",
            "p3",
            "no such proxy",
        ),
        ({"virtual_addresses": [{**VIP, "proxies": ["p1", "p1"]}]}, "virtual_addresses[0].proxies", "p1", "are one"),
        (
            {"virtual_addresses": [{**VIP, "interface": "eth7"}]},
            "virtual_addresses[0].interface",
            "eth7",
            "no such interface",
        ),
        (
            {"virtual_addresses": [{**VIP, "address": "10.9.0.9/24"}]},
            "virtual_addresses[0].address",
            "10.9.0.0/24",
            "is in",
        ),
        (
            {"virtual_addresses": [{**VIP, "address": "10.0.0.2/24"}]},
            "virtual_addresses[0].address",
            "10.0.0.2/24",
            "its own",
        ),
        (
            {"virtual_addresses": [VIP, {**VIP, "id": "vip2", "address": "10.0.0.8/24"}]},
            "virtual_addresses[1].vrid",
            "9",
            "has the vrid",
        ),
    ],
)
def test_what_is_refused(changed: dict[str, Any], key: str, value: str, rule: str | None) -> None:
    core = voice(**changed)
    found = problems(core, fleet(core))
    if rule is None:  # the control port lies among those of media: told at the second of the two
        assert any(one.key == f"{KEY}.relays[0].ports" for one in found)
        return
    matching = [one for one in found if one.key == f"{KEY}.{key}" and rule in one.rule]
    assert matching, [str(one) for one in found]
    assert matching[0].value == value
    assert matching[0].remedy


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"emergency": None}, "emergency"),
        ({"plan": [], "emergency": None}, "trunks[0].id"),
        ({"proxies": [{**P1, "listeners": [{"transport": "tls", "port": 5061}]}, P2]}, "proxies[0].certificate"),
        ({"services": [{"number": "9001", "kind": "ivr", "options": {"1": "777"}}]}, "services[0].options.1"),
    ],
)
def test_what_is_told_and_refuses_nothing(changed: dict[str, Any], key: str) -> None:
    core = voice(**changed)
    assert problems(core, fleet(core)) == ()
    assert f"{KEY}.{key}" in [one.key for one in warnings(core)]
