"""Warrants and their life. Pure: every change is a function of a warrant, who acts and the time.

What a warrant says never changes: what was approved is what the clerk wrote. A longer interception is another warrant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from pydantic import with_config

from lawful_intercept.administration.records import CLOSED, Codec, Moment
from lawful_intercept.identifiers import TargetIdentifier, check_liid
from nf.errors import DeniedError, InputError, RefusedError

MAX_TARGETS: Final = 32
MAX_DURATION: Final = timedelta(days=366)
MAX_REFERENCE: Final = 256


class State(Enum):
    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REJECTED = "rejected"


class Act(Enum):
    CREATE = "create"
    SUBMIT = "submit"
    APPROVE = "approve"
    REJECT = "reject"
    ACTIVATE = "activate"
    EXPIRE = "expire"
    REVOKE = "revoke"


class Scope(Enum):
    IRI = "iri"
    IRI_AND_CC = "iri-and-cc"


class Service(Enum):
    """Where it is intercepted; the names are those of X1's serviceType (TS 103 221-1)."""

    VOICE = "voice"
    DATA = "data"


ENDED: Final = frozenset({State.EXPIRED, State.REVOKED, State.REJECTED})

TRANSITIONS: Final[Mapping[tuple[State, Act], State]] = MappingProxyType(
    {
        (State.DRAFT, Act.SUBMIT): State.SUBMITTED,
        (State.DRAFT, Act.REVOKE): State.REVOKED,
        (State.DRAFT, Act.EXPIRE): State.EXPIRED,
        (State.SUBMITTED, Act.APPROVE): State.APPROVED,
        (State.SUBMITTED, Act.REJECT): State.REJECTED,
        (State.SUBMITTED, Act.REVOKE): State.REVOKED,
        (State.SUBMITTED, Act.EXPIRE): State.EXPIRED,
        (State.APPROVED, Act.ACTIVATE): State.ACTIVE,
        (State.APPROVED, Act.REVOKE): State.REVOKED,
        (State.APPROVED, Act.EXPIRE): State.EXPIRED,
        (State.ACTIVE, Act.REVOKE): State.REVOKED,
        (State.ACTIVE, Act.EXPIRE): State.EXPIRED,
    }
)
"""What may happen in which state. What is absent is refused."""


@dataclass(frozen=True, slots=True)
class Step:
    """One act in a warrant's life. `actor`: an officer's name, "" for the clock."""

    act: Act
    actor: str
    at: Moment


@with_config(CLOSED)
@dataclass(frozen=True, slots=True, repr=False)
class Content:
    """What an authority orders.

    liid       lawful interception identifier, agreed with the agency
    reference  the authority's own reference of its order
    agency     name of the agency that is delivered to
    targets    alternatives: whatever is of one of them is intercepted
    services   where; each target has to be one that can be matched there
    start,stop half-open, in UTC

    Raises InputError.
    """

    liid: str
    reference: str
    agency: str
    targets: tuple[TargetIdentifier, ...]
    services: frozenset[Service]
    scope: Scope
    start: Moment
    stop: Moment

    def __post_init__(self) -> None:
        check_liid(self.liid)
        if not (0 < len(self.reference) <= MAX_REFERENCE and self.reference.isprintable()):
            raise InputError("a warrant has the reference of an authority", remedy=f"1 to {MAX_REFERENCE} characters")
        if not self.targets or len(self.targets) > MAX_TARGETS or len(set(self.targets)) != len(self.targets):
            raise InputError("a warrant names its targets, each once", remedy=f"write 1 to {MAX_TARGETS} targets")
        if not self.services:
            raise InputError("a warrant names what is intercepted", remedy="write voice, data or both")
        if self.start.utcoffset() != timedelta(0) or self.stop.utcoffset() != timedelta(0):
            raise InputError("the times of a warrant are in UTC", remedy="write 2026-11-30T16:00:00Z")
        if not self.start < self.stop:
            raise InputError("a warrant stops after it starts", remedy="write a later stop")
        if self.stop - self.start > MAX_DURATION:
            raise InputError("a warrant is longer than a year", remedy="write an earlier stop")


