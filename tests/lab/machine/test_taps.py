"""A node's interfaces handed over to a machine: frames pass both ways, and the node has no address there any more."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable

import pytest

from lab.machine.taps import attach, bridge_name, detach, tap_name
from lab.native import network
from lab.native.handle import Lab
from lab.native.processes import in_network_of
from nf.errors import DriverError, NotFoundError

pytestmark = pytest.mark.root

TOPOLOGY = """\
name: rack
topology:
  defaults: {kind: linux}
  nodes:
    neighbour: {}
    rack: {}
  links:
    - type: veth
      endpoints:
        - {node: neighbour, interface: eth1, ipv4: 10.0.1.1/24}
        - {node: rack, interface: eth1, ipv4: 10.0.1.2/24}
"""
MAC = bytes.fromhex("525400000001")
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
ETHERTYPE = b"\x88\xb5"  # IEEE 802: for local experiments


def plugged_in(lab: Lab, interface: str) -> int:
    """The machine's end of the card, as qemu opens it."""

    def work() -> int:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", tap_name(interface).encode(), _IFF_TAP | _IFF_NO_PI))
        return descriptor

    return in_network_of(lab.init("rack"), work)


def neighbours_card(lab: Lab) -> socket.socket:
    def work() -> socket.socket:
        card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
        card.bind(("eth1", 0x88B5))
        card.settimeout(10)
        return card

    return in_network_of(lab.init("neighbour"), work)


def test_frames_pass_both_ways(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(TOPOLOGY)
    attach(lab.init("rack"), ["eth1"])
    card = plugged_in(lab, "eth1")
    try:
        with neighbours_card(lab) as neighbour:
            mac = neighbour.getsockname()[4]
            os.write(card, mac + MAC + ETHERTYPE + b"from the machine".ljust(46, b"\0"))
            assert b"from the machine" in neighbour.recv(2000)
            neighbour.send(MAC + mac + ETHERTYPE + b"to the machine".ljust(46, b"\0"))
            assert b"to the machine" in frames_until(card, b"to the machine")
    finally:
        os.close(card)


def frames_until(card: int, wanted: bytes) -> bytes:
    poller = select.poll()
    poller.register(card, select.POLLIN)
    while poller.poll(10_000):
        frame = os.read(card, 2000)
        if wanted in frame:
            return frame
    return b""


def test_the_address_is_the_machines(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(TOPOLOGY)
    attach(lab.init("rack"), ["eth1"])
    attach(lab.init("rack"), ["eth1"])  # a second time changes nothing
    found = {link["name"]: link for link in network.interfaces(lab.init("rack"))}
    assert found["eth1"]["addresses"] == []
    assert {tap_name("eth1"), bridge_name("eth1")} <= set(found)
    assert found["eth1"]["up"]
    assert found["eth1"]["carrier"]


def test_it_goes_without_a_trace(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(TOPOLOGY)
    before = {link["name"] for link in network.interfaces(lab.init("rack"))}
    attach(lab.init("rack"), ["eth1"])
    for _ in range(2):
        detach(lab.init("rack"), ["eth1"])
    assert {link["name"] for link in network.interfaces(lab.init("rack"))} == before


def test_what_is_not_there_is_told(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(TOPOLOGY)
    with pytest.raises(NotFoundError):
        attach(lab.init("rack"), ["eth7"])
    with pytest.raises(DriverError):
        attach(lab.init("rack"), ["an-interface-15"])
