"""Which IRI a signalling message becomes: Begin, Continue, End or Report (TS 102 232-1 clause 5.2.10, TS 33.128). Pure.

A session is what a point gives one correlation number. It has one Begin, at most one End, and nothing but Reports after
that; what comes first when interception began in the middle is its Begin. What is of no session is always a Report.

    NEW --INVITE--> CALLING --2xx--> UP --BYE--> CLOSING --its answer--> ENDED
                     |   ^                                                 ^
                     3xx-6xx |1xx, 2xx (another branch)                    |
                     v   |                                                 |
                    FAILING --ACK, the point's word, or nothing in time----+

A refusal is no End by itself: a proxy rings other branches beside it or after it. What tells the call's end is the ACK
of the refusal, the point, or that no branch rings soon. Neither is the answer to a CANCEL, which may cross with the
call's answer: the 487 that follows it is a refusal. A BYE ends one dialog, and the session with its last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import blake2b
from typing import Final

from lawful_intercept.handover.values import IriType
from lawful_intercept.mediation.sip import SipMessage


class Phase(Enum):
    NEW = "new"
    CALLING = "calling"
    FAILING = "failing"
    UP = "up"
    CLOSING = "closing"
    ENDED = "ended"


class Signal(Enum):
    """What a message means for a session."""

    INVITE = "invite"
    RINGING = "ringing"
    ANSWER = "answer"
    CHALLENGE = "challenge"
    REFUSAL = "refusal"
    ACK = "ack"
    BYE = "bye"
    BYE_REFUSED = "bye-refused"
    GOODBYE = "goodbye"
    CANCEL = "cancel"
    WITHIN = "within"
    ALONE = "alone"
    GONE = "gone"
    OPENED = "opened"
    CHANGED = "changed"
    CLOSED = "closed"


_REPORT, _BEGIN, _CONTINUE, _END = IriType.REPORT, IriType.BEGIN, IriType.CONTINUE, IriType.END
_P, _S = Phase, Signal

TABLE: Final[Mapping[Phase, Mapping[Signal, tuple[IriType, Phase]]]] = {
    Phase.NEW: {
        _S.INVITE: (_BEGIN, _P.CALLING),
        _S.RINGING: (_BEGIN, _P.CALLING),
        _S.ANSWER: (_BEGIN, _P.UP),
        _S.CHALLENGE: (_BEGIN, _P.CALLING),
        _S.REFUSAL: (_BEGIN, _P.FAILING),
        _S.ACK: (_BEGIN, _P.UP),
        _S.BYE: (_BEGIN, _P.CLOSING),
        _S.BYE_REFUSED: (_BEGIN, _P.UP),
        _S.GOODBYE: (_REPORT, _P.ENDED),
        _S.CANCEL: (_BEGIN, _P.CALLING),
        _S.WITHIN: (_BEGIN, _P.UP),
        _S.ALONE: (_REPORT, _P.NEW),
        _S.GONE: (_REPORT, _P.ENDED),
        _S.OPENED: (_BEGIN, _P.UP),
        _S.CHANGED: (_BEGIN, _P.UP),
        _S.CLOSED: (_REPORT, _P.ENDED),
    },
    Phase.CALLING: {
        _S.INVITE: (_CONTINUE, _P.CALLING),
        _S.RINGING: (_CONTINUE, _P.CALLING),
        _S.ANSWER: (_CONTINUE, _P.UP),
        _S.CHALLENGE: (_CONTINUE, _P.CALLING),
        _S.REFUSAL: (_CONTINUE, _P.FAILING),
        _S.ACK: (_CONTINUE, _P.CALLING),
        _S.BYE: (_CONTINUE, _P.CLOSING),
        _S.BYE_REFUSED: (_CONTINUE, _P.UP),
        _S.GOODBYE: (_END, _P.ENDED),
        _S.CANCEL: (_CONTINUE, _P.CALLING),
        _S.WITHIN: (_CONTINUE, _P.CALLING),
        _S.ALONE: (_REPORT, _P.CALLING),
        _S.GONE: (_END, _P.ENDED),
        _S.OPENED: (_CONTINUE, _P.UP),
        _S.CHANGED: (_CONTINUE, _P.UP),
        _S.CLOSED: (_END, _P.ENDED),
    },
    Phase.FAILING: {
        _S.INVITE: (_CONTINUE, _P.CALLING),
        _S.RINGING: (_CONTINUE, _P.CALLING),
        _S.ANSWER: (_CONTINUE, _P.UP),
        _S.CHALLENGE: (_CONTINUE, _P.FAILING),
        _S.REFUSAL: (_CONTINUE, _P.FAILING),
        _S.ACK: (_END, _P.ENDED),
        _S.BYE: (_CONTINUE, _P.CLOSING),
        _S.BYE_REFUSED: (_CONTINUE, _P.FAILING),
        _S.GOODBYE: (_END, _P.ENDED),
        _S.CANCEL: (_CONTINUE, _P.FAILING),
        _S.WITHIN: (_CONTINUE, _P.FAILING),
        _S.ALONE: (_REPORT, _P.FAILING),
        _S.GONE: (_END, _P.ENDED),
        _S.OPENED: (_CONTINUE, _P.UP),
        _S.CHANGED: (_CONTINUE, _P.UP),
        _S.CLOSED: (_END, _P.ENDED),
    },
    Phase.UP: {
        _S.INVITE: (_CONTINUE, _P.UP),
        _S.RINGING: (_CONTINUE, _P.UP),
        _S.ANSWER: (_CONTINUE, _P.UP),
        _S.CHALLENGE: (_CONTINUE, _P.UP),
        _S.REFUSAL: (_CONTINUE, _P.UP),
        _S.ACK: (_CONTINUE, _P.UP),
        _S.BYE: (_CONTINUE, _P.CLOSING),
        _S.BYE_REFUSED: (_CONTINUE, _P.UP),
        _S.GOODBYE: (_END, _P.ENDED),
        _S.CANCEL: (_CONTINUE, _P.UP),
        _S.WITHIN: (_CONTINUE, _P.UP),
        _S.ALONE: (_REPORT, _P.UP),
        _S.GONE: (_END, _P.ENDED),
        _S.OPENED: (_CONTINUE, _P.UP),
        _S.CHANGED: (_CONTINUE, _P.UP),
        _S.CLOSED: (_END, _P.ENDED),
    },
    Phase.CLOSING: {
        _S.INVITE: (_CONTINUE, _P.CLOSING),
        _S.RINGING: (_CONTINUE, _P.CLOSING),
        _S.ANSWER: (_CONTINUE, _P.CLOSING),
        _S.CHALLENGE: (_CONTINUE, _P.CLOSING),
        _S.REFUSAL: (_CONTINUE, _P.CLOSING),
        _S.ACK: (_CONTINUE, _P.CLOSING),
        _S.BYE: (_CONTINUE, _P.CLOSING),
        _S.BYE_REFUSED: (_CONTINUE, _P.UP),
        _S.GOODBYE: (_END, _P.ENDED),
        _S.CANCEL: (_CONTINUE, _P.CLOSING),
        _S.WITHIN: (_CONTINUE, _P.CLOSING),
        _S.ALONE: (_REPORT, _P.CLOSING),
        _S.GONE: (_END, _P.ENDED),
        _S.OPENED: (_CONTINUE, _P.UP),
        _S.CHANGED: (_CONTINUE, _P.UP),
        _S.CLOSED: (_END, _P.ENDED),
    },
    Phase.ENDED: dict.fromkeys(Signal, (_REPORT, Phase.ENDED)),
}

_SINGLE: Final = frozenset({"MESSAGE", "REGISTER", "OPTIONS", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER"})
"""They need no call; within one they are told as part of it, but those that never are."""
_NEVER_WITHIN: Final = frozenset({"REGISTER", "PUBLISH"})
_DIALOGS: Final = 32


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    """What is remembered of a session.

    invite   the highest CSeq of an INVITE that began it: another, later one begins another session when this has ended
    dialogs  those that were answered and have not ended, as digests of their tags
    ringing  those that ring, likewise
    """

    phase: Phase = Phase.NEW
    invite: int = 0
    dialogs: tuple[str, ...] = ()
    ringing: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        return self.phase not in {Phase.NEW, Phase.ENDED}


def meaning(message: SipMessage) -> Signal:  # noqa: PLR0911 - one line a rule
    """Of a SIP message, whatever session it is of."""
    method, status = message.method, message.status
    if method in _SINGLE:
        return Signal.ALONE
    if not status:
        return {"INVITE": Signal.INVITE, "ACK": Signal.ACK, "BYE": Signal.BYE, "CANCEL": Signal.CANCEL}.get(
            method, Signal.WITHIN
        )
    if method == "INVITE":
        if status < 200:
            return Signal.RINGING
        if status < 300:
            return Signal.ANSWER
        return Signal.CHALLENGE if status in {401, 407} else Signal.REFUSAL
    if method == "BYE" and status >= 200:
        return Signal.BYE_REFUSED if status in {401, 407} else Signal.GOODBYE
    return Signal.WITHIN


def step(session: Session, signal: Signal) -> tuple[IriType, Session]:
    """What an event becomes that is no SIP message, and the session after it."""
    if signal is Signal.OPENED and session.phase is Phase.ENDED:
        session = Session()
    kind, phase = TABLE[session.phase][signal]
    if phase is Phase.ENDED:
        return kind, replace(session, phase=phase, dialogs=(), ringing=())
    return kind, replace(session, phase=phase)


def begins_anew(session: Session, message: SipMessage) -> bool:
    """A new call under the number of one that has ended: its Call-ID is used again, with a later INVITE."""
    return (
        session.phase is Phase.ENDED
        and message.method == "INVITE"
        and not message.status
        and not message.to_tag
        and message.number > session.invite
    )


def sip_step(session: Session, message: SipMessage) -> tuple[IriType, Session]:
    """What a SIP message becomes, and the session after it.

    A caller that asks `begins_anew` first gives the new session a CIN of its own.
    """
    signal = meaning(message)
    if begins_anew(session, message):
        session = Session()
    if signal is Signal.ALONE and session.open and message.to_tag and message.method not in _NEVER_WITHIN:
        signal = Signal.WITHIN
    signal, dialogs, ringing = _branches(session, message, signal)
    kind, after = step(session, signal)
    if signal is Signal.INVITE and not message.to_tag:
        after = replace(after, invite=max(after.invite, message.number))
    return kind, after if after.phase is Phase.ENDED else replace(after, dialogs=dialogs, ringing=ringing)


def _branches(session: Session, message: SipMessage, signal: Signal) -> tuple[Signal, tuple[str, ...], tuple[str, ...]]:
    """What a message means beside other branches of the call, and which of them ring or are answered after it."""
    dialog, dialogs, ringing = _dialog(message), session.dialogs, session.ringing
    if signal is Signal.RINGING and message.to_tag and dialog not in ringing and len(ringing) < _DIALOGS:
        ringing = (*ringing, dialog)
    elif signal in {Signal.ANSWER, Signal.REFUSAL}:
        ringing = tuple(one for one in ringing if one != dialog)
        if signal is Signal.REFUSAL and ringing and session.phase is Phase.CALLING:
            signal = Signal.RINGING  # another branch does
        elif signal is Signal.ANSWER and dialog not in dialogs and len(dialogs) < _DIALOGS:
            dialogs = (*dialogs, dialog)
    elif signal is Signal.GOODBYE:
        dialogs = tuple(one for one in dialogs if one != dialog)
        if dialogs:
            signal = Signal.BYE_REFUSED  # another dialog of the same call goes on
    return signal, dialogs, ringing


EVENTS: Final[Mapping[IriType, Signal]] = {
    IriType.BEGIN: Signal.OPENED,
    IriType.CONTINUE: Signal.CHANGED,
    IriType.END: Signal.CLOSED,
    IriType.REPORT: Signal.ALONE,
}
"""What a 5G event says of its session by itself (`handover.threegpp.iri_type`): a PDU session was established or was
there, was modified, was released; or it is of none. A procedure that failed began none and left the one that was there
as it was."""


def event_step(session: Session, told: IriType) -> tuple[IriType, Session]:
    """What a 5G event becomes in its session."""
    return step(session, EVENTS[told])


def event_begins_anew(session: Session, told: IriType) -> bool:
    """A session under the number of one that has ended."""
    return session.phase is Phase.ENDED and told is IriType.BEGIN


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a session may be silent before it is told as ended, in seconds.

    final_s    after a BYE: RFC 3261's 64 x T1, in which its answer must have come
    refused_s  after a refusal, while nothing rings: the next branch is tried at once
    calling_s  while it is not answered: timer C with some room
    media_s    of a call whose content came, and comes no more
    silent_s   of everything else; a session timer (RFC 4028) makes a call speak more often
    """

    final_s: float = 32.0
    refused_s: float = 10.0
    calling_s: float = 300.0
    media_s: float = 1800.0
    silent_s: float = 43_200.0

    def of(self, session: Session, *, media: bool) -> float | None:
        """None: there is no end to wait for."""
        if session.phase is Phase.CLOSING:
            return self.final_s
        if session.phase is Phase.FAILING:
            return self.refused_s
        if session.phase is Phase.CALLING:
            return self.calling_s
        if session.phase is Phase.UP:
            return self.media_s if media else self.silent_s
        return None


def _dialog(message: SipMessage) -> str:
    """The same for requests of either party."""
    tags = "\0".join(sorted((message.from_tag, message.to_tag)))
    return blake2b(tags.encode(errors="surrogateescape"), digest_size=8).hexdigest()
