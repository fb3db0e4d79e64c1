"""The journal of an appliance: SQLite, write-ahead log, synchronous=FULL. What it returned from is durable.

Calls block for one fsync (about 0.2 ms on an SSD). They run on the event loop on purpose: a write is a point in time
that nothing else of the engine may overlap, and handing it to a thread would cost as much as the write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from nf.contracts.driver import Undo
from nf.contracts.json import JsonObject, canonical, digest
from nf.errors import IntegrityError, StorageError
from nf.transaction.database import Database, Statement
from nf.transaction.killpoints import NO_KILL_POINTS, KillPoints
from nf.transaction.model import OperationRecord, OperationState, Override
from nf.transaction.records import Confirmed, Kind, StepRow, StepState, TransactionRow
from nf.transaction.rows import (
    operation_from_row,
    override_from_row,
    step_from_row,
    transaction_from_row,
)
from nf.transaction.states import TransactionState

RESERVE_BYTES = 2 * 1024 * 1024
KEPT_ENDED = 64
_ENDED = (TransactionState.CONFIRMED.value, TransactionState.UNDONE.value)
_PRUNE: Statement = (
    """DELETE FROM transactions WHERE state IN (?, ?) AND id NOT IN (SELECT txn FROM steps)
       AND number <= (SELECT max(number) FROM transactions) - ?""",
    (*_ENDED, KEPT_ENDED),
)
_PRUNE_BODIES: Statement = (
    "DELETE FROM step_bodies WHERE (txn, seq) NOT IN (SELECT txn, seq FROM steps)",
    (),
)
_STEPS = """SELECT s.*, b.step, u.undo FROM steps s JOIN step_bodies b USING (txn, seq)
            LEFT JOIN undos u USING (txn, seq)"""
_PRUNE_OPERATIONS: Statement = (
    "DELETE FROM operations WHERE ended_at > 0 AND number <= (SELECT max(number) FROM operations) - ?",
    (KEPT_ENDED,),
)


class Journal:
    """Raises StorageError when it cannot be written, IntegrityError when it is damaged, RefusedError when another
    process holds it. Undo and confirm may use the reserve; everything else is refused when the disk is full."""

    def __init__(self, path: Path, faults: KillPoints = NO_KILL_POINTS, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._db = Database(path, faults, reserve_bytes=reserve_bytes)

    @property
    def commits(self) -> int:
        """Durable writes since it was opened."""
        return self._db.commits

    def close(self) -> None:
        self._db.close()

    def ensure_room(self) -> None:
        """Raises StorageError unless the reserve is whole and there is room beside it."""
        self._db.reserve.ensure()

    def has_reserve(self) -> bool:
        return self._db.reserve.whole()

    # ---- what stands ----

    def confirmed(self) -> Confirmed:
        """Raises IntegrityError when the configuration does not match its digest."""
        meta = self._meta()
        if "confirmed" not in meta:
            return Confirmed()
        rows = self._db.rows("SELECT config FROM configs WHERE txn = ?", (meta["confirmed_txn"],))
        config = json.loads(rows[0]["config"]) if rows else None
        if digest(config) != meta["confirmed_digest"]:
            raise IntegrityError(
                "the confirmed configuration does not match its digest",
                where=str(self._db.path),
                remedy="move the journal away and start again: the NOC brings the current revision back",
            )
        return Confirmed(int(meta["confirmed"]), meta["confirmed_digest"], config)

    def last(self) -> tuple[str, TransactionState | None]:
        """The last commit that ended here, and how."""
        meta = self._meta()
        if "last" not in meta:
            return "", None
        return meta["last"], TransactionState(int(meta["last_outcome"]))

    def _meta(self) -> dict[str, str]:
        return {str(row["key"]): str(row["value"]) for row in self._db.rows("SELECT key, value FROM meta")}

    # ---- transactions ----

    def open_transactions(self) -> tuple[TransactionRow, ...]:
        """Those that have not ended, oldest first."""
        sql = """SELECT t.*, c.config FROM transactions t JOIN configs c ON c.txn = t.id
                 WHERE t.state NOT IN (?, ?) ORDER BY t.number"""
        rows = self._db.rows(sql, _ENDED)
        return tuple(map(transaction_from_row, rows))

    def outcome(self, transaction: str) -> TransactionState | None:
        """How a known transaction stands; None for an unknown one."""
        rows = self._db.rows("SELECT state FROM transactions WHERE id = ?", (transaction,))
        return TransactionState(rows[0]["state"]) if rows else None

    def steps(self, transaction: str) -> list[StepRow]:
        rows = self._db.rows(f"{_STEPS} WHERE s.txn = ? ORDER BY s.seq", (transaction,))
        return [step_from_row(row) for row in rows]

    def prepare(self, row: TransactionRow, steps: Sequence[StepRow]) -> None:
        """A transaction with all its steps, at once."""
        transaction = {
            "id": row.id,
            "kind": row.kind.value,
            "revision": row.revision,
            "state": row.state.value,
            "stages": row.stages,
            "deadline": row.deadline,
            "reason": row.reason,
            "undo_to": row.undo_to,
            "undo_final": row.undo_final,
        }
        statements = [
            _insert("transactions", transaction),
            _insert("configs", {"txn": row.id, "config": canonical(row.config)}),
        ]
        for step in steps:
            key = {"txn": row.id, "seq": step.seq}
            state = {"stage": step.stage, "section": step.section, "state": step.state.value}
            statements.append(_insert("steps", {**key, **state}))
            statements.append(_insert("step_bodies", {**key, "step": canonical(step.step.to_json())}))
        self._db.write("prepare" if row.kind is Kind.COMMIT else "local-prepare", *statements)
        try:
            self._db.checkpoint()
        except StorageError:
            self._db.write("prepare-refused", *_forget(row.id), must=True)
            raise

    def set_state(self, transaction: str, state: TransactionState, what: str) -> None:
        self._db.write(what, ("UPDATE transactions SET state = ? WHERE id = ?", (state.value, transaction)))

    def hold(self, transaction: str, deadline: float) -> None:
        self._db.write(
            "hold",
            (
                "UPDATE transactions SET state = ?, deadline = ? WHERE id = ?",
                (TransactionState.HELD.value, deadline, transaction),
            ),
        )

    def arm(self, transaction: str, seq: int, undo: Undo) -> None:
        """A step's undo record: durable before its effect begins, and never replaced."""
        record = canonical({"kind": undo.kind, "data": undo.data})
        self._db.write(
            "undo-record",
            _insert("undos", {"txn": transaction, "seq": seq, "undo": record}),
            _step_state(transaction, seq, StepState.ARMED),
        )

    def step_applied(self, transaction: str, seq: int) -> None:
        self._db.write("step-applied", _step_state(transaction, seq, StepState.APPLIED))

    def irreversible_applied(self, transaction: str, seq: int) -> None:
        self._db.write("irreversible", _step_state(transaction, seq, StepState.APPLIED), must=True)

    def step_undone(self, transaction: str, seq: int) -> None:
        self._db.write("step-undone", _step_state(transaction, seq, StepState.UNDONE), must=True)

    def undoing(self, transaction: str, undo_to: int, *, final: bool) -> None:
        self._db.write(
            "undoing",
            (
                "UPDATE transactions SET state = ?, undo_to = ?, undo_final = ? WHERE id = ?",
                (TransactionState.UNDOING.value, undo_to, final, transaction),
            ),
            must=True,
        )

    def decide(self, row: TransactionRow) -> None:
        """CONFIRM: the transaction's configuration becomes the confirmed one, and older irreversible work lapses."""
        values = {"confirmed": str(row.revision), "confirmed_txn": row.id, "confirmed_digest": digest(row.config)}
        self._db.write(
            "decision",
            ("UPDATE transactions SET state = ? WHERE id = ?", (TransactionState.CONFIRMING.value, row.id)),
            ("DELETE FROM steps WHERE txn IN (SELECT id FROM transactions WHERE state IN (?, ?))", _ENDED),
            ("DELETE FROM configs WHERE txn = (SELECT value FROM meta WHERE key = 'confirmed_txn')", ()),
            *(_put(key, value) for key, value in values.items()),
            must=True,
        )

    def end(
        self, row: TransactionRow, state: TransactionState, *, settled: Sequence[str] = (), held: bool = False
    ) -> None:
        """CONFIRMED or UNDONE. Of its steps only irreversible ones that are still to be done stay.

        After an undone commit every override is to be made true again; `settled` are overrides that this local
        transaction made true, `held` says that a commit is held meanwhile.
        """
        statements: list[Statement] = [
            ("UPDATE transactions SET state = ? WHERE id = ?", (state.value, row.id)),
            ("DELETE FROM undos WHERE txn = ?", (row.id,)),
        ]
        if state is TransactionState.CONFIRMED:
            statements.append(("DELETE FROM steps WHERE txn = ? AND NOT state = 'pending'", (row.id,)))
        else:
            statements.append(("DELETE FROM steps WHERE txn = ?", (row.id,)))
        if row.kind is Kind.LOCAL or state is TransactionState.UNDONE:
            statements.append(("DELETE FROM configs WHERE txn = ?", (row.id,)))
        statements.append(_PRUNE_BODIES)
        if row.kind is Kind.COMMIT:
            statements += [_put("last", row.id), _put("last_outcome", str(state.value))]
            if state is TransactionState.UNDONE:
                statements.append(("UPDATE overrides SET state = 'pending' WHERE state = 'active'", ()))
                statements.append(("UPDATE overrides SET state = 'ending' WHERE state = 'ended'", ()))
            else:
                statements.append(("DELETE FROM overrides WHERE state = 'ended'", ()))
        what = state.name.lower() if row.kind is Kind.COMMIT else "local-end"
        self._db.write(what, *statements, *_settle(settled, held=held), _PRUNE, must=True)

    def pending_irreversible(self) -> list[tuple[str, StepRow]]:
        """Irreversible steps of confirmed transactions that are still to be done."""
        rows = self._db.rows(
            f"{_STEPS} JOIN transactions t ON t.id = s.txn WHERE t.state = ? ORDER BY t.number, s.seq",
            (TransactionState.CONFIRMED.value,),
        )
        return [(str(row["txn"]), step_from_row(row)) for row in rows]

    # ---- overrides ----

    def overrides(self) -> tuple[Override, ...]:
        """All of them, in the order in which they were added."""
        return tuple(map(override_from_row, self._db.rows("SELECT * FROM overrides ORDER BY number")))

    def add_override(self, override: Override) -> None:
        values = {
            "id": override.id,
            "section": override.section,
            "patch": canonical(override.patch),
            "reason": override.reason,
            "author": override.author,
            "created_at": override.created_at,
            "expires_at": override.expires_at,
            "state": override.state.value,
        }
        self._db.write("override-add", _insert("overrides", values))

    def end_overrides(self, ids: Sequence[str], *, gone: bool = False) -> None:
        """They are no longer wanted; `gone`: nor is anything left of them to be taken out."""
        sql = "DELETE FROM overrides WHERE id = ?" if gone else "UPDATE overrides SET state = 'ending' WHERE id = ?"
        self._db.write("override-end", *((sql, (name,)) for name in ids), must=True)

    def settle_overrides(self, ids: Sequence[str], *, held: bool) -> None:
        """What was pending is active, what was ending is out (kept as `ended` while a commit is held)."""
        self._db.write("override-settled", *_settle(ids, held=held), must=True)

    # ---- operations ----

    def operations(self) -> tuple[OperationRecord, ...]:
        return tuple(map(operation_from_row, self._db.rows("SELECT * FROM operations ORDER BY number")))

    def start_operation(self, record: OperationRecord) -> None:
        values = {
            "id": record.id,
            "driver": record.driver,
            "name": record.name,
            "arguments": canonical(record.arguments),
            "state": record.state.value,
            "checkpoint": canonical(record.checkpoint),
            "result": canonical(record.result),
            "error": record.error,
            "created_at": record.created_at,
            "ended_at": record.ended_at,
        }
        self._db.write("operation-start", _insert("operations", values), _PRUNE_OPERATIONS)

    def checkpoint_operation(self, operation: str, data: JsonObject) -> None:
        self._db.write(
            "operation-checkpoint", ("UPDATE operations SET checkpoint = ? WHERE id = ?", (canonical(data), operation))
        )

    def cancel_operation(self, operation: str) -> None:
        self._db.write(
            "operation-cancel",
            ("UPDATE operations SET state = ? WHERE id = ?", (OperationState.CANCELLING.value, operation)),
        )

    def end_operation(self, operation: str, state: OperationState, result: JsonObject, error: str, at: float) -> None:
        self._db.write(
            "operation-end",
            (
                "UPDATE operations SET state = ?, result = ?, error = ?, ended_at = ? WHERE id = ?",
                (state.value, canonical(result), error, at, operation),
            ),
            must=True,
        )


