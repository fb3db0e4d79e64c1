"""The tap's ring, its memberships and our host routes, each in namespaces of its own."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from headend.multicast.output import hostroute
from headend.multicast.output.ring import Buffer
from headend.multicast.output.tap import Flow, Tap
from tests.headend.multicast.source.netlab import RECEIVER, SOURCE, Pair, in_namespace, namespaces, run

pytestmark = pytest.mark.root
CHANNELS = [IPv4Address(f"232.10.{n // 200 + 1}.{n % 200 + 1}") for n in range(45)]
PORT = 5000


class Heard:
    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.at: list[float] = []

    def take(self, data: Buffer, start: int, end: int, at: float) -> None:
        self.datagrams.append(bytes(data[start:end]))
        self.at.append(at)


def flows(heard: Heard, channels: list[IPv4Address]) -> dict[Flow, Callable[[Buffer, int, int, float], None]]:
    return {(IPv4Address(SOURCE), group, PORT): heard.take for group in channels}


def pump(selector: selectors.BaseSelector, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not done():
        assert time.monotonic() < deadline
        for key, _ in selector.select(0.1):
            key.data()


def memberships(interface: str) -> int:
    """How many (source, group) the kernel has on an interface."""
    lines = Path("/proc/thread-self/net/mcfilter").read_text().splitlines()
    return sum(line.split()[1] == interface for line in lines)


def sender(pair: Pair) -> socket.socket:
    def opened() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(SOURCE))
        sock.bind((SOURCE, 0))
        return sock

    return in_namespace(pair.head, opened).result()


def test_all_channels_are_heard_in_order_with_the_time_of_their_arrival() -> None:
    with namespaces() as pair, sender(pair) as out:
        # A router drops what comes from a source by a way that is not its own; the ring hears it all the same.
        run("ip", "netns", "exec", pair.receiver, "sysctl", "-qw", "net.ipv4.conf.eth1.rp_filter=1")

        def body() -> None:
            heard = Heard()
            with selectors.DefaultSelector() as selector:
                tap = Tap(selector, "eth1")
                tap.want(flows(heard, CHANNELS))
                assert tap.problem == ""
                assert memberships("eth1") == len(CHANNELS)
                before = time.monotonic()
                for number in range(900):
                    group = CHANNELS[number % len(CHANNELS)]
                    out.sendto(number.to_bytes(2, "big") + bytes(1314), (str(group), PORT))
                    out.sendto(b"another port", (str(group), PORT + 1))
                pump(selector, lambda: len(heard.datagrams) >= 900)
                assert [int.from_bytes(data[:2], "big") for data in heard.datagrams] == list(range(900))
                assert all(len(data) == 1316 for data in heard.datagrams)
                assert heard.at == sorted(heard.at)
                assert before - 0.01 <= heard.at[0] <= heard.at[-1] <= time.monotonic() + 0.01
                out.sendto(bytes(3000), (str(CHANNELS[0]), PORT))  # in fragments
                out.sendto(b"last", (str(CHANNELS[0]), PORT))
                pump(selector, lambda: heard.datagrams[-1] == b"last")
                assert len(heard.datagrams) == 901
                assert tap.drops() == 0

                tap.want(flows(heard, CHANNELS[30:]))
                assert memberships("eth1") == 15
                tap.want(flows(heard, CHANNELS))
                assert memberships("eth1") == len(CHANNELS)
                tap.close()
                assert memberships("eth1") == 0

        in_namespace(pair.receiver, body).result(180)


def test_an_interface_that_comes_later_or_is_made_anew_is_taken_by_itself() -> None:
    with namespaces() as pair:
        pair.unwire()

        def body() -> None:
            heard = Heard()
            with selectors.DefaultSelector() as selector:
                tap = Tap(selector, "eth1")
                tap.want(flows(heard, CHANNELS[:1]))
                for count in (1, 2):
                    assert tap.problem == "there is no interface eth1"
                    pair.wire()
                    tap.check()
                    assert (tap.problem, memberships("eth1")) == ("", 1)
                    with sender(pair) as out:
                        out.sendto(b"here", (str(CHANNELS[0]), PORT))
                        pump(selector, lambda: len(heard.datagrams) >= count)  # noqa: B023 - used in this turn
                    pair.unwire()
                    tap.check()
                assert tap.packets >= 2
                tap.close()

        in_namespace(pair.receiver, body).result(180)


def test_a_link_that_went_down_is_told_once_and_wakes_nobody_for_ever() -> None:
    with namespaces() as pair:

        def body() -> None:
            with selectors.DefaultSelector() as selector:
                tap = Tap(selector, "eth1")
                run("ip", "-n", pair.receiver, "link", "set", "eth1", "down")
                pump(selector, lambda: not selector.select(0))
                run("ip", "-n", pair.receiver, "link", "set", "eth1", "up")
                pump(selector, lambda: not selector.select(0))
                tap.close()

        in_namespace(pair.receiver, body).result(180)


def test_a_route_leads_by_a_neighbour_until_it_is_released() -> None:
    with namespaces() as pair:

        def body() -> None:
            source, other = IPv4Address("10.9.9.9"), IPv4Address("10.9.9.10")
            assert hostroute.ours() == {}
            hostroute.release(source)
            hostroute.lead(source, IPv4Address(SOURCE))
            hostroute.lead(source, IPv4Address("10.1.0.77"))
            hostroute.lead(other, IPv4Address(SOURCE))
            assert hostroute.ours() == {source: IPv4Address("10.1.0.77"), other: IPv4Address(SOURCE)}
            with pytest.raises(OSError, match="unreachable"):
                hostroute.lead(source, IPv4Address("192.0.2.1"))
            assert hostroute.stands(source, IPv4Address("10.1.0.77"))
            assert not hostroute.stands(source, IPv4Address(SOURCE))
            assert not hostroute.stands(IPv4Address("10.9.9.11"), IPv4Address(SOURCE))
            assert not hostroute.stands(IPv4Address("192.0.2.1"), IPv4Address(SOURCE))
            assert hostroute.release(other)
            assert not hostroute.release(other)
            assert hostroute.ours() == {source: IPv4Address("10.1.0.77")}
            hostroute.release_all()
            hostroute.release(source)
            assert hostroute.ours() == {}

        run("ip", "-n", pair.receiver, "route", "add", "10.9.9.8/29", "via", SOURCE)
        in_namespace(pair.receiver, body).result(180)
        routes = run("ip", "-n", pair.receiver, "route")
        assert (
            routes.split()
            == f"10.1.0.0/24 dev eth1 proto kernel scope link src {RECEIVER} 10.9.9.8/29 via {SOURCE} dev eth1".split()
        )
