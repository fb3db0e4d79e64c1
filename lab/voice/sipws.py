"""SIP as a page in a browser speaks it: over one WebSocket to a proxy (RFC 7118), behind which it has no address.

    async with WebSocketAgent("ws://10.0.0.1:8080", "alice", "voice.test", "secret") as agent:
        await agent.register()
        call = await agent.invite("bob", offer)

The transport is reliable: nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lab.voice.legs import Credentials, authorized
from lab.voice.message import Message, NameAddress, SipError, Uri, parse
from lab.voice.transactions import response_to

NAME: Final = "StreamVerse NF lab browser"
ANSWER_S: Final = 60.0
_ALLOW: Final = "INVITE, ACK, BYE, CANCEL, OPTIONS"
Headers = tuple[tuple[str, str], ...]


class RefusedError(Exception):
    """`status` and `reason` of the response."""

    def __init__(self, response: Message) -> None:
        super().__init__(f"{response.status} {response.reason}")
        self.status, self.reason = response.status, response.reason


class WebSocketCall:
    """A dialog. `offer`: what came with it, of one that came in; `answer`: what the other side said to ours; `reason`:
    the header of the BYE that ended it (RFC 3326)."""

    def __init__(self, agent: WebSocketAgent, call_id: str, local: NameAddress, remote: NameAddress) -> None:
        self._agent, self.call_id, self.local, self.remote = agent, call_id, local, remote
        self.target = remote.uri
        self.routes: list[str] = []
        self.invite: Message | None = None
        self.offer = self.answer = b""
        self.reason = ""
        self.ended = asyncio.Event()
        self._number = secrets.randbelow(10_000) + 1
        self._tag = local.tag

    def request(self, method: str, headers: Headers = (), body: bytes = b"", number: int | None = None) -> Message:
        if number is None:
            self._number += 1
            number = self._number
        made = Message(method=method, uri=str(self.target), body=body)
        made.headers = [("route", one) for one in self.routes]
        made.add(("max-forwards", "70"), ("from", str(self.local)), ("to", str(self.remote)), ("call-id", self.call_id))
        made.add(("cseq", f"{number} {method}"), *headers)
        return made

    async def established(self, response: Message) -> None:
        """A 2xx to ours: its ACK goes out."""
        self.remote = NameAddress.parse(response.get("to"))
        self.routes = response.all("record-route")[::-1]
        self.target = NameAddress.parse(response.get("contact")).uri
        self.answer = response.body
        await self._agent.send(self._agent.stamped(self.request("ACK", number=response.cseq[0])))

    async def accept(self, answer: bytes) -> None:
        """One that came in."""
        if self.invite is None:
            raise RuntimeError("it is ours")
        made = response_to(self.invite, 200, tag=self._tag, body=answer)
        made.add(("contact", self._agent.contact), ("allow", _ALLOW), ("content-type", "application/sdp"))
        await self._agent.send(made)

    async def refuse(self, status: int = 486) -> None:
        if self.invite is not None:
            await self._agent.send(response_to(self.invite, status, tag=self._tag))
        self.ended.set()

    async def hangup(self) -> None:
        """BYE, and its answer. Nothing where it is over."""
        if not self.ended.is_set():
            self.ended.set()
            await self._agent.ask(self.request("BYE"))


class WebSocketAgent:
    """proxy: `ws://HOST:PORT` or `wss://HOST:PORT`, whose certificate is not looked at: this is a lab."""

    def __init__(self, proxy: str, user: str, domain: str, password: str) -> None:
        self.identity = NameAddress(Uri(user, domain))
        self.incoming: asyncio.Queue[WebSocketCall] = asyncio.Queue()
        self._proxy, self._held = proxy, Credentials(user, password)
        self._host = f"{secrets.token_hex(6)}.invalid"
        self._calls: dict[str, WebSocketCall] = {}
        self._waiting: dict[str, asyncio.Queue[Message]] = {}
        self._connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def contact(self) -> str:
        return f"<sip:{self.identity.uri.user}@{self._host};transport=ws>"

    async def __aenter__(self) -> Self:
        """Raises OSError and websockets' errors."""
        trust = None
        if self._proxy.startswith("wss:"):
            trust = ssl.create_default_context()
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        subprotocol: Any = "sip"
        self._connection = await connect(
            self._proxy, subprotocols=[subprotocol], ssl=trust, proxy=None, compression=None
        )
        self._reader = asyncio.create_task(self._read(self._connection))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            await self._connection.close()
        if self._reader is not None:
            await self._reader

    # -- requests of ours -------------------------------------------------------------------------------------------

    def stamped(self, request: Message) -> Message:
        scheme = "WSS" if self._proxy.startswith("wss:") else "WS"
        via = f"SIP/2.0/{scheme} {self._host};branch=z9hG4bK{secrets.token_hex(8)};rport"
        request.headers.insert(0, ("via", via))
        request.set("user-agent", NAME)
        return request

    async def send(self, message: Message) -> None:
        if self._connection is None:
            raise RuntimeError("not open")
        await self._connection.send(message.encode(), text=True)

    async def _once(self, request: Message) -> Message:
        """The final response; for a refused INVITE the ACK is sent."""
        self.stamped(request)
        queue = self._waiting[request.branch] = asyncio.Queue()
        await self.send(request)
        async with asyncio.timeout(ANSWER_S):
            while (response := await queue.get()).status < 200:
                pass
        if request.method == "INVITE" and response.status >= 300:
            ack = Message(method="ACK", uri=request.uri)
            kept = ("via", "from", "call-id", "route", "max-forwards")
            ack.headers = [one for one in request.headers if one[0] in kept]
            ack.add(("to", response.get("to")), ("cseq", f"{request.cseq[0]} ACK"))
            await self.send(ack)
        return response

    async def ask(self, request: Message) -> Message:
        """The final response; a challenge is answered once."""
        response = await self._once(request)
        if response.status in (401, 407):
            header = "www-authenticate" if response.status == 401 else "proxy-authenticate"
            number, method = request.cseq
            request.remove("via")
            request.set("cseq", f"{number + 1} {method}")
            request.add(*authorized(response, header, method, request.uri, self._held))
            response = await self._once(request)
        return response

    async def register(self, expires: int = 600) -> None:
        """Raises RefusedError."""
        registrar = Uri("", self.identity.uri.host)
        call = self._call(NameAddress(self.identity.uri), registrar)
        request = call.request("REGISTER", (("contact", self.contact), ("expires", str(expires))))
        response = await self.ask(request)
        if response.status != 200:
            raise RefusedError(response)

    async def invite(self, target: str, offer: bytes) -> WebSocketCall:
        """Answered. `target`: a number, or user@domain. Raises RefusedError."""
        uri = Uri.parse(f"sip:{target}" if "@" in target else f"sip:{target}@{self.identity.uri.host}")
        call = self._call(NameAddress(uri), uri)
        self._calls[call.call_id] = call
        headers = (("contact", self.contact), ("allow", _ALLOW), ("content-type", "application/sdp"))
        request = call.request("INVITE", headers, offer)
        response = await self.ask(request)
        if response.status >= 300:
            call.ended.set()
            raise RefusedError(response)
        call._number = request.cseq[0]  # noqa: SLF001 - a challenge took a number
        await call.established(response)
        return call

    def _call(self, remote: NameAddress, target: Uri) -> WebSocketCall:
        local = NameAddress(self.identity.uri, "", {"tag": secrets.token_hex(6)})
        call = WebSocketCall(self, secrets.token_hex(12), local, remote)
        call.target = target
        return call

    # -- what comes -------------------------------------------------------------------------------------------------

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for data in connection:
                try:
                    message = parse(data if isinstance(data, bytes) else data.encode())
                except SipError:
                    continue
                await self._take(message)
        except ConnectionClosed:
            return
        finally:
            for call in self._calls.values():
                call.ended.set()

    async def _take(self, message: Message) -> None:
        if not message.method:
            queue = self._waiting.get(message.branch)
            if queue is not None:
                queue.put_nowait(message)
            return
        call = self._calls.get(message.get("call-id"))
        if message.method == "INVITE" and call is None:
            await self._rings(message)
        elif message.method == "BYE" and call is not None:
            call.reason = message.get("reason")
            await self.send(response_to(message, 200))
            call.ended.set()
        elif message.method == "OPTIONS":
            await self.send(response_to(message, 200, tag="" if call is not None else secrets.token_hex(6)))
        elif message.method == "CANCEL":
            await self.send(response_to(message, 200 if call is not None else 481))
            if call is not None:
                await call.refuse(487)
        elif message.method != "ACK":
            await self.send(response_to(message, 481 if call is None else 488))

    async def _rings(self, message: Message) -> None:
        to = NameAddress.parse(message.get("to"))
        local = NameAddress(to.uri, to.display, {"tag": secrets.token_hex(6)})
        call = WebSocketCall(self, message.get("call-id"), local, NameAddress.parse(message.get("from")))
        call.target = NameAddress.parse(message.get("contact")).uri
        call.routes = message.all("record-route")
        call.invite, call.offer = message, message.body
        self._calls[call.call_id] = call
        ringing = response_to(message, 180, tag=local.tag)
        ringing.add(("contact", self.contact))
        await self.send(ringing)
        self.incoming.put_nowait(call)
