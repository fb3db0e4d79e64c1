"""Gateway and relay as machines without I/O: against each other, and each against what it must not believe."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.amt.codec import (
    Advertisement,
    Discovery,
    Endpoint,
    MembershipQuery,
    MembershipUpdate,
    MulticastData,
    Request,
    Teardown,
    decode,
    encode,
)
from headend.multicast.amt.gateway import SILENCE_S, TABLE, Gateway, Incoming, Input, Outgoing, Phase
from headend.multicast.amt.mac import ROTATE_S, Authenticator
from headend.multicast.amt.relay import LIFETIME_S, QUERY, Limits, Relay
from headend.multicast.amt.wire import next_hop
from headend.multicast.igmp import ALL_SYSTEMS, Flow, GroupRecord, Query, RecordType, build_query, build_report
from headend.multicast.ipv4 import IGMP, UDP, MalformedError, build, parse

RELAY = Endpoint(IPv4Address("10.0.0.1"), 2268)
HERE = Endpoint(IPv4Address("192.0.2.7"), 40000)
ELSEWHERE = Endpoint(IPv4Address("192.0.2.9"), 40001)
FLOW: Flow = (0x0A010A0A, 232 << 24 | 0x010101)
SECOND: Flow = (0x0A010A0A, 232 << 24 | 0x010102)
PACKET = build(*FLOW, UDP, b"\x13\x88\x13\x88\x00\x0b\x00\x00abc", ttl=8)


def gateway(*flows: Flow) -> Gateway:
    numbers = itertools.count(1)
    return Gateway(RELAY, flows or (FLOW,), lambda: next(numbers))


def relay(limits: Limits | None = None) -> Relay:
    secrets = itertools.count(1)
    return Relay(RELAY.address, Authenticator(lambda size: next(secrets).to_bytes(size, "big")), limits or Limits())


@dataclass
class Wire:
    """Gateway and relay with nothing but a lossy NAT between them; both clocks are `now`."""

    gateway: Gateway
    relay: Relay
    loses: Callable[[], bool] = lambda: False
    outside: Endpoint = HERE
    now: float = 0.0
    delivered: list[bytes] = field(default_factory=list)

    def start(self) -> None:
        self.up(self.gateway.start(self.now))

    def up(self, outgoing: object) -> None:
        for one in outgoing:  # type: ignore[attr-defined]  # iterators of both kinds
            if isinstance(one, Incoming):
                self.delivered.append(one.packet)
            elif not self.loses():
                self.down(self.relay.receive(one.data, self.outside, self.now))

    def down(self, outgoing: object) -> None:
        for one in outgoing:  # type: ignore[attr-defined]  # as above
            if one.to == self.outside and not self.loses():
                self.up(self.gateway.receive(one.data, RELAY, self.now))

    def run(self, seconds: float, *, packets: bool = False, step_s: float = 0.1) -> None:
        for _ in range(round(seconds / step_s)):
            self.now += step_s
            self.up(self.gateway.tick(self.now))
            self.relay.tick(self.now)
            if packets:
                self.down(self.relay.forward(PACKET, FLOW))


def test_a_gateway_finds_the_relay_and_gets_what_it_asked_for() -> None:
    wire = Wire(gateway(FLOW, SECOND), relay())
    wire.start()
    assert wire.gateway.phase is Phase.MEMBER
    assert wire.relay.flows() == {FLOW, SECOND}
    wire.run(0.1, packets=True)
    assert wire.delivered == [PACKET]
    assert not wire.gateway.bad
    assert not wire.relay.bad


def test_memberships_are_kept_for_as_long_as_the_gateway_asks_and_no_longer() -> None:
    wire = Wire(gateway(), relay())
    wire.start()
    wire.run(5 * QUERY.interval_s, packets=True)
    assert wire.gateway.requests == 5
    assert list(wire.relay.gateways()) == [HERE]
    wire.loses = lambda: True
    wire.run(LIFETIME_S + 1)
    assert wire.relay.flows() == frozenset()
    assert wire.gateway.phase is Phase.DISCOVERING


def test_a_stop_tears_the_tunnel_down() -> None:
    wire = Wire(gateway(), relay())
    wire.start()
    wire.up(wire.gateway.stop())
    assert (wire.gateway.phase, wire.relay.gateways()) == (Phase.CLOSED, {})
    wire.run(100)
    assert wire.relay.gateways() == {}


def test_a_relay_that_forgot_everything_is_asked_when_its_data_stop() -> None:
    wire = Wire(gateway(), relay())
    wire.start()
    wire.run(1.0, packets=True)
    wire.relay = relay()
    count = len(wire.delivered)
    wire.run(SILENCE_S + 0.5, packets=True)
    assert wire.relay.flows() == {FLOW}
    assert len(wire.delivered) > count


def test_a_nat_that_changes_the_port_leaves_no_second_tunnel() -> None:
    wire = Wire(gateway(), relay())
    wire.start()
    wire.run(1.0, packets=True)
    wire.outside = ELSEWHERE
    wire.run(SILENCE_S + 0.5, packets=True)
    assert list(wire.relay.gateways()) == [ELSEWHERE]


@given(st.lists(st.booleans(), max_size=20))
def test_whatever_is_lost_it_ends_with_a_member(lost: list[bool]) -> None:
    pattern = iter(lost)
    wire = Wire(gateway(), relay(), lambda: next(pattern, False))
    wire.start()
    # So many losses are over in this time at the slowest, since every wait of half a minute loses one message.
    wire.run(30.0 * (sum(lost) + 2), step_s=1.0)
    assert wire.gateway.phase is Phase.MEMBER
    assert wire.relay.flows() == {FLOW}


def test_requests_are_repeated_ever_later_and_then_the_relay_is_looked_for() -> None:
    made = gateway()
    list(made.start(0.0))
    list(made.receive(encode(Advertisement(1, RELAY.address)), RELAY, 0.0))
    sent = [(now / 10, type(decode(one.data))) for now in range(1, 120) for one in made.tick(now / 10)]
    assert sent == [(1.0, Request), (3.0, Request), (7.0, Discovery), (8.0, Discovery), (10.0, Discovery)]


def test_every_phase_can_be_left_and_stopped() -> None:
    for phase in Phase:
        assert any(before is phase and after is not phase for (before, _), after in TABLE.items())
    assert all((phase, Input.STOP) in TABLE for phase in Phase if phase is not Phase.CLOSED)
    with pytest.raises(KeyError):
        list(gateway().stop())


# -- what a gateway must not believe ----------------------------------------------------------------------------------


def _query(nonce: int, query: bytes | None = None) -> bytes:
    inner = query if query is not None else build(1, ALL_SYSTEMS, IGMP, build_query(Query()))
    return encode(MembershipQuery(b"123456", nonce, inner, gateway=HERE))


@pytest.mark.parametrize(
    ("data", "sender", "reason"),
    [
        (_query(9), RELAY, "nonce"),
        (_query(2), ELSEWHERE, "sender"),
        (_query(2, build(1, ALL_SYSTEMS, UDP, build_query(Query()))), RELAY, "no-query"),
        (_query(2, build(1, FLOW[1], IGMP, build_query(Query(group=FLOW[1])))), RELAY, "no-query"),
        (_query(2, b""), RELAY, "short"),
        (encode(Advertisement(1, ELSEWHERE.address)), RELAY, "unexpected"),
        (encode(Discovery(1)), RELAY, "not-for-a-gateway"),
        (b"\xff", RELAY, "version"),
        (encode(MulticastData(PACKET)), ELSEWHERE, "sender"),
        (encode(MulticastData(build(1, FLOW[1], UDP, b""))), RELAY, "unwanted"),
        (encode(MulticastData(build(*FLOW, IGMP, b""))), RELAY, "unwanted"),
        (encode(MulticastData(PACKET[:-1])), RELAY, "ip-header"),
    ],
)
def test_a_gateway_does_not_believe(data: bytes, sender: Endpoint, reason: str) -> None:
    made = gateway()
    list(made.start(0.0))
    list(made.receive(encode(Advertisement(1, RELAY.address)), RELAY, 0.0))
    assert made.phase is Phase.REQUESTING
    assert list(made.receive(data, sender, 0.1)) == []
    assert made.bad == {reason: 1}
    assert made.phase is Phase.REQUESTING


def test_an_advertisement_of_another_discovery_is_nothing() -> None:
    made = gateway()
    list(made.start(0.0))
    assert list(made.receive(encode(Advertisement(7, RELAY.address)), RELAY, 0.0)) == []
    assert made.bad == {"nonce": 1}


# -- what a relay must not believe ------------------------------------------------------------------------------------


def _report(*flows: Flow, kind: RecordType = RecordType.IS_INCLUDE) -> bytes:
    records = [GroupRecord(kind, group, (source,)) for source, group in flows]
    return build(0, ALL_SYSTEMS, IGMP, build_report(records))


def _invited(made: Relay, sender: Endpoint, now: float = 0.0) -> MembershipQuery:
    (one,) = made.receive(encode(Request(5)), sender, now)
    assert one.to == sender
    query = decode(one.data)
    assert isinstance(query, MembershipQuery)
    return query


def _updated(made: Relay, sender: Endpoint, report: bytes, now: float = 0.0) -> None:
    query = _invited(made, sender, now)
    assert list(made.receive(encode(MembershipUpdate(query.mac, query.nonce, report)), sender, now)) == []


def test_an_update_holds_for_whom_the_query_was_sent_to_and_for_a_while() -> None:
    made = relay()
    query = _invited(made, HERE)
    update = encode(MembershipUpdate(query.mac, query.nonce, _report(FLOW)))
    for data, sender in (
        (update, ELSEWHERE),
        (encode(MembershipUpdate(query.mac, query.nonce + 1, _report(FLOW))), HERE),
        (encode(MembershipUpdate(bytes(6), query.nonce, _report(FLOW))), HERE),
    ):
        list(made.receive(data, sender, 0.0))
    assert (made.flows(), made.bad) == (frozenset(), {"mac": 3})
    list(made.receive(update, HERE, ROTATE_S + 1))  # made by the secret before
    assert made.flows() == {FLOW}
    list(made.receive(update, HERE, 3 * ROTATE_S))
    assert made.bad == {"mac": 4}


def test_a_teardown_needs_the_mac_of_the_tunnel_and_may_come_from_anywhere() -> None:
    made = relay()
    _updated(made, HERE, _report(FLOW))
    query = _invited(made, HERE)
    list(made.receive(encode(Teardown(bytes(6), query.nonce, HERE)), HERE, 0.0))
    assert made.flows() == {FLOW}
    list(made.receive(encode(Teardown(query.mac, query.nonce, HERE)), ELSEWHERE, 0.0))
    assert made.gateways() == {}
    list(made.receive(encode(Teardown(query.mac, query.nonce, HERE)), ELSEWHERE, 0.0))  # again is nothing


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (_report(FLOW)[:-1], "ip-header"),
        (build(0, ALL_SYSTEMS, UDP, b""), "no-report"),
        (build(0, ALL_SYSTEMS, IGMP, build_query(Query())), "igmp-no-report"),
        (_report(SECOND), "group-not-allowed"),
        (_report(*((source, FLOW[1]) for source in range(1, 5))), "too-many-flows"),
    ],
)
def test_a_relay_takes_no_more_than_it_may(report: bytes, reason: str) -> None:
    made = relay(Limits(max_flows=3, groups=frozenset({FLOW[1]})))
    _updated(made, HERE, report)
    assert made.bad == {reason: 1}
    assert len(made.flows()) <= 3


def test_a_relay_that_is_full_says_so_and_goes_on_with_whom_it_has() -> None:
    made = relay(Limits(max_gateways=1))
    assert not _invited(made, HERE).limited
    _updated(made, HERE, _report(FLOW))
    assert _invited(made, ELSEWHERE).limited
    assert not _invited(made, HERE).limited
    _updated(made, ELSEWHERE, _report(FLOW))
    assert made.bad == {"too-many-gateways": 1}
    assert list(made.gateways()) == [HERE]
    _updated(made, HERE, _report(FLOW, kind=RecordType.BLOCK))
    assert made.gateways() == {}
    _updated(made, ELSEWHERE, _report(FLOW))
    assert [one.to for one in made.forward(PACKET, FLOW)] == [ELSEWHERE]
    assert list(made.forward(PACKET, SECOND)) == []


def test_a_relay_answers_nothing_that_is_not_for_it() -> None:
    made = relay()
    for message in (MulticastData(PACKET), Advertisement(1, RELAY.address), Request(1, mld=True)):
        assert list(made.receive(encode(message), HERE, 0.0)) == []
    assert made.bad == {"not-for-a-relay": 2, "mld": 1}


# -- the datagram on its way ------------------------------------------------------------------------------------------


def test_a_hop_is_taken_and_nothing_else_changes() -> None:
    before, after = parse(PACKET), parse(next_hop(PACKET + b"padding"))
    assert after.ttl == before.ttl - 1
    assert (after.source, after.destination, after.tos, after.payload) == (*FLOW, before.tos, before.payload)
    with pytest.raises(MalformedError, match="ttl"):
        next_hop(build(*FLOW, UDP, b"", ttl=1))


def test_outgoing_is_a_plain_value() -> None:
    assert Outgoing(b"x", HERE) == Outgoing(b"x", HERE)
