"""Transactions: RFC 3261 section 17, with RFC 6026 in short: a 2xx is repeated until its ACK."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from lab.voice.message import Message, NameAddress, parameters, reason_of
from lab.voice.transport import Endpoint, Peer, reply_peer

T1 = 0.5
T2 = 4.0
LIFE = 64 * T1
"""Seconds: timers B, F, H, J."""

Responses = asyncio.Queue[Message]


def response_to(request: Message, status: int, reason: str = "", *, tag: str = "", body: bytes = b"") -> Message:
    made = Message(status=status, reason=reason or reason_of(status), body=body)
    for name, value in request.headers:
        if name in ("via", "record-route", "from", "to", "call-id", "cseq"):
            if name == "record-route" and not (request.method == "INVITE" and 100 < status < 300):
                continue
            tagged = name == "to" and tag and not NameAddress.parse(value).tag
            made.headers.append((name, f"{value};tag={tag}" if tagged else value))
    return made


class ClientTransaction:
    """A request of ours: `responses` has every provisional one and the final one; 408 is made when none comes."""

    def __init__(self, layer: Layer, request: Message, peer: Peer) -> None:
        self.request, self.peer = request, peer
        self.responses: Responses = asyncio.Queue()
        self.final: Message | None = None
        self._layer = layer
        self._loop = asyncio.get_running_loop()
        self._wait = T1
        self._repeating: asyncio.TimerHandle | None = None
        self._ending = self._loop.call_later(LIFE, self._expire)
        layer.endpoint.send(request, peer)
        if peer.transport == "udp":
            self._repeating = self._loop.call_later(T1, self._repeat)

    def received(self, response: Message) -> None:
        if response.status < 200:
            if self.request.method == "INVITE":  # nobody knows how long it rings
                self._stop()
                self._ending.cancel()
            else:
                self._wait = T2
            if self.final is None:
                self.responses.put_nowait(response)
            return
        if self.request.method == "INVITE" and response.status >= 300:
            self._acknowledge(response)
        if self.final is None:
            self.final = response
            self._stop()
            self._ending.cancel()
            self._ending = self._loop.call_later(LIFE if self.peer.transport == "udp" else 5, self._layer.forget, self)
            self.responses.put_nowait(response)

    def end(self) -> None:
        self._stop()
        self._ending.cancel()

    def _stop(self) -> None:
        if self._repeating is not None:
            self._repeating.cancel()
            self._repeating = None

    def _repeat(self) -> None:
        self._layer.endpoint.send(self.request, self.peer)
        self._wait = self._wait * 2 if self.request.method == "INVITE" else min(self._wait * 2, T2)
        self._repeating = self._loop.call_later(self._wait, self._repeat)

    def _expire(self) -> None:
        self._stop()
        self._layer.forget(self)
        if self.final is None:
            self.final = response_to(self.request, 408, tag="none")
            self.responses.put_nowait(self.final)

    def _acknowledge(self, response: Message) -> None:
        ack = Message(method="ACK", uri=self.request.uri)
        ack.headers = [one for one in self.request.headers if one[0] in ("route", "from", "call-id", "max-forwards")]
        ack.headers[:0] = [("via", self.request.get("via"))]
        ack.add(("to", response.get("to")), ("cseq", f"{self.request.cseq[0]} ACK"))
        self._layer.endpoint.send(ack, self.peer)


class ServerTransaction:
    """A request that came in. `respond` once with a final response; `cancelled` is called when CANCEL comes before."""

    def __init__(self, layer: Layer, request: Message, peer: Peer) -> None:
        self.request, self.peer = request, peer
        self.tag = secrets.token_hex(6)
        self.status = 0
        self.cancelled: Callable[[], None] | None = None
        self.unacknowledged: Callable[[], None] | None = None
        self._layer = layer
        self._loop = asyncio.get_running_loop()
        self._last: Message | None = None
        self._wait = T1
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None

    def respond(
        self, status: int, reason: str = "", headers: tuple[tuple[str, str], ...] = (), body: bytes = b""
    ) -> Message | None:
        """The response as it was sent; None when a final one was sent before."""
        if self.status >= 200:
            return None
        self.status = status
        made = response_to(self.request, status, reason, tag=self.tag if status > 100 else "", body=body)
        made.add(*headers)
        made.set("user-agent", self._layer.name)
        self._last = made
        self._send()
        if status >= 200:
            self._ending = self._loop.call_later(LIFE, self._expire)
            if self.request.method == "INVITE" and (self.peer.transport == "udp" or status < 300):
                self._timer = self._loop.call_later(T1, self._repeat)
        return made

    def again(self) -> None:
        """The request came once more."""
        if self._last is not None:
            self._send()

    def acknowledged(self) -> None:
        self._cancel_timer()

    def end(self) -> None:
        self._cancel_timer()
        if self._ending is not None:
            self._ending.cancel()

    def _send(self) -> None:
        if self._last is not None:
            self._layer.endpoint.send(self._last, reply_peer(self.request, self.peer))

    def _repeat(self) -> None:
        self._send()
        self._wait = min(self._wait * 2, T2)
        self._timer = self._loop.call_later(self._wait, self._repeat)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        waited = self._timer is not None
        self._cancel_timer()
        self._layer.forget(self)
        if waited and self.unacknowledged is not None:
            self.unacknowledged()


class Layer:
    """All transactions of one endpoint. `requested` gets each new request once, and every ACK of a 2xx.

    `stray` gets responses that belong to no transaction: a 2xx that is repeated. name: told in User-Agent.
    """

    def __init__(
        self,
        address: str,
        port: int,
        name: str,
        requested: Callable[[ServerTransaction], None],
        stray: Callable[[Message], None],
        *,
        tcp: bool = True,
    ) -> None:
        self.endpoint = Endpoint(address, port, self._received, tcp=tcp)
        self.name = name
        self._requested, self._stray = requested, stray
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self._servers: dict[tuple[str, str], ServerTransaction] = {}

    def request(self, message: Message, peer: Peer) -> ClientTransaction:
        """Sends it, with a Via of ours."""
        self.stamp(message, peer)
        made = ClientTransaction(self, message, peer)
        self._clients[message.branch, message.method] = made
        return made

    def stamp(self, message: Message, peer: Peer, branch: str = "") -> None:
        at = f"{self.endpoint.address}:{self.endpoint.port}"
        branch = branch or f"z9hG4bK{secrets.token_hex(8)}"
        message.headers[:0] = [("via", f"SIP/2.0/{peer.transport.upper()} {at};rport;branch={branch}")]
        message.set("user-agent", self.name)

    def cancel(self, invite: ClientTransaction) -> None:
        """RFC 3261 section 9.1."""
        request = invite.request
        made = Message(method="CANCEL", uri=request.uri)
        made.headers = [one for one in request.headers if one[0] in ("route", "from", "to", "call-id", "max-forwards")]
        made.headers[:0] = [("via", request.get("via"))]
        made.add(("cseq", f"{request.cseq[0]} CANCEL"))
        self._clients[made.branch, "CANCEL"] = ClientTransaction(self, made, invite.peer)

    def forget(self, transaction: ClientTransaction | ServerTransaction) -> None:
        request = transaction.request
        if isinstance(transaction, ClientTransaction):
            self._clients.pop((request.branch, request.method), None)
        else:
            self._servers.pop(_server_key(request), None)

    async def close(self) -> None:
        for client in self._clients.values():
            client.end()
        for server in self._servers.values():
            server.end()
        self._clients.clear()
        self._servers.clear()
        await self.endpoint.close()

    def _received(self, message: Message, peer: Peer) -> None:
        if message.status:
            client = self._clients.get((message.branch, message.cseq[1]))
            if client is not None and not (client.final is not None and 200 <= message.status < 300):
                client.received(message)
            else:
                self._stray(message)
            return
        known = self._servers.get(_server_key(message))
        if message.method == "ACK":
            if known is not None and known.status >= 300:
                known.acknowledged()
                return
            self._requested(ServerTransaction(self, message, peer))
        elif known is not None:
            known.again()
        else:
            made = ServerTransaction(self, message, peer)
            self._servers[_server_key(message)] = made
            self._cancel(made) if message.method == "CANCEL" else self._requested(made)

    def _cancel(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        branch, sent_by = _server_key(request)[0], request.get("via").partition(";")[0]
        invite = self._servers.get((branch, f"INVITE {sent_by}"))
        transaction.respond(200 if invite is not None else 481)
        if invite is not None and invite.status < 200 and invite.cancelled is not None:
            invite.cancelled()


def _server_key(request: Message) -> tuple[str, str]:
    via = request.get("via")
    sent_by, _, params = via.partition(";")
    method = "INVITE" if request.method == "ACK" else request.method
    return parameters(params).get("branch", ""), f"{method} {sent_by}"
