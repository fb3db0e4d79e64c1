"""What the relay tells, and what it remembers of a request until its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from core5g.pfcp.proxy.sessions import Modification, Session
from core5g.pfcp.wire import Ie, Message


class Observer(Protocol):
    """What the classifier and the store are told. Raising is no fault of the message that was handed on."""

    def established(self, session: Session) -> None: ...

    def modified(self, session: Session, ies: tuple[Ie, ...]) -> None: ...

    def wiped(self, session: Session) -> None: ...

    def ended(self, session: Session, why: str) -> None: ...

    def has_room(self, session: Session, ies: tuple[Ie, ...]) -> bool:
        """Whether a modification of the SMF fits beside our rules. False: it is held until `release`."""

    def report(self, session: Session, message: Message) -> bytes | None:
        """The value that a Downlink Data Report has for the SMF, None when it is as it should be."""

    def unread(self, session: Session) -> None:
        """What the UPF has for it is not known any more: it may have taken what cannot be read."""

    def failed(self, session: Session | None, error: Exception) -> None: ...

    def restarted(self, smf: str | None) -> None:
        """An SMF, or (None) the UPF."""


@dataclass(slots=True)
class Establishment:
    smf: str
    seid: int
    key: int
    ies: tuple[Ie, ...]


@dataclass(slots=True)
class Change:
    session: Session
    modification: Modification | None  # None: a deletion
