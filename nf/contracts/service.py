"""The service contract: a long-lived server or consumer that a domain has hosted by the NOC (group `nf.services`).

A service is off until it is configured on the NOC's machine: `nf noc service set NAME KEY=VALUE`. It runs as a task of
the NOC's process under supervision: one that fails is started again after a pause, under an alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.contracts.noc_client import OperationOutcome
from nf.contracts.paths import Paths
from nf.contracts.telemetry import Telemetry
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.telemetry.alarms import Severity
from nf.trust.identity import Identity
from nf.trust.roles import OperatorRole
from nf.trust.spiffe import SpiffeId


@dataclass(frozen=True, slots=True)
class Committed:
    """The documents of the current revision."""

    revision: int
    lineup: LineUp
    fleet: Fleet


@dataclass(frozen=True, slots=True)
class Caller:
    """An operator whose certificate counts now. `sites`: where the role holds; empty = everywhere."""

    spiffe_id: SpiffeId
    role: OperatorRole
    sites: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Note:
    """What the audit chain says of a change, in the same transaction. `actor`: SPIFFE id of who asked."""

    actor: str
    action: str
    object: str
    outcome: str
    detail: JsonObject


class Records(Protocol):
    """Durable JSON values of one service. They are in the NOC's store: in its backup, and in its copy.

    A key is letters, digits and hyphens. All methods raise StorageError, BusyError, IntegrityError.
    """

    async def all(self) -> Mapping[str, JsonObject]: ...

    async def put(self, key: str, value: JsonObject, note: Note | None = None) -> None:
        """Durable when it returns."""

    async def remove(self, key: str, note: Note | None = None) -> None:
        """No error when there is none."""


Progress = Callable[[str, str, float, str], None]
"""Appliance, state, fraction of its work, text."""


def silent(_appliance: str, _state: str, _fraction: float, _text: str) -> None:
    return None


class ServiceContext(Protocol):
    """What a service may use of the NOC that hosts it."""

    @property
    def settings(self) -> DocumentModel:
        """An instance of the service's `settings`, as they were set."""

    @property
    def state_dir(self) -> Path:
        """A directory of the service's own, mode 0700. It is in no backup: what must last goes into `records`."""

    @property
    def clock(self) -> Clock: ...

    @property
    def records(self) -> Records: ...

    @property
    def paths(self) -> Paths:
        """What the NOC's policy says of the delivery paths."""

    @property
    def telemetry(self) -> Telemetry:
        """What the fleet measures and says, as it stands."""

    def identity(self) -> Identity:
        """The NOC's own, as it is now: it is renewed while the service runs."""

    async def authorize(self, certificate_der: bytes, role: OperatorRole, act: str) -> Caller:
        """Who shows this client certificate, if it may do `act` to the whole fleet. Refusals are audited.

        Raises IdentityError (no operator of this NOC, expired, revoked), DeniedError (a lesser role, bound to sites).
        """

    def committed(self) -> Committed: ...

    async def run_operation(
        self,
        name: str,
        target: str,
        arguments: JsonObject,
        *,
        author: str,
        past_failures: bool = False,
        progress: Progress = silent,
    ) -> OperationOutcome:
        """Run a fleet operation to its end, audited under `author` (a SPIFFE id). It goes on when this is cancelled.

        Raises NotFoundError when the current line-up has no such operation or object.
        """

    async def submit_operations(
        self, name: str, target: str, several: Sequence[JsonObject], *, author: str
    ) -> tuple[int, ...]:
        """Give orders for one object, each by its arguments: all are durable when it returns, or none is, and they are
        carried out by themselves. Their numbers; one whose id is known already has the number that it has.

        Raises NotFoundError (no such object), InputError, and what the store raises.
        """

    async def operation_objects(self, name: str) -> frozenset[str]:
        """What the operation can be done to now."""

    def alarm(self, cause: str, subject: str, severity: Severity, text: str = "", remedy: str = "") -> None:
        """Raised, changed, or ended (CLEARED), as the NOC's own. `subject` is put below the service's name."""

    def ready(self, **facts: Any) -> None:
        """It serves now: the alarm about its last failure ends. `facts` are for the log and for tests."""


class Service(Protocol):
    @property
    def name(self) -> str:
        """Equals the name of its entry point."""

    @property
    def settings(self) -> type[DocumentModel]:
        """What may be set for it. An instance without required keys missing means: it is configured."""

    async def run(self, context: ServiceContext) -> None:
        """Until cancelled. To return, or to raise anything, is a failure."""
