"""Load for the tests of a proxy: callers side by side, a flood, and media that is counted. Each has a thread."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from tests.sip.kamailio.daemon import until
from tests.sip.kamailio.phones import Call, Endpoint, Message

PTIME_S: Final = 0.02
HEAD: Final = 12


@dataclass(frozen=True)
class Placed:
    """A call, when it was begun (monotonic), and after how many seconds its final answer was there."""

    call: Call
    at: float
    took_s: float


class Callers:
    """Endpoints from ADDRESS:FIRST on, each of which calls `uri` every `every_s`, from when this is entered to when it
    is left. What is answered is in `placed`, and is not ended; a call that got no final answer is in `hung`.
    """

    def __init__(  # noqa: PLR0917
        self, address: str, first: int, count: int, caller: str, uri: str, password: str | None, every_s: float
    ) -> None:
        self.placed: list[Placed] = []
        self.hung: list[str] = []
        self._phones = [Endpoint(address, first + number) for number in range(count)]
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(phone, caller, uri, password, every_s, number * every_s / count))
            for number, phone in enumerate(self._phones)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for phone in self._phones:
            phone.close()

    def stop(self) -> None:
        """No more calls; those that wait for their answer are waited for."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(  # noqa: PLR0917
        self, phone: Endpoint, caller: str, uri: str, password: str | None, every_s: float, first_s: float
    ) -> None:
        due = time.monotonic() + first_s
        while not self._over.wait(max(0.0, due - time.monotonic())):
            at = time.monotonic()
            try:
                self.placed.append(Placed(phone.invite(caller, uri, password), at, time.monotonic() - at))
            except AssertionError as error:
                self.hung.append(str(error))
            due = max(due + every_s, time.monotonic())


class _Sender:
    """A UDP socket and a thread that runs `_run` from when this is entered to when it is left."""

    def __init__(self, address: str, port: int) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((address, port))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._sock.close()


class Flood(_Sender):
    """Sends `text(number)` so many times a second from ADDRESS:PORT, from when this is entered to when it is left."""

    def __init__(self, address: str, port: int, text: Callable[[int], str], per_s: int) -> None:
        self.sent, self.answers = 0, 0
        self._text, self._per_s = text, per_s
        super().__init__(address, port)
        self._sock.setblocking(False)

    def _run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(0.01):
            due = int((time.monotonic() - began) * self._per_s)
            for number in range(self.sent, due):
                with suppress(BlockingIOError):
                    self._sock.sendto(self._text(number).encode(), ("127.0.0.1", 5060))
            self.sent = max(self.sent, due)
            with suppress(BlockingIOError):
                while self._sock.recv(65_535):
                    self.answers += 1


class Media(_Sender):
    """The voice of an endpoint: RTP to `to` every 20 ms, once that is set; what comes is counted.

    payload: type of what it sends (RFC 3551); `payloads`: of what came. `lost`: packets that are missing between those.
    """

    def __init__(self, phone: Endpoint, payload: int = 0) -> None:
        self.payload = payload
        self.payloads: set[int] = set()
        self.to: tuple[str, int] | None = None
        self.sent, self.got, self.lost = 0, 0, 0
        self._last = -1
        self._ssrc = phone.media_port
        super().__init__(phone.address, phone.media_port)

    def send_to(self, message: Message) -> None:
        """Where its SDP wants media."""
        address, port = re.search(r"c=IN IP4 (\S+)", message.body), re.search(r"m=audio (\d+)", message.body)
        assert address
        assert port
        self.to = address[1], int(port[1])

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            now = time.monotonic()
            if now >= due:
                due += PTIME_S
                if self.to is not None:
                    head = struct.pack("!BBHII", 0x80, self.payload, self.sent & 0xFFFF, self.sent * 160, self._ssrc)
                    self._sock.sendto(head + bytes(160), self.to)
                    self.sent += 1
                continue
            self._sock.settimeout(due - now)
            with suppress(TimeoutError):
                self._take(self._sock.recv(2048))

    def _take(self, data: bytes) -> None:
        if len(data) < HEAD:
            return
        number = int.from_bytes(data[2:4])
        self.lost += (number - self._last - 1) & 0xFFFF if self._last >= 0 else 0
        self._last = number
        self.payloads.add(data[1] & 0x7F)
        self.got += 1


def heard(*parties: Media, packets: int = 25) -> None:
    """Waits until each has got that many more."""
    goals = [(party, party.got + packets) for party in parties]
    until(lambda: all(party.got >= goal for party, goal in goals), what="no media comes")
