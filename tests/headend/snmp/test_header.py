"""Heads of messages: our own bytes against pysnmp's and net-snmp's, and the rules of the RFCs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.snmp import ber, header
from headend.snmp.ber import BerError, Reader
from headend.snmp.header import CommunityHead, UnknownVersion, UsmHead


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_there_and_back(number: int) -> None:
    assert Reader.of(ber.integer(number)).integer() == number


@given(st.binary(max_size=70_000))
def test_octets_there_and_back(content: bytes) -> None:
    reader = Reader.of(ber.element(ber.OCTETS, content))
    assert reader.octets() == content
    assert reader.at == reader.end


@pytest.mark.parametrize(
    "octets",
    ["", "30", "3080", "3081", "30850000000000", "3005020101", "1f0100", "0409ff", "0200", "0209" + "00" * 9],
)
def test_what_is_no_element_is_refused(octets: str) -> None:
    with pytest.raises(BerError):
        Reader.of(bytes.fromhex(octets)).integer()


def v3(flags: int = 0, model: int = 3, boots: int = 1, tail: bytes = b"") -> bytes:
    empty = ber.element(ber.OCTETS)
    engine = ber.element(ber.OCTETS, b"\x80\0\0\0\x01")
    user = ber.element(ber.OCTETS, b"nf")
    usm = ber.element(ber.SEQUENCE, engine, ber.integer(boots), ber.integer(2), user, empty, empty)
    head = ber.element(
        ber.SEQUENCE, ber.integer(5), ber.integer(1500), ber.element(ber.OCTETS, bytes([flags])), ber.integer(model)
    )
    body = (
        ber.element(ber.OCTETS, b"secret")
        if flags & 2
        else ber.element(ber.SEQUENCE, empty, empty, ber.element(header.TRAP_V2, ber.integer(1)))
    )
    return ber.element(ber.SEQUENCE, ber.integer(3), head, ber.element(ber.OCTETS, usm), body) + tail


def test_heads_of_each_version() -> None:
    trap = ber.element(header.TRAP_V2, ber.integer(1))
    message = ber.element(ber.SEQUENCE, ber.integer(1), ber.element(ber.OCTETS, b"public"), trap)
    assert header.parse(message) == CommunityHead(1, b"public", header.TRAP_V2)
    assert header.parse(v3()) == UsmHead(5, 0, b"\x80\0\0\0\x01", 1, 2, b"nf", header.TRAP_V2)
    encrypted = header.parse(v3(flags=3))
    assert isinstance(encrypted, UsmHead)
    assert (encrypted.level, encrypted.pdu, encrypted.reportable) == (3, None, False)
    assert header.parse(v3(model=9)) == UnknownVersion(3, 9)
    assert header.parse(ber.element(ber.SEQUENCE, ber.integer(2))) == UnknownVersion(2)


@pytest.mark.parametrize(
    "message", [v3(tail=b"\0"), v3(flags=2), v3(boots=-1), v3(boots=2**31), v3()[:-1], b"", b"junk" * 30]
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(BerError):
        header.parse(message)


def test_discovery_is_a_message_that_asks_for_a_report() -> None:
    head = header.parse(header.discovery_request(77))
    assert head == UsmHead(77, header.REPORTABLE_FLAG, b"", 0, 0, b"", header.GET_REQUEST)
