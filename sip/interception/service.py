"""The observation socket: one caller's process may connect, gives orders, and gets what they are about.

Who connects is known by SO_PEERCRED (unix(7)), which cannot be forged; anybody else, root too, is shut out without a
word. Orders live as long as their connection, or until a caller that comes back has not (`nf.interception.desk`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path
from typing import Final

from nf.clock import Clock
from nf.contracts.interception import Content, ContentForm, Direction, Loss, LossPlace, Order
from nf.contracts.json import JsonObject
from nf.interception.desk import Caller, Desk
from nf.interception.frames import read_order
from sip.interception.board import Addressed, Board, Party, Token
from sip.interception.content import Copier
from sip.interception.documents import InterceptionSection
from sip.interception.identities import IDENTITIES, matchable
from sip.interception.link import Link

MEDIA: Final = "media"
"""Name of the one point at which content is copied: wherever the call's relay is."""
TICK_S: Final = 0.1
_UCRED: Final = struct.Struct("@iII")


def peer_uid(sock: socket.socket) -> int:
    """Who was at the other end when it connected."""
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)


class Interception:
    """The process but for its socket: what is followed, and who is told."""

    def __init__(self, section: InterceptionSection, run_dir: Path, clock: Clock) -> None:
        self._clock = clock
        self.desk = Desk(self, clock)
        self._version, self._copies = 0, False
        self.board = Board()
        self.copier = Copier(section, self._copied, self._lost, clock)
        self.link = Link(self.board, run_dir, section.rpc_port, self._taken, clock)

    async def run(self) -> None:
        """For ever."""
        ticking = asyncio.create_task(self._tick())
        try:
            await self.link.run()
        finally:
            ticking.cancel()
            await self.copier.close()
            self.link.close()

    # What was observed

    def _taken(self, found: list[Addressed]) -> None:
        for token, told in found:
            self.desk.put(token[0], lambda caller, one=told: caller.outbox.put(one, one.at))  # type: ignore[misc]
        self._want()

    def _want(self) -> None:
        if self._version != self.board.version:
            self._version = self.board.version
            if self._copies or any(order.content for order in self.board.orders().values()):
                wanted = self.board.media()
                self._copies = bool(wanted)
                self.copier.want(wanted)
        while self.board.answered:
            self.copier.news(self.board.answered.pop())

    def _copied(self, party: Party, at_ns: int, direction: Direction, packet: bytes) -> None:
        order = self.board.orders().get(party.token)
        if order is None or order.over(at_ns / 1e9):
            return

        def put(caller: Caller) -> None:
            reference = party.token[1]
            number = caller.sequence.get(reference, 0)
            caller.sequence[reference] = number + 1
            content = Content(reference, at_ns, number, party.session, direction, ContentForm.RTP, packet)
            caller.outbox.put(content, self._clock.now())

        self.desk.put(party.token[0], put)

    def _lost(self, party: Party, place: LossPlace, copies: int | None) -> None:
        loss = Loss(party.token[1], place, self._clock.now(), copies=copies)
        self.desk.put(party.token[0], lambda caller: caller.outbox.put(loss, loss.at))

    # Who is told

    def hello(self) -> JsonObject:
        return {"point": "sip", "identities": [kind.value for kind in IDENTITIES], "copies": [MEDIA]}

    def orders_of(self, number: int) -> list[Order]:
        return [order for token, order in self.board.orders().items() if token[0] == number]

    async def answer(self, caller: Caller, request: JsonObject) -> JsonObject:
        await self.link.seen()
        match request.get("do"):
            case "activate":
                await self._activate(caller, request)
            case "deactivate":
                await self._deactivate(caller, str(request.get("reference")))
            case "copies-to":
                self.copier.receive(str(request.get("address")))
            case "settle":
                await self.link.settle()
            case "status":
                orders = len(self.orders_of(caller.number))
                return {"sources": {"proxy": self.link.up}, "copies": {MEDIA: self.link.up}, "orders": orders}
            case _:
                raise ValueError("no such request")
        return {}

    async def ended(self, number: int) -> None:
        await self._drop([token for token in self.board.orders() if token[0] == number])

    async def _drop(self, tokens: list[Token]) -> None:
        for token in tokens:
            self.board.deactivate(token)
        self._want()
        await self.link.sync()

    async def _tick(self) -> None:
        """For ever: orders end with their time, whoever is there or not."""
        while True:
            now = self._clock.now()
            if over := [token for token, order in self.board.orders().items() if order.over(now)]:
                await self._drop(over)
            await self.desk.tick()
            await self._clock.sleep(TICK_S)

    async def _activate(self, caller: Caller, request: JsonObject) -> None:
        order = read_order(request.get("order"))
        if order.identity.kind not in IDENTITIES or not matchable(order.identity):
            raise ValueError("the voice core knows its subscribers by SIP URI with user and host, or by tel URI")
        if order.content not in {"", MEDIA}:
            raise ValueError("content is not copied at a point of this name")
        since = self._clock.now()
        await self._deactivate(caller, order.reference)
        token = (caller.number, order.reference)
        self.board.activate(token, order, await self.link.keys(order.identity), since)
        await self.link.sync()
        await self.link.standing(token)
        self._want()

    async def _deactivate(self, caller: Caller, reference: str) -> None:
        self.board.deactivate((caller.number, reference))
        self._want()
        caller.outbox.forget(reference)
        caller.sequence.pop(reference, None)
        await self.link.sync()


async def listen(interception: Interception, path: Path, caller_uid: int) -> asyncio.Server:
    """The socket belongs to the caller, mode 0600. Raises OSError."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if peer_uid(writer.get_extra_info("socket")) == caller_uid:
            await interception.desk.serve(reader, writer)
        else:
            writer.close()

    return await asyncio.start_unix_server(accepted, sock=bound(path, caller_uid))


async def say_nothing(path: Path) -> asyncio.Server:
    """A socket of this process's own user, for whoever waits until it is there. Raises OSError."""
    return await asyncio.start_unix_server(lambda _, writer: writer.close(), sock=bound(path))


def bound(path: Path, owner: int | None = None) -> socket.socket:
    """In place of what an earlier life left, mode 0600; `owner`: a user id, None: this process's. Raises OSError."""
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
        if owner is not None and owner != os.geteuid():
            os.chown(path, owner, -1)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock
