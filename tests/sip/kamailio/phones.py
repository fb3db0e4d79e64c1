"""SIP endpoints for the tests, over UDP: a phone, a trunk's gateway, a media server. They share no code with sip/.

An endpoint answers by itself what comes (`answers`), notes all of it (`heard`), and calls.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Self

LIMIT_S: Final = 15.0
_numbers = count(1)

SDP: Final = (
    "v=0\r\no=- {number} 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


@dataclass(frozen=True)
class Message:
    """One that was received."""

    text: str
    source: tuple[str, int]

    @property
    def first(self) -> str:
        return self.text.partition("\r\n")[0]

    @property
    def method(self) -> str:
        """Of a request; empty for a response."""
        return "" if self.first.startswith("SIP/2.0") else self.first.split(" ")[0]

    @property
    def code(self) -> int:
        """Of a response; 0 for a request."""
        return int(self.first.split(" ")[1]) if self.first.startswith("SIP/2.0") else 0

    @property
    def body(self) -> str:
        return self.text.partition("\r\n\r\n")[2]

    def headers(self, name: str) -> list[str]:
        head = self.text.partition("\r\n\r\n")[0]
        return re.findall(rf"^{name}\s*:\s*(.*?)\r?$", head, re.IGNORECASE | re.MULTILINE)

    def header(self, name: str) -> str:
        found = self.headers(name)
        return found[0] if found else ""

    @property
    def uri(self) -> str:
        return self.first.split(" ")[1]

    @property
    def call_id(self) -> str:
        return self.header("Call-ID")

    @property
    def cseq(self) -> tuple[int, str]:
        number, method = self.header("CSeq").split()
        return int(number), method


def digest(account: tuple[str, str, str], method: str, uri: str, challenge: str) -> str:
    """RFC 2617 section 3.2.2, qop=auth; `account` is (user, realm, password)."""
    user, realm, password = account
    asked = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))
    assert asked["realm"] == realm

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    ha1, ha2 = md5(f"{user}:{realm}:{password}"), md5(f"{method}:{uri}")
    answer = md5(f"{ha1}:{asked['nonce']}:00000001:abcdef:auth:{ha2}")
    return (
        f'Digest username="{user}", realm="{realm}", nonce="{asked["nonce"]}", uri="{uri}", response="{answer}", '
        'algorithm=MD5, qop=auth, nc=00000001, cnonce="abcdef"'
    )


def md5_ha1(user: str, domain: str, password: str) -> str:
    return hashlib.md5(f"{user}:{domain}:{password}".encode(), usedforsecurity=False).hexdigest()


@dataclass
class Call:
    """A call that this endpoint makes: its dialog, and what it heard of it."""

    phone: Endpoint
    call_id: str
    uri: str
    from_: str
    to: str
    cseq: int = 1
    branch: str = ""
    routes: list[str] = field(default_factory=list)
    target: str = ""
    final: Message | None = None

    @property
    def code(self) -> int:
        return self.final.code if self.final else 0

    def answers(self) -> list[Message]:
        return [one for one in self.phone.heard if one.call_id == self.call_id and one.code]

    def request(self, method: str, headers: Iterable[str] = (), body: str = "") -> Message:
        """Within the dialog; its final response."""
        self.cseq += 1
        number = self.cseq
        self.phone.send(self._text(method, number, headers, body), self.phone.proxy)
        return self.phone.wait(
            lambda one: one.call_id == self.call_id and one.code >= 200 and one.cseq == (number, method)
        )

    def ack(self) -> None:
        self.phone.send(self._text("ACK", self.cseq, (), ""), self.phone.proxy)

    def bye(self) -> Message:
        return self.request("BYE")

    def cancel(self) -> None:
        """While it rings: CANCEL, and the 487 that has to come of it."""
        text = self.phone.message(
            f"CANCEL {self.uri}", self.call_id, self.from_, self.to, (self.cseq, "CANCEL"), branch=self.branch
        )
        self.phone.send(text, self.phone.proxy)
        self.final = self.phone.final(self)

    def _text(self, method: str, number: int, headers: Iterable[str], body: str) -> str:
        lines = [*(f"Route: {one}" for one in self.routes), *headers]
        return self.phone.message(
            f"{method} {self.target or self.uri}", self.call_id, self.from_, self.to, (number, method), lines, body
        )


class Endpoint:
    """One that is bound to ADDRESS:PORT, until it is closed.

    `shown`: what it believes its own address and port to be, which behind NAT is not where it is.
    `answers(request)` says what it sends back to an INVITE: pairs of (code, with SDP?). All else gets 200.
    `before(message)` is called before anything comes of a message.
    """

    transport = "UDP"

    def __init__(self, address: str, port: int, proxy: tuple[str, int] = ("127.0.0.1", 5060)) -> None:
        self.address, self.port, self.proxy = address, port, proxy
        self.shown = f"{address}:{port}"
        self.heard: list[Message] = []
        self.answers: Callable[[Message], list[tuple[int, bool]]] = lambda _: [(180, False), (200, True)]
        self.deaf = False
        self.before: Callable[[Message], None] = lambda _: None
        self.tag = f"t{next(_numbers)}"
        self._changed = threading.Condition()
        self._uris: dict[tuple[str, int], str] = {}
        self._answered: set[tuple[str, int]] = set()
        self._sock = self._bound()
        self._open = True
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _bound(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Another test's, closed, may stand in a child of this process for a moment more: the last one bound is heard.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.address, self.port))
        sock.settimeout(0.5)
        return sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._open = False
        self._thread.join(5)
        self._sock.close()

    # what comes

    def _listen(self) -> None:
        while self._open:
            with suppress(TimeoutError):
                data, source = self._receive()
                if len(data) < 20 or self.deaf:
                    continue
                message = Message(data.decode("utf-8", "replace"), source)
                self.before(message)
                with self._changed:
                    self.heard.append(message)
                    self._changed.notify_all()
                if message.method:
                    self._respond(message)
                elif message.code >= 300 and message.cseq[1] == "INVITE":
                    self._acknowledge(message)

    def _receive(self) -> tuple[bytes, tuple[str, int]]:
        """The next message, and where it came from. Raises TimeoutError when none comes for a while."""
        return self._sock.recvfrom(65_535)

    def _respond(self, request: Message) -> None:
        if request.method == "INVITE":
            key = (request.call_id, request.cseq[0])
            if key in self._answered:
                return
            self._answered.add(key)
            for code, with_sdp in self.answers(request):
                self.reply(request, code, self.sdp() if with_sdp else "")
        elif request.method == "CANCEL":
            self.reply(request, 200)
            invite = next(one for one in self.heard if one.method == "INVITE" and one.call_id == request.call_id)
            self.reply(invite, 487)
        elif request.method != "ACK":
            self.reply(request, 200)

    def _acknowledge(self, response: Message) -> None:
        """RFC 3261 section 17.1.1.3: of the transaction, so with the branch of the INVITE."""
        via = response.header("Via")
        branch = re.search(r"branch=([^;\s]+)", via)
        if branch is None:  # of RFC 2543
            return
        uri = self._uris.get((response.call_id, response.cseq[0]), "sip:nobody")
        number = response.cseq[0]
        text = self.message(
            f"ACK {uri}",
            response.call_id,
            response.header("From"),
            response.header("To"),
            (number, "ACK"),
            branch=branch[1],
        )
        self.send(text, response.source)

    def reply(self, request: Message, code: int, body: str = "", headers: Iterable[str] = ()) -> None:
        to = request.header("To")
        if ";tag=" not in to and code > 100:
            to += f";tag={self.tag}"
        lines = [
            f"SIP/2.0 {code} Text",
            *(f"Via: {one}" for one in request.headers("Via")),
            *(f"Record-Route: {one}" for one in request.headers("Record-Route")),
            f"From: {request.header('From')}",
            f"To: {to}",
            f"Call-ID: {request.call_id}",
            f"CSeq: {request.header('CSeq')}",
            f"Contact: {self.contact('me')}",
            *headers,
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self.send("\r\n".join(lines) + "\r\n\r\n" + body, request.source)

    def wait(self, wanted: Callable[[Message], bool], limit_s: float = LIMIT_S) -> Message:
        """The first that is like this, of all that came or will come."""
        end = time.monotonic() + limit_s
        with self._changed:
            while True:
                for one in self.heard:
                    if wanted(one):
                        return one
                if not self._changed.wait(max(0.0, end - time.monotonic())) and time.monotonic() >= end:
                    raise AssertionError(f"nothing like it came; heard {[one.first for one in self.heard[-8:]]}")

    # what goes

    def contact(self, user: str) -> str:
        return f"<sip:{user}@{self.shown}>"

    @property
    def media_port(self) -> int:
        return self.port + 2000

    def sdp(self) -> str:
        return SDP.format(number=next(_numbers), address=self.address, port=self.media_port)

    def send(self, text: str | bytes, to: tuple[str, int] | None = None) -> None:
        self._sock.sendto(text.encode() if isinstance(text, str) else text, to or self.proxy)

    def message(  # noqa: PLR0917 - a message has as many parts
        self,
        start: str,
        call_id: str,
        from_: str,
        to: str,
        cseq: tuple[int, str],
        headers: Iterable[str] = (),
        body: str = "",
        branch: str = "",
    ) -> str:
        branch = branch or f"z9hG4bK{next(_numbers)}x"
        lines = [
            f"{start} SIP/2.0",
            f"Via: SIP/2.0/{self.transport} {self.address}:{self.port};rport;branch={branch}",
            "Max-Forwards: 70",
            f"From: {from_}",
            f"To: {to}",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq[0]} {cseq[1]}",
            *headers,
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join(lines) + "\r\n\r\n" + body

    def register(  # noqa: PLR0917
        self, user: str, domain: str, password: str, expires: int = 600, contact: str = "", headers: Iterable[str] = ()
    ) -> Message:
        """The final response, to the second REGISTER when there was a challenge."""
        call_id, me, uri = f"r{next(_numbers)}@{self.address}", f"<sip:{user}@{domain}>", f"sip:{domain}"
        lines = [f"Contact: {contact or self.contact(user)};expires={expires}", *headers]
        for number in (1, 2):
            text = self.message(f"REGISTER {uri}", call_id, f"{me};tag=r", me, (number, "REGISTER"), lines)
            self.send(text)
            answer = self._final_of(call_id, number, "REGISTER")
            if answer.code != 401:
                break
            proof = digest((user, domain, password), "REGISTER", uri, answer.header("WWW-Authenticate"))
            lines.append(f"Authorization: {proof}")
        return answer

    def invite(
        self,
        caller: str,
        uri: str,
        password: str | None = None,
        *,
        sdp: bool = True,
        until: int = 200,
        headers: Iterable[str] = (),
    ) -> Call:
        """Calls `uri` as `caller` (USER@DOMAIN) and waits for a response of `until` or more; ACKs a 2xx."""
        call_id = f"c{next(_numbers)}-{secrets.token_hex(8)}@{self.address}"
        call = Call(self, call_id, uri, f"<sip:{caller}>;tag=f{next(_numbers)}", f"<{uri}>")
        lines = [f"Contact: {self.contact(caller.partition('@')[0])}", *headers]
        while True:
            call.branch = f"z9hG4bK{next(_numbers)}i"
            self._uris[call_id, call.cseq] = uri
            body = self.sdp() if sdp else ""
            number = (call.cseq, "INVITE")
            self.send(self.message(f"INVITE {uri}", call_id, call.from_, call.to, number, lines, body, call.branch))
            answer = self.final(call, until)
            if answer.code != 407 or password is None:
                break
            user, _, domain = caller.partition("@")
            proof = digest((user, domain, password), "INVITE", uri, answer.header("Proxy-Authenticate"))
            lines = [*lines[:2], f"Proxy-Authorization: {proof}", *headers]
            call.cseq += 1
            password = None
        call.final = answer
        if 200 <= answer.code < 300:
            self._learn(call, answer)
            call.ack()
        return call

    def final(self, call: Call, until: int = 200) -> Message:
        number = (call.cseq, "INVITE")
        return self.wait(lambda one: one.call_id == call.call_id and one.code >= until and one.cseq == number)

    def answered(self, call: Call) -> None:
        """Waits for the answer of a call that was only waited for until it rang."""
        call.final = self.final(call)
        if call.code < 300:
            self._learn(call, call.final)
            call.ack()

    def _learn(self, call: Call, answer: Message) -> None:
        call.to = answer.header("To")
        call.routes = list(reversed(answer.headers("Record-Route")))
        call.target = answer.header("Contact").strip("<>").partition(">")[0]

    def hang_up(self, invite: Message) -> Message:
        """BYE of the called side."""
        return self.called(invite).bye()

    def called(self, invite: Message) -> Call:
        """The dialog as the called side has it."""
        call = Call(self, invite.call_id, "", "", "")
        call.from_ = invite.header("To") + f";tag={self.tag}"
        call.to = invite.header("From")
        call.routes = invite.headers("Record-Route")
        contact = re.search(r"<([^>]+)>", invite.header("Contact"))
        assert contact
        call.target = contact[1]
        return call

    def _final_of(self, call_id: str, number: int, method: str) -> Message:
        return self.wait(lambda one: one.call_id == call_id and one.code >= 200 and one.cseq == (number, method))
