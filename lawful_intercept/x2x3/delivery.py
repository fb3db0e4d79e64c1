"""One connection of a point to its MDF: what it sends, when it asks what is durable, and what an answer confirms."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lawful_intercept.spool import Reader, Spool, SpoolDamagedError
from lawful_intercept.x2x3.codec import HEADER_LIMIT, CodecError, Decoder, Pdu, PduType, keepalive

CONFIRM_OCTETS: Final = 1 << 18
"""After so many octets a keepalive asks what is durable,"""
CONFIRM_S: Final = 0.1
"""and after so long when fewer are sent."""
KINDS: Final = (PduType.X2, PduType.X3)
"""In the order in which they are sent."""
_PORTION: Final = 1 << 16  # octets of X3 that X2 may have to wait for
_U32: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds.

    keepalive  after which an idle connection is tried
    answer     for which an answer, a handshake or a write may take until the connection is given up
    again      the most that is waited between two connections
    sync       after which what was put is durable here
    """

    keepalive: float = 60.0
    answer: float = 30.0
    again: float = 10.0
    sync: float = 0.25


class EndedError(Exception):
    """The connection is of no use any more."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What a connection needs of its client: `arrived` is set when something was put; see `Client` for the others."""

    spools: Mapping[PduType, Spool]
    timing: Timing
    answers: bool
    arrived: asyncio.Event
    sequence: Callable[[], int]
    confirmed: Callable[[Mapping[PduType, int]], None]
    lost: Callable[[PduType, int], None]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A keepalive that is not answered. `sent`: by kind, the number behind the last PDU that was sent before it."""

    sequence: int
    at: float
    sent: Mapping[PduType, int]


class Delivery:
    """It begins with the first PDU that is not confirmed."""

    def __init__(self, owner: Owner, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._owner, self._in, self._out = owner, reader, writer
        self._now = asyncio.get_running_loop().time
        self._readers: dict[PduType, Reader] = {kind: owner.spools[kind].reader() for kind in KINDS}
        self._sent: dict[PduType, int] = {}
        self._octets = 0  # since the last keepalive
        self._ask_at = self._now()
        self._asked: deque[_Asked] = deque()

    async def run(self) -> None:
        """Raises EndedError, OSError, TimeoutError, StorageError; never returns."""
        try:
            await first_of(self._send(), self._receive())
        finally:
            for reader in self._readers.values():
                reader.close()

    async def _send(self) -> None:
        owner = self._owner
        while True:
            owner.arrived.clear()
            portion = self._portion()
            if portion is not None:
                kind, octets = portion
                if not self._octets:
                    self._ask_at = min(self._ask_at, self._now() + CONFIRM_S)
                self._octets += len(octets)
                await self._write(octets)
                self._sent[kind] = self._readers[kind].next
                if not owner.answers:
                    owner.confirmed(self._sent)
            now = self._now()
            if self._octets >= CONFIRM_OCTETS or now >= self._ask_at:
                await self._ask(now)
            elif portion is None:
                await self._wait(now)
            if self._asked and owner.answers and self._now() > self._asked[0].at + owner.timing.answer:
                raise EndedError

    def _portion(self) -> tuple[PduType, bytes] | None:
        for kind, reader in self._readers.items():
            try:
                octets = reader.take_joined(_PORTION)
            except SpoolDamagedError:
                self._owner.lost(kind, len(reader.skip()))
                return kind, b""
            if octets is not None:
                return kind, octets
        return None

    async def _write(self, octets: bytes) -> None:
        self._out.write(octets)
        async with asyncio.timeout(self._owner.timing.answer):
            await self._out.drain()

    async def _ask(self, now: float) -> None:
        sequence = self._owner.sequence()
        self._asked.append(_Asked(sequence, now, dict(self._sent)))
        self._octets = 0
        self._ask_at = now + self._owner.timing.keepalive
        if not self._owner.answers:
            self._asked.clear()
        await self._write(keepalive(sequence))

    async def _wait(self, now: float) -> None:
        """Until something was put, or a keepalive is due, or an answer is overdue."""
        until = self._ask_at
        if self._asked:
            until = min(until, self._asked[0].at + self._owner.timing.answer)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - now)):
                await self._owner.arrived.wait()

    async def _receive(self) -> None:
        decoder = Decoder((HEADER_LIMIT, 0))
        while octets := await self._in.read(1 << 16):
            try:
                pdus = decoder.feed(octets)
            except CodecError as error:
                raise EndedError from error
            for pdu in pdus:
                await self._heard(pdu)
        raise EndedError

    async def _heard(self, pdu: Pdu) -> None:
        sequence = pdu.sequence
        if pdu.kind is PduType.KEEPALIVE_ACK:
            if any(asked.sequence == sequence for asked in self._asked):
                while (asked := self._asked.popleft()).sequence != sequence:
                    pass
                self._owner.confirmed(asked.sent)
        elif pdu.kind is not PduType.KEEPALIVE:
            raise EndedError
        elif sequence is not None:
            await self._write(keepalive(sequence, PduType.KEEPALIVE_ACK))


async def first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Until the first of them ends, then none of them runs any more. Raises what it raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
