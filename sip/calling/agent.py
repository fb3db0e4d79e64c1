"""A user agent of SIP over UDP (RFC 3261): registers, calls, is called, hangs up. Sans-IO: time comes with each call.

What it sends is `data_to_send`, what became of it `next_event`. Malformed messages are counted and dropped, as are
responses to nothing; requests that it does not know are answered as section 8.2 and 12.2.2 say.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from nf.errors import IdentityError, InputError
from sip.calling import dialogs
from sip.calling.dialogs import Address, Call, CallState, Dialog, Event
from sip.calling.digest import Account, Challenge
from sip.calling.messages import NameAddr, Request, Response, SipSyntaxError, parse, reply
from sip.calling.sdp import Description
from sip.calling.transactions import State, Transaction, UnexpectedError

METHODS: Final = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS")
_ATTEMPTS: Final = 3
"""Of one request with credentials: the second for a challenge, the third for a stale nonce."""
_AUTH: Final = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}


class UserAgent:
    """`local`: where it is reached; `proxy`: where all that has no other way goes; `token`: makes what is to be unique.

    `account`: credentials, None for a user agent that answers no challenge.
    """

    def __init__(
        self,
        user: str,
        domain: str,
        *,
        local: Address,
        proxy: Address,
        account: Account | None = None,
        token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self.address = f"sip:{user}@{domain}"
        self.contact = f"<sip:{user}@{local[0]}:{local[1]}>"
        self.malformed = 0
        self._domain = domain
        self._local, self._proxy = local, proxy
        self._account = account
        self._token = token
        self._transactions: dict[tuple[str, str], tuple[Transaction, Address]] = {}
        self._calls: dict[str, Call] = {}
        self._registration = (token(), token(), 0)  # Call-ID, tag, CSeq
        self._registering = 0
        self._nonces: dict[str, int] = {}
        self._out: deque[tuple[bytes, Address]] = deque()
        self._events: deque[Event] = deque()

    # -- what its user does -----------------------------------------------------------------------------------------

    def register(self, now: float, *, expires_s: int) -> None:
        """0: takes the registration of this contact back (section 10.2.2)."""
        self._registering = 1
        call_id, tag, number = self._registration
        self._registration = (call_id, tag, number + 1)
        headers = (
            ("Via", self._via()),
            ("Max-Forwards", "70"),
            ("From", f"<{self.address}>;tag={tag}"),
            ("To", f"<{self.address}>"),
            ("Call-ID", call_id),
            ("CSeq", f"{number + 1} REGISTER"),
            ("Contact", f"{self.contact};expires={expires_s}"),
            ("Expires", str(expires_s)),
            ("User-Agent", "streamverse-nf"),
        )
        self._begin(Request(headers, b"", "REGISTER", f"sip:{self._domain}"), self._proxy, now)

    def call(self, target: str, offered: Description, now: float) -> Call:
        """`target`: a SIP URI. Raises SipSyntaxError."""
        NameAddr.parse(f"<{target}>")
        headers = (
            ("Via", self._via()),
            ("Max-Forwards", "70"),
            ("From", f"<{self.address}>;tag={self._token()}"),
            ("To", f"<{target}>"),
            ("Call-ID", f"{self._token()}@{self._local[0]}"),
            ("CSeq", "1 INVITE"),
            ("Contact", self.contact),
            ("Allow", ", ".join(METHODS)),
            ("User-Agent", "streamverse-nf"),
            ("Content-Type", "application/sdp"),
        )
        request = Request(headers, offered.to_bytes(), "INVITE", target)
        made = Call(request, incoming=False, offered=offered, invited_at=now, attempts=1)
        self._calls[made.id] = made
        self._begin(request, self._proxy, now)
        return made

    def ring(self, call: Call, now: float) -> None:
        self._respond(call, 180, "Ringing", b"", now)

    def answer(self, call: Call, description: Description, now: float) -> None:
        """A 200 with `description`; `Answered` follows with its ACK. Nothing when it has ended already."""
        if call.state in {CallState.INVITED, CallState.RINGING} and call.dialog is not None:
            call.state, call.answered_at = CallState.ANSWERED, now
            call.offered = description
            self._respond(call, 200, "OK", description.to_bytes(), now)

    def refuse(self, call: Call, status: int, reason: str, now: float) -> None:
        if call.state in {CallState.INVITED, CallState.RINGING}:
            self._respond(call, status, reason, b"", now)
            self._end(call)

    def hang_up(self, call: Call, now: float) -> None:
        """BYE, CANCEL or a refusal, whichever is right now; a CANCEL waits for a provisional response (section 9.1)."""
        if call.state in {CallState.ANSWERED, CallState.CONFIRMED} and call.dialog is not None:
            request = call.dialog.request("BYE", self._via(), self.contact)
            self._begin(request, call.dialog.next_hop(self._proxy), now)
            self._end(call)
            self._events.append(dialogs.Ended(call, far=False))
        elif call.incoming:
            self.refuse(call, 480, "Temporarily Unavailable", now)
        elif call.state is not CallState.ENDED:
            call.to_cancel = True
            if call.provisional:
                self._cancel(call, now)

    # -- what its transport does --------------------------------------------------------------------------------------

    def receive(self, data: bytes, source: Address, now: float) -> None:
        if not data.strip(b"\r\n\0"):
            return  # a keep-alive
        try:
            message = parse(data)
            if isinstance(message, Response):
                self._take_response(message, now)
            else:
                self._take_request(message, source, now)
        except InputError:
            self.malformed += 1
        self._collect()

    def data_to_send(self) -> list[tuple[bytes, Address]]:
        self._collect()
        found = [*self._out]
        self._out.clear()
        return found

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def next_timeout(self) -> float | None:
        found = (one.next_timeout() for one, _ in self._transactions.values())
        return min((at for at in found if at is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        for key, (transaction, _) in [*self._transactions.items()]:
            transaction.handle_timeout(now)
            if transaction.timed_out:
                transaction.timed_out = False
                self._timed_out(transaction)
            if transaction.ended:
                self._collect()
                del self._transactions[key]
        self._collect()

    def busy(self, call: Call) -> bool:
        """A BYE or CANCEL of it has not been answered yet, or is still to come."""
        under_way = any(
            one.request.call_id == call.id
            and one.request.method in {"BYE", "CANCEL"}
            and one.state in {State.TRYING, State.PROCEEDING}
            for one, _ in self._transactions.values()
        )
        return under_way or (call.to_cancel and call.state is not CallState.ENDED)

    # -- responses ----------------------------------------------------------------------------------------------------

    def _take_response(self, response: Response, now: float) -> None:
        key = (response.via.branch, response.cseq[1])
        if key not in self._transactions:
            return
        transaction, _ = self._transactions[key]
        transaction.receive(response, now)
        passed, transaction.passed = transaction.passed, []
        for one in passed:
            if transaction.request.method == "REGISTER":
                self._registered(transaction.request, one, now)
            elif transaction.request.method == "INVITE":
                self._invited(transaction.request, one, now)

    def _registered(self, request: Request, response: Response, now: float) -> None:
        if response.status < 200 or request.cseq[0] != self._registration[2]:
            return
        if response.status in _AUTH and self._registering < _ATTEMPTS:
            again = self._authorized(request, response)
            if again is not None:
                self._registering += 1
                call_id, tag, _ = self._registration
                self._registration = (call_id, tag, again.cseq[0])
                self._begin(again, self._proxy, now)
                return
        if response.status >= 300:
            self._events.append(dialogs.NotRegistered(response.status, response.reason))
            return
        asked = request.get("Expires")
        own = [one for one in map(NameAddr.parse, response.listed("Contact")) if f"<{one.uri}>" == self.contact]
        granted = own[0].parameters.get("expires", asked) if own else "0"
        self._events.append(dialogs.Registered(int(granted) if granted.isdecimal() else 0))

    def _invited(self, request: Request, response: Response, now: float) -> None:
        call = self._calls.get(request.call_id)
        if call is None:
            return
        call.statuses.append(response.status)
        if response.status < 200:
            self._provisional(call, response, now)
        elif response.status < 300:
            self._answered(call, request, response, now)
        elif call.state is not CallState.ENDED:
            if response.status in _AUTH and call.attempts < _ATTEMPTS and not call.to_cancel:
                again = self._authorized(request, response)
                if again is not None:
                    call.attempts += 1
                    call.request = again
                    self._begin(again, self._proxy, now)
                    return
            self._fail(call, response.status, response.reason)

    def _provisional(self, call: Call, response: Response, now: float) -> None:
        call.provisional = True
        if call.to_cancel:
            self._cancel(call, now)
        elif response.status > 100 and call.state is CallState.INVITED:
            call.state, call.ringing_at = CallState.RINGING, now
            self._events.append(dialogs.Ringing(call))

    def _answered(self, call: Call, request: Request, response: Response, now: float) -> None:
        """Each 200 has its ACK, also one that comes again, or of another branch: that one is hung up at once."""
        dialog = Dialog.of_caller(request, response)
        if call.dialog is not None and call.dialog.remote_tag == dialog.remote_tag and call.acknowledgement:
            self._out.append(call.acknowledgement)
            return
        hop = dialog.next_hop(self._proxy)
        ack = dialog.request("ACK", self._via(), self.contact, sequence=request.cseq[0]).to_bytes()
        self._out.append((ack, hop))
        unwanted = call.dialog is not None or call.to_cancel
        try:
            remote = Description.parse(response.body)
        except InputError:
            remote = None
        if unwanted or remote is None:
            self._begin(dialog.request("BYE", self._via(), self.contact), hop, now)
            if call.dialog is None and call.state is not CallState.ENDED:
                self._fail(call, 488 if remote is None else 487, "its answer names no audio" if remote is None else "")
            return
        call.dialog, call.acknowledgement, call.remote = dialog, (ack, hop), remote
        call.state, call.answered_at = CallState.CONFIRMED, now
        self._events.append(dialogs.Answered(call))

    def _authorized(self, request: Request, response: Response) -> Request | None:
        """The request once more, with credentials; None when we have none for it."""
        asked, given = _AUTH[response.status]
        if self._account is None or (request.get(given) and not self._stale(response, asked)):
            return None
        try:
            challenges = [Challenge.parse(one) for one in response.all(asked)]
            counts = {one.nonce: self._nonces.get(one.nonce, 0) + 1 for one in challenges}
            count = max(counts.values(), default=1)
            chosen, value = self._account.answer(
                challenges, request.method, request.uri, cnonce=self._token(), count=count
            )
        except IdentityError:
            return None
        self._nonces[chosen.nonce] = count
        number, method = request.cseq
        kept = [(name, text) for name, text in request.headers if name not in {"Via", "CSeq", given}]
        headers = (("Via", self._via()), *kept, ("CSeq", f"{number + 1} {method}"), (given, value))
        return replace(request, headers=headers)

    @staticmethod
    def _stale(response: Response, asked: str) -> bool:
        return any(Challenge.parse(one).stale for one in response.all(asked))

    def _cancel(self, call: Call, now: float) -> None:
        """Of the INVITE, with its branch (section 9.1)."""
        if ("CANCEL", call.id) in {(one.request.method, one.request.call_id) for one, _ in self._transactions.values()}:
            return
        number, _ = call.request.cseq
        kept = {"From", "To", "Call-ID", "Route", "Max-Forwards"}
        headers = (
            ("Via", call.request.get("Via")),
            *((name, value) for name, value in call.request.headers if name in kept),
            ("CSeq", f"{number} CANCEL"),
        )
        self._begin(Request(headers, b"", "CANCEL", call.request.uri), self._proxy, now)

    def _timed_out(self, transaction: Transaction) -> None:
        request = transaction.request
        call = self._calls.get(request.call_id)
        if request.method == "REGISTER":
            self._events.append(dialogs.NotRegistered(408, "nobody answers"))
        elif request.method == "INVITE" and call is not None and call.state is not CallState.ENDED:
            self._fail(call, 408, "nobody answers" if not call.incoming else "no ACK came")

    # -- requests -----------------------------------------------------------------------------------------------------

    def _take_request(self, request: Request, source: Address, now: float) -> None:
        if request.method == "ACK":
            self._acknowledged(request, now)
            return
        key = (f"{request.via.branch} {request.via.host}", request.method)
        found = self._transactions.get(key)
        if found is not None:
            found[0].receive(request, now)
            return
        transaction = Transaction.server(request, reliable=False)
        self._transactions[key] = (transaction, source)
        for name in ("To", "From"):
            NameAddr.parse(request.get(name))
        call = self._calls.get(request.call_id)
        if call is not None and call.state is CallState.ENDED and request.method != "CANCEL":
            call = None
        if call is not None:
            self._in_call(call, request, transaction, now)
        elif request.method == "INVITE" and not NameAddr.parse(request.get("To")).tag:
            self._incoming(request, transaction, now)
        elif request.method == "OPTIONS":
            allowed = ("Allow", ", ".join(METHODS))
            answered = reply(request, 200, "OK", tag=self._token())
            transaction.respond(replace(answered, headers=(*answered.headers, allowed)), now)
        elif request.method in {"INVITE", "BYE", "CANCEL", "UPDATE"}:
            transaction.respond(reply(request, 481, "Call Does Not Exist", tag=self._token()), now)
        else:
            transaction.respond(reply(request, 405, "Method Not Allowed", tag=self._token()), now)

    def _in_call(self, call: Call, request: Request, transaction: Transaction, now: float) -> None:
        match request.method:
            case "INVITE" | "UPDATE" if call.offered is not None:
                self._reinvited(call, request, transaction, now)
            case "BYE":
                transaction.respond(reply(request, 200, "OK"), now)
                self._end(call)
                self._events.append(dialogs.Ended(call, far=True))
            case "CANCEL":
                transaction.respond(reply(request, 200, "OK"), now)
                if call.incoming and call.state in {CallState.INVITED, CallState.RINGING}:
                    self._respond(call, 487, "Request Terminated", b"", now)
                    self._end(call)
                    self._events.append(dialogs.Ended(call, far=True))
            case "OPTIONS":
                transaction.respond(reply(request, 200, "OK"), now)
            case "INVITE" | "UPDATE":
                transaction.respond(reply(request, 491, "Request Pending"), now)
            case _:
                transaction.respond(reply(request, 405, "Method Not Allowed"), now)

    def _incoming(self, request: Request, transaction: Transaction, now: float) -> None:
        try:
            offered = Description.parse(request.body)
        except InputError as error:
            transaction.respond(reply(request, 488, "Not Acceptable Here", tag=self._token()), now)
            raise SipSyntaxError(error.message, where=error.where) from error
        made = Call(request, incoming=True, offered=None, invited_at=now, remote=offered)
        made.dialog = Dialog.of_called(request, self._token())
        self._calls[made.id] = made
        self._events.append(dialogs.Incoming(made))

    def _reinvited(self, call: Call, request: Request, transaction: Transaction, now: float) -> None:
        """What was agreed stays: a hold, or another relay's address, is taken note of."""
        if request.body and call.offered is not None:
            call.remote = Description.parse(request.body)
        body = call.offered.to_bytes() if call.offered is not None else b""
        answered = reply(request, 200, "OK")
        extra = (("Contact", self.contact), ("Content-Type", "application/sdp"))
        transaction.respond(replace(answered, headers=(*answered.headers, *extra), body=body), now)

    def _acknowledged(self, request: Request, now: float) -> None:
        call, number = self._calls.get(request.call_id), request.cseq[0]
        for transaction, _ in self._transactions.values():
            own = transaction.request
            if own.method == "INVITE" and own.call_id == request.call_id and own.cseq[0] == number:
                transaction.receive(request, now)
        if call is not None and call.incoming and call.state is CallState.ANSWERED:
            call.state = CallState.CONFIRMED
            self._events.append(dialogs.Answered(call))

    # -- common -------------------------------------------------------------------------------------------------------

    def _respond(self, call: Call, status: int, reason: str, body: bytes, now: float) -> None:
        dialog = call.dialog
        transaction = next(
            (one for one, _ in self._transactions.values() if one.request is call.request and call.incoming), None
        )
        if transaction is None or dialog is None:
            return
        answered = reply(call.request, status, reason, tag=dialog.local_tag)
        extra: tuple[tuple[str, str], ...] = (("Contact", self.contact),) if status < 300 else ()
        extra += (("Content-Type", "application/sdp"),) if body else ()
        try:
            transaction.respond(replace(answered, headers=(*answered.headers, *extra), body=body), now)
        except UnexpectedError:
            return  # it is over
        if status == 180:
            call.state, call.ringing_at = CallState.RINGING, now

    def _fail(self, call: Call, status: int, reason: str) -> None:
        self._end(call)
        self._events.append(dialogs.Failed(call, status, reason))

    @staticmethod
    def _end(call: Call) -> None:
        call.state = CallState.ENDED

    def _via(self) -> str:
        return f"SIP/2.0/UDP {self._local[0]}:{self._local[1]};branch=z9hG4bK{self._token()};rport"

    def _begin(self, request: Request, destination: Address, now: float) -> None:
        key = (request.via.branch, request.method)
        self._transactions[key] = (Transaction.client(request, now, reliable=False), destination)

    def _collect(self) -> None:
        for transaction, address in self._transactions.values():
            for data in transaction.out:
                self._out.append((data, address))
            transaction.out.clear()
