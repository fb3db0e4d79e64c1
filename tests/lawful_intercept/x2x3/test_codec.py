"""X2/X3 PDUs: octets known from elsewhere, any legal PDU there and back, cut anywhere, and what is refused."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lawful_intercept.identifiers import RULES, TargetIdentifier
from lawful_intercept.x2x3.attributes import address_attributes, point_attributes, read_target, target_attributes
from lawful_intercept.x2x3.codec import (
    HEADER_LIMIT,
    LEGAL,
    NIL_XID,
    PAYLOAD_LIMIT,
    Addresses,
    CodecError,
    Decoder,
    PayloadDirection,
    PayloadFormat,
    Pdu,
    PduType,
    Template,
    encode,
    keepalive,
    x2_template,
    x3_template,
)
from tests.lawful_intercept.x2x3.strategies import pdus

XID = UUID("29f28e1c-f230-486a-a860-f5a784ab9172").bytes
RTP = bytes.fromhex("800004d2000000a0deadbeef")
AT = 1_700_000_000_123_456_789
G7 = bytes.fromhex(
    "000500020000003c0000000c0008000329f28e1cf230486aa860f5a784ab917200000000000000070008000400000007"
    "000900086553f100075bcd15800004d2000000a0deadbeef"
)
G8 = bytes.fromhex("0005000300000030" + "00" * 32 + "0008000400000001")
G9 = bytes.fromhex("0005000400000030" + "00" * 32 + "0008000400000001")


PARTS = ("kind", "xid", "correlation", "form", "direction", "attributes", "payload")


def one(octets: bytes) -> Pdu:
    (pdu,) = Decoder().feed(octets)
    return pdu


def header(
    kind: int = 2, form: int = 8, direction: int = 3, *, version: int = 5, length: int = 40, payload: int = 0
) -> bytes:
    return struct.pack("!HHIIHH16sQ", version, kind, length, payload, form, direction, XID, 7)


def test_golden_x3() -> None:
    assert x3_template(XID, 7, PayloadFormat.RTP).encode(7, AT, PayloadDirection.FROM_TARGET, RTP) == G7
    pdu = one(G7)
    assert encode(pdu) == G7
    assert (pdu.kind, pdu.xid, pdu.correlation, pdu.payload) == (PduType.X3, XID, 7, RTP)
    assert (pdu.form, pdu.direction) == (PayloadFormat.RTP, PayloadDirection.FROM_TARGET)
    assert (pdu.sequence, pdu.timestamp_ns) == (7, AT)
    assert pdu.addresses == Addresses()


def test_golden_keepalives() -> None:
    assert keepalive(1) == G8
    assert keepalive(1, PduType.KEEPALIVE_ACK) == G9
    first, second = Decoder().feed(G8 + G9)
    assert (first.kind, second.kind) == (PduType.KEEPALIVE, PduType.KEEPALIVE_ACK)
    assert first.xid == NIL_XID
    assert first.sequence == second.sequence == 1
    assert first.timestamp_ns is None


@settings(max_examples=40)
@given(st.lists(pdus(), max_size=4))
def test_any_pdu_there_and_back(sent: list[Pdu]) -> None:
    assert Decoder().feed(b"".join(map(encode, sent))) == sent


@settings(max_examples=40)
@given(st.lists(pdus(), min_size=1, max_size=3), st.lists(st.integers(1, 60), min_size=1, max_size=10))
def test_cut_anywhere(sent: list[Pdu], sizes: list[int]) -> None:
    stream = b"".join(map(encode, sent))
    decoder, found, at, turn = Decoder(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        found += decoder.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == sent
    assert decoder.held == 0


def test_cut_at_every_offset() -> None:
    stream = G7 + G8 + G7
    whole = Decoder().feed(stream)
    for cut in range(len(stream) + 1):
        decoder = Decoder()
        assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == whole
    octet_by_octet = Decoder()
    assert [pdu for octet in stream for pdu in octet_by_octet.feed(bytes((octet,)))] == whole


@given(
    make=st.sampled_from([x2_template, x3_template]),
    correlation=st.integers(0, 2**64 - 1),
    sequence=st.integers(0, 2**33),
    at_ns=st.integers(0, 2**32 * 10**9 - 1),
    direction=st.sampled_from(list(PayloadDirection)[1:]),
    payload=st.binary(max_size=200),
)
def test_a_template_is_encode(
    *, make: type[Template], correlation: int, sequence: int, at_ns: int, direction: PayloadDirection, payload: bytes
) -> None:
    same = (
        *point_attributes("amf-1", "n2"),
        *address_attributes(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), (5060, 5062), 17),
    )
    template = make(XID, correlation, PayloadFormat.IPV4, same)
    octets = template.encode(sequence, at_ns, direction, payload)
    pdu = one(octets)
    assert encode(pdu) == octets
    assert (pdu.sequence, pdu.timestamp_ns) == (sequence % 2**32, at_ns)
    assert (pdu.correlation, pdu.direction, pdu.payload) == (correlation, direction, payload)
    assert pdu.attributes[2:] == same
    assert pdu.addresses == Addresses(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), 5060, 5062, 17)


def test_what_stays_the_same_is_remembered_and_what_differs_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "_REMEMBERED", 100)
    decoder = Decoder()
    for round_ in range(3):
        for number in range(150):
            attributes = ((7, b"%d" % number),)
            octets = x3_template(XID, number, PayloadFormat.RTP, attributes).encode(
                round_, AT, PayloadDirection.TO_TARGET, RTP
            )
            (pdu,) = decoder.feed(octets)
            assert pdu.every(7) == (b"%d" % number,)
    assert len(decoder._known) <= 100


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1]),
            st.sampled_from([PayloadFormat.RTP, PayloadFormat.IPV4]),
            st.sampled_from(list(PayloadDirection)[1:]),
            st.sampled_from([b"a", b"b", b"longer"]),
        ),
        max_size=30,
    )
)
def test_sessions_whose_directions_have_not_everything_in_common(packets: list[Any]) -> None:
    decoder = Decoder()
    for number, (correlation, form, direction, name) in enumerate(packets):
        attributes = ((7, name), (15, direction.to_bytes(2, "big")) if name == b"b" else (7, b"same"))
        octets = x3_template(XID, correlation, form, attributes).encode(number, AT, direction, RTP)
        (pdu,) = decoder.feed(octets)
        assert (pdu.correlation, pdu.form, pdu.direction) == (correlation, form, direction)
        assert (pdu.sequence, pdu.attributes[2:], pdu.payload) == (number, attributes, RTP)


def test_what_is_no_product_is_taken_out() -> None:
    known = x3_template(XID, 1, PayloadFormat.RTP)
    media = [known.encode(number, AT, PayloadDirection.TO_TARGET, RTP) for number in range(4)]
    found = Decoder().read(b"".join((keepalive(7), *media[:2], keepalive(8), keepalive(9), *media[2:])))
    assert [pdu.kind for pdu in found].count(PduType.KEEPALIVE) == 3
    assert found[3].kind is PduType.KEEPALIVE
    assert [pdu.sequence for pdu in found.others()] == [7, 8, 9]
    assert [encode(pdu) for pdu in found] == media
    assert len(found) == 4
    assert found.others() == []
    assert [encode(pdu) for pdu in found[1:3]] == media[1:3]


def test_attributes_in_any_order() -> None:
    addresses = address_attributes(ip_address("2001:db8::1"), ip_address("2001:db8::2"), protocol=6)
    numbers = ((9, AT.to_bytes(8, "big")), *addresses, (8, bytes(4)), (99, b"unknown"))
    pdu = Pdu(PduType.X2, XID, 1, PayloadFormat.SIP, PayloadDirection.TO_TARGET, numbers, b"BYE")
    assert one(encode(pdu)) == pdu
    assert pdu.addresses == Addresses(IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2"), protocol=6)
    assert pdu.sequence == 0
    assert pdu.attribute(99) == b"unknown"
    assert pdu.attribute(17) is None


def test_every_combination_is_legal_or_refused() -> None:
    for kind in range(7):
        for form in range(19):
            for direction in range(8):
                octets = header(kind, form, direction)
                legal = kind in {1, 2, 3, 4} and form in LEGAL[PduType(kind)]
                legal = legal and (1 <= direction <= 5 if kind <= 2 else direction == 0)
                if legal:
                    assert encode(one(octets)) == octets
                else:
                    with pytest.raises(CodecError):
                        Decoder().feed(octets)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(header(version=0x0500), id="major version"),
        pytest.param(header(length=39), id="header too short"),
        pytest.param(header(length=HEADER_LIMIT + 1), id="header too long"),
        pytest.param(header(payload=PAYLOAD_LIMIT + 1), id="payload too long"),
        pytest.param(header(3, 0, 0, payload=1) + b"x", id="payload of a keepalive"),
        pytest.param(header(length=43) + b"\0\7\0", id="half an attribute's head"),
        pytest.param(header(length=45) + b"\0\7\0\2x", id="attribute past the header"),
        pytest.param(header(length=47) + b"\0\10\0\3xyz", id="sequence of three octets"),
        pytest.param(header(length=56) + b"\0\11\0\14" + bytes(12), id="timestamp of twelve octets"),
        pytest.param(header(length=68) + G7[40:60] + b"\0\16\0\4" + bytes(4), id="port after the usual start"),
    ],
)
def test_refused(octets: bytes) -> None:
    decoder = Decoder()
    with pytest.raises(CodecError) as caught:
        decoder.feed(G7 + octets)
    assert caught.value.before == (one(G7),)
    assert str(XID.hex()) not in str(caught.value)
    with pytest.raises(CodecError) as again:
        decoder.feed(G7)
    assert again.value.before == ()


def test_a_length_is_refused_before_its_octets_come() -> None:
    for octets in (header(payload=PAYLOAD_LIMIT + 1), header(length=HEADER_LIMIT + 1)):
        with pytest.raises(CodecError):
            Decoder().feed(octets[:12])


@given(st.binary(max_size=200))
@example(G7[:50])
def test_no_other_error_and_no_more_held_than_a_pdu(octets: bytes) -> None:
    decoder = Decoder((64, 64))
    for at in range(0, len(octets), 7):
        try:
            decoder.feed(octets[at : at + 7])
        except CodecError:
            break
        assert decoder.held < 128


@given(st.data())
def test_damaged_pdus(data: st.DataObject) -> None:
    stream = bytearray(b"".join(encode(pdu) for pdu in data.draw(st.lists(pdus(), min_size=1, max_size=3))))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = Decoder().feed(bytes(stream))
    except CodecError as error:
        found = list(error.before)
    for pdu in found:
        assert one(encode(pdu)) == pdu


@pytest.mark.parametrize(
    "change",
    [
        {"kind": PduType.KEEPALIVE},
        {"form": PayloadFormat.SIP},
        {"direction": PayloadDirection.KEEPALIVE},
        {"xid": b"short"},
        {"correlation": 1 << 64},
        {"correlation": -1},
        {"payload": bytes(PAYLOAD_LIMIT + 1)},
        {"attributes": ((7, bytes(HEADER_LIMIT)),)},
        {"attributes": ((7, bytes(0x10000)),)},
        {"attributes": ((-1, b""),)},
        {"attributes": ((8, b"xyz"),)},
    ],
)
def test_what_encode_refuses(change: dict[str, object]) -> None:
    good = one(G7)
    parts = {name: getattr(good, name) for name in PARTS}
    with pytest.raises(CodecError):
        encode(Pdu(**{**parts, **change}))


def test_what_a_template_refuses() -> None:
    with pytest.raises(CodecError):
        x3_template(XID, 1, PayloadFormat.SIP)
    with pytest.raises(CodecError):
        x2_template(XID, 1, PayloadFormat.SIP, ((8, bytes(4)),))
    with pytest.raises(CodecError):
        x2_template(XID, 1, PayloadFormat.SIP, ((7, bytes(HEADER_LIMIT - 40)),))
    template = x2_template(XID, 1, PayloadFormat.SIP)
    with pytest.raises(CodecError):
        template.encode(0, 0, PayloadDirection.TO_TARGET, bytes(PAYLOAD_LIMIT + 1))
    with pytest.raises(CodecError):
        template.encode(0, 0, PayloadDirection.KEEPALIVE, b"")


def test_texts_show_nothing() -> None:
    pdu = one(G7)
    assert repr(pdu) == str(pdu) == f"{pdu}" == "Pdu(X3)"
    assert repr(pdu.addresses) == "Addresses(...)"


@given(st.sampled_from(["sip:alice&bob@a.example", "sip:a%3Cb@d.test;x='1'"]))
def test_target_there_and_back(value: str) -> None:
    target = TargetIdentifier("sipUri", value)
    other = TargetIdentifier("e164Number", "491234")
    (number, octets), (second, more) = target_attributes(target, [other])
    assert (number, second) == (17, 18)
    assert read_target(octets) == target
    assert read_target(more) == other


def test_targets_of_other_makers() -> None:
    assert read_target(b"<E164Number>4940123</E164Number>") == TargetIdentifier("e164Number", "4940123")
    assert read_target(b'<a:imsi xmlns:a="urn:x"> 001010000000001 </a:imsi>') == TargetIdentifier(
        "imsi", "001010000000001"
    )
    for value in (b"4940123", b"", b"<imsi>nobody</imsi>", b"<other>1</other>", b"<imsi>1</imei>", b"\xff<"):
        assert read_target(value) is None


@given(st.binary(max_size=60))
def test_any_octets_as_a_target(value: bytes) -> None:
    found = read_target(value)
    assert found is None or found.form in RULES
