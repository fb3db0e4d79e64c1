"""One side of a call: an INVITE dialog (RFC 3261 sections 12 to 15), with REFER (RFC 3515) and NOTIFY in it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.voice import digest
from lab.voice.message import Message, NameAddress, SipError, Uri
from lab.voice.transactions import ClientTransaction, ServerTransaction
from lab.voice.transport import Peer, resolve

if TYPE_CHECKING:
    from lab.voice.agent import Agent

Headers = tuple[tuple[str, str], ...]
SDP = "application/sdp"
ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REFER, NOTIFY"


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Over:
    """How a call ended: by whom (`local`: by us), by which status or request, and the header Reason."""

    local: bool
    status: int
    method: str = ""
    reason: str = ""


class Leg:
    """state: new (nothing was sent or answered), early, up, over.

    What is called when the other side does something; all may stay as they are:
    over      the call ended
    offered   it sent a new offer in the call (hold, move of media): gives the answer's body; SdpError refuses it (488)
    described its answer to a re-INVITE without a body, in ACK
    referred  it asks for a transfer: true accepts (202)
    told      INFO and NOTIFY
    """

    def __init__(self, agent: Agent, call_id: str, local: NameAddress, remote: NameAddress, target: Uri) -> None:
        self.agent, self.call_id = agent, call_id
        self.local, self.remote, self.target = local, remote, target
        self.routes: list[str] = []
        self.state = "new"
        self.incoming: Message | None = None
        self.server: ServerTransaction | None = None
        self.credentials: Credentials | None = None
        self.next_hop: Peer | None = None
        self.cause: Over | None = None
        self.over: Callable[[Over], None] | None = None
        self.offered: Callable[[bytes], bytes] | None = None
        self.described: Callable[[bytes], None] | None = None
        self.referred: Callable[[NameAddress], bool] | None = None
        self.told: Callable[[Message], None] | None = None
        self._cseq = secrets.randbelow(10_000) + 1
        self._seen = -1
        self._client: ClientTransaction | None = None
        self._provisional = False
        self._cancelling = False
        self._ack: tuple[Message, Peer] | None = None
        self._changing = False

    @property
    def key(self) -> tuple[str, str]:
        return self.call_id, self.local.tag

    @property
    def contact(self) -> str:
        transport = self.next_hop.transport if self.next_hop else self.target.transport
        if self.server is not None:
            transport = self.server.peer.transport
        suffix = ";transport=tcp" if transport == "tcp" else ""
        return f"<sip:{self.local.uri.user or self.agent.user}@{self.agent.at}{suffix}>"

    # As called.

    def take(self, server: ServerTransaction) -> None:
        """An INVITE that came in: the agent calls it."""
        self.server, self.incoming = server, server.request
        self.routes = server.request.all("record-route")
        self._seen = server.request.cseq[0]
        server.cancelled = self._cancelled
        server.unacknowledged = lambda: self.hangup(status=408)

    def progress(self, status: int = 180, body: bytes = b"", headers: Headers = ()) -> None:
        if self.server is not None and self.state in ("new", "early"):
            self.state = "early"
            self._respond(status, body, headers)

    def accept(self, body: bytes, headers: Headers = ()) -> None:
        if self.server is not None and self.state in ("new", "early"):
            self.state = "up"
            self._respond(200, body, headers)

    def refuse(self, status: int, reason: str = "", headers: Headers = ()) -> None:
        """Instead of `accept`."""
        if self.server is not None and self.state in ("new", "early"):
            self.server.respond(status, reason, headers)
            self._end(Over(local=True, status=status))

    def _respond(self, status: int, body: bytes, headers: Headers) -> None:
        kind: Headers = (("content-type", SDP),) if body else ()
        if self.server is not None:
            self.server.respond(status, "", (("contact", self.contact), ("allow", ALLOW), *kind, *headers), body)

    def _cancelled(self) -> None:
        if self.server is not None:
            self.server.respond(487)
        self._end(Over(local=False, status=487, method="CANCEL"))

    # As caller.

    async def invite(
        self, body: bytes, headers: Headers = (), heard: Callable[[Message], None] | None = None
    ) -> Message:
        """The final response; the ACK is sent. `heard` gets the provisional ones."""
        request = self._request("INVITE", body, headers)
        answers = 0
        while True:
            response = await self._ask(request, heard)
            challenged = response.status in (401, 407) and self.credentials is not None and not answers
            if not challenged or self._cancelling:
                break
            answers += 1
            request = self._again(request, response)
        if 200 <= response.status < 300:
            self._established(response, request)
            if self._cancelling:
                self.hangup()
        elif self.state != "over":
            self._end(Over(local=self._cancelling, status=response.status, reason=response.get("reason")))
        return response

    async def _ask(self, request: Message, heard: Callable[[Message], None] | None) -> Message:
        self._client = self.agent.layer.request(request, self._peer())
        while True:
            response = await self._client.responses.get()
            if response.status >= 200:
                return response
            self._provisional = True
            if self._cancelling:
                self.agent.layer.cancel(self._client)
            if response.status > 100:
                self.state = "early" if self.state == "new" else self.state
                self.remote = NameAddress.parse(response.get("to"))
                if heard is not None:
                    heard(response)

    def _established(self, response: Message, request: Message) -> None:
        self.state = "up"
        self.remote = NameAddress.parse(response.get("to"))
        self.routes = response.all("record-route")[::-1]
        if response.get("contact"):
            self.target = NameAddress.parse(response.get("contact")).uri
        self._acknowledge(request.cseq[0])

    def _acknowledge(self, number: int) -> None:
        ack = self._request("ACK", b"", ())
        ack.set("cseq", f"{number} ACK")
        peer = self._peer()
        self.agent.layer.stamp(ack, peer)
        self._ack = (ack, peer)
        self.agent.layer.endpoint.send(ack, peer)

    def acknowledge_again(self) -> None:
        """A 2xx came once more."""
        if self._ack is not None:
            self.agent.layer.endpoint.send(*self._ack)

    # In the call.

    def hangup(self, status: int = 486, headers: Headers = ()) -> None:
        """Ends the call at any time: refuses with `status`, cancels, or says BYE."""
        if self.state == "over":
            return
        if self.state == "up":
            self.agent.spawn(self.request("BYE", headers=headers))
            self._end(Over(local=True, status=200, method="BYE"))
        elif self.server is not None:
            self.refuse(status)
        elif not self._cancelling:
            self._cancelling = True
            if self._client is not None and self._provisional:
                self.agent.layer.cancel(self._client)

    async def request(self, method: str, body: bytes = b"", headers: Headers = ()) -> Message:
        """In the dialog; the final response. 408 and 481 end the call (RFC 3261 section 12.2.1.2)."""
        request = self._request(method, body, headers)
        response = await self._final(request)
        if response.status in (401, 407) and self.credentials is not None:
            request = self._again(request, response)
            response = await self._final(request)
        if method == "INVITE" and 200 <= response.status < 300:
            if response.get("contact"):
                self.target = NameAddress.parse(response.get("contact")).uri
            self._acknowledge(request.cseq[0])
        elif response.status in (408, 481) and self.state == "up":
            self._end(Over(local=False, status=response.status, method=method))
        return response

    async def reinvite(self, body: bytes) -> Message:
        """A new offer. Waits for the answer; 491 when both sides ask at once."""
        self._changing = True
        try:
            return await self.request("INVITE", body, (("contact", self.contact), ("content-type", SDP)))
        finally:
            self._changing = False

    async def _final(self, request: Message) -> Message:
        client = self.agent.layer.request(request, self._peer())
        while (response := await client.responses.get()).status < 200:
            pass
        return response

    def received(self, server: ServerTransaction) -> None:
        """A request in this dialog: the agent calls it."""
        request = server.request
        if request.method == "ACK":
            if self.server is not None and request.cseq[0] == self.server.request.cseq[0]:
                self.server.acknowledged()
            if request.body and self.described is not None:
                self.described(request.body)
            return
        if request.cseq[0] < self._seen:
            server.respond(500)
            return
        self._seen = request.cseq[0]
        handler = getattr(self, f"_on_{request.method.lower()}", None)
        if handler is None:
            server.respond(405, headers=(("allow", ALLOW),))
        else:
            handler(server)

    def _on_bye(self, server: ServerTransaction) -> None:
        server.respond(200)
        if self.server is not None and self.server.status < 200:
            self.server.respond(487)
        self._end(Over(local=False, status=200, method="BYE", reason=server.request.get("reason")))

    def _on_invite(self, server: ServerTransaction) -> None:
        if self._changing:
            server.respond(491)
            return
        self.server = server
        self._refresh(server.request)
        try:
            body = self.offered(server.request.body) if self.offered is not None else b""
        except Exception:  # noqa: BLE001 - whatever is wrong with an offer, the call goes on as it was
            body = b""
        if not body:
            server.respond(488)
            return
        server.unacknowledged = lambda: self.hangup(status=408)
        server.respond(200, "", (("contact", self.contact), ("allow", ALLOW), ("content-type", SDP)), body)

    def _on_update(self, server: ServerTransaction) -> None:
        if server.request.body:
            self._on_invite(server)
        else:
            self._refresh(server.request)
            server.respond(200, "", (("contact", self.contact),))

    def _on_refer(self, server: ServerTransaction) -> None:
        try:
            asked = NameAddress.parse(server.request.get("refer-to"))
        except SipError:
            server.respond(400, "Bad Refer-To")
            return
        taken = self.referred is not None and self.referred(asked)
        server.respond(202 if taken else 603)

    def _on_info(self, server: ServerTransaction) -> None:
        server.respond(200)
        if self.told is not None:
            self.told(server.request)

    _on_notify = _on_info
    _on_message = _on_info

    def _on_options(self, server: ServerTransaction) -> None:
        server.respond(200, "", (("allow", ALLOW),))

    def notify(self, status: int, reason: str, *, over: bool) -> None:
        """How a transfer goes: RFC 3515 section 2.4.4."""
        state = "terminated;reason=noresource" if over else "active;expires=60"
        headers = (("event", "refer"), ("subscription-state", state), ("content-type", "message/sipfrag;version=2.0"))
        self.agent.spawn(
            self.request("NOTIFY", f"SIP/2.0 {status} {reason}\r\n".encode(), (("contact", self.contact), *headers))
        )

    def _refresh(self, request: Message) -> None:
        if request.get("contact"):
            self.target = NameAddress.parse(request.get("contact")).uri

    def _request(self, method: str, body: bytes, headers: Headers) -> Message:
        if method != "ACK":
            self._cseq += 1
        made = Message(method=method, uri=str(self.target), body=body)
        made.headers = [("route", one) for one in self.routes]
        made.add(("max-forwards", "70"), ("from", str(self.local)), ("to", str(self.remote)), ("call-id", self.call_id))
        made.add(("cseq", f"{self._cseq} {method}"), *headers)
        if method == "INVITE" and not made.get("contact"):
            made.add(("contact", self.contact), ("allow", ALLOW))
            if body:
                made.set("content-type", SDP)
        return made

    def _again(self, request: Message, challenge: Message) -> Message:
        """With credentials. Raises SipError when the challenge asks for what we have not."""
        self._cseq += 1
        header = "www-authenticate" if challenge.status == 401 else "proxy-authenticate"
        made = Message(method=request.method, uri=request.uri, body=request.body)
        made.headers = [one for one in request.headers if one[0] != "via"]
        made.set("cseq", f"{self._cseq} {request.method}")
        made.add(*self.agent.authorization(challenge, header, request, self.credentials))
        return made

    def _peer(self) -> Peer:
        """The next hop: a loose route first (RFC 3261 section 12.2.1.1)."""
        if self.routes:
            uri = NameAddress.parse(self.routes[0]).uri
        elif self.next_hop is not None and self.state in ("new", "early"):
            return self.next_hop
        else:
            uri = self.target
        return resolve(uri.params.get("transport", "udp"), uri.params.get("maddr", uri.host), uri.port)

    def _end(self, cause: Over) -> None:
        if self.state == "over":
            return
        self.state, self.cause = "over", cause
        asyncio.get_running_loop().call_later(5, self.agent.forget, self)  # an ACK, a BYE that cross
        if self.over is not None:
            self.over(cause)


def authorized(challenge: Message, header: str, method: str, uri: str, held: Credentials) -> Headers:
    """Headers that answer a challenge. Raises SipError when its algorithm is not known."""
    name = "authorization" if header == "www-authenticate" else "proxy-authorization"
    for one in challenge.all(header):
        try:
            return ((name, digest.answer(one, method, uri, held.user, held.password)),)
        except KeyError:
            continue
    raise SipError(f"no challenge that can be answered (RFC 7616): {challenge.all(header)}")
