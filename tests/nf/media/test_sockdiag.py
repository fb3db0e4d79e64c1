"""What is read of the kernel's dump of sockets."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from nf.media.sockdiag import Socket, messages, socket_of

OWN = IPv4Address("198.18.0.53")
IDENTITY = bytes(4) + OWN.packed + bytes(range(40))
ENTRY = bytes(4) + IDENTITY + bytes(12) + (33).to_bytes(4, "little") + bytes(4)


def test_a_socket_has_its_own_address_and_its_owner() -> None:
    assert socket_of(ENTRY) == Socket(IDENTITY, OWN, 33)
    assert socket_of(ENTRY[:-1]) is None


@given(st.binary(max_size=300))
def test_no_netlink_message_breaks_the_reader(data: bytes) -> None:
    for _, body in messages(data):
        socket_of(body)
