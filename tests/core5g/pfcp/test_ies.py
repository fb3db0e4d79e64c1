"""Typed values: those of the recordings, any that can be made, and octets that are none."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given

from core5g.pfcp import ies
from core5g.pfcp.ies import (
    ApnDnn,
    Cause,
    FSeid,
    FTeid,
    NodeId,
    OuterHeaderCreation,
    RecoveryTimeStamp,
    SNssai,
    UeIpAddress,
    UserId,
    Value,
    ie,
    read,
    require,
)
from core5g.pfcp.wire import Ie, IeType, PfcpError, decode
from tests.core5g.pfcp import strategies as make
from tests.core5g.pfcp.opening import walk
from tests.core5g.pfcp.recordings import establishment, recorded

KINDS: dict[int, Any] = {kind.IE: kind for kind in (getattr(ies, name) for name in ies.__all__) if hasattr(kind, "IE")}


def test_every_recorded_ie_that_has_a_type_comes_back_octet_by_octet() -> None:
    seen = set()
    for one in recorded():
        for found in walk(decode(one.data).ies):
            kind = KINDS.get(found.type)
            if kind is not None:
                assert kind.decode(found.value).encode() == found.value
                seen.add(found.type)
    assert seen == KINDS.keys()


@given(make.values)
def test_any_value_comes_back(value: Value) -> None:
    made = ie(value)
    assert type(value).decode(made.value) == value
    assert read(type(value), [Ie(0, b""), made]) == value


@given(make.values)
def test_what_later_releases_add_behind_is_no_error(value: Value) -> None:
    kind = type(value)
    if kind in (NodeId, ApnDnn):
        return  # names take all that is there
    assert kind.decode(value.encode() + b"\xff") == value


def test_the_recorded_subscriber() -> None:
    message = decode(establishment())
    user = require(UserId, message.ies)
    assert user == UserId("999700000000001", "4370816125816151", "0900000000")
    assert user.subscriber == "imsi-999700000000001"
    assert require(SNssai, message.ies) == SNssai(1)
    assert str(SNssai(1, 0xABC)) == "1-000abc"
    assert str(require(ApnDnn, message.ies)) == "internet"
    assert require(FSeid, message.ies) == FSeid(0x87E, IPv4Address("10.50.0.4"))
    assert require(NodeId, message.ies) == NodeId(IPv4Address("10.50.0.4"))
    assert read(Cause, message.ies) is None


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (NodeId("upf1.example"), "0204757066310765 78616d706c65"),
        (NodeId(IPv6Address("2001:db8::1")), "01 20010db8000000000000000000000001"),
        (FTeid(choose=True, choose_id=5, choose_ipv4=True, choose_ipv6=True), "0f05"),
        (FTeid(7, IPv4Address("10.0.0.1")), "01 00000007 0a000001"),
        (UeIpAddress(IPv4Address("10.45.0.2"), destination=True), "06 0a2d0002"),
        (UeIpAddress(ipv6=IPv6Address("2001:db8::"), ipv6_length=56), "41 20010db8000000000000000000000000 38"),
        (OuterHeaderCreation(0x0100, 1, IPv4Address("10.0.0.1")), "0100 00000001 0a000001"),
        (OuterHeaderCreation(0x0200, 1, ipv6=IPv6Address("::1")), "0200 00000001 00000000000000000000000000000001"),
        (OuterHeaderCreation(0x0400, ipv4=IPv4Address("10.0.0.1"), port=9), "0400 0a000001 0009"),
        (UserId(msisdn="123", supi="imsi-1"), "14 02 21f3 06 696d73692d31"),
    ],
)  # fmt: skip
def test_octets_of_the_standard(value: Value, octets: str) -> None:
    assert value.encode() == bytes.fromhex(octets)
    assert type(value).decode(bytes.fromhex(octets)) == value


def test_causes() -> None:
    assert Cause.decode(b"\x01").accepted
    assert Cause.decode(b"\x03").accepted
    assert Cause.decode(b"\x45") is Cause.MANDATORY_IE_INCORRECT
    assert not Cause.MANDATORY_IE_INCORRECT.accepted
    assert Cause.decode(b"\x20") is Cause.ACCEPTED
    assert Cause.decode(b"\xf0") is Cause.REJECTED


def test_which_headers_open5gs_takes() -> None:
    assert OuterHeaderCreation(0x0100, 1, IPv4Address("10.0.0.1")).is_gtpu
    assert not OuterHeaderCreation(0x1000, ipv4=IPv4Address("10.0.0.1")).is_gtpu


@pytest.mark.parametrize(
    ("kind", "octets"),
    [
        (NodeId, ""), (NodeId, "000a0000"), (NodeId, "03"), (NodeId, "02056162"), (NodeId, "0200"), (FSeid, "00"
        + "00" * 8), (FSeid, "02" + "00" * 8), (FTeid, "00"), (FTeid, "0c"), (FTeid, "0d"), (FTeid, "01"),
        (UeIpAddress, ""), (UeIpAddress, "02"), (OuterHeaderCreation, "0000"), (OuterHeaderCreation, "01000000"),
        (Cause, ""), (Cause, "00"), (RecoveryTimeStamp, "000001"), (UserId, "0101fa"), (UserId, "01021ff1"), (UserId,
        "0105"), (UserId, "0801ff"), (UserId, "080107"), (SNssai, "01"), (ApnDnn, ""), (ApnDnn, "0361"), (ApnDnn,
        "03612e62"),
    ],
)  # fmt: skip
def test_octets_that_are_no_such_value(kind: Any, octets: str) -> None:
    with pytest.raises(PfcpError) as caught:
        kind.decode(bytes.fromhex(octets))
    assert caught.value.reason == "value"
    assert caught.value.ie == kind.IE


@pytest.mark.parametrize(
    "broken",
    [
        lambda: FSeid(1),
        lambda: FSeid(1 << 64, IPv4Address("10.0.0.1")),
        lambda: FTeid(1),
        lambda: FTeid(1, IPv4Address("10.0.0.1"), choose=True, choose_ipv4=True),
        lambda: FTeid(choose=True),
        lambda: FTeid(1, IPv4Address("10.0.0.1"), choose_id=3),
        lambda: OuterHeaderCreation(0x0100, 1),
        lambda: OuterHeaderCreation(0x0100, 1, IPv4Address("10.0.0.1"), port=3),
        lambda: OuterHeaderCreation(0x8000, s_tag=b"1"),
        lambda: OuterHeaderCreation(0),
        lambda: ApnDnn("a..b"),
        lambda: ApnDnn("a" * 64),
        lambda: ApnDnn("é"),
        lambda: UserId(imsi="12a"),
        lambda: UserId(nai="x" * 256),
        lambda: SNssai(256),
        lambda: RecoveryTimeStamp(1 << 32),
    ],
)
def test_values_that_no_ie_can_carry(broken: Callable[[], Value]) -> None:
    with pytest.raises(PfcpError) as caught:
        ie(broken())
    assert caught.value.reason == "range"


def test_what_must_be_there_and_is_not() -> None:
    with pytest.raises(PfcpError) as caught:
        require(FTeid, [])
    assert (caught.value.reason, caught.value.ie) == ("missing", IeType.F_TEID)
