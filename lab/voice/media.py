"""One call's RTP: a socket, what is sent every 20 ms, and what is heard. One clock drives all calls of a process."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from lab.voice import rtp
from lab.voice.g711 import FRAME, NAMES, PCMA, PCMU, RATE, SILENCE, Pcm, decode, encode
from lab.voice.sdp import EVENTS, Audio
from lab.voice.tones import PRESENT, heard, tone_frames

TICK = FRAME / RATE
LATE = 50
"""Ticks that are made up for when the loop was busy; before that, the call had a gap."""

KEPT = 100
"""Payloads that are kept of what was heard: two seconds."""

_SO_TIMESTAMPNS = 35
"""The kernel says when a packet came (socket(7)): a busy loop is no jitter."""

_STAMP = struct.Struct("qq")
_STAMP_SPACE = socket.CMSG_SPACE(_STAMP.size)
_EVENT_STEPS = 5
"""Packets of one key: 100 ms; the last is sent three times (RFC 4733 section 2.5.1.4)."""


class Source(Protocol):
    """What is sent: 20 ms of payload; None is silence (nothing is sent)."""

    def frame(self, codec: int) -> bytes | None: ...


class Clock:
    """Calls every media each 20 ms; runs only while there is one."""

    def __init__(self) -> None:
        self._media: dict[Media, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0
        self.before: list[Callable[[], None]] = []
        """Called before each tick: conferences mix here."""

    def add(self, media: Media) -> None:
        self._media[media] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._next = loop.time()
            self._timer = loop.call_at(self._next, self._tick)

    def remove(self, media: Media) -> None:
        self._media.pop(media, None)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._media:
            self._timer = None
            return
        now = loop.time()
        self._next = max(self._next, now - LATE * TICK)
        while self._next <= now:
            for mix in list(self.before):
                mix()
            for media in list(self._media):
                media.tick()
            self._next += TICK
        self._timer = loop.call_at(self._next, self._tick)


_clocks: dict[asyncio.AbstractEventLoop, Clock] = {}


def clock() -> Clock:
    """Of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _clocks:
        for old in [one for one in _clocks if one.is_closed()]:
            del _clocks[old]
        _clocks[loop] = Clock()
    return _clocks[loop]


class Tone:
    """A source: one frequency, in whole Hz."""

    def __init__(self, frequency: int, level: float = 0.2) -> None:
        self.frequency, self._level, self._at = frequency, level, 0

    def frame(self, codec: int) -> bytes:
        self._at += 1
        frames = tone_frames(self.frequency, codec, self._level)
        return frames[self._at % len(frames)]


class Silence:
    """A source whose packets are silent."""

    def frame(self, codec: int) -> bytes:
        return SILENCE[codec]


