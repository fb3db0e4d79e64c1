"""Calls and the dialogs that they are (RFC 3261 section 12). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Self

from sip.calling.messages import NameAddr, Request, Response, SipSyntaxError, Uri
from sip.calling.sdp import Description

Address = tuple[str, int]


@dataclass(slots=True)
class Dialog:
    """`routes`: URIs in the order in which they are put into a request; `sequence`: our last CSeq."""

    call_id: str
    local: str
    remote: str
    local_tag: str
    remote_tag: str
    target: str
    routes: tuple[str, ...]
    sequence: int
    remote_sequence: int = 0

    @classmethod
    def of_caller(cls, request: Request, response: Response) -> Self:
        """Section 12.1.2. Raises SipSyntaxError."""
        to, sender = NameAddr.parse(response.get("To")), NameAddr.parse(request.get("From"))
        routes = tuple(NameAddr.parse(one).uri for one in reversed(response.listed("Record-Route")))
        target = _target(response, to.uri)
        number, _ = request.cseq
        return cls(request.call_id, sender.uri, to.uri, sender.tag, to.tag, target, routes, number)

    @classmethod
    def of_called(cls, request: Request, local_tag: str) -> Self:
        """Section 12.1.1. Raises SipSyntaxError."""
        sender, to = NameAddr.parse(request.get("From")), NameAddr.parse(request.get("To"))
        routes = tuple(NameAddr.parse(one).uri for one in request.listed("Record-Route"))
        number, _ = request.cseq
        target = _target(request, sender.uri)
        return cls(request.call_id, to.uri, sender.uri, local_tag, sender.tag, target, routes, 0, number)

    def request(self, method: str, via: str, contact: str, *, sequence: int | None = None) -> Request:
        """In the dialog (section 12.2.1.1), with loose routes. `sequence`: that of the INVITE, for its ACK."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        headers = (
            ("Via", via),
            *(("Route", f"<{uri}>") for uri in self.routes),
            ("Max-Forwards", "70"),
            ("From", f"<{self.local}>;tag={self.local_tag}"),
            ("To", f"<{self.remote}>" + (f";tag={self.remote_tag}" if self.remote_tag else "")),
            ("Call-ID", self.call_id),
            ("CSeq", f"{sequence} {method}"),
            ("Contact", contact),
        )
        return Request(headers, b"", method, self.target)

    def next_hop(self, otherwise: Address) -> Address:
        """Where a request in it goes: the first route, or the far end; `otherwise` where that is a name."""
        try:
            uri = Uri.parse(self.routes[0] if self.routes else self.target)
        except SipSyntaxError:
            return otherwise
        numeric = all(part.isdecimal() for part in uri.host.split(".")) and uri.host.count(".") == 3
        return (uri.host, uri.port or 5060) if numeric else otherwise


def _target(message: Request | Response, otherwise: str) -> str:
    contacts = message.listed("Contact")
    return NameAddr.parse(contacts[0]).uri if contacts else otherwise


class CallState(Enum):
    INVITED = "invited"
    RINGING = "ringing"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"
    ENDED = "ended"


@dataclass(slots=True, eq=False)
class Call:
    """One call of ours. Times are those that the caller's clock told; None: it has not come to that."""

    request: Request
    incoming: bool
    offered: Description | None
    invited_at: float
    state: CallState = CallState.INVITED
    dialog: Dialog | None = None
    remote: Description | None = None
    ringing_at: float | None = None
    answered_at: float | None = None
    provisional: bool = False
    to_cancel: bool = False
    attempts: int = 0
    acknowledgement: tuple[bytes, Address] | None = None
    statuses: list[int] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.request.call_id

    @property
    def setup_ms(self) -> float | None:
        """From the first INVITE to the 200."""
        return None if self.answered_at is None else (self.answered_at - self.invited_at) * 1000


@dataclass(frozen=True, slots=True)
class Registered:
    """`expires_s` 0: no more."""

    expires_s: int


@dataclass(frozen=True, slots=True)
class NotRegistered:
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Incoming:
    call: Call


@dataclass(frozen=True, slots=True)
class Ringing:
    call: Call


@dataclass(frozen=True, slots=True)
class Answered:
    """At the caller: its 200 came. At the called: its ACK came."""

    call: Call


@dataclass(frozen=True, slots=True)
class Failed:
    """`status` 408 also when nothing came at all."""

    call: Call
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """`far`: the far end hung up."""

    call: Call
    far: bool


Event = Registered | NotRegistered | Incoming | Ringing | Answered | Failed | Ended
