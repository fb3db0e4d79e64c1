"""The observation socket: one caller's process may connect, gives orders, and gets what they are about.

Who connects is known by SO_PEERCRED (unix(7)), which cannot be forged; anybody else, root too, is shut out without a
word. Orders live as long as their connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from core5g.observation.copying import Copied, Copier
from core5g.observation.documents import ObservationSection
from core5g.observation.sessions import matchable
from core5g.observation.sources import POLL_S, AmfSource, N4Source, SmfSource, Source, by_name
from core5g.observation.tracker import Addressed, Token, Tracker, told_here
from core5g.sockets import bound
from nf.clock import Clock
from nf.contracts.interception import Content, IdentityKind, Loss, LossPlace
from nf.contracts.json import JsonObject
from nf.interception.frames import FrameError, Frames, Kind, encode_delivery, json_body, message, read_order
from nf.interception.outbox import Outbox

IDENTITIES: Final = (IdentityKind.GPSI, IdentityKind.PEI, IdentityKind.SUPI, IdentityKind.UE_ADDRESS)
TICK_S: Final = 0.1
_READ: Final = 1 << 16
_UCRED: Final = struct.Struct("@iII")


def peer_uid(sock: socket.socket) -> int:
    """Who was at the other end when it connected."""
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)


class _Caller:
    """A connection: its orders' copies are counted here, and what waits for it is in its outbox."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.outbox = Outbox()
        self.awake = asyncio.Event()
        self.sequence: dict[str, int] = {}
        self.answers: list[bytes] = []


class Observation:
    """The process but for its socket: what is followed, and who is told."""

    def __init__(self, section: ObservationSection, run_dir: Path, clock: Clock, poll_s: float = POLL_S) -> None:
        self._clock = clock
        self._callers: dict[int, _Caller] = {}
        self._numbers = itertools.count(1)
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
                await self._clock.sleep(TICK_S)
        finally:
            self.copier.close()

    # What was observed

    def _taken(self, events: list[Addressed]) -> None:
        self._want()
        for token, event in events:
            self._put(token, lambda caller, one=event: caller.outbox.put(one, one.at))  # type: ignore[misc]

    def _want(self) -> None:
        if self._version != self.tracker.version:
            self._version = self.tracker.version
            self.copier.want(self.tracker.wanted(self.copier.points))

    def _copied(self, copied: Copied) -> None:
        def put(caller: _Caller) -> None:
            reference = copied.token[1]
            number = caller.sequence.get(reference, 0)
            caller.sequence[reference] = number + 1
            content = Content(
                reference, copied.at_ns, number, copied.session, copied.direction, copied.form, copied.packet
            )
            caller.outbox.put(content, self._clock.now())

        self._put(copied.token, put)

    def _lost(self, point: str, place: LossPlace, copies: int | None) -> None:
        now = self._clock.now()
        for token, order in list(self.tracker.orders().items()):
            if order.content == point:
                loss = Loss(token[1], place, now, copies=copies)
                self._put(token, lambda caller, one=loss: caller.outbox.put(one, one.at))  # type: ignore[misc]

    def _put(self, token: Token, put: Callable[[_Caller], None]) -> None:
        caller = self._callers.get(token[0])
        if caller is not None:
            put(caller)
            caller.awake.set()

    # Who is told

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One caller, until it goes."""
        caller = _Caller(next(self._numbers))
        self._callers[caller.number] = caller
        hello: JsonObject = {
            "point": "core5g",
            "identities": [kind.value for kind in IDENTITIES],
            "copies": [*sorted(self.copier.points)],
        }
        writer.write(message(Kind.ANSWER, hello))
        sending = asyncio.create_task(self._send(caller, writer))
        try:
            frames = Frames()
            while data := await reader.read(_READ):
                for kind, body in frames.receive(data):
                    if kind is not Kind.REQUEST:
                        return
                    caller.answers.append(message(Kind.ANSWER, self._answer(caller, json_body(body))))
                    caller.awake.set()
        except (OSError, FrameError):
            return
        finally:
            sending.cancel()
            del self._callers[caller.number]
            for token in [token for token in self.tracker.orders() if token[0] == caller.number]:
                self.tracker.deactivate(token)
            self._taken([])
            writer.close()

    @staticmethod
    async def _send(caller: _Caller, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                await caller.awake.wait()
                caller.awake.clear()
                while True:
                    while caller.answers:
                        writer.write(caller.answers.pop(0))
                    delivery = caller.outbox.take()
                    if delivery is None:
                        break
                    writer.write(encode_delivery(delivery))
                    await writer.drain()

    def _answer(self, caller: _Caller, request: JsonObject) -> JsonObject:
        """Errors say what is wrong with the request's form, and repeat nothing of it."""
        answer: JsonObject = {"id": request.get("id")}
        try:
            match request.get("do"):
                case "activate":
                    self._activate(caller, request)
                case "deactivate":
                    self._deactivate(caller, str(request.get("reference")))
                case "status":
                    sources, copies = by_name(self.sources), self.copier.status()
                    orders = sum(token[0] == caller.number for token in self.tracker.orders())
                    answer |= {"sources": {**sources}, "copies": {**copies}, "orders": orders}
                case _:
                    answer["error"] = "no such request"
        except ValueError as error:
            answer["error"] = str(error)
        return answer

    def _activate(self, caller: _Caller, request: JsonObject) -> None:
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

    def _deactivate(self, caller: _Caller, reference: str) -> None:
        self.tracker.deactivate((caller.number, reference))
        self._want()
        caller.outbox.forget(reference)
        caller.sequence.pop(reference, None)


async def listen(observation: Observation, path: Path, caller_uid: int) -> asyncio.Server:
    """The socket belongs to the caller, mode 0600. Raises OSError."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if peer_uid(writer.get_extra_info("socket")) == caller_uid:
            await observation.serve(reader, writer)
        else:
            writer.close()

    return await asyncio.start_unix_server(accepted, sock=bound(path, caller_uid))


async def say_nothing(path: Path) -> asyncio.Server:
    """A socket of this process's own user, for whoever waits until it is there. Raises OSError."""
    return await asyncio.start_unix_server(lambda _, writer: writer.close(), sock=bound(path))
