"""Copies of targets' packets: taps at N6 and N3, what is wanted of them, and what was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from core5g.observation.documents import ObservationSection
from core5g.observation.filters import by_teid, by_ue
from core5g.observation.packets import Reassembly, ends, gtpu, version
from core5g.observation.sessions import Fteid
from core5g.observation.taps import Copy, Tap
from core5g.observation.tracker import Token, Wanted
from core5g.pfcp.gtpu import GtpuError
from nf.contracts.interception import ContentForm, Direction, LossPlace

LOOPBACK = "lo"
_TURN = 512  # copies of one tap before others have theirs
_REST = 1 << 17  # more than a buffer holds


class Copied(NamedTuple):
    """For one order."""

    token: Token
    session: int
    at_ns: int
    direction: Direction
    form: ContentForm
    packet: bytes


Sink = Callable[[Copied], None]
LossSink = Callable[[str, LossPlace, int | None], None]
"""The point ("n3", "n6"), where, and how many copies: all orders that have content from there are told."""


class Copier:
    """Taps stand whether there is a target or not; only what their filters let through differs."""

    def __init__(self, section: ObservationSection, sink: Sink, lost: LossSink) -> None:
        self._sink, self._lost = sink, lost
        self._wanted = Wanted()
        self._n6 = {name: Tap(name) for name in section.n6}
        self._n3 = {name: Tap(name) for point in section.n3 for name in point.interfaces}
        self._reassembly = {name: Reassembly() for name in self._n3}
        self._reading: dict[str, int] = {}  # interface -> the descriptor that the loop watches

    @property
    def points(self) -> frozenset[str]:
        return frozenset({point for point, taps in (("n3", self._n3), ("n6", self._n6)) if taps})

    def status(self) -> Mapping[str, bool]:
        taps = [*(("n3", tap) for tap in self._n3.values()), *(("n6", tap) for tap in self._n6.values())]
        return {f"{point}:{tap.interface}": tap.fileno() is not None for point, tap in taps}

    def want(self, wanted: Wanted) -> None:
        """What came until now is of those who were wanted until now: it is taken before. Raises OSError."""
        if wanted == self._wanted:
            return
        self._drain()
        self._wanted = wanted
        for tap in self._n6.values():
            tap.want(by_ue(wanted.n6))
        for tap in self._n3.values():
            tap.want(by_teid(end.teid for end in wanted.n3))

    def tick(self) -> None:
        """Interfaces that came or went, and what the kernel has dropped. Raises OSError."""
        for point, taps in (("n6", self._n6), ("n3", self._n3)):
            for tap in taps.values():
                if drops := tap.drops():
                    self._lost(point, LossPlace.KERNEL, drops)
                if tap.stale():
                    self._renew(point, tap)
        for reassembly in self._reassembly.values():
            if reassembly.given_up:
                # Of whom they were is not known without their first fragment.
                self._lost("n3", LossPlace.POINT, reassembly.given_up)
                reassembly.given_up = 0

    def _renew(self, point: str, tap: Tap) -> None:
        loop = asyncio.get_running_loop()
        watched = self._reading.pop(tap.interface, None)
        if watched is not None:
            loop.remove_reader(watched)
            self._lost(point, LossPlace.POINT, None)
        tap.refresh()
        number = tap.fileno()
        if number is not None:
            loop.add_reader(number, self._read, point, tap, _TURN)
            self._reading[tap.interface] = number

    def _drain(self) -> None:
        for point, taps in (("n6", self._n6), ("n3", self._n3)):
            for tap in taps.values():
                self._read(point, tap, _REST)

    def _read(self, point: str, tap: Tap, most: int) -> None:
        take = self._from_n6 if point == "n6" else self._from_n3
        for copy in tap.read(most):
            for copied in take(tap.interface, copy):
                self._sink(copied)

    def _from_n6(self, _interface: str, copy: Copy) -> Iterator[Copied]:
        """What the appliance sends into the TUN is for the UE; what comes out of it is the UE's."""
        found = ends(copy.packet)
        if found is not None:
            direction = Direction.TO_TARGET if copy.outgoing else Direction.FROM_TARGET
            for token, session in self._wanted.n6.get(found[copy.outgoing], ()):
                yield Copied(token, session, copy.at_ns, direction, _form(copy.packet), copy.packet)

    def _from_n3(self, interface: str, copy: Copy) -> Iterator[Copied]:
        if copy.outgoing and interface == LOOPBACK:
            return  # it comes in there too
        whole = self._reassembly[interface].packet(copy.packet, time.monotonic())
        try:
            tunnelled = gtpu(whole) if whole is not None else None
        except GtpuError:
            self._lost("n3", LossPlace.POINT, 1)
            return
        if tunnelled is not None:
            end = Fteid(tunnelled.destination, tunnelled.teid)
            for token, session, direction in self._wanted.n3.get(end, ()):
                yield Copied(token, session, copy.at_ns, direction, _form(tunnelled.packet), tunnelled.packet)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self._reading.values():
            loop.remove_reader(number)
        self._reading.clear()
        for tap in (*self._n6.values(), *self._n3.values()):
            tap.close()


def _form(packet: bytes) -> ContentForm:
    return {4: ContentForm.IPV4, 6: ContentForm.IPV6}.get(version(packet), ContentForm.OTHER)
