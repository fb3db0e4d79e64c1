"""Messages as octets: what was recorded, what can be made, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given

from core5g.pfcp.wire import (
    RESPONSES,
    Ie,
    IeType,
    Message,
    MessageType,
    PfcpError,
    decode,
    encode,
    group,
    grouped,
    header,
    need,
    with_seid,
    with_seq,
)
from tests.core5g.pfcp import strategies as make
from tests.core5g.pfcp.opening import remade, walk
from tests.core5g.pfcp.recordings import establishment, recorded

HEARTBEAT = bytes.fromhex("2001000c0000010000600004eead98c0")


def test_every_recorded_message_comes_back_octet_by_octet() -> None:
    assert len(recorded()) == 361
    for one in recorded():
        message = decode(one.data)
        assert encode(message) == one.data
        # ... and when every grouped IE is opened, down to the last, and made anew.
        assert encode(message._replace(ies=remade(message.ies))) == one.data


def test_what_stands_in_the_recorded_establishment() -> None:
    message = decode(establishment())
    assert (message.type, message.seq, message.seid) == (MessageType.SESSION_ESTABLISHMENT_REQUEST, 3, 0)
    assert message.priority is None
    assert [one.type for one in message.ies].count(IeType.CREATE_PDR) == 4
    assert message.find(IeType.UE_IP_ADDRESS) is None  # it is inside
    assert len(list(walk(message.ies))) == 77
    assert need(message.ies, IeType.APN_DNN) == b"\x08internet"
    with pytest.raises(PfcpError) as caught:
        need(message.ies, IeType.CAUSE)
    assert (caught.value.reason, caught.value.ie) == ("missing", IeType.CAUSE)


@given(make.messages())
def test_any_message_comes_back(message: Message) -> None:
    assert decode(encode(message)) == message


def test_the_header_alone_and_what_a_relay_rewrites() -> None:
    for one in recorded():
        message, head = decode(one.data), header(one.data)
        assert (head.type, head.seq, head.seid, head.length) == (message.type, message.seq, message.seid, len(one.data))
        assert head.size == (8 if message.seid is None else 16)
        assert decode(with_seq(one.data, 0xABCDEF)) == message._replace(seq=0xABCDEF)
        if message.seid is not None:
            assert decode(with_seid(one.data, 1 << 63)) == message._replace(seid=1 << 63)
    with pytest.raises(PfcpError, match="SEID"):
        with_seid(HEARTBEAT, 5)
    with pytest.raises(PfcpError, match="sequence"):
        with_seq(HEARTBEAT, 1 << 24)


def test_a_header_of_a_message_that_is_not_known_is_read_so_that_a_relay_passes_it_on() -> None:
    unknown = bytes((HEARTBEAT[0], 99)) + HEARTBEAT[2:]
    assert header(unknown).type == 99
    with pytest.raises(PfcpError) as caught:
        decode(unknown)
    assert caught.value.reason == "type"


def test_priority_spare_bits_and_enterprise_numbers_stay() -> None:
    enterprise = Ie(0x8001, b"abc", 10415)
    message = Message(MessageType.SESSION_DELETION_REQUEST, 7, 9, (enterprise,), 11, 0x1805)
    data = encode(message)
    assert data[0] == 0b0011_1011
    assert data[15] == 0xB5
    assert data[16:] == bytes.fromhex("8001000528af616263")
    assert decode(data) == message


def test_grouped_ies_inside_grouped_ies_with_what_nobody_knows_in_them() -> None:
    inner = group(IeType.FORWARDING_PARAMETERS, [Ie(0x7ABC, b"?"), Ie(0x9000, b"!", 7), Ie(IeType.QFI, b"\1")])
    outer = group(IeType.CREATE_FAR, [Ie(IeType.FAR_ID, bytes(4)), inner])
    assert grouped(outer.value)[1] == inner
    assert [one.type for one in walk([outer])] == [3, 108, 4, 0x7ABC, 0x9000, 124]
    assert remade([outer]) == (outer,)


def test_a_datagram_of_several_messages() -> None:
    second = encode(Message(MessageType.HEARTBEAT_RESPONSE, 2))
    both = encode(decode(HEARTBEAT)._replace(trailing=second))
    assert both[0] == HEARTBEAT[0] | 4
    assert decode(both) == decode(HEARTBEAT)._replace(trailing=second)
    assert header(both).length == len(HEARTBEAT)
    assert encode(decode(both)) == both


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "short"),
        (HEARTBEAT[:7], "short"),
        (HEARTBEAT[:-1], "length"),
        (HEARTBEAT + b"\0", "follow-on"),
        (bytes((HEARTBEAT[0] | 4,)) + HEARTBEAT[1:], "follow-on"),
        (bytes((0x40,)) + HEARTBEAT[1:], "version"),
        (bytes((0x20, 52)) + HEARTBEAT[2:], "type"),  # a session's message without SEID
        (bytes((0x21,)) + HEARTBEAT[1:], "type"),  # a node's with one
        (bytes.fromhex("2101000800000000000000000000"), "length"),
        (HEARTBEAT[:2] + b"\0\x0b" + HEARTBEAT[4:-1], "ie-length"),
        (HEARTBEAT[:2] + b"\0\x06" + HEARTBEAT[4:10], "ie-length"),
        (HEARTBEAT[:2] + b"\0\x09" + HEARTBEAT[4:8] + bytes.fromhex("8000000101"), "ie-length"),
    ],
)
def test_what_is_no_message(data: bytes, reason: str) -> None:
    with pytest.raises(PfcpError) as caught:
        decode(data)
    assert caught.value.reason == reason


def test_what_no_message_can_carry() -> None:
    empty = Message(MessageType.SESSION_DELETION_REQUEST, 1, 1)
    for broken in (
        empty._replace(seq=1 << 24),
        empty._replace(seid=-1),
        empty._replace(priority=16),
        empty._replace(ies=(Ie(1, bytes(70000)),)),
        empty._replace(ies=(Ie(1, bytes(40000)), Ie(1, bytes(40000)))),
        empty._replace(ies=(Ie(70000, b""),)),
        empty._replace(ies=(Ie(0x8000, b"", 70000),)),
    ):
        with pytest.raises(PfcpError) as caught:
            encode(broken)
        assert caught.value.reason == "range"


def test_each_request_has_its_response() -> None:
    assert all(response == request + 1 for request, response in RESPONSES.items())
    assert len(RESPONSES) * 2 + 1 == len(MessageType)  # and Version Not Supported
