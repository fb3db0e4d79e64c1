"""The codec against aioice's, which is another author's; and against bytes that are no STUN."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address

import pytest
from aioice import stun as judge
from hypothesis import given
from hypothesis import strategies as st

from sip.webrtc.stun import (
    Attribute,
    Class,
    Message,
    Method,
    StunError,
    decode,
    encode,
    key_of,
    unxor,
    xor,
)

KEY = b"k" * 16
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
PORTS = st.integers(0, 65_535)
TEXTS = st.text(max_size=40)
TRANSACTIONS = st.binary(min_size=12, max_size=12)


@given(
    st.tuples(ADDRESSES, PORTS), TRANSACTIONS, st.tuples(TEXTS, TEXTS), st.sampled_from(Class), st.sampled_from(Method)
)
def test_what_we_write_both_read(
    endpoint: tuple[IPv4Address, int], transaction: bytes, texts: tuple[str, str], kind: Class, method: Method
) -> None:
    (address, port), (user, realm) = endpoint, texts
    written = (
        (int(Attribute.USERNAME), user.encode()),
        (int(Attribute.REALM), realm.encode()),
        (int(Attribute.XOR_MAPPED_ADDRESS), xor((address, port))),
        (int(Attribute.LIFETIME), (600).to_bytes(4)),
    )
    data = encode(Message(method, kind, transaction, written), KEY)
    ours = decode(data)
    assert (ours.method, ours.kind, ours.transaction, ours.attributes) == (method, kind, transaction, written)
    assert ours.is_signed_with(KEY)
    assert not ours.is_signed_with(b"another")
    assert ours.endpoint(Attribute.XOR_MAPPED_ADDRESS) == (address, port)
    assert ours.lifetime() == 600
    theirs = judge.parse_message(data)
    assert theirs.check_message_integrity(KEY)
    assert int(theirs.message_method) == method
    assert theirs.attributes["USERNAME"] == user
    assert theirs.attributes["REALM"] == realm
    assert theirs.attributes["XOR-MAPPED-ADDRESS"] == (str(address), port)


@given(ADDRESSES, PORTS, TRANSACTIONS, st.integers(300, 699), st.text(max_size=20))
def test_what_they_write_we_read(address: IPv4Address, port: int, transaction: bytes, code: int, reason: str) -> None:
    message = judge.Message(judge.Method.ALLOCATE, judge.Class.ERROR, transaction)
    message.attributes["ERROR-CODE"] = (code, reason)
    message.attributes["NONCE"] = b"abc"
    message.attributes["XOR-RELAYED-ADDRESS"] = (str(address), port)
    message.add_message_integrity(KEY)
    ours = decode(bytes(message))
    assert (ours.method, ours.kind) == (Method.ALLOCATE, Class.ERROR)
    assert ours.error() == (code, reason)
    assert ours.endpoint(Attribute.XOR_RELAYED_ADDRESS) == (address, port)
    assert ours.is_signed_with(KEY)


def test_rfc_5769_sample_request() -> None:
    """Section 2.1, by its own bytes: short-term key, padding of blanks."""
    data = bytes.fromhex(
        "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e7400240004"
        "6e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56"
        "781ef2b5b2d3f249c1b571a280280004e57a3bcf"
    )
    found = decode(data)
    assert found.method == Method.BINDING
    assert found.text(Attribute.USERNAME) == "evtj:h6vY"
    assert found.text(Attribute.SOFTWARE) == "STUN test client"
    assert found.is_signed_with(b"VOkJxbRl1RmTxUk/WvJxBt")


@given(st.binary(max_size=200))
def test_rubbish_is_refused(data: bytes) -> None:
    with contextlib.suppress(StunError):
        decode(data)


@given(st.data())
def test_a_message_that_was_changed_is_refused_or_unsigned(data: st.DataObject) -> None:
    """The fingerprint sees to it; where it is hit itself, the signature does."""
    whole = encode(Message(Method.BINDING, Class.SUCCESS, bytes(12), ((int(Attribute.REALM), b"r" * 9),)), KEY)
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(1, 255))
    spoilt = whole[:place] + bytes([whole[place] ^ other]) + whole[place + 1 :]
    try:
        found = decode(spoilt)
    except StunError:
        return
    assert place >= len(whole) - 8
    assert found.is_signed_with(KEY)


@given(st.binary(max_size=24).filter(lambda one: len(one) != 8 or one[1] != 1))
def test_other_addresses_are_refused(value: bytes) -> None:
    with pytest.raises(StunError):
        unxor(value)


def test_the_key_of_long_term_credentials() -> None:
    """RFC 8489 section 9.2.2: MD5 of user:realm:password; the judge is the digest that RFC 5769 section 2.4 names."""
    assert key_of("user", "realm", "pass").hex() == "8493fbc53ba582fb4c044c456bdc40eb"
