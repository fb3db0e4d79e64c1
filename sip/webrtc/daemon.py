"""What Janus and coturn have in common, for the one driver of both: files, a unit, what they are told, a load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from nf.contracts.driver import Event
from nf.contracts.units import UnitSpec
from nf.errors import Problem
from sip.webrtc.documents import EdgeSection
from sip.webrtc.places import Places, Resolve

S = TypeVar("S", bound=EdgeSection)


@dataclass(frozen=True, slots=True)
class Live:
    """What the process that runs shows of itself.

    fault  why it does not do its work; empty: it does
    told   what it was told otherwise, in an operator's words
    load   sessions or allocations that it has; None: unknown
    """

    fault: str = ""
    told: tuple[str, ...] = ()
    load: int | None = None


class Daemon(Protocol[S]):
    """One of them. `words`: what it is, and what its load is, in an operator's words, singular."""

    section: str
    unit: str
    model: type[S]
    words: tuple[str, str]
    places: Places

    def program_problem(self) -> Problem | None: ...

    def files(self, section: S) -> Mapping[str, str]:
        """File -> text that a start reads, with marks where secrets stand. Pure."""

    def checked(self, section: S, reference: str, value: str) -> str:
        """The secret as it can be written. Raises RefusedError, which does not quote it."""

    def spec(self, section: S, generation: str) -> UnitSpec: ...

    def secrets(self, section: S) -> tuple[str, ...]:
        """All that it names."""

    def before_start(self, section: S, resolve: Resolve, *, drained: bool) -> None:
        """What has to be there when it starts."""

    async def tell(self, section: S, resolve: Resolve, *, drained: bool) -> None:
        """What it takes while it runs. Idempotent. Raises UnavailableError and DeadlineError."""

    async def read(self, section: S, resolve: Resolve, *, drained: bool) -> Live: ...

    async def load(self, section: S) -> int:
        """Raises UnavailableError and DeadlineError."""

    async def events(self, section: S | None, resolve: Resolve, at: float, *, drained: bool) -> Iterator[Event]:
        """Samples of now, and alarms that changed. Without a section there is nothing to speak of."""
