"""A fallback whose source is reached by two equal paths."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from headend.multicast.receive import open_sender
from headend.multicast.route import interfaces_towards
from headend.multicast.rtp import Header, build
from headend.satellite.feed.config import Fallback
from headend.satellite.feed.inputs import FallbackInput
from headend.satellite.feed.programme import Programme
from tests.headend.multicast.source.netlab import Pair, in_namespace, namespaces, run
from tests.headend.satellite.feed.made import Stream

pytestmark = pytest.mark.root
SOURCE, FAR = IPv4Address("10.5.5.5"), ("10.1.0.20", "10.2.0.20")
FALLBACK = Fallback(SOURCE, IPv4Address("232.10.1.1"), 5002)


def second_path(pair: Pair) -> None:
    """eth2 beside eth1, and SOURCE behind both."""
    head, far = pair.head, pair.receiver
    run("ip", "-n", head, "link", "add", "eth2", "type", "veth", "peer", "name", "eth2", "netns", far)
    for name, address in ((head, "10.2.0.10"), (far, "10.2.0.20")):
        run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth2")
        run("ip", "-n", name, "link", "set", "eth2", "up")
    run("ip", "-n", far, "addr", "add", f"{SOURCE}/32", "dev", "lo")
    hops = [part for gateway in FAR for part in ("nexthop", "via", gateway)]
    run("ip", "-n", head, "route", "add", f"{SOURCE}/32", *hops)


def senders() -> list[socket.socket]:
    """One that sends from SOURCE out of each of the two interfaces."""
    found = []
    for address in FAR:
        sock = open_sender(SOURCE)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, IPv4Address(address).packed)
        found.append(sock)
    return found


@pytest.mark.parametrize("rtp", [False, True])
def test_a_stream_that_comes_by_both_paths_is_taken_once_and_the_other_path_when_one_ends(rtp: bool) -> None:
    with namespaces() as pair:
        second_path(pair)
        sent = in_namespace(pair.receiver, senders).result()
        in_namespace(pair.head, lambda: receive(sent, replace(FALLBACK, rtp=rtp))).result()
        for sock in sent:
            sock.close()


def receive(sent: list[socket.socket], given: Fallback) -> None:
    assert len(interfaces_towards(SOURCE)) == 2
    programme = Programme(None, lambda *_: None, lambda _: None)
    stream = Stream()
    with selectors.DefaultSelector() as selector:
        fallback = FallbackInput(selector, given)
        fallback.multiplex.follow([programme])
        assert fallback.problem == ""
        assert len(selector.get_map()) == 2
        _play(stream, sent, fallback, 50, rtp=given.rtp)
        taken = programme.packets
        assert taken > 200
        assert programme.continuity_errors == 0
        assert fallback.multiplex.datagrams == 50
        left = sent.pop(0)
        left.close()
        while fallback.multiplex.datagrams < 60:  # the other path counts when the one that was taken is silent
            _play(stream, sent, fallback, 1, rtp=given.rtp)
            time.sleep(0.01)
        assert programme.packets > taken
        fallback.close()
        assert len(selector.get_map()) == 0
        assert interfaces_towards(IPv4Address("192.0.2.1")) == frozenset()


def _play(stream: Stream, sent: list[socket.socket], fallback: FallbackInput, steps: int, *, rtp: bool) -> None:
    for number in range(steps):
        datagram = b"".join(stream.step())
        if rtp:
            datagram = build(Header(number, 0, 1), datagram)
        for sock in sent:
            sock.sendto(datagram, (str(FALLBACK.group), FALLBACK.port))
        fallback.drain()