def _insert(table: str, values: Mapping[str, object]) -> Statement:
    columns, places = ", ".join(values), ", ".join("?" * len(values))
    return f"INSERT INTO {table}({columns}) VALUES ({places})", tuple(values.values())  # noqa: S608 - names from above


def _put(key: str, value: str) -> Statement:
    return "INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)", (key, value)


def _forget(transaction: str) -> list[Statement]:
    tables = ("step_bodies", "steps", "configs")
    return [
        *((f"DELETE FROM {table} WHERE txn = ?", (transaction,)) for table in tables),  # noqa: S608 - names from above
        ("DELETE FROM transactions WHERE id = ?", (transaction,)),
    ]


def _step_state(transaction: str, seq: int, state: StepState) -> Statement:
    return "UPDATE steps SET state = ? WHERE txn = ? AND seq = ?", (state.value, transaction, seq)


def _settle(ids: Sequence[str], *, held: bool) -> list[Statement]:
    out = (
        "UPDATE overrides SET state = 'ended' WHERE id = ? AND state = 'ending'"
        if held
        else "DELETE FROM overrides WHERE id = ? AND state = 'ending'"
    )
    active = "UPDATE overrides SET state = 'active' WHERE id = ? AND state = 'pending'"
    return [(sql, (name,)) for name in ids for sql in (active, out)]
