"""What a set-top box's view counts, on datagrams made for it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from headend.transport.packet import build_packet
from lab.gaps import Watcher

pytestmark = pytest.mark.root


def test_gaps_errors_and_marks_are_counted(require_root: Callable[[], None]) -> None:
    require_root()
    loopback = IPv4Address("127.0.0.1")
    watcher = Watcher(loopback, IPv4Address("232.20.1.1"), 5999, loopback)
    with watcher.socket:
        counters = [0, 1, 2, 4, 5]
        for number, counter in enumerate(counters):
            mark = number == 4
            packet = build_packet(0x111, counter, b"x", discontinuity=mark, pcr=0 if mark else None)
            watcher.take(packet, 10.0 + (0.5 if number > 2 else 0.0) + number / 100)
    seen = watcher.seen
    assert (seen.datagrams, seen.continuity_errors, seen.marked) == (5, 1, 1)
    assert seen.longest_gap_ms == pytest.approx(510, abs=1)
