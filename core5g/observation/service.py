"""The observation socket: one caller's process may connect, gives orders, and gets what they are about.

Who connects is known by SO_PEERCRED (unix(7)), which cannot be forged; anybody else, root too, is shut out without a
word. Orders live as long as their connection, or until a caller that comes back has not (`nf.interception.desk`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Final

from core5g.observation.copying import Copied, Copier
from core5g.observation.documents import ObservationSection
from core5g.observation.sessions import matchable
from core5g.observation.sources import POLL_S, AmfSource, N4Source, SmfSource, Source, by_name
from core5g.observation.tracker import Addressed, Token, Tracker, told_here
from core5g.sockets import bound
from nf.clock import Clock
from nf.contracts.interception import Content, IdentityKind, Loss, LossPlace, Order
from nf.contracts.json import JsonObject
from nf.interception.desk import Caller, Desk
from nf.interception.frames import read_order

IDENTITIES: Final = (IdentityKind.GPSI, IdentityKind.PEI, IdentityKind.SUPI, IdentityKind.UE_ADDRESS)
TICK_S: Final = 0.1
_UCRED: Final = struct.Struct("@iII")


def peer_uid(sock: socket.socket) -> int:
    """Who was at the other end when it connected."""
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)


class Observation:
    """The process but for its socket: what is followed, and who is told."""

    def __init__(self, section: ObservationSection, run_dir: Path, clock: Clock, poll_s: float = POLL_S) -> None:
        self._clock = clock
        self.desk = Desk(self, clock)
        self._version = 0
        self.tracker = Tracker(told_here(section.anchors, section.elsewhere))
        self.copier = Copier(section, self._copied, self._lost)
        followed: list[Source] = []
        if section.n4:
            path = run_dir / "pfcp-proxy" / "events.sock"
            followed.append(N4Source(path, self.tracker, self._taken, clock))
        followed += [SmfSource(api, self.tracker, self._taken, clock, poll_s) for api in section.smfs]
        followed += [AmfSource(api, self.tracker, self._taken, clock, poll_s) for api in section.amfs]
        self.sources = tuple(followed)

    async def run(self) -> None:
        """For ever. Raises OSError when packets cannot be copied at all."""
        await asyncio.gather(self._tick(), *(source.run() for source in self.sources))

    async def _tick(self) -> None:
        try:
            while True:
                self.copier.tick()
                now = self._clock.now()
                if over := [token for token, order in self.tracker.orders().items() if order.over(now)]:
                    self._drop(over)
                await self.desk.tick()
                await self._clock.sleep(TICK_S)
        finally:
            self.copier.close()

    # What was observed

    def _taken(self, events: list[Addressed]) -> None:
        self._want()
        orders = self.tracker.orders()
        for token, event in events:
            if token not in orders or orders[token].over(event.at):
                continue
            self.desk.put(token[0], lambda caller, one=event: caller.outbox.put(one, one.at))  # type: ignore[misc]

    def _want(self) -> None:
        if self._version != self.tracker.version:
            self._version = self.tracker.version
            self.copier.want(self.tracker.wanted(self.copier.points))

    def _copied(self, copied: Copied) -> None:
        order = self.tracker.orders().get(copied.token)
        if order is None or order.over(copied.at_ns / 1e9):
            return

        def put(caller: Caller) -> None:
            reference = copied.token[1]
            number = caller.sequence.get(reference, 0)
            caller.sequence[reference] = number + 1
            content = Content(
                reference, copied.at_ns, number, copied.session, copied.direction, copied.form, copied.packet
            )
            caller.outbox.put(content, self._clock.now())

        self.desk.put(copied.token[0], put)

    def _lost(self, point: str, place: LossPlace, copies: int | None) -> None:
        now = self._clock.now()
        for token, order in list(self.tracker.orders().items()):
            if order.content == point:
                loss = Loss(token[1], place, now, copies=copies)
                self.desk.put(token[0], lambda caller, one=loss: caller.outbox.put(one, one.at))  # type: ignore[misc]

    # Who is told

    def hello(self) -> JsonObject:
        kinds = [kind.value for kind in IDENTITIES]
        return {"point": "core5g", "identities": kinds, "copies": [*sorted(self.copier.points)]}

    def orders_of(self, number: int) -> list[Order]:
        return [order for token, order in self.tracker.orders().items() if token[0] == number]

    async def answer(self, caller: Caller, request: JsonObject) -> JsonObject:
        match request.get("do"):
            case "activate":
                self._activate(caller, request)
            case "deactivate":
                self._deactivate(caller, str(request.get("reference")))
            case "copies-to":
                pass  # packets are copied where they pass, and that is here
            case "settle":
                pass  # sources tell again what stands; nothing waits for a process that was killed
            case "status":
                sources, copies = by_name(self.sources), self.copier.status()
                orders = len(self.orders_of(caller.number))
                return {"sources": {**sources}, "copies": {**copies}, "orders": orders}
            case _:
                raise ValueError("no such request")
        return {}

    async def ended(self, number: int) -> None:
        self._drop([token for token in self.tracker.orders() if token[0] == number])

    def _drop(self, tokens: list[Token]) -> None:
        for token in tokens:
            self.tracker.deactivate(token)
        self._taken([])

    def _activate(self, caller: Caller, request: JsonObject) -> None:
        order = read_order(request.get("order"))
        if order.identity.kind not in IDENTITIES or not matchable(order.identity):
            raise ValueError(
                "the 5G core knows its subscribers by SUPI, GPSI or PEI as TS 29.571 writes them, and sessions by an "
                "address of one UE"
            )
        if order.content and order.content not in self.copier.points:
            raise ValueError("content is not copied at a point of this name")
        self._deactivate(caller, order.reference)
        self._taken(self.tracker.activate((caller.number, order.reference), order, self._clock.now()))

    def _deactivate(self, caller: Caller, reference: str) -> None:
        self.tracker.deactivate((caller.number, reference))
        self._want()
        caller.outbox.forget(reference)
        caller.sequence.pop(reference, None)


async def listen(observation: Observation, path: Path, caller_uid: int) -> asyncio.Server:
    """The socket belongs to the caller, mode 0600. Raises OSError."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if peer_uid(writer.get_extra_info("socket")) == caller_uid:
            await observation.desk.serve(reader, writer)
        else:
            writer.close()

    return await asyncio.start_unix_server(accepted, sock=bound(path, caller_uid))


async def say_nothing(path: Path) -> asyncio.Server:
    """A socket of this process's own user, for whoever waits until it is there. Raises OSError."""
    return await asyncio.start_unix_server(lambda _, writer: writer.close(), sock=bound(path))
