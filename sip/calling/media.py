"""One leg's media: a socket of RTP and one of RTCP, a tone sent in time, what comes measured.

Arrivals are the kernel's, so that a late turn of this process does not look like a late packet.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from nf.clock import Clock
from nf.errors import InputError, UnavailableError
from sip.calling import rtcp
from sip.calling.dialogs import Address
from sip.calling.rtp import CLOCK_HZ, PACKET_MS, Packet, Receiver, Sender
from sip.calling.sdp import Description

SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h
_TIMESPEC: Final = struct.Struct("qq")
_REPORT_S: Final = 1.0
"""Shorter than RFC 3550's least interval (section 6.2): a test call is over before that."""
_PORTS: Final = range(40_000, 60_000, 2)
_ATTEMPTS: Final = 200
_DSCP_EF: Final = 46 << 2
_DRAIN: Final = 512


def open_socket(address: str, port: int) -> socket.socket:
    """Non-blocking UDP with arrival times. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setblocking(False)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def drain(sock: socket.socket, clock: Clock, take: Callable[[bytes, Address, float], None]) -> None:
    """Hands over what waits: the datagram, where it came from, when on the monotonic clock."""
    for _ in range(_DRAIN):
        try:
            data, ancillary, _, source = sock.recvmsg(65_536, 64)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            continue  # an ICMP error, told once
        wall, now = time.time(), clock.monotonic()
        waited = wall - _stamp(ancillary, wall)
        take(data, (source[0], source[1]), now - waited if 0 <= waited < 30 else now)


def _stamp(ancillary: list[tuple[int, int, bytes]], otherwise: float) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return otherwise


class Media:
    """Open it, tell its ports in the offer or answer, `start` it, `stop` it, `close` it."""

    def __init__(self, address: str, clock: Clock) -> None:
        """Raises UnavailableError when no pair of ports is free."""
        self.receiver = Receiver()
        self.sender = Sender(ssrc=secrets.randbits(32), sequence=secrets.randbits(16), timestamp=secrets.randbits(32))
        self.far: rtcp.Block | None = None
        """What the far end last said of what it hears."""
        self.round_trip_s: float | None = None
        self._clock = clock
        self._rtp, self._rtcp = _pair(address)
        self._remote: Description | None = None
        self._task: asyncio.Task[None] | None = None
        self._peer_sr = (0, 0.0)
        self._said = (0, 0)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._rtp.fileno(), self._readable)
        self._loop.add_reader(self._rtcp.fileno(), self._control_readable)

    @property
    def port(self) -> int:
        return int(self._rtp.getsockname()[1])

    def start(self, remote: Description) -> None:
        """Send to where the far end says; from there on the reports too."""
        self._remote = remote
        if self._task is None:
            self._task = asyncio.create_task(self._send())

    async def stop(self) -> None:
        """Sends no more; what is under way is still taken in."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._report()

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for sock in (self._rtp, self._rtcp):
            self._loop.remove_reader(sock.fileno())
            sock.close()

    async def _send(self) -> None:
        began = self._clock.monotonic()
        reported = began
        while True:
            now = self._clock.monotonic()
            while began + self.sender.count * PACKET_MS / 1000 <= now:
                self._to(self._rtp, self.sender.next(self._clock.monotonic()), control=False)
            if now - reported >= _REPORT_S:
                reported = now
                self._report()
            await self._clock.sleep(began + self.sender.count * PACKET_MS / 1000 - self._clock.monotonic())

    def _to(self, sock: socket.socket, data: bytes, *, control: bool) -> None:
        remote = self._remote
        if remote is None or not remote.port or remote.address == "0.0.0.0":  # noqa: S104 - a hold, RFC 3264 8.4
            return
        port = remote.control_port if control else remote.port
        with contextlib.suppress(OSError):  # a full buffer, or an ICMP error: lost, as on the way
            sock.sendto(data, (remote.address, port))

    def _report(self) -> None:
        """A sender report with a block on what comes (RFC 3550 section 6.4.1)."""
        heard, now = self.receiver, self._clock.monotonic()
        info = rtcp.SenderInfo(rtcp.ntp(time.time()), self.sender.timestamp, self.sender.count, self.sender.octets)
        blocks: tuple[rtcp.Block, ...] = ()
        if heard.ssrc is not None:
            expected, received = heard.highest - heard.base + 1, len(heard.arrivals)
            lately = expected - self._said[0], received - self._said[1]
            self._said = expected, received
            share = max(0.0, (lately[0] - lately[1]) / lately[0]) if lately[0] > 0 else 0.0
            last_sr, came_at = self._peer_sr
            delay = int((now - came_at) * 65_536) if last_sr else 0
            lost = expected - received
            blocks = (rtcp.Block(heard.ssrc, share, lost, heard.highest, int(heard.jitter), last_sr, delay),)
        packet = rtcp.ReportPacket(self.sender.ssrc, info, blocks)
        self._to(self._rtcp, packet.to_bytes("nf"), control=True)

    def _readable(self) -> None:
        drain(self._rtp, self._clock, self._take)

    def _control_readable(self) -> None:
        drain(self._rtcp, self._clock, self._take_control)

    def _take(self, data: bytes, source: Address, arrival: float) -> None:
        if len(data) > 1 and 192 <= data[1] <= 223:
            self._take_control(data, source, arrival)  # RFC 5761 section 4
            return
        with contextlib.suppress(InputError):
            self.receiver.receive(Packet.parse(data), arrival)

    def _take_control(self, data: bytes, _source: Address, arrival: float) -> None:
        try:
            reports = rtcp.parse(data)
        except InputError:
            return
        for report in reports:
            if report.sender is not None:
                self._peer_sr = rtcp.middle(report.sender.ntp), arrival
            for block in report.blocks:
                if block.ssrc == self.sender.ssrc:
                    self.far = block
                    trip = block.round_trip_s(time.time() - (self._clock.monotonic() - arrival))
                    if trip is not None:
                        self.round_trip_s = min(trip, self.round_trip_s) if self.round_trip_s is not None else trip


def _pair(address: str) -> tuple[socket.socket, socket.socket]:
    """An even port and the next one (RFC 3550 section 11)."""
    problem = ""
    for _ in range(_ATTEMPTS):
        port = secrets.choice(_PORTS)
        try:
            first = open_socket(address, port)
        except OSError as error:
            problem = str(error.strerror)
            continue
        try:
            second = open_socket(address, port + 1)
        except OSError as error:
            problem = str(error.strerror)
            first.close()
            continue
        for sock in (first, second):
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _DSCP_EF)
        return first, second
    raise UnavailableError(f"no two ports for RTP: {problem}", where=address, remedy="see what has them: ss -anu")


def network_delay_ms(sender: Sender, receiver: Receiver) -> float | None:
    """Mean of one way, where both ends are here and use one clock. None: nothing came.

    Packets are told by their timestamps, which relays leave alone, counted from the sender's first.
    """
    if not sender.sent or not receiver.arrivals:
        return None
    per_packet = CLOCK_HZ * PACKET_MS // 1000
    origin = (sender.timestamp - sender.count * per_packet) % (1 << 32)
    took = [
        arrival - sender.sent[index]
        for arrival, timestamp in receiver.arrivals.values()
        if 0 <= (index := (timestamp - origin) % (1 << 32) // per_packet) < len(sender.sent)
    ]
    return sum(took) / len(took) * 1000 if took else None
