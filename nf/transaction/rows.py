"""Journal rows to values. A row that cannot be read is damage, and is called so."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from nf.contracts.driver import Step, Undo
from nf.errors import IntegrityError
from nf.transaction.model import OperationRecord, OperationState, Override, OverrideState
from nf.transaction.records import Kind, StepRow, StepState, TransactionRow
from nf.transaction.states import TransactionState

T = TypeVar("T")


def _checked(read: Callable[[sqlite3.Row], T]) -> Callable[[sqlite3.Row], T]:
    @wraps(read)
    def reader(row: sqlite3.Row) -> T:
        try:
            return read(row)
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"a journal record cannot be read: {error}",
                remedy="move the journal away and start again: the NOC brings the current revision back",
            ) from error

    return reader


@_checked
def transaction_from_row(row: sqlite3.Row) -> TransactionRow:
    return TransactionRow(
        id=row["id"],
        kind=Kind(row["kind"]),
        revision=row["revision"],
        state=TransactionState(row["state"]),
        config=json.loads(row["config"]),
        stages=row["stages"],
        deadline=row["deadline"],
        reason=row["reason"],
        undo_to=row["undo_to"],
        undo_final=bool(row["undo_final"]),
    )


@_checked
def step_from_row(row: sqlite3.Row) -> StepRow:
    undo = json.loads(row["undo"]) if row["undo"] is not None else None
    return StepRow(
        seq=row["seq"],
        stage=row["stage"],
        section=row["section"],
        step=Step.from_json(json.loads(row["step"])),
        state=StepState(row["state"]),
        undo=Undo(undo["kind"], undo["data"]) if undo is not None else None,
    )


@_checked
def override_from_row(row: sqlite3.Row) -> Override:
    return Override(
        id=row["id"],
        section=row["section"],
        patch=json.loads(row["patch"]),
        reason=row["reason"],
        author=row["author"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        state=OverrideState(row["state"]),
    )


@_checked
def operation_from_row(row: sqlite3.Row) -> OperationRecord:
    return OperationRecord(
        id=row["id"],
        driver=row["driver"],
        name=row["name"],
        arguments=json.loads(row["arguments"]),
        state=OperationState(row["state"]),
        checkpoint=json.loads(row["checkpoint"]),
        result=json.loads(row["result"]),
        error=row["error"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
    )
