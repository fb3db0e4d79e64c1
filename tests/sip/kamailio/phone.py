"""A telephone of the tests: registers with digest, calls without media, answers and hangs up. RFC 3261 by hand."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from typing import Any

from tests.sip.kamailio.proxy import DOMAIN, PASSWORD

LIMIT_S = 20.0


class Message:
    def __init__(self, data: bytes) -> None:
        head = data.decode(errors="replace").split("\r\n\r\n", 1)[0].split("\r\n")
        self.first = head[0]
        self.fields = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in head[1:])]

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found.lower() == name.lower()]

    def one(self, name: str) -> str:
        return self.all(name)[0]

    @property
    def code(self) -> int:
        return int(self.first.split(" ")[1]) if self.first.startswith("SIP/2.0") else 0

    @property
    def method(self) -> str:
        return "" if self.code else self.first.split(" ")[0]


class Phone(asyncio.DatagramProtocol):
    """`proxy`: where it sends everything. Calls that come in are answered at once, or ring until `answer` (`holds`)."""

    def __init__(self, user: str, address: str, port: int, proxy: str) -> None:
        self.user, self.address, self.port, self.proxy = user, address, port, proxy
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.requests: list[str] = []
        self.seen: asyncio.Event = asyncio.Event()
        self.holds = False
        self.held: tuple[Message, tuple[Any, ...]] | None = None
        self.call_id, self.tag = f"{secrets.token_hex(8)}@{address}", secrets.token_hex(4)
        self.routes: list[str] = []
        self.target, self.remote, self.number = "", "", 1
        self.transport: Any = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.address, self.port))

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        message = Message(data)
        if message.code:
            self.heard.put_nowait(message)
            return
        self.requests.append(message.method)
        self.seen.set()
        if message.method == "ACK":
            return
        if message.method == "INVITE" and self.holds:
            self.held = message, addr
            self._reply(message, addr, "180 Ringing")
            return
        self._reply(message, addr, "200 OK")

    async def answer(self) -> None:
        """The call that is held."""
        assert self.held is not None
        self._reply(*self.held, "200 OK")

    def _reply(self, message: Message, addr: tuple[Any, ...], status: str) -> None:
        to = message.one("To")
        lines = [f"SIP/2.0 {status}", *(f"Via: {one}" for one in message.all("Via"))]
        lines += [f"Record-Route: {one}" for one in message.all("Record-Route")]
        lines += [f"From: {message.one('From')}", f"To: {to}" + ("" if ";tag=" in to else f";tag={self.tag}")]
        lines += [f"Call-ID: {message.one('Call-ID')}", f"CSeq: {message.one('CSeq')}", self._contact()]
        self._send(lines, addr)

    def _contact(self) -> str:
        return f"Contact: <sip:{self.user}@{self.address}:{self.port}>"

    def _send(self, lines: list[str], where: tuple[Any, ...]) -> None:
        self.transport.sendto(("\r\n".join([*lines, "Content-Length: 0", "", ""])).encode(), where)

    async def _ask(self, method: str, uri: str, to: str, extra: list[str], *, again: bool = True) -> Message:
        self.number += 1
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.address}:{self.port};rport;branch=z9hG4bK{secrets.token_hex(8)}",
            "Max-Forwards: 70",
            f"From: <sip:{self.user}@{DOMAIN}>;tag={self.tag}",
            f"To: {to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.number} {method}",
            self._contact(),
            *extra,
        ]
        self._send(lines, (self.proxy, 5060))
        async with asyncio.timeout(LIMIT_S):
            while (found := await self.heard.get()).code < 200 or method not in found.one("CSeq"):
                pass
        if found.code in {401, 407} and again:
            if method == "INVITE":
                self._ack(found, uri, lines[1])
            name = "WWW-Authenticate" if found.code == 401 else "Proxy-Authenticate"
            reply = "Authorization" if found.code == 401 else "Proxy-Authorization"
            return await self._ask(
                method, uri, to, [*extra, f"{reply}: {self._digest(found.one(name), method, uri)}"], again=False
            )
        if method == "INVITE" and found.code >= 300:
            self._ack(found, uri, lines[1])
        return found

    def _ack(self, found: Message, uri: str, via: str) -> None:
        number = found.one("CSeq").split()[0]
        lines = [f"ACK {uri} SIP/2.0", via, f"From: {found.one('From')}", f"To: {found.one('To')}"]
        lines += [f"Call-ID: {self.call_id}", f"CSeq: {number} ACK", "Max-Forwards: 70"]
        self._send(lines, (self.proxy, 5060))

    def _digest(self, challenge: str, method: str, uri: str) -> str:
        nonce = re.search(r'nonce="([^"]+)"', challenge)
        assert nonce is not None

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - RFC 2617

        once, own = secrets.token_hex(4), md5(f"{self.user}:{DOMAIN}:{PASSWORD}")
        qop = 'qop="auth"' in challenge
        middle = f"{nonce[1]}:00000001:{once}:auth" if qop else nonce[1]
        answer = md5(f"{own}:{middle}:{md5(f'{method}:{uri}')}")
        text = f'Digest username="{self.user}", realm="{DOMAIN}", nonce="{nonce[1]}", uri="{uri}", response="{answer}"'
        return text + (f', qop=auth, nc=00000001, cnonce="{once}"' if qop else "")

    async def register(self) -> int:
        found = await self._ask("REGISTER", f"sip:{DOMAIN}", f"<sip:{self.user}@{DOMAIN}>", ["Expires: 600"])
        self.call_id = f"{secrets.token_hex(8)}@{self.address}"
        return found.code

    async def invite(self, user: str) -> int:
        """The call is up when it is 200."""
        found = await self._ask("INVITE", f"sip:{user}@{DOMAIN}", f"<sip:{user}@{DOMAIN}>", [])
        if found.code == 200:
            self.remote = found.one("To")
            self.target = found.one("Contact").strip("<>").partition(">")[0]
            self.routes = [f"Route: {one}" for one in reversed(found.all("Record-Route"))]
            number = found.one("CSeq").split()[0]
            via = f"Via: SIP/2.0/UDP {self.address}:{self.port};rport;branch=z9hG4bK{secrets.token_hex(8)}"
            lines = [f"ACK {self.target} SIP/2.0", via, *self.routes, f"From: {found.one('From')}"]
            lines += [f"To: {self.remote}", f"Call-ID: {self.call_id}", f"CSeq: {number} ACK", "Max-Forwards: 70"]
            self._send(lines, (self.proxy, 5060))
        return found.code

    async def within(self, method: str, routes: list[str] | None = None) -> int:
        """A request of the call that is up."""
        found = await self._ask(method, self.target, self.remote, self.routes if routes is None else routes)
        return found.code

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()
