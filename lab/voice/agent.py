"""A SIP user agent: takes and makes calls on one address and port. Phones and the model's profiles are made of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from lab.voice.legs import ALLOW, Credentials, Headers, Leg, authorized
from lab.voice.message import Message, NameAddress, SipError, Uri
from lab.voice.transactions import Layer, ServerTransaction
from lab.voice.transport import Peer


class Agent:
    """name: its User-Agent; user: in Contact.

    invited  called with each new call: it answers, refuses, or keeps it
    asked    called with each request outside of calls: true when it has responded. Else OPTIONS gets 200, the rest 405
    """

    def __init__(self, address: str, port: int, name: str, *, user: str = "", tcp: bool = True) -> None:
        self.layer = Layer(address, port, name, self._requested, self._stray, tcp=tcp)
        self.user = user
        self.invited: Callable[[Leg], None] | None = None
        self.asked: Callable[[ServerTransaction], bool] | None = None
        self.legs: dict[tuple[str, str], Leg] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def at(self) -> str:
        endpoint = self.layer.endpoint
        host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
        return f"{host}:{endpoint.port}"

    async def open(self) -> None:
        """Raises OSError."""
        await self.layer.endpoint.open()

    async def settle(self, seconds: float) -> None:
        """Waits that long at most until requests that are under way are answered."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.layer.close()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), SipError):
            asyncio.get_running_loop().call_exception_handler({"message": "task failed", "exception": task.exception()})

    def leg(self, local: NameAddress, target: Uri, *, via: Peer | None = None, held: Credentials | None = None) -> Leg:
        """For a call to `target`, by way of `via`."""
        tagged = NameAddress(local.uri, local.display, {"tag": secrets.token_hex(6)})
        made = Leg(self, f"{secrets.token_hex(12)}@{self.layer.endpoint.address}", tagged, NameAddress(target), target)
        made.next_hop, made.credentials = via, held
        self.legs[made.key] = made
        return made

    async def ask(self, request: Message, peer: Peer, held: Credentials | None = None) -> Message:
        """Outside of calls: the final response; a challenge is answered once."""
        response = await self._final(request, peer)
        if response.status in (401, 407) and held is not None:
            header = "www-authenticate" if response.status == 401 else "proxy-authenticate"
            number, method = request.cseq
            request.remove("via")
            request.set("cseq", f"{number + 1} {method}")
            request.add(*self.authorization(response, header, request, held))
            response = await self._final(request, peer)
        return response

    async def _final(self, request: Message, peer: Peer) -> Message:
        client = self.layer.request(request, peer)
        while (response := await client.responses.get()).status < 200:
            pass
        return response

    @staticmethod
    def authorization(challenge: Message, header: str, request: Message, held: Credentials | None) -> Headers:
        return authorized(challenge, header, request.method, request.uri, held) if held is not None else ()

    def forget(self, leg: Leg) -> None:
        self.legs.pop(leg.key, None)

    def _stray(self, response: Message) -> None:
        if 200 <= response.status < 300 and response.cseq[1] == "INVITE":
            leg = self.legs.get((response.get("call-id"), NameAddress.parse(response.get("from")).tag))
            if leg is not None:
                leg.acknowledge_again()

    def _requested(self, server: ServerTransaction) -> None:
        request = server.request
        to = NameAddress.parse(request.get("to"))
        if to.tag:
            leg = self.legs.get((request.get("call-id"), to.tag))
            if leg is not None:
                leg.received(server)
            elif request.method != "ACK":
                server.respond(481)
        elif request.method == "INVITE":
            self._invite(server)
        elif request.method != "ACK" and not (self.asked is not None and self.asked(server)):
            known = request.method == "OPTIONS"
            server.respond(200 if known else 405, "", (("allow", ALLOW), ("accept", "application/sdp")))

    def _invite(self, server: ServerTransaction) -> None:
        request = server.request
        try:
            remote = NameAddress.parse(request.get("from"))
            to = NameAddress.parse(request.get("to"))
            target = NameAddress.parse(request.get("contact")).uri
        except SipError as error:
            server.respond(400, f"Bad Request: {error}"[:120])
            return
        if request.get("require"):
            server.respond(420, "", (("unsupported", request.get("require")),))
            return
        server.respond(100)
        local = NameAddress(to.uri, to.display, {"tag": server.tag})
        leg = Leg(self, request.get("call-id"), local, remote, target)
        leg.take(server)
        self.legs[leg.key] = leg
        if self.invited is None:
            leg.refuse(480)
        else:
            self.invited(leg)
