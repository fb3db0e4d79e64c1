"""What a domain's commands may ask of the NOC, and of the terminal, without knowing either."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nf.contracts.json import Json, JsonObject


@dataclass(frozen=True, slots=True)
class NodeOutcome:
    """What came of an operation at one appliance. `state`: done, failed, offline, withheld (never begun)."""

    appliance: str
    driver: str
    stage: int
    state: str
    text: str = ""
    result: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OperationOutcome:
    """`complete`: done everywhere. `data`: all of it, as `--json` prints it."""

    complete: bool
    nodes: tuple[NodeOutcome, ...]
    duration_s: float
    data: JsonObject


@dataclass(frozen=True, slots=True)
class CommittedDocuments:
    """As they were written; each a name for errors, and the text."""

    revision: int
    lineup: tuple[str, bytes]
    fleet: tuple[str, bytes]


class NocClient(Protocol):
    """Raises the error tree."""

    def run_operation(
        self,
        name: str,
        target: str,
        arguments: JsonObject,
        *,
        past_failures: bool,
        profile: Path | None,
        watch: bool = True,
    ) -> OperationOutcome:
        """Run a fleet operation to its end, `watch`: its progress on stderr. It goes on when this is interrupted."""

    def orders(self, name: str, target: str, *, limit: int, profile: Path | None) -> tuple[JsonObject, ...]:
        """The NOC's ledger of a numbered operation, newest first; as `--json` prints it. `target` empty: of all."""

    def order(self, name: str, identity: str, *, profile: Path | None) -> tuple[JsonObject, ...]:
        """Those of an id, one for each object, or of a number."""

    def operation_objects(self, name: str) -> tuple[str, ...]:
        """What the operation can be done to, for completion: quick, empty when the NOC does not answer."""

    def committed(self, *, profile: Path | None, timeout_s: float = 15.0) -> CommittedDocuments:
        """The line-up and the fleet that are committed now."""

    def print_json(self, value: Json) -> None: ...

    def print_table(self, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> None: ...

    def say(self, text: str) -> None:
        """One line of result."""


CLIENT: ContextVar[NocClient] = ContextVar("noc_client")
"""Set by `nf` before it calls a command."""
