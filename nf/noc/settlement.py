"""What an appliance hears when it comes back in the middle of something, and who has yet to carry a decision out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from nf.control.v1 import fleet_pb2 as pb
from nf.errors import NfError
from nf.noc.ledger import Ledger
from nf.noc.lineups import LineUps
from nf.noc.records import Decision, TransactionRecord
from nf.noc.sessions import PhaseKey, Session, Sessions
from nf.noc.tasks import Tasks
from nf.noc.telemetry import Telemetry
from nf.telemetry.alarms import Severity

_log = logging.getLogger(__name__)

SPLIT = "revision-split"
_ANSWER_S = 60.0


class Settlement:
    """`running`: transactions that a rollout handles now; `held`: the one that waits for a confirm."""

    def __init__(self, ledger: Ledger, lineups: LineUps, sessions: Sessions, telemetry: Telemetry) -> None:
        self._ledger = ledger
        self._lineups = lineups
        self._sessions = sessions
        self._telemetry = telemetry
        self._tasks = Tasks("settlement")
        self._open: dict[str, tuple[TransactionRecord, set[str]]] = {}
        self._ending: set[tuple[str, str]] = set()
        self._split: set[str] = set()
        self.running: set[str] = set()
        self.held = ""
        self.on_held_undone: Callable[[str], None] = lambda _appliance: None

    async def close(self) -> None:
        await self._tasks.close()

    def busy(self, appliance: str) -> bool:
        """Whether a decision has yet to be carried out there."""
        session = self._sessions.get(appliance)
        return session is not None and bool(session.standing.in_flight)

    # ---- decisions that are on their way ----

    def expect(self, record: TransactionRecord, appliances: tuple[str, ...], *, quietly: bool = False) -> None:
        """A logged CONFIRM that these have yet to carry out; unless `quietly`, each is a split until it has."""
        self._open[record.id] = (record, set(appliances))
        if not quietly:
            for appliance in appliances:
                self._raise_split(appliance, record)

    def abandon(self, record: TransactionRecord) -> None:
        """An undo that somebody has yet to carry out."""
        self._open[record.id] = (record, set(record.participants))

    async def confirmed(self, record: TransactionRecord, left: frozenset[str]) -> None:
        """The fan-out of a CONFIRM is over; `left` did not answer or could not."""
        self._open[record.id] = (record, set(left))
        for appliance in left:
            self._raise_split(appliance, record)
        await self._close_if_done(record.id)

    def _raise_split(self, appliance: str, record: TransactionRecord) -> None:
        self._split.add(appliance)
        self._telemetry.alarm(
            SPLIT,
            appliance,
            Severity.MAJOR,
            f"revision {record.revision} is confirmed, but {appliance} is not known to have it",
            "it is brought to the current revision when it is back; see `nf appliance show`",
        )

    # ---- appliances that speak ----

    def look_again(self) -> None:
        for session in self._sessions.all():
            self.heard(session)

    def heard(self, session: Session) -> None:
        """An appliance said where it stands."""
        standing = session.standing
        transaction = standing.in_flight
        if transaction and transaction not in self.running and transaction != self.held:
            self._end_there(session, transaction)
        undone = standing.last_outcome == pb.TRANSACTION_STATE_UNDONE
        if self.held and standing.last_transaction == self.held and undone:
            self.on_held_undone(session.appliance)
        self._tasks.start(self._account(session))

    def _end_there(self, session: Session, transaction: str) -> None:
        mark = (session.appliance, transaction)
        if mark not in self._ending:
            self._ending.add(mark)
            self._tasks.start(self._end(session, transaction))

    async def _end(self, session: Session, transaction: str) -> None:
        """Tell the logged decision; a transaction that nobody knows any more, or undecided, is undone."""
        try:
            record = await self._ledger.transaction(transaction)
            if record is not None and record.decision is Decision.CONFIRM:
                message = pb.NocMessage(confirm=pb.Confirm(transaction=transaction))
                await session.phase(message, PhaseKey(transaction, "confirm"), _ANSWER_S)
            else:
                reason = record.reason if record else "the NOC knows no such transaction"
                message = pb.NocMessage(abort=pb.Abort(transaction=transaction, reason=reason[:1000]))
                await session.phase(message, PhaseKey(transaction, "abort"), _ANSWER_S)
        except NfError as error:
            _log.warning("%s: transaction %s could not be ended: %s", session.appliance, transaction, error)
        finally:
            self._ending.discard((session.appliance, transaction))
        await self._account(session)

    async def _account(self, session: Session) -> None:
        """Strike the appliance off the decisions that it has carried out, or can no more."""
        appliance, standing = session.appliance, session.standing
        for transaction, (record, waiting) in tuple(self._open.items()):
            if appliance not in waiting or standing.in_flight == transaction or transaction in self.running:
                continue
            waiting.discard(appliance)
            undone = standing.last_outcome == pb.TRANSACTION_STATE_UNDONE
            if record.decision is Decision.CONFIRM and standing.last_transaction == transaction and undone:
                self._raise_split(appliance, record)
            await self._close_if_done(transaction)
        if appliance in self._split:
            wanted = self._lineups.current.record.configs.get(appliance)
            if wanted in {None, standing.confirmed_digest}:
                self._split.discard(appliance)
                self._telemetry.clear(SPLIT, appliance)

    async def _close_if_done(self, transaction: str) -> None:
        entry = self._open.get(transaction)
        if entry is None or entry[1]:
            return
        del self._open[transaction]
        try:
            await self._ledger.log(replace(entry[0], finished=True))
        except NfError:
            _log.exception("transaction %s: cannot write that it is finished; the next start looks again", transaction)
