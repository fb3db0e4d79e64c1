from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.amt.codec import (
    Advertisement,
    Discovery,
    Endpoint,
    MembershipQuery,
    MembershipUpdate,
    Message,
    MulticastData,
    Request,
    Teardown,
    decode,
    encode,
)
from headend.multicast.ipv4 import MalformedError

nonces = st.integers(0, 2**32 - 1)
macs = st.binary(min_size=6, max_size=6)
endpoints = st.builds(Endpoint, address=st.ip_addresses(v=4), port=st.integers(0, 65535))
messages = st.one_of(
    st.builds(Discovery, nonce=nonces),
    st.builds(Advertisement, nonce=nonces, relay=st.ip_addresses(v=4)),
    st.builds(Request, nonce=nonces, mld=st.booleans()),
    st.builds(
        MembershipQuery,
        mac=macs,
        nonce=nonces,
        query=st.binary(max_size=60),
        limited=st.booleans(),
        gateway=st.none() | endpoints,
    ),
    st.builds(MembershipUpdate, mac=macs, nonce=nonces, report=st.binary(max_size=60)),
    st.builds(MulticastData, packet=st.binary(max_size=60)),
    st.builds(Teardown, mac=macs, nonce=nonces, gateway=endpoints),
)


@given(messages)
def test_every_message_is_read_back(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages, st.integers(0, 40))
def test_a_message_that_is_cut_is_another_one_or_none(message: Message, length: int) -> None:
    with contextlib.suppress(MalformedError):
        assert type(decode(encode(message)[:length])) is type(message)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        ("", "short"),
        ("11000000 00000001", "version"),
        ("00000000 00000001", "type"),
        ("08000000 00000001", "type"),
        ("01000000 000000", "short"),
        ("02000000 00000001 20010db8000000000000000000000001", "ipv6-relay"),
        ("07000000000000000000000104d2 20010db8000000000000000000000001", "ipv6-gateway"),
    ],
)
def test_what_is_no_message_says_why(octets: str, reason: str) -> None:
    with pytest.raises(MalformedError) as malformed:
        decode(bytes.fromhex(octets))
    assert malformed.value.reason == reason


def test_reserved_bits_are_ignored() -> None:
    assert decode(bytes.fromhex("03fe1234 00000007")) == Request(7)
    assert decode(bytes.fromhex("01ffffff 00000007")) == Discovery(7)


def test_a_mac_of_another_length_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="48 bits"):
        encode(MembershipUpdate(b"short", 1, b""))
