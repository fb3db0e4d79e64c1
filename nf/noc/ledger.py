"""What a transaction writes down: its record, the revision, the pointer; each time in one write with the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nf.contracts.json import JsonObject
from nf.errors import NfError
from nf.noc.records import (
    TRANSACTIONS,
    Book,
    Decision,
    RevisionRecord,
    TransactionRecord,
    put_configs,
    put_current,
    put_revision,
    put_transaction,
)
from nf.store.audit import AuditEntry
from nf.store.contract import Change, Delete

_OUTCOMES = {
    Decision.UNDECIDED: "undecided",
    Decision.HELD: "held",
    Decision.CONFIRM: "confirmed",
    Decision.UNDO: "undone",
}
_CATCH_UP = "catch-up"


class Ledger:
    def __init__(self, book: Book) -> None:
        self._book = book

    async def next_revision(self) -> int:
        return await self._book.last_number() + 1

    async def unfinished(self) -> tuple[TransactionRecord, ...]:
        return await self._book.transactions()

    async def transaction(self, transaction: str) -> TransactionRecord | None:
        return await self._book.transaction(transaction)

    async def log(
        self,
        record: TransactionRecord,
        revision: RevisionRecord | None = None,
        configs: Mapping[str, JsonObject] | None = None,
        actor: str = "",
    ) -> None:
        """Durable when it returns. `revision` and `configs` are needed for the first record of a commit only."""
        if record.finished:  # the audit chain keeps what happened; a transaction that is unknown counts as undone
            await self._book.store.write([Delete(TRANSACTIONS, record.id)])
            return
        changes: list[Change] = [put_transaction(record)]
        if record.kind != _CATCH_UP:
            if revision is None:
                revision = await self._book.revision(record.revision)
            changes.append(put_revision(replace(revision, outcome=_OUTCOMES[record.decision])))
            if record.decision is Decision.UNDECIDED and configs is not None:
                changes += put_configs(configs, revision.configs)
            if record.decision is Decision.CONFIRM:
                changes.append(put_current(record.revision))
        await self._book.store.write(changes, self._audit(record, revision, actor))

    def _audit(self, record: TransactionRecord, revision: RevisionRecord | None, actor: str) -> AuditEntry:
        detail: JsonObject = {
            "transaction": record.id,
            "participants": list(record.participants),
        }
        if record.reason:
            detail["reason"] = record.reason[:2000]
        if record.held_until:
            detail["held_until"] = record.held_until
        if revision is not None and record.kind != _CATCH_UP:
            detail["without_sites"] = list(revision.without_sites)
            detail["restores"] = revision.restores
        return AuditEntry(
            actor=actor or record.author,
            action=f"lineup.{record.kind}",
            object=f"revision/{record.revision}",
            outcome=_OUTCOMES[record.decision],
            detail=detail,
        )

    async def refused(self, kind: str, author: str, transaction: str, error: NfError) -> None:
        """A commit that changed nothing."""
        detail: JsonObject = {
            "transaction": transaction,
            "error": str(error)[:2000],
            "problems": [str(problem) for problem in error.problems[:20]],
        }
        await self._book.audit(author, f"lineup.{kind}", "fleet", "refused", detail)
