"""The SSM probe: a receiver of its own that joins (S, G) as a set-top box does and judges what comes."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

from headend.multicast.documents import SsmProbeArguments
from headend.multicast.receive import drain, join_source, leave_source, open_receiver
from headend.transport.continuity import ContinuityMonitor
from nf.contracts.driver import Context
from nf.contracts.probe import PathSample
from nf.documents.appliance import ProbeTarget

SAMPLE_INTERVAL_S = 0.5
MAX_AGE_S = 0.5
ERROR_WINDOW_S = 2.0
_SILENCE_BEFORE_CHECK_S = 1.0


class SsmReceiver:
    """One membership and the stream it brings. Opens when it can: an interface may get its address later."""

    def __init__(self, arguments: SsmProbeArguments, context: Context) -> None:
        self._arguments = arguments
        self._clock = context.clock
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._monitor = ContinuityMonitor()
        self._joined_at: float | None = None
        self._join_ms: float | None = None
        self._error_times: deque[float] = deque()
        self._sampled_at = context.clock.monotonic()
        self._sampled_bytes = 0
        self._problem = ""

    def open(self) -> None:
        """Join, or keep in mind why it cannot be done now."""
        given = self._arguments
        try:
            sock = open_receiver(str(given.group), given.port, shared=True)
        except OSError as error:
            self._problem = f"cannot listen on {given.group}:{given.port}: {error.strerror}"
            return
        asked_at = self._clock.monotonic()
        try:
            join_source(sock, given.group, given.source, given.interface)
        except OSError as error:
            sock.close()
            self._problem = f"cannot join by {given.interface}: {error.strerror}"
            return
        self._socket, self._problem = sock, ""
        if self._joined_at is None:
            self._joined_at = asked_at
        self._loop.add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Leave."""
        sock, self._socket = self._socket, None
        if sock is not None:
            given = self._arguments
            self._loop.remove_reader(sock.fileno())
            leave_source(sock, given.group, given.source, given.interface)
            sock.close()

    def sample(self, target: ProbeTarget) -> PathSample:
        """What came since the last sample, judged."""
        if self._socket is None:
            self.open()
        now = self._clock.monotonic()
        self._readable()
        counters = self._monitor.counters(now)
        interval_s = max(now - self._sampled_at, 1e-3)
        bitrate_bps = (counters.bytes - self._sampled_bytes) * 8 / interval_s
        self._sampled_at, self._sampled_bytes = now, counters.bytes
        while self._error_times and self._error_times[0] <= now - ERROR_WINDOW_S:
            self._error_times.popleft()
        fault = self._fault(counters.age_s, now)
        carries = f"{bitrate_bps / 1e6:.2f} of {self._arguments.rate_bps / 1e6:.2f} Mbit/s"
        sample = PathSample(
            target=target.id,
            channel=target.channel,
            path=target.path,
            at=self._clock.now(),
            up=not fault and bitrate_bps > 0,
            bitrate_bps=bitrate_bps,
            packets=counters.packets,
            continuity_errors=counters.continuity_errors,
            age_ms=None if counters.age_s is None else counters.age_s * 1000,
            join_ms=self._join_ms,
            detail=fault or carries,
        )
        self._rejoin_if_lost(counters.age_s, now)
        return sample

    def _fault(self, age_s: float | None, now: float) -> str:
        given = self._arguments
        if self._problem:
            return self._problem
        if age_s is None:
            waited_s = now - (self._joined_at if self._joined_at is not None else now)
            return f"({given.source}, {given.group}) joined {waited_s:.1f} s ago, nothing has come"
        if age_s >= MAX_AGE_S:
            return f"no packet for {age_s:.1f} s"
        if not self._monitor.in_sync:
            return "what comes is no transport stream: no sync bytes"
        if self._error_times:
            count = len(self._error_times)
            return f"{count} continuity error{'s' if count > 1 else ''} in the last {ERROR_WINDOW_S:g} s"
        return ""

    def _readable(self) -> None:
        if self._socket is not None:
            drain(self._socket, self._clock.monotonic(), self._take)

    def _take(self, datagram: bytes, arrival: float) -> None:
        if self._join_ms is None and self._joined_at is not None:
            self._join_ms = max(0.0, arrival - self._joined_at) * 1000
        errors = self._monitor.receive(datagram, arrival)
        if errors:
            self._error_times.extend([arrival] * errors)

    def _rejoin_if_lost(self, age_s: float | None, now: float) -> None:
        """An interface that was removed took the membership with it, and nobody says so. A membership that still
        stands is never renewed: that would heal a fault which a set-top box would suffer from."""
        since_s = age_s if age_s is not None else now - (self._joined_at if self._joined_at is not None else now)
        given = self._arguments
        if self._socket is None or since_s < _SILENCE_BEFORE_CHECK_S or has_membership(given.group, given.source):
            return
        self.close()


def has_membership(group: IPv4Address, source: IPv4Address) -> bool:
    """Does the kernel hold a filter for (source, group) on any interface? Read from /proc/net/mcfilter."""
    wanted = (f"{int(group):#010x}", f"{int(source):#010x}")
    lines = Path("/proc/thread-self/net/mcfilter").read_text(encoding="ascii").splitlines()[1:]
    return any(tuple(line.split()[2:4]) == wanted for line in lines)


class SsmProbe:
    """Probe kind `ssm`. Up means: a packet in the last 500 ms, TS sync, and no continuity error in the last 2 s."""

    @property
    def kind(self) -> str:
        return "ssm"

    async def run(self, target: ProbeTarget, context: Context) -> AsyncIterator[PathSample]:
        """Two samples a second until the caller stops or `context.cancel` is set. Leaves the group at the end.

        Raises pydantic's ValidationError when the target's arguments are not `SsmProbeArguments`.
        """
        arguments = SsmProbeArguments.model_validate(dict(target.arguments))
        receiver = SsmReceiver(arguments, context)
        receiver.open()
        try:
            while not context.cancel.is_set():
                await context.clock.sleep(SAMPLE_INTERVAL_S)
                yield receiver.sample(target)
        finally:
            receiver.close()
