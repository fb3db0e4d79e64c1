from __future__ import annotations

import socket

import pytest

from headend.multicast.access.learning import PATIENCE_S, QUESTIONS, RESPONSE_S, Learning, ask_hosts
from headend.multicast.access.limiter import name, pair
from headend.multicast.igmp import ALL_SYSTEMS, parse_query
from headend.multicast.ipv4 import parse


class _Wire(socket.socket):
    sent: tuple[bytes, tuple[object, ...]]

    def sendto(self, data: bytes, address: tuple[object, ...]) -> int:  # type: ignore[override]
        self.sent = (bytes(data), address)
        return len(data)


def test_every_question_gets_its_time_and_what_could_not_be_asked_is_asked_later() -> None:
    learning = Learning()
    assert learning.due(5.0)
    assert not learning.over(50.0)  # the wire was down: nothing has been asked
    now = 50.0
    for _ in range(QUESTIONS):
        assert learning.due(now)
        learning.asked(now)
        assert not learning.due(now + RESPONSE_S / 2)
        now += RESPONSE_S
    assert not learning.due(now)
    assert not learning.over(now)
    assert learning.over(now + PATIENCE_S)


def test_the_question_is_a_general_one_from_the_interfaces_address() -> None:
    with _Wire() as wire:
        ask_hosts(wire, "lo")
    data, address = wire.sent
    datagram = parse(data)
    assert (datagram.destination, datagram.ttl) == (ALL_SYSTEMS, 1)
    query = parse_query(datagram.payload)
    assert (query.group, query.response_s, query.interval_s) == (0, RESPONSE_S, 10)
    assert address[0] == "lo"


def test_an_interface_that_is_not_there_is_an_error() -> None:
    with _Wire() as wire, pytest.raises(OSError, match="no interface"):
        ask_hosts(wire, "nosuch0")


def test_what_is_told_is_read_again() -> None:
    assert pair(name((0x0A010203, 0xE8010101))) == ("10.1.2.3", "232.1.1.1")