class Media:
    """`open` binds an even port of `ports`; `start` begins to send to `remote`. Addresses of ours: `host`, `port`.

    source   what is sent; None sends nothing
    heard    called with every payload and codec that comes in
    keyed    called with each key of a telephone event
    strict   what does not come from `remote` is dropped and counted as foreign; else the latest sender is answered,
             as behind NAT
    """

    def __init__(self, host: str, ports: tuple[int, int] = (16384, 32768), *, strict: bool = False) -> None:
        self.host, self.port = host, 0
        self.source: Source | None = Silence()
        self.heard: Callable[[int, bytes], None] | None = None
        self.keyed: Callable[[str], None] | None = None
        self.keys = ""
        self.codec, self.events = PCMU, EVENTS
        self.sending = self.hearing = True
        self.relaying = False
        self.remote: tuple[str, int] | None = None
        self._ports, self._strict = ports, strict
        self._socket: socket.socket | None = None
        self._receiver, self._telephone = rtp.Receiver(), rtp.Events()
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._sent = self._foreign = 0
        self._sequence, self._timestamp = secrets.randbits(15), secrets.randbits(31)
        self._ssrc, self._marker = secrets.randbits(32), True
        self._queue: deque[bytes] = deque()
        self._event_at = 0
        self._changed = asyncio.Event()

    def open(self) -> None:
        """Raises OSError when no port is free."""
        self._socket = bound(self.host, self._ports)
        self.port = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        clock().remove(self)
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def start(self, theirs: Audio, codec: int, events: int) -> None:
        """After offer and answer: theirs says where to, and what they will hear."""
        self.codec, self.events = codec, events
        self.remote = (theirs.host, theirs.port)
        self.sending = theirs.direction in ("sendrecv", "recvonly") and bool(theirs.port)
        self.hearing = theirs.direction in ("sendrecv", "sendonly")
        if self._socket is not None:
            clock().add(self)

    def tone(self, frequency: int, level: float = 0.2) -> None:
        self.source = Tone(frequency, level)

    def dtmf(self, keys: str) -> None:
        """Queues telephone events; ValueError for a key that is none, or when the other side takes none."""
        if not self.events:
            raise ValueError("the other side takes no telephone events (RFC 4733): its SDP has none")
        for key in keys.upper():
            steps = [rtp.event_payload(key, FRAME * step, end=False) for step in range(1, _EVENT_STEPS + 1)]
            self._queue.extend(
                [*steps, *[rtp.event_payload(key, FRAME * (_EVENT_STEPS + 1), end=True)] * 3, b"", b"", b""]
            )

    def tick(self) -> None:
        """20 ms have passed."""
        if not self.relaying or self._queue:
            self._timestamp = (self._timestamp + FRAME) & 0xFFFFFFFF
        payload = self.source.frame(self.codec) if self.source is not None else None
        if not self.sending or self._socket is None or self.remote is None:
            return
        if self._queue:
            self._send_event(self._queue.popleft())
        elif payload is None:
            self._marker = True
        else:
            self._send(rtp.Packet(self.codec, self._marker, self._sequence, self._timestamp, self._ssrc, payload))
            self._marker = False

    def forward(self, codec: int, payload: bytes) -> None:
        """Sends at once what another call heard: `relaying` says that there is no other source."""
        if not self.sending or self._queue:
            return
        if codec != self.codec:
            payload = encode(self.codec, decode(codec, payload))
        self._timestamp = (self._timestamp + max(len(payload), 1)) & 0xFFFFFFFF
        self._send(rtp.Packet(self.codec, self._marker, self._sequence, self._timestamp, self._ssrc, payload))
        self._marker = False

    def stats(self) -> rtp.Stats:
        found, expected = self._receiver, self._receiver.expected
        return rtp.Stats(
            sent=self._sent,
            received=found.received,
            expected=expected,
            lost=max(0, expected - found.received),
            jitter_ms=round(found.jitter * 1000 / RATE, 3),
            gap_ms=round(found.gap * 1000, 1),
            ssrc=found.ssrc,
            foreign=self._foreign,
            codec=NAMES[self.codec],
            dtmf=self.keys,
        )

    def samples(self, seconds: float = 0.5) -> Pcm:
        """The latest that was heard, two seconds at most."""
        latest = list(self._kept)[-max(1, int(seconds / TICK)) :]
        return np.concatenate([decode(*one) for one in latest]) if latest else np.zeros(0, np.int16)

    def hears(self, frequencies: Iterable[float], seconds: float = 0.5, threshold: float = PRESENT) -> list[float]:
        """Those of them that were in what was heard last."""
        return heard(self.samples(seconds), frequencies, threshold)

    async def packets(self, count: int, *, more: bool = True) -> int:
        """Waits until `count` packets (more than now; else in all) have come in; how many have."""
        wanted = count + (self._receiver.received if more else 0)
        while self._receiver.received < wanted:
            self._changed.clear()
            await self._changed.wait()
        return self._receiver.received

    def forget(self) -> None:
        """What was heard before is heard no more."""
        self._kept.clear()

    def _send_event(self, payload: bytes) -> None:
        if not payload:  # between keys
            self._event_at = 0
            return
        first = not self._event_at
        self._event_at = self._event_at or self._timestamp
        self._send(rtp.Packet(self.events, first, self._sequence, self._event_at, self._ssrc, payload))

    def _send(self, packet: rtp.Packet) -> None:
        if self._socket is None or self.remote is None:
            return
        self._sequence = (self._sequence + 1) & 0xFFFF
        try:
            self._socket.sendto(rtp.encode(packet), self.remote)
        except OSError as error:
            if error.errno not in (
                errno.ECONNREFUSED,
                errno.EAGAIN,
                errno.ENETUNREACH,
                errno.EHOSTUNREACH,
                errno.EPERM,
            ):
                raise
            return
        self._sent += 1

    def _read(self) -> None:
        while self._socket is not None:
            try:
                data, extra, _, sender = self._socket.recvmsg(2048, _STAMP_SPACE)
            except ConnectionRefusedError:
                continue
            except OSError:
                break
            packet = rtp.decode(data)
            if packet is not None:
                seconds, nanoseconds = _STAMP.unpack_from(extra[0][2]) if extra else (time.time(), 0)
                self._take(packet, (sender[0], sender[1]), seconds + nanoseconds / 1e9)
        self._changed.set()

    def _take(self, packet: rtp.Packet, sender: tuple[str, int], now: float) -> None:
        if self.remote is not None and sender != self.remote:
            if self._strict:
                self._foreign += 1
                return
            self.remote = sender
        self._receiver.take(packet, now)
        if self.events and packet.payload_type == self.events:
            key = self._telephone.take(packet)
            if key is not None:
                self.keys += key
                if self.keyed is not None:
                    self.keyed(key)
        elif packet.payload_type in (PCMU, PCMA):
            self._kept.append((packet.payload_type, packet.payload))
            if self.heard is not None and self.hearing:
                self.heard(packet.payload_type, packet.payload)


_next_port: dict[str, int] = {}


def bound(host: str, ports: tuple[int, int]) -> socket.socket:
    """A UDP socket on the next even port of `ports` that is free. Raises OSError."""
    first, last = ports[0] + ports[0] % 2, ports[1]
    count = max(1, (last - first) // 2)
    start = _next_port.get(host, secrets.randbelow(count))
    for step in range(count):
        at = (start + step) % count
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        try:
            sock.bind((host, first + 2 * at))
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        _next_port[host] = at + 1
        return sock
    raise OSError(errno.EADDRINUSE, f"no RTP port is free on {host} ({first}-{last})")
