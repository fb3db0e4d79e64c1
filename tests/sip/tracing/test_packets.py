"""Packets of a capture: datagrams, streams cut anywhere, what is asked for and nothing else."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from sip.calling import sdp
from sip.calling.messages import Request, Response
from sip.tracing.capture import _INSTRUCTION, _PROTOCOL, program
from sip.tracing.ladder import ladder, merged
from sip.tracing.packets import Reader
from sip.tracing.selection import Selection, row, rows, stripped

A, P, B = ("10.0.0.1", 5060), ("10.0.0.9", 5060), ("10.0.0.2", 5062)


def ip(protocol: int, source: tuple[str, int], to: tuple[str, int], rest: bytes, fragment: int = 0) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(rest), 1, fragment, 64, protocol, 0)
    return head + socket.inet_aton(source[0]) + socket.inet_aton(to[0]) + rest


def udp(source: tuple[str, int], to: tuple[str, int], data: bytes, **more: int) -> bytes:
    return ip(17, source, to, struct.pack(">HHHH", source[1], to[1], 8 + len(data), 0) + data, **more)


def tcp(source: tuple[str, int], to: tuple[str, int], sequence: int, data: bytes, flags: int = 0x18) -> bytes:
    head = struct.pack(">HHIIBBHHH", source[1], to[1], sequence % (1 << 32), 0, 0x50, flags, 0, 0, 0)
    return ip(6, source, to, head + data)


def invite(call: str = "c1", user: str = "alice", **more: str) -> Request:
    headers = (
        ("Via", "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1"),
        ("From", f"<sip:{user}@d.test>;tag=1"),
        ("To", "<sip:bob@d.test>"),
        ("Call-ID", call),
        ("CSeq", "1 INVITE"),
        ("Content-Type", "application/sdp"),
        *more.items(),
    )
    return Request(headers, sdp.offer("10.0.0.1", 4000, session=1).to_bytes(), "INVITE", "sip:bob@d.test")


def answer(status: int, reason: str, call: str = "c1", method: str = "INVITE") -> Response:
    headers = (("From", "<sip:alice@d.test>;tag=1"), ("To", "<sip:bob@d.test>;tag=2"), ("Call-ID", call))
    return Response((*headers, ("CSeq", f"1 {method}")), b"", status, reason)


def test_a_datagram_and_its_first_fragment_are_read() -> None:
    data = invite().to_bytes()
    (whole,) = Reader().receive(udp(A, P, data), 5.0)
    assert (whole.source, whole.destination, whole.transport, whole.message.call_id) == (A, P, "udp", "c1")
    (first,) = Reader().receive(udp(A, P, data[:250], fragment=0x2000), 5.0)
    assert first.message.call_id == "c1"
    assert Reader().receive(udp(A, P, data[250:], fragment=0x001F), 5.0) == []
    assert Reader().receive(udp(A, P, b"\r\n\r\n"), 5.0) == []


@given(st.data())
def test_a_stream_in_any_pieces_and_any_order_nearby(data: st.DataObject) -> None:
    stream = b"".join(invite(f"c{number}").to_bytes() for number in range(4))
    start = data.draw(st.sampled_from([0, 1000, (1 << 32) - 300]))
    pieces, at = [], 0
    while at < len(stream):
        step = data.draw(st.integers(40, 500))
        pieces.append((at, stream[at : at + step]))
        at += step
    for number in range(1, len(pieces) - 1):
        if data.draw(st.booleans()):
            pieces[number], pieces[number + 1] = pieces[number + 1], pieces[number]
    reader, found = Reader(), []
    for offset, piece in pieces:
        found += reader.receive(tcp(A, P, start + offset, piece), 1.0)
        found += reader.receive(tcp(A, P, start + offset, piece), 1.0)
    assert [one.message.call_id for one in found] == ["c0", "c1", "c2", "c3"]


def test_a_stream_is_taken_up_in_the_middle_where_a_message_begins() -> None:
    reader = Reader()
    assert reader.receive(tcp(A, P, 10, b"half of some body"), 1.0) == []
    found = reader.receive(tcp(A, P, 27, invite().to_bytes()), 1.0)
    assert [one.message.call_id for one in found] == ["c1"]


@given(st.binary(max_size=120))
def test_whatever_comes_is_passed_over(data: bytes) -> None:
    reader = Reader()
    for packet in (data, udp(A, P, data), tcp(A, P, 1, b"INVITE sip:" + data), tcp(A, P, 12, data), ip(6, A, P, data)):
        reader.receive(packet, 1.0)


# -- selection --------------------------------------------------------------------------------------------------------


def select(*messages: Request | Response, call: str = "", user: str = "") -> Selection:
    reader, made = Reader(), Selection(call=call, user=user, addresses=frozenset({P[0]}))
    for number, message in enumerate(messages):
        for seen in reader.receive(udp(A, P, message.to_bytes()), float(number)):
            made.take(seen)
    return made


def test_only_the_call_that_was_asked_for_is_taken() -> None:
    made = select(invite("c1"), invite("c2"), answer(100, "Trying"), call="c1")
    assert [one.message.call_id for one in made.messages] == ["c1", "c1"]
    made = select(invite("c1", "carol"), invite("c2"), invite("c3"), answer(200, "OK", "c2"), user="alice@d.test")
    assert (made.call, len(made.messages), made.over_at) == ("c2", 2, None)
    assert select(invite("c1", "carol"), user="bob").call == "c1"


def test_what_passes_no_proxy_of_ours_is_not_taken() -> None:
    (seen,) = Reader().receive(udp(A, B, invite().to_bytes()), 1.0)
    assert not Selection(call="c1", user="", addresses=frozenset({P[0]})).take(seen)


def test_the_end_is_seen() -> None:
    assert select(invite(), answer(407, "x"), call="c1").over_at is None
    assert select(invite(), answer(486, "x"), call="c1").over_at == 1.0
    assert select(invite(), answer(200, "x"), answer(200, "x", method="BYE"), call="c1").over_at == 2.0


def test_credentials_keys_and_what_people_write_are_taken_out() -> None:
    secret = {"Proxy-Authorization": 'Digest username="alice", response="abc"', "Authorization": "Digest x"}
    shown = stripped(invite(**secret)).to_bytes()
    assert b"response" not in shown
    assert shown.count(b"(removed)") == 2
    crypto = invite()
    body = crypto.body + b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEYKEY\r\na=ice-pwd:SECRET\r\n"
    shown = stripped(Request(crypto.headers, body, "INVITE", crypto.uri)).to_bytes()
    assert b"KEYKEY" not in shown
    assert b"SECRET" not in shown
    text = Request((("Call-ID", "c1"), ("Content-Type", "text/plain")), b"dear Bob", "MESSAGE", "sip:b@d")
    assert b"dear" not in stripped(text).to_bytes()
    (told,) = rows(select(invite(**secret), call="c1"))
    assert "abc" not in str(told)


def test_the_ladder_has_a_column_for_each_and_an_arrow_for_each_message() -> None:
    reader, found = Reader(), []
    for source, to, message, at in (
        (A, P, invite(), 100.0),
        (P, B, invite(), 100.004),
        (B, P, answer(180, "Ringing"), 100.01),
        (P, A, answer(180, "Ringing"), 100.0125),
    ):
        found += [row(seen) for seen in reader.receive(udp(source, to, message.to_bytes()), at)]
    lines = ladder(found, {"10.0.0.9": "proxy1"}, 90)
    assert lines[0].split() == ["10.0.0.1:5060", "proxy1", "10.0.0.2:5062"]
    assert [line.split()[0] for line in lines[1:]] == ["0.000", "0.004", "0.010", "0.013"]
    assert "- INVITE (SDP) -" in lines[1]
    assert lines[1].index(">") < lines[2].index(">")
    assert "<" in lines[3]
    assert "180 Ringing" in lines[4]
    assert all(len(line) <= 90 for line in lines)
    columns = [at for at, char in enumerate(lines[4]) if char == "|"]
    assert len(columns) == 3


def test_what_two_proxies_saw_is_told_once() -> None:
    (seen,) = Reader().receive(udp(A, P, invite().to_bytes()), 1.0)
    one = {**row(seen), "seen_by": "pop1"}
    again = {**one, "at": 1.5, "seen_by": "pop1"}
    twin = {**one, "at": 1.002, "seen_by": "pop2"}
    assert merged([[one, again], [twin]]) == [one, again]


# -- the filter in the kernel -----------------------------------------------------------------------------------------


def execute(code: bytes, packet: bytes) -> int:
    """Classic BPF, as far as the program goes (the kernel's own judgement is in the live test)."""
    instructions = [_INSTRUCTION.unpack_from(code, at) for at in range(0, len(code), _INSTRUCTION.size)]
    at = accumulator = index = 0
    while True:
        kind, yes, no, value = instructions[at]
        at += 1
        if kind == 0x30:
            accumulator = packet[value]
        elif kind == 0x28:
            accumulator = 0x0800 if value == _PROTOCOL else int.from_bytes(packet[value : value + 2], "big")
        elif kind == 0x48:
            accumulator = int.from_bytes(packet[index + value : index + value + 2], "big")
        elif kind == 0xB1:
            index = 4 * (packet[value] & 0x0F)
        elif kind == 0x15:
            at += yes if accumulator == value else no
        elif kind == 0x45:
            at += yes if accumulator & value else no
        else:
            return int(value)


@given(st.sets(st.integers(1, 65_535), min_size=1, max_size=12), st.data())
def test_the_filter_takes_the_ports_and_nothing_else(ports: set[int], data: st.DataObject) -> None:
    code = program(ports)
    one = data.draw(st.sampled_from(sorted(ports)) | st.integers(1, 65_535))
    two = data.draw(st.sampled_from(sorted(ports)) | st.integers(1, 65_535))
    wanted = bool({one, two} & ports)
    for packet in (udp(("1.1.1.1", one), ("2.2.2.2", two), b"x"), tcp(("1.1.1.1", one), ("2.2.2.2", two), 1, b"x")):
        assert bool(execute(code, packet)) is wanted
    assert not execute(code, udp(("1.1.1.1", one), ("2.2.2.2", two), b"x", fragment=5))
    assert not execute(code, ip(1, ("1.1.1.1", 0), ("2.2.2.2", 0), struct.pack(">HH", one, two) + bytes(8)))