@dataclass(frozen=True, slots=True, repr=False)
class Warrant:
    """`number`: opaque, and what audit, alarms and the store know it by. `xid`: of its tasks at all elements."""

    number: UUID
    xid: UUID
    content: Content
    state: State
    history: tuple[Step, ...]

    @property
    def authors(self) -> frozenset[str]:
        """Who wrote or submitted it: none of them may approve it."""
        return frozenset(step.actor for step in self.history if step.act in (Act.CREATE, Act.SUBMIT))

    @property
    def approver(self) -> str:
        approval = self._last(Act.APPROVE)
        return approval.actor if approval else ""

    @property
    def ended_at(self) -> datetime | None:
        """When it was revoked, rejected or found to be over; None while it is not."""
        return self.history[-1].at if self.state in ENDED else None

    @property
    def was_active(self) -> bool:
        return bool(self._last(Act.ACTIVATE))

    @property
    def stopped_at(self) -> datetime:
        """The end of interception: the ordered one, or that of a revocation before it."""
        revoked = self._last(Act.REVOKE)
        return min(revoked.at, self.content.stop) if revoked else self.content.stop

    def _last(self, act: Act) -> Step | None:
        return next((step for step in reversed(self.history) if step.act is act), None)


def create(number: UUID, xid: UUID, content: Content, clerk: str, now: datetime) -> Warrant:
    """Raises RefusedError when its time is over already."""
    if content.stop <= now:
        raise RefusedError("the warrant's time is over", where=f"warrant {number}", remedy="write a stop to come")
    return Warrant(number, xid, content, State.DRAFT, (Step(Act.CREATE, clerk, now),))


def submit(warrant: Warrant, clerk: str, now: datetime) -> Warrant:
    """Raises RefusedError in another state, or after its time."""
    return _before_stop(warrant, Act.SUBMIT, clerk, now)


def approve(warrant: Warrant, approver: str, now: datetime) -> Warrant:
    """Raises DeniedError for an author of it (four eyes), RefusedError in another state, or after its time."""
    _allowed(warrant, Act.APPROVE)
    if approver in warrant.authors:
        raise DeniedError(
            "who wrote or submitted a warrant does not approve it",
            where=f"warrant {warrant.number}",
            remedy="another officer with the role approver has to",
        )
    return _before_stop(warrant, Act.APPROVE, approver, now)


def reject(warrant: Warrant, approver: str, now: datetime) -> Warrant:
    """Raises RefusedError in another state."""
    return _step(warrant, Act.REJECT, approver, now)


def revoke(warrant: Warrant, officer: str, now: datetime) -> Warrant:
    """Ends it before its time. Raises RefusedError when it has ended."""
    return _step(warrant, Act.REVOKE, officer, now)


def activate(warrant: Warrant, now: datetime) -> Warrant:
    """Raises RefusedError in another state, outside of its time, or when two distinct officers are not behind it."""
    _allowed(warrant, Act.ACTIVATE)
    where = f"warrant {warrant.number}"
    if not warrant.content.start <= now < warrant.content.stop:
        raise RefusedError("it is not the warrant's time", where=where)
    if not warrant.authors or not warrant.approver or warrant.approver in warrant.authors:
        raise RefusedError("two distinct officers are not behind this warrant", where=where)
    return _step(warrant, Act.ACTIVATE, "", now)


def expire(warrant: Warrant, now: datetime) -> Warrant:
    """Raises RefusedError before its stop, or when it has ended."""
    if now < warrant.content.stop:
        raise RefusedError("the warrant's time is not over", where=f"warrant {warrant.number}")
    return _step(warrant, Act.EXPIRE, "", now)


def due(warrant: Warrant, now: datetime) -> Act | None:
    """What the clock asks for now."""
    if warrant.state in ENDED:
        return None
    if now >= warrant.content.stop:
        return Act.EXPIRE
    if warrant.state is State.APPROVED and now >= warrant.content.start:
        return Act.ACTIVATE
    return None


def next_change(warrant: Warrant) -> datetime | None:
    """When the clock asks for something next."""
    if warrant.state in ENDED:
        return None
    return warrant.content.start if warrant.state is State.APPROVED else warrant.content.stop


def _before_stop(warrant: Warrant, act: Act, actor: str, now: datetime) -> Warrant:
    _allowed(warrant, act)
    if now >= warrant.content.stop:
        raise RefusedError("the warrant's time is over", where=f"warrant {warrant.number}", remedy="write another one")
    return _step(warrant, act, actor, now)


def _step(warrant: Warrant, act: Act, actor: str, now: datetime) -> Warrant:
    state = _allowed(warrant, act)
    at = max(now, warrant.history[-1].at)  # a clock that was set back does not turn the history round
    return replace(warrant, state=state, history=(*warrant.history, Step(act, actor, at)))


def _allowed(warrant: Warrant, act: Act) -> State:
    state = TRANSITIONS.get((warrant.state, act))
    if state is None:
        raise RefusedError(
            f"a warrant that is {warrant.state.value} cannot {act.value}", where=f"warrant {warrant.number}"
        )
    return state


WARRANT: Final = Codec(Warrant, "a warrant")
CONTENT: Final = Codec(Content, "what a warrant says")
