"""RTP of the tests' own: two parties that send and count, and the SDPs that they show."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

PTIME_S = 0.02


def sdp(
    address: str, port: int, *, protocol: str = "RTP/AVP", payload: int = 8, codec: str = "PCMA/8000", more: str = ""
) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} {protocol} {payload}\r\na=rtpmap:{payload} {codec}\r\n{more}"
    )


def endpoint(text: object) -> tuple[str, int]:
    """Where an SDP wants its media."""
    found = str(text)
    address, port = re.search(r"c=IN IP4 (\S+)", found), re.search(r"m=\w+ (\d+)", found)
    assert address is not None, found
    assert port is not None, found
    return address[1], int(port[1])


def _same(data: bytes) -> bytes:
    return data


@dataclass
class Party:
    """Sends a packet every 20 ms to `to` from the moment it is set; counts what arrives, and the longest silence."""

    address: str
    port: int
    ssrc: int
    payload: int = 8
    octets: bytes = bytes([0xD5]) * 160
    out: Callable[[bytes], bytes] = _same
    taken: Callable[[bytes], bytes] = _same
    to: tuple[str, int] | None = None
    sent: int = 0
    got: int = 0
    broken: int = 0
    longest_s: float = 0.0
    payloads: set[int] = field(default_factory=set)
    last: bytes = b""
    _at: float = 0.0
    _task: asyncio.Task[None] | None = None
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((self.address, self.port))
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        self._task = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def again(self) -> None:
        """Count anew; the silence that goes on counts from now."""
        self.got, self.longest_s, self._at = 0, 0.0, time.monotonic()

    async def reached(self, goal: int) -> None:
        while self.got < goal:
            self._arrived.clear()
            await self._arrived.wait()

    def _read(self) -> None:
        try:
            data = self._socket.recv(2048)
        except OSError:
            return
        try:
            data = self.taken(data)
        except Exception:  # noqa: BLE001 - any failure to decrypt
            self.broken += 1
            return
        now = time.monotonic()
        self.longest_s = max(self.longest_s, now - self._at if self._at else 0.0)
        self._at = now
        self.got += 1
        self._arrived.set()
        self.last = data
        self.payloads.add(data[1] & 0x7F)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self.to is not None:
                head = struct.pack("!BBHII", 0x80, self.payload, self.sent & 0xFFFF, self.sent * 160, self.ssrc)
                try:
                    self._socket.sendto(self.out(head + self.octets), self.to)
                    self.sent += 1
                except OSError:
                    pass  # nobody answers ARP, while an address is on its way
            due += PTIME_S
            await asyncio.sleep(max(0.0, due - loop.time()))


async def heard(*parties: Party, packets: int = 25, timeout_s: float = 60.0) -> None:
    """Until each has got that many more."""
    goals = [(party, party.got + packets) for party in parties]
    async with asyncio.timeout(timeout_s):
        for party, goal in goals:
            await party.reached(goal)
