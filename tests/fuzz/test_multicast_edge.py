"""Octets from subscribers, from tunnels and from the kernel, and listings that no nft ever printed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.access import mdb, netlink, sets
from headend.multicast.access.render import counters, parse_devices, parse_table, passing, restore_commands
from headend.multicast.access.state import Observed, damage_of, differences, section_of, to_value
from headend.multicast.amt.codec import Endpoint, Request, decode, encode
from headend.multicast.amt.gateway import Gateway, Outgoing
from headend.multicast.amt.mac import Authenticator
from headend.multicast.amt.relay import Relay
from headend.multicast.amt.telemetry import AmtWatch
from headend.multicast.amt.wire import next_hop
from headend.multicast.igmp import GroupRecord, RecordType, build_report, parse_query, parse_report
from headend.multicast.ipv4 import IGMP, MalformedError, build, parse
from headend.multicast.membership import Membership

HERE = Endpoint(IPv4Address("192.0.2.7"), 40000)
reports = st.binary(max_size=60).map(lambda data: b"\x22\0" + data) | st.binary(max_size=60)
datagrams = st.binary(max_size=90) | reports.map(lambda data: build(1, 2, IGMP, data))
tunnelled = st.binary(max_size=90) | st.builds(
    lambda kind, head, data: bytes([kind]) + head + data,
    st.integers(0, 8),
    st.binary(min_size=11, max_size=11),
    datagrams,
)


@given(datagrams)
def test_any_datagram(data: bytes) -> None:
    readers: tuple[Callable[[bytes], object], ...] = (parse, parse_report, parse_query, next_hop)
    for read in readers:
        with contextlib.suppress(MalformedError):
            read(data)


@given(st.lists(st.tuples(st.integers(0, 3), reports), max_size=8))
def test_any_reports_of_hosts(sent: list[tuple[int, bytes]]) -> None:
    membership = Membership(fast_leave=False, limit=5)
    for number, (host, data) in enumerate(sent):
        try:
            membership.report(host, parse_report(data), float(number))
        except MalformedError:
            continue
    assert len(list(membership.joined())) <= 5


@given(st.lists(tunnelled, max_size=10))
def test_any_datagrams_at_a_relay(sent: list[bytes]) -> None:
    made = Relay(IPv4Address("10.0.0.1"), Authenticator(bytes))
    for number, data in enumerate(sent):
        for one in made.receive(data, HERE, float(number)):
            # It is answered with about what it sent, and to no one else: no amplifier.
            assert one.to == HERE
            assert len(one.data) <= 12 + 36 + 18
    assert made.gateways() == {}  # nobody guesses a MAC


@given(st.lists(tunnelled, max_size=10), st.integers(0, 2))
def test_any_datagrams_at_a_gateway(sent: list[bytes], nonce: int) -> None:
    made = Gateway(Endpoint(IPv4Address("10.0.0.1"), 2268), ((1, 232 << 24 | 0x010101),), lambda: nonce)
    list(made.start(0.0))
    for number, data in enumerate(sent):
        for one in (*made.receive(data, made.discovery, float(number)), *made.tick(float(number))):
            assert isinstance(one, Outgoing)
            decode(one.data)


@given(tunnelled)
def test_any_octets_of_a_tunnel(data: bytes) -> None:
    try:
        message = decode(data)
    except MalformedError:
        return
    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_any_octets_of_the_kernel(data: bytes) -> None:
    for message in netlink.messages(data):
        assert list(mdb.changes(message)) is not None
        assert list(sets.elements(message)) is not None
        assert message.failure in {True, False}
    for kind in (mdb.RTM_NEWMDB, mdb.RTM_DELMDB, 10 << 8 | 12):
        message = netlink.Message(kind, 0, 0, data)
        list(mdb.changes(message))
        list(sets.elements(message))


keys = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=4, unique=True)


@given(keys, keys)
def test_a_batch_is_whole_messages_and_its_elements_are_read_back(out: list[Any], into: list[Any]) -> None:
    octets, answers = sets.batch("table", {"set": (out, into)}, 7)
    found = list(netlink.messages(octets))
    assert len(found) == answers + 2
    assert [message.sequence for message in found] == list(range(7, 7 + len(found)))
    assert [key for message in found for key in sets.elements(message)] == into


words = st.sampled_from(
    ["table", "set", "chain", "rule", "elem", "concat", "expr", "match", "limit", "rate", "counter", "packets", "size",
     "comment", "name", "nf_access", "pass_eth1", "groups_eth1", "in_eth1", "out_eth1", "above the rate, fast leave"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)
tables = st.lists(st.dictionaries(words, values, min_size=1, max_size=1), max_size=8)


@given(tables, st.dictionaries(words, words, max_size=3))
def test_any_table(listed: list[dict[str, Any]], devices: dict[str, str]) -> None:
    parse_table(listed, devices)
    passing(listed)
    counters(listed)
    restore_commands(listed, devices)
    value = to_value(Observed({}, listed, devices))
    section = section_of(value)
    assert section is not None
    if section.lans:
        assert differences(value, section) == damage_of(value)


printed = st.sampled_from(
    ["table netdev nf_access {", "\tchain in_eth1 {", "\t\ttype filter hook ingress device",
     '\t\ttype filter hook ingress device "eth1" priority', "}"]
)  # fmt: skip


@given(st.lists(printed | st.text(max_size=40)))
def test_any_text_of_nft(lines: list[str]) -> None:
    assert set(parse_devices("\n".join(lines)).values()) <= {"eth1"}


@given(st.dictionaries(st.sampled_from(["relay", "gateway"]), st.none() | st.dictionaries(words, values, max_size=4)))
def test_any_answer_of_a_tunnel(answers: dict[str, Any]) -> None:
    watch = AmtWatch("p")
    for at in (0.0, 10.0):
        list(watch.take(answers, at))


def test_a_report_that_is_full_is_read() -> None:
    records = [GroupRecord(RecordType.ALLOW, 232 << 24 | number, (1,)) for number in range(256, 376)]
    assert len(parse_report(build_report(records))) == 120
    assert encode(Request(1))
