"""The four transactions of SIP (RFC 3261 section 17, with RFC 6026), as tables. Sans-IO: time comes with each call.

What a table does not have is an error where it comes from our own side, and is ignored where it comes from the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from sip.calling.messages import Message, Request, Response

T1_S, T2_S, T4_S = 0.5, 4.0, 5.0
"""Table 4: round-trip estimate, longest interval of retransmissions, longest life of a message in the network."""
TIMEOUT_S: Final = 64 * T1_S
_ANSWER_D_S: Final = 32.5


class Kind(Enum):
    INVITE_CLIENT = auto()
    CLIENT = auto()
    INVITE_SERVER = auto()
    SERVER = auto()


class State(Enum):
    CALLING = auto()
    TRYING = auto()
    PROCEEDING = auto()
    COMPLETED = auto()
    CONFIRMED = auto()
    ACCEPTED = auto()  # RFC 6026: a 2xx was passed on, and may come again
    TERMINATED = auto()


class Input(Enum):
    PROVISIONAL = auto()  # a response: from the network at clients, from the user at servers
    SUCCESS = auto()
    FAILURE = auto()
    REQUEST = auto()  # it came again
    ACK = auto()
    RETRANSMIT = auto()  # timers A, E, G
    EXPIRE = auto()  # timers B, F, H
    END = auto()  # timers D, I, J, K, L, M


class Effect(Enum):
    SEND = auto()  # the last message once more
    PASS = auto()  # to the user
    ACK = auto()  # of a failure: section 17.1.1.3
    TIMED_OUT = auto()
    SLOW = auto()  # timer E goes on at T2
    STOP = auto()  # no more retransmissions, no time-out
    STOP_RETRANSMIT = auto()
    KEEP = auto()  # goes on in this state for its time: D, I, J, K, L, M
    GUARD = auto()  # timers G and H


_S, _I, _E = State, Input, Effect
_Table = Mapping[tuple[State, Input], tuple[State, tuple[Effect, ...]]]

_INVITE_CLIENT: _Table = {  # figure 5, and RFC 6026 figure 1
    (_S.CALLING, _I.RETRANSMIT): (_S.CALLING, (_E.SEND,)),
    (_S.CALLING, _I.EXPIRE): (_S.TERMINATED, (_E.TIMED_OUT,)),
    (_S.CALLING, _I.PROVISIONAL): (_S.PROCEEDING, (_E.STOP, _E.PASS)),
    (_S.CALLING, _I.SUCCESS): (_S.ACCEPTED, (_E.STOP, _E.PASS, _E.KEEP)),
    (_S.CALLING, _I.FAILURE): (_S.COMPLETED, (_E.STOP, _E.ACK, _E.PASS, _E.KEEP)),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_E.PASS,)),
    (_S.PROCEEDING, _I.SUCCESS): (_S.ACCEPTED, (_E.PASS, _E.KEEP)),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_E.ACK, _E.PASS, _E.KEEP)),
    (_S.COMPLETED, _I.FAILURE): (_S.COMPLETED, (_E.ACK,)),
    (_S.COMPLETED, _I.END): (_S.TERMINATED, ()),
    (_S.ACCEPTED, _I.SUCCESS): (_S.ACCEPTED, (_E.PASS,)),
    (_S.ACCEPTED, _I.END): (_S.TERMINATED, ()),
}
_CLIENT: _Table = {  # figure 6
    (_S.TRYING, _I.RETRANSMIT): (_S.TRYING, (_E.SEND,)),
    (_S.TRYING, _I.EXPIRE): (_S.TERMINATED, (_E.TIMED_OUT,)),
    (_S.TRYING, _I.PROVISIONAL): (_S.PROCEEDING, (_E.SLOW, _E.PASS)),
    (_S.TRYING, _I.SUCCESS): (_S.COMPLETED, (_E.STOP, _E.PASS, _E.KEEP)),
    (_S.TRYING, _I.FAILURE): (_S.COMPLETED, (_E.STOP, _E.PASS, _E.KEEP)),
    (_S.PROCEEDING, _I.RETRANSMIT): (_S.PROCEEDING, (_E.SEND,)),
    (_S.PROCEEDING, _I.EXPIRE): (_S.TERMINATED, (_E.TIMED_OUT,)),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_E.PASS,)),
    (_S.PROCEEDING, _I.SUCCESS): (_S.COMPLETED, (_E.STOP, _E.PASS, _E.KEEP)),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_E.STOP, _E.PASS, _E.KEEP)),
    (_S.COMPLETED, _I.END): (_S.TERMINATED, ()),
}
_INVITE_SERVER: _Table = {  # figure 7, and RFC 6026 figure 2
    (_S.PROCEEDING, _I.REQUEST): (_S.PROCEEDING, (_E.SEND,)),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_E.SEND,)),
    (_S.PROCEEDING, _I.SUCCESS): (_S.ACCEPTED, (_E.SEND, _E.GUARD)),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_E.SEND, _E.GUARD)),
    (_S.COMPLETED, _I.REQUEST): (_S.COMPLETED, (_E.SEND,)),
    (_S.COMPLETED, _I.RETRANSMIT): (_S.COMPLETED, (_E.SEND,)),
    (_S.COMPLETED, _I.EXPIRE): (_S.TERMINATED, (_E.TIMED_OUT,)),
    (_S.COMPLETED, _I.ACK): (_S.CONFIRMED, (_E.STOP, _E.KEEP)),
    (_S.CONFIRMED, _I.END): (_S.TERMINATED, ()),
    # Until its ACK a 2xx is sent again by who answered (section 13.3.1.4): timers G and H do that here too.
    (_S.ACCEPTED, _I.REQUEST): (_S.ACCEPTED, ()),
    (_S.ACCEPTED, _I.RETRANSMIT): (_S.ACCEPTED, (_E.SEND,)),
    (_S.ACCEPTED, _I.EXPIRE): (_S.TERMINATED, (_E.TIMED_OUT,)),
    (_S.ACCEPTED, _I.ACK): (_S.ACCEPTED, (_E.STOP, _E.KEEP)),
    (_S.ACCEPTED, _I.END): (_S.TERMINATED, ()),
}
_SERVER: _Table = {  # figure 8
    (_S.TRYING, _I.REQUEST): (_S.TRYING, ()),
    (_S.TRYING, _I.PROVISIONAL): (_S.PROCEEDING, (_E.SEND,)),
    (_S.TRYING, _I.SUCCESS): (_S.COMPLETED, (_E.SEND, _E.KEEP)),
    (_S.TRYING, _I.FAILURE): (_S.COMPLETED, (_E.SEND, _E.KEEP)),
    (_S.PROCEEDING, _I.REQUEST): (_S.PROCEEDING, (_E.SEND,)),
    (_S.PROCEEDING, _I.SUCCESS): (_S.COMPLETED, (_E.SEND, _E.KEEP)),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_E.SEND, _E.KEEP)),
    (_S.COMPLETED, _I.REQUEST): (_S.COMPLETED, (_E.SEND,)),
    (_S.COMPLETED, _I.END): (_S.TERMINATED, ()),
}
TABLES: Final[Mapping[Kind, _Table]] = {
    Kind.INVITE_CLIENT: _INVITE_CLIENT,
    Kind.CLIENT: _CLIENT,
    Kind.INVITE_SERVER: _INVITE_SERVER,
    Kind.SERVER: _SERVER,
}
_BEGINS: Final = {
    Kind.INVITE_CLIENT: State.CALLING,
    Kind.CLIENT: State.TRYING,
    Kind.INVITE_SERVER: State.PROCEEDING,
    Kind.SERVER: State.TRYING,
}


class UnexpectedError(ValueError):
    """Our own side does what the state does not allow: a fault of the program."""


@dataclass(slots=True)
class Transaction:
    """One. `reliable`: the transport is (TCP, TLS), so that nothing is sent again.

    `out`: bytes to send; `passed`: what the user is told; `timed_out`: nobody answered in time.
    """

    kind: Kind
    request: Request
    reliable: bool
    state: State
    out: list[bytes] = field(default_factory=list)
    passed: list[Response] = field(default_factory=list)
    timed_out: bool = False
    last: bytes = b""
    timers: dict[Input, float] = field(default_factory=dict)
    interval_s: float = T1_S

    @classmethod
    def client(cls, request: Request, now: float, *, reliable: bool) -> Transaction:
        kind = Kind.INVITE_CLIENT if request.method == "INVITE" else Kind.CLIENT
        made = cls(kind, request, reliable, _BEGINS[kind])
        made.last = request.to_bytes()
        made.out.append(made.last)
        made._begin(now)
        return made

    @classmethod
    def server(cls, request: Request, *, reliable: bool) -> Transaction:
        kind = Kind.INVITE_SERVER if request.method == "INVITE" else Kind.SERVER
        return cls(kind, request, reliable, _BEGINS[kind])

    @property
    def ended(self) -> bool:
        return self.state is State.TERMINATED

    def _begin(self, now: float) -> None:
        """A and B, E and F, G and H: the interval begins at T1, the whole is 64 of it."""
        if not self.reliable:
            self.timers[Input.RETRANSMIT] = now + T1_S
        elif self.state is State.ACCEPTED:
            self.timers[Input.RETRANSMIT] = now + T1_S  # a 2xx is sent again over any transport
        self.timers[Input.EXPIRE] = now + TIMEOUT_S
        self.interval_s = T1_S

    def receive(self, message: Message, now: float) -> None:
        """From the network: a response at a client, the request again or its ACK at a server."""
        if isinstance(message, Response):
            self._take(_input(message.status), now, message)
        else:
            self._take(Input.ACK if message.method == "ACK" else Input.REQUEST, now)

    def respond(self, response: Response, now: float) -> None:
        """Of a server, by its user. Raises UnexpectedError when it has answered already."""
        given = _input(response.status)
        if (self.state, given) not in TABLES[self.kind]:
            raise UnexpectedError(f"{self.kind.name} in {self.state.name} cannot answer with {response.status}")
        self.last = response.to_bytes()
        self._take(given, now)

    def next_timeout(self) -> float | None:
        return min(self.timers.values(), default=None)

    def handle_timeout(self, now: float) -> None:
        for name in sorted((one for one, at in self.timers.items() if at <= now), key=lambda one: self.timers[one]):
            if name not in self.timers:
                continue  # an earlier one of these ended it
            del self.timers[name]
            if name is Input.RETRANSMIT:
                invite_client = self.kind is Kind.INVITE_CLIENT
                self.interval_s = self.interval_s * 2 if invite_client else min(self.interval_s * 2, T2_S)
                self.timers[name] = now + self.interval_s
            self._take(name, now)

    def _take(self, given: Input, now: float, message: Response | None = None) -> None:
        found = TABLES[self.kind].get((self.state, given))
        if found is None:
            return
        self.state, effects = found
        for effect in effects:
            self._do(effect, now, message)
        if self.ended:
            self.timers.clear()

    def _do(self, effect: Effect, now: float, message: Response | None) -> None:
        if effect is Effect.SEND and self.last:
            self.out.append(self.last)
        elif effect is Effect.PASS and message is not None:
            self.passed.append(message)
        elif effect is Effect.ACK and message is not None:
            self.out.append(acknowledge(self.request, message).to_bytes())
        elif effect is Effect.TIMED_OUT:
            self.timed_out = True
        elif effect is Effect.STOP:
            self.timers.clear()
        elif effect is Effect.SLOW and Input.RETRANSMIT in self.timers:
            self.interval_s = T2_S
            self.timers[Input.RETRANSMIT] = now + T2_S
        elif effect is Effect.GUARD:
            self._begin(now)
        elif effect is Effect.KEEP:
            self.timers[Input.END] = now + self._kept_s()

    def _kept_s(self) -> float:
        """D, I, J, K, L and M: none over a reliable transport, but for L and M (RFC 6026 section 8.11)."""
        if self.state is State.ACCEPTED:
            return TIMEOUT_S
        if self.reliable:
            return 0.0
        if self.kind is Kind.INVITE_CLIENT:
            return _ANSWER_D_S
        return TIMEOUT_S if self.kind is Kind.SERVER else T4_S


def acknowledge(request: Request, response: Response) -> Request:
    """The ACK of a failure, of the same transaction (section 17.1.1.3)."""
    number, _ = request.cseq
    taken = [(name, value) for name, value in request.headers if name in {"From", "Call-ID", "Route", "Max-Forwards"}]
    headers = (
        ("Via", request.listed("Via")[0]),
        *taken,
        ("To", response.get("To")),
        ("CSeq", f"{number} ACK"),
    )
    return Request(headers, b"", "ACK", request.uri)


def _input(status: int) -> Input:
    if status < 200:
        return Input.PROVISIONAL
    return Input.SUCCESS if status < 300 else Input.FAILURE
