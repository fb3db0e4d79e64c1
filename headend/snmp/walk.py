"""Walks that end, whatever the agent's order: duplicates, order breaks and loops are in real devices' walks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from headend.snmp.errors import SnmpError
from headend.snmp.stack import Answered, Request, Stack
from headend.snmp.target import Community, Target
from headend.snmp.values import Syntax, Varbind, beneath, oid_key, plain_oid

ROWS_MAX: Final = 200_000
REPETITIONS: Final = 25
_log = logging.getLogger(__name__)


class Walk:
    """What is known of a walk in progress, and where to go on; sans-IO.

    Each place is asked from once at most, so that it ends. From a place that gives nothing new it goes on at the
    greatest OID seen, then just behind the place (an agent that answers X to "after X" can be passed like that).
    """

    def __init__(self, root: str, rows_max: int = ROWS_MAX) -> None:
        self.root = plain_oid(root)
        self.rows: dict[str, Varbind] = {}
        self.complete = False
        self._rows_max = rows_max
        self._asked: set[str] = set()
        self._last = self.root
        self._greatest = oid_key(self.root)

    def next_place(self) -> str | None:
        """Where to ask from next; None at the end."""
        if self.complete or len(self.rows) >= self._rows_max:
            return None
        for place in (self._last, ".".join(map(str, self._greatest)), f"{self._last}.0"):
            if place not in self._asked:
                self._asked.add(place)
                return place
        return None

    def take(self, answers: Sequence[Answered]) -> None:
        """The answer to the last question; the first value of an OID that comes twice is kept."""
        if not answers:
            self.complete = True
        for answer in answers:
            varbind = answer.varbind
            if answer.exception or not beneath(varbind.oid, self.root):
                self.complete = True
                return
            self._last = varbind.oid
            if varbind.oid not in self.rows and len(self.rows) < self._rows_max:
                self.rows[varbind.oid] = varbind
                self._greatest = max(self._greatest, oid_key(varbind.oid))


async def walk(stack: Stack, target: Target, root: str, rows_max: int = ROWS_MAX) -> list[Varbind]:
    """Everything beneath `root`, in the agent's own order, each OID once, `rows_max` at most.

    GETBULK, and GETNEXT for v1 and for agents that fail at GETBULK. Raises AgentSilentError, SnmpSecurityError,
    SnmpError, InputError when `root` is no OID.
    """
    state = Walk(root, rows_max)
    v1 = isinstance(target.credentials, Community) and target.credentials.version == "v1"
    request = Request.GETNEXT if v1 else Request.GETBULK
    while (place := state.next_place()) is not None:
        question = [Varbind(place, None, Syntax.NULL)]
        try:
            answers = await stack.request(target, request, question, repetitions=REPETITIONS)
        except SnmpError as error:
            if error.error_status == "noSuchName":  # how v1 ends a walk
                state.complete = True
                continue
            if request is Request.GETNEXT:
                raise
            request = Request.GETNEXT
            answers = await stack.request(target, request, question)
        state.take(answers)
    if not state.complete:
        _log.warning("%s: the walk of %s goes in circles; it ends after %d rows", target, root, len(state.rows))
    return list(state.rows.values())


async def get(stack: Stack, target: Target, oids: Sequence[str]) -> dict[str, Answered]:
    """One GET by pysnmp; OIDs without a leading dot. An OID that the answer leaves out is not in the result."""
    answers = await stack.request(target, Request.GET, [Varbind(oid, None, Syntax.NULL) for oid in oids])
    return {answer.varbind.oid: answer for answer in answers}
