"""What each appliance is given of the WebRTC edge, what a restart is, and what stands in files."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.clock import RealClock
from nf.contracts.driver import DriverContext, State
from nf.contracts.json import JsonObject
from sip.rules import problems
from sip.webrtc.coturn.render import may_reach, render
from sip.webrtc.coturn.server import TurnServer
from sip.webrtc.documents import JanusSection, TurnSection
from sip.webrtc.janus.gateway import JanusGateway
from sip.webrtc.places import Places, filled, is_shape_of, marked
from sip.webrtc.plan import Planning
from sip.webrtc.planner import WebrtcPlanner
from sip.webrtc.sockets import Bound, parse
from tests.sip.kamailio.fleets import fleet, lineup, voice
from tests.sip.webrtc.bench import janus, turn

GATEWAY = {"id": "g1", "appliance": "core1", "address": "10.0.0.1", "secret": "secret:webrtc", "plugins": ["sip"]}
TURN: dict[str, Any] = {"id": "t1", "appliance": "core2", "address": "10.0.0.2", "secret": "secret:turn"}


def planned(**turned: Any) -> Any:
    return WebrtcPlanner().plan(lineup(), fleet(voice(gateways=[GATEWAY], turns=[{**TURN, **turned}])))


def test_each_has_its_own() -> None:
    found = planned()
    gateway = found.sections["core1"]["janus"]
    assert isinstance(gateway, JanusSection)
    assert (gateway.requires, gateway.provides) == (("core1.interface.eth1",), ("core1.voice.webrtc",))
    server = found.sections["core2"]["turn"]
    assert isinstance(server, TurnSection)
    assert server.realm == "voice.streamverse.test"
    assert [*map(str, server.peers)] == ["10.0.0.1", "10.0.0.11", "10.0.0.12"]
    assert server.own == ()
    assert (server.requires, server.provides) == (("core2.interface.eth1",), ("core2.voice.turn",))
    assert [(one.name, one.object) for one in found.operations] == [
        ("voice-drain", "g1"),
        ("voice-drain", "t1"),
        ("voice-turn-credentials", "t1"),
    ]
    assert [one.key for one in found.warnings] == ["spec.equipment.voice.gateways[0].certificate"]


def test_what_is_broken_elsewhere_is_said_elsewhere() -> None:
    found = planned(appliance="nowhere")
    assert (found.sections, found.problems) == ({}, ())


def test_a_gateway_is_refused_where_it_would_listen_elsewhere() -> None:
    core = voice(gateways=[{**GATEWAY, "address": "10.1.0.1"}])
    (found,) = problems(core, fleet(core))
    assert (found.key, found.rule) == (
        "spec.equipment.voice.gateways[0].address",
        "Janus cannot listen at a loopback's address",
    )


def test_a_fleet_without_voice_has_nothing() -> None:
    made = fleet(voice())
    spec = made.spec.model_copy(update={"equipment": {}})
    assert not WebrtcPlanner().plan(lineup(), made.model_copy(update={"spec": spec})).sections


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_it_relays_to_relays_and_gateways_alone(address: IPv4Address) -> None:
    section = planned().sections["core2"]["turn"]
    assert may_reach(section, address) is (address in section.peers)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "10.0.0.7", "172.16.0.1", "192.168.1.1", "224.0.0.5"]
)
def test_with_the_internet_in_reach_our_own_is_not(address: str) -> None:
    section = planned(reach="internet").sections["core2"]["turn"]
    assert not may_reach(section, IPv4Address(address))
    assert may_reach(section, IPv4Address("9.9.9.9"))
    assert may_reach(section, IPv4Address("10.0.0.1"))


def test_own_public_addresses_are_forbidden_one_by_one() -> None:
    section = turn(reach="internet").model_copy(update={"own": (IPv4Address("9.9.9.9"), IPv4Address("10.0.0.1"))})
    lines = render(section, Path("/c"), Path("/d"))["turnserver.conf"].splitlines()
    assert "denied-peer-ip=9.9.9.9" in lines
    assert "denied-peer-ip=10.0.0.0-10.255.255.255" in lines
    assert "denied-peer-ip=10.0.0.1" not in lines
    assert not may_reach(section, IPv4Address("9.9.9.9"))


def test_each_allocation_has_a_port() -> None:
    with pytest.raises(ValueError, match="1,000 allocations need as many ports, and these are 100"):
        turn(allocations=1000)


def test_certificates_open_tls_and_nothing_else_does() -> None:
    plain = render(turn(), Path("/c"), Path("/d"))
    assert plain.keys() == {"turnserver.conf"}
    assert "no-tls" in plain["turnserver.conf"].splitlines()
    secure = render(turn(certificate="secret:pem", advertised="192.0.2.1"), Path("/c"), Path("/d"))
    lines = secure["turnserver.conf"].splitlines()
    assert {"tls-listening-port=5349", "cert=/c/certificate.pem", "external-ip=192.0.2.1/10.77.0.1"} <= {*lines}
    assert "no-tls" not in lines
    assert secure["certificate.pem"] == marked("secret:pem")


def context(folder: Path) -> DriverContext:
    return DriverContext("w", folder / "run", folder / "state", None, RealClock())  # type: ignore[arg-type]


def test_plan_tells_what_is_hot_from_what_is_a_restart(tmp_path: Path) -> None:
    planning = Planning(TurnServer(context(tmp_path)))

    def steps(want: TurnSection | None, **observed: Any) -> list[tuple[str, str, str]]:
        have: JsonObject = {**turn().to_json(), "load": 1, **observed}
        return [(one.kind, one.summary, one.disruption) for one in planning.plan(State(have), want)]

    assert steps(turn()) == []
    ended = "1 allocation of TURN server end; whoever had them begins anew"
    assert steps(turn(drained=True)) == [("webrtc.tell", "TURN server t1, without a restart: drained", "")]
    assert steps(turn(secret="secret:turn-2")) == [("webrtc.tell", "TURN server t1, without a restart: secret", "")]
    assert steps(turn(port=3479)) == [("webrtc.run", "restart TURN server t1: other port", ended)]
    assert steps(turn(), told=["secret"]) == [("webrtc.tell", "TURN server t1, without a restart: secret", "")]
    assert steps(turn(), unit="failed exit 1") == [("webrtc.run", "start TURN server t1", "")]
    assert steps(turn(), live="it does not answer")[0][0] == "webrtc.run"
    assert steps(turn(), files=["turnserver.conf"])[0][1] == (
        "restart TURN server t1: turnserver.conf was changed by hand"
    )
    assert steps(None) == [("webrtc.remove", "remove the TURN server", "removing the TURN server: 1 allocation end")]
    assert [one.kind for one in planning.plan(State(None), turn())] == ["webrtc.run"]
    assert planning.plan(State(None), None) == ()


def test_differences_say_what_a_person_would(tmp_path: Path) -> None:
    planning = Planning(JanusGateway(context(tmp_path)))
    have = {**janus().to_json(), "load": 3}
    assert planning.differences(have, janus()) == ()
    assert planning.differences(None, janus()) == ("the WebRTC gateway is not there",)
    assert planning.differences(have, None) == ("the WebRTC gateway is still there",)
    found = planning.differences({**have, "told": ["drain"], "secrets": ["secret:webrtc"]}, janus(port=8189))
    assert found == (
        "the WebRTC gateway has other drain",
        "secret:webrtc was replaced",
        "the WebRTC gateway has other port",
    )


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_a_file_is_known_whatever_its_secret_is(before: str, value: str, after: str) -> None:
    before, after = before.replace("\0", ""), after.replace("\0", "")
    text = before + marked("secret:one") + after
    written = filled(text, {"secret:one": value}.__getitem__)
    assert written == before + value + after
    assert is_shape_of(text, written)
    assert not is_shape_of(text, "x" + written) or before == "" or before.startswith("x")


def test_another_text_is_another_generation(tmp_path: Path) -> None:
    places = Places(tmp_path / "run", tmp_path / "state", "janus", "nobody-of-this-name")
    first = places.install({"a": "1", "b": "2"})
    assert places.install({"a": "1", "b": "2"}) == first
    second = places.install({"a": "1", "b": "3"})
    assert second != first
    assert places.install({"a": "1"}) == second
    assert places.read("b") is None
    (places.config / "a").write_text("by hand")
    assert places.install({"a": "1"}) != second
    assert (places.config / "a").stat().st_mode & 0o777 == 0o640


def test_sockets_of_the_kernel_are_read_in_this_machines_order() -> None:
    table = (
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "10534: 01004D0A:C025 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1351289 2 0 0\n"
    )
    assert [*parse(table)] == [Bound(IPv4Address("10.77.0.1"), 49189, 1351289, listens=False)]
    table = "head\n0: 00000000000000000000000001000000:1FFC 0:0 0A 00000000:00000000 00:00000000 00000000 0 0 7 1\n"
    assert [*parse(table)] == [Bound(IPv6Address("::1"), 8188, 7, listens=True)]
