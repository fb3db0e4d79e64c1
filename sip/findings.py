"""What reconciling calls and relays has found and done, as a driver's operation tells it (`nf sip relay-report`).

Operation `voice-relay-report`. Arguments: `limit` rows (200). Result: `node`; `checked`: when all calls were compared
last, in seconds since the epoch, null: not yet; `rows`, the newest first: `call`, `found`, `done`, `at`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import Json, JsonObject
from nf.errors import InputError
from sip.operations import RELAY_REPORT

NO_DIALOG, NO_KEYS, NO_RELAY, NOT_TOLD = "no dialog", "no keys", "no relay", "not told"
"""A relay has the call and no proxy; it has it without its keys; a proxy has it and no relay; a proxy has not told."""
WAITING, DELETED, ENDED, LEFT = "waiting", "deleted", "ended", "left"
"""It is looked at again; at the relay; with BYE; an emergency call, which nobody ends. Anything else is a failure."""

KEPT: Final = 1000
_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """`at`: seconds since the epoch."""

    call: str
    found: str
    done: str
    at: float

    def row(self) -> JsonObject:
        return {"call": self.call, "found": self.found, "done": self.done, "at": self.at}


@dataclass(slots=True)
class Findings:
    """In memory: what is over is kept until the agent is started again, the last of it."""

    standing: tuple[Finding, ...] = ()
    checked: float | None = None
    _over: deque[Finding] = field(default_factory=lambda: deque(maxlen=KEPT))

    def note(self, several: Iterable[Finding]) -> None:
        self._over.extend(several)

    def rows(self, limit: int) -> list[JsonObject]:
        found = [*self.standing, *self._over]
        return [one.row() for one in sorted(found, key=lambda one: (-one.at, one.call))[:limit]]


class Report:
    """`name`: of the node; empty: there is none."""

    def __init__(self, findings: Findings, name: Callable[[], str]) -> None:
        self._findings, self._name = findings, name

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        """Raises InputError."""
        limit = arguments.get("limit", _ROWS)
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= KEPT:
            raise InputError(f"`limit` is a whole number from 1 to {KEPT:,}", where=RELAY_REPORT)
        rows: list[Json] = [*self._findings.rows(limit)]
        return {"node": self._name(), "checked": self._findings.checked, "rows": rows, "text": f"{len(rows)} findings"}
