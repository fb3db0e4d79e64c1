"""Integrity checks against what is stored: hashes over the PDUs that they name, signatures over those hashes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from enum import Enum

from lawful_intercept.handover.decoder import PsPdu, decode
from lawful_intercept.handover.integrity import CheckType, IntegrityCheck, read_check
from lawful_intercept.lemf.journal import JournalReader, Place
from lawful_intercept.lemf.keyring import Keyring


class State(Enum):
    """RIGHT; WRONG: something was changed; INCOMPLETE: something that it names has not come; NO_KEY: no public key."""

    RIGHT = "right"
    WRONG = "wrong"
    INCOMPLETE = "incomplete"
    NO_KEY = "no key"


class Checker:
    """Of one database and journal."""

    def __init__(self, database: sqlite3.Connection, journal: JournalReader, keyring: Keyring) -> None:
        self._database, self._journal, self._keyring = database, journal, keyring

    def take(self, place: Place, session: int, epoch: int, pdu: PsPdu, check: IntegrityCheck) -> bool:
        """Enter a check that came; False when it came before. Raises IntegrityError."""
        row = (session, check.data_type, epoch, check.check_type, pdu.sequence)
        if self._database.execute(
            "SELECT 1 FROM checks WHERE session = ? AND data_type = ? AND epoch = ? AND check_type = ?"
            " AND sequence = ?",
            row,
        ).fetchone():
            return False
        state = self.judge(check, session, epoch)
        self._database.execute(
            "INSERT INTO checks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, place.number, place.offset, len(check.numbers), state.value),
        )
        return True

    def again(self, session: int, data_type: int | None = None, *, states: Sequence[State] = tuple(State)) -> int:
        """Judge those of these states anew; how many changed. Raises IntegrityError."""
        marks = ",".join("?" * len(states))
        rows = self._database.execute(
            f"SELECT number, offset, epoch, state FROM checks WHERE session = ? AND state IN ({marks})"  # noqa: S608
            " AND (? IS NULL OR data_type = ?)",
            (session, *(one.value for one in states), data_type, data_type),
        ).fetchall()
        changed = 0
        for number, offset, epoch, state in rows:
            now = self.judge(read_check(decode(self._journal.read(Place(number, offset)).pdu)), session, epoch)
            if now.value != state:
                changed += 1
                self._database.execute("UPDATE checks SET state = ? WHERE number = ?", (now.value, number))
        return changed

    def states(self, session: int) -> Iterator[tuple[CheckType, State]]:
        """All checks of a session, judged now; nothing is written. Raises IntegrityError."""
        rows = self._database.execute("SELECT number, offset, epoch FROM checks WHERE session = ?", (session,))
        for number, offset, epoch in rows.fetchall():
            check = read_check(decode(self._journal.read(Place(number, offset)).pdu))
            yield check.check_type, self.judge(check, session, epoch)

    def judge(self, check: IntegrityCheck, session: int, epoch: int) -> State:
        """Raises IntegrityError when the journal itself was changed."""
        if check.check_type is CheckType.SIGNATURE:
            return self._judge_signature(check, session, epoch)
        pdus = []
        for number in check.numbers:
            row = self._database.execute(
                "SELECT number, offset FROM pdus WHERE session = ? AND data_type = ? AND epoch = ? AND sequence = ?"
                " AND again = 0",
                (session, check.data_type, epoch, number),
            ).fetchone()
            if row is None:
                return State.INCOMPLETE
            pdus.append(self._journal.read(Place(*row)).pdu)
        return State.RIGHT if check.is_hash_of(pdus) else State.WRONG

    def _judge_signature(self, check: IntegrityCheck, session: int, epoch: int) -> State:
        known = self._keyring.knows_signer(check)
        if known is None:
            return State.NO_KEY
        if not known:
            return State.WRONG
        for number in check.numbers:
            if not self._database.execute(
                "SELECT 1 FROM checks WHERE session = ? AND data_type = ? AND epoch = ? AND check_type = ?"
                " AND sequence = ?",
                (session, check.data_type, epoch, CheckType.HASH, number),
            ).fetchone():
                return State.INCOMPLETE
        return State.RIGHT
