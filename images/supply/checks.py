"""Checks and their verdicts: each is done whatever became of the others, so that all that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from images.report import Report
from nf.errors import NfError

_T = TypeVar("_T")


class Verdict(Enum):
    PASSED = "passed"
    FAILED = "failed"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """`subject` is what was looked at, `what` the question, `reason` why the verdict is what it is."""

    subject: str
    what: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """`notes`: what an operator should know and what changes no verdict."""

    path: str
    kind: str
    checks: tuple[Check, ...]
    notes: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """All that belongs to this kind of artefact was checked, and nothing failed."""
        return bool(self.checks) and all(check.verdict is Verdict.PASSED for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        return self._with(Verdict.FAILED)

    @property
    def unchecked(self) -> tuple[Check, ...]:
        return self._with(Verdict.UNCHECKED)

    @property
    def passed(self) -> tuple[Check, ...]:
        return self._with(Verdict.PASSED)

    def _with(self, verdict: Verdict) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict is verdict)


@dataclass(slots=True)
class Checks:
    """Collects them, and counts the octets that were read."""

    report: Report
    total_octets: int = 0
    done: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _octets: int = 0
    _current: str = ""

    def run(self, subject: str, what: str, question: Callable[[], _T], *, good: str = "") -> _T | None:
        """Ask; an error of the tree is the verdict. `good` is the reason of a pass. None when it failed."""
        self._current = f"{subject}: {what}"
        self.tick(0)
        try:
            answer = question()
        except NfError as error:
            named = error.where and error.where != subject
            reason = f"{error.where}: {error.message}" if named else error.message
            told = f"{reason}; {error.remedy}" if error.remedy else reason
            self.done.append(Check(subject, what, Verdict.FAILED, told))
            return None
        self.done.append(Check(subject, what, Verdict.PASSED, good))
        return answer

    def skip(self, subject: str, what: str, reason: str) -> None:
        """It belongs to the whole, and could not be done."""
        self.done.append(Check(subject, what, Verdict.UNCHECKED, reason))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def tick(self, octets: int) -> None:
        """So many more octets were read."""
        self._octets += octets
        share = self._octets / self.total_octets if self.total_octets else 0.0
        self.report(min(share, 1.0), self._current)
