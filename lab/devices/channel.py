"""One channel of the simulated encoder: a contribution in, a real ffmpeg behind it, packets out at the wanted rate."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from lab.devices.coder import Coder, Splice
from lab.devices.meter import Meter
from lab.devices.net import Endpoint, Inlet, Outlet
from lab.devices.ts import DATAGRAM_PACKETS, PACKET_BITS, pcr_of
from nf.errors import UnavailableError

_INPUT_TIMEOUT_S = 1.0
_RATE_WINDOW_S = 2.0
_RETRY_S = 2.0
_FIRST_OUTPUT_S = 10.0
_QUEUE_S = 5.0
_WAITS_S = 1.2  # a process begins with what it looked at first, about a second: that stays, as the delay of the channel
_FASTER = 1.02  # while more than that waits
_SPLICE = b""  # in the queue, where one process ends and another begins
_BURST_S = 0.2


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """What is set of a channel."""

    enabled: bool
    name: str
    input: Endpoint
    output: Endpoint
    rate_kbps: int


class Channel:
    def __init__(self, plan: ChannelPlan) -> None:
        self.plan = plan
        self.restarts = 0
        self.failure = ""
        self.input_meter = Meter(_RATE_WINDOW_S)
        self.output_meter = Meter(_RATE_WINDOW_S)
        self._inlet, self._outlet = Inlet(plan.input), Outlet(plan.output)
        self._coder: Coder | None = None
        self._next: Coder | None = None  # takes over with its first packet: a change costs no picture
        self._next_since = 0.0
        self._splice = Splice()
        self._queue: deque[bytes] = deque()
        self._credit = 0.0
        self._at: float | None = None
        self._input_at: float | None = None
        self._retry_at = 0.0

    def replan(self, plan: ChannelPlan) -> None:
        before, self.plan = self.plan, plan
        if plan.input != before.input:
            self._inlet.close()
            self._inlet = Inlet(plan.input)
        if plan.output != before.output:
            self._outlet.close()
            self._outlet = Outlet(plan.output)
        if not plan.enabled:
            self._stop()
        elif self._coder is not None and (plan.rate_kbps, plan.name) != (before.rate_kbps, before.name):
            self._drop_next()
            self._retry_at = 0.0

    def locked(self, now: float) -> bool:
        """Whether a contribution comes in."""
        return self._input_at is not None and now - self._input_at < _INPUT_TIMEOUT_S

    def tick(self, now: float) -> None:
        if not self.plan.enabled:
            self._inlet.close()
            return
        for datagram in self._inlet.read(now):
            self._input_at = now
            self.input_meter.add(now, len(datagram))
            for coder in (self._coder, self._next):
                if coder is not None:
                    coder.write(datagram)
        self._look_after(now)
        if self._coder is not None:
            self._queue.extend(self._coder.read())
        self._send(now)

    def close(self) -> None:
        self._stop()
        self._inlet.close()
        self._outlet.close()

    def _look_after(self, now: float) -> None:
        """Have the process that is wanted, as far as there is an input for it."""
        if self._coder is not None and not self._coder.alive():
            self._coder.close()
            self._coder, self.failure, self._retry_at = None, "the encoding process ended", now + _RETRY_S
        wanted = self.plan.rate_kbps * 1000
        if self._next is not None:
            self._await_next(now)
        elif (self._coder is None or self._coder.key != (self.plan.name, wanted)) and now >= self._retry_at:
            self._begin_next(now)

    def _begin_next(self, now: float) -> None:
        if not self.locked(now):
            return
        try:
            self._next = Coder(self.plan.name, self.plan.rate_kbps * 1000)
        except UnavailableError as error:
            self.failure, self._retry_at = str(error), now + _RETRY_S
            return
        self._next_since = now

    def _await_next(self, now: float) -> None:
        assert self._next is not None  # noqa: S101 - the caller has looked
        first = self._next.read()
        if first:
            self.restarts += self._coder is not None or bool(self.failure)
            if self._coder is not None:
                self._coder.close()
            self._coder, self._next, self.failure = self._next, None, ""
            self._cut(first)
            self._queue.append(_SPLICE)
            self._queue.extend(first)
        elif not self._next.alive() or now - self._next_since > _FIRST_OUTPUT_S:
            self._drop_next()
            self.failure, self._retry_at = "the encoding process does not begin", now + _RETRY_S

    def _send(self, now: float) -> None:
        """Whole datagrams, paced."""
        rate = self._coder.rate_bps if self._coder is not None else self.plan.rate_kbps * 1000
        per_second = rate / PACKET_BITS
        hurry = _FASTER if len(self._queue) > _WAITS_S * per_second else 1.0
        passed = 0.0 if self._at is None else (now - self._at) * per_second * hurry
        self._at = now
        self._credit = min(self._credit + passed, max(2.0 * DATAGRAM_PACKETS, _BURST_S * per_second))
        while self._credit >= DATAGRAM_PACKETS and len(self._queue) > DATAGRAM_PACKETS:
            self._outlet.send(b"".join([self._take() for _ in range(DATAGRAM_PACKETS)]))
            self.output_meter.add(now, DATAGRAM_PACKETS)
            self._credit -= DATAGRAM_PACKETS
        while len(self._queue) > _QUEUE_S * per_second:
            self._queue.popleft()

    def _take(self) -> bytes:
        packet = self._queue.popleft()
        if packet == _SPLICE:
            self._splice.begin()
            packet = self._queue.popleft()
        return self._splice.stamp(packet)

    def _cut(self, first: list[bytes]) -> None:
        """Leave what waits only as far as it is older than what comes: both have the contribution's time."""
        begins = next((clock for clock in map(pcr_of, first) if clock is not None), None)
        if begins is None:
            return
        for place, packet in enumerate(self._queue):
            clock = pcr_of(packet) if packet else None
            if clock is not None and clock >= begins:
                while len(self._queue) > place:
                    self._queue.pop()
                return

    def _drop_next(self) -> None:
        if self._next is not None:
            self._next.close()
            self._next = None

    def _stop(self) -> None:
        self._drop_next()
        if self._coder is not None:
            self._coder.close()
            self._coder = None
        self._queue.clear()
        self._splice.begin()
