"""What was received, by session: who reads it works on the files beside the receiver, or without one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lawful_intercept.handover.decoder import PsPdu, decode
from lawful_intercept.handover.reading import PduError
from lawful_intercept.handover.tri import read_operator_message
from lawful_intercept.handover.values import DataType
from lawful_intercept.lemf import index
from lawful_intercept.lemf.journal import Entry, JournalReader, Place
from lawful_intercept.lemf.keyring import Keyring
from nf.contracts.json import JsonObject
from nf.errors import InputError, NotFoundError, StorageError

PAGE: Final = 1000


@dataclass(frozen=True, slots=True, repr=False)
class StreamState:
    """IRI or CC of a session. `missing`: the first and last number of each gap that is known; `forgotten`: missing ones

    that are only counted; `hashed`: how many PDUs the right hashes name.
    """

    data_type: DataType
    received: int
    again: int
    late: int
    conflicts: int
    missing: tuple[tuple[int, int], ...]
    forgotten: int
    resets: int
    sealed: int
    hashed: int
    checks: dict[str, int]

    @property
    def missing_count(self) -> int:
        return self.forgotten + sum(last - first + 1 for first, last in self.missing)

    @property
    def whole(self) -> bool:
        """Nothing missing, changed or unread."""
        wrong = self.checks.get("hash wrong", 0) + self.checks.get("signature wrong", 0)
        return not (self.missing_count or self.conflicts or self.sealed or wrong)

    def to_json(self) -> JsonObject:
        return {
            "type": self.data_type.name,
            "received": self.received,
            "again": self.again,
            "late": self.late,
            "conflicts": self.conflicts,
            "missing": [[first, last] for first, last in self.missing],
            "missing_count": self.missing_count,
            "resets": self.resets,
            "sealed": self.sealed,
            "hashed": self.hashed,
            "checks": dict(self.checks),
            "whole": self.whole,
        }


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    """One LIID and CIN. `number`: its name here; `first_ns`, `last_ns`: times of interception; `ended`: by IRI-End."""

    number: int
    liid: bytes
    cin: int | None
    first_ns: int
    last_ns: int
    ended: bool
    streams: tuple[StreamState, ...]

    @property
    def liid_text(self) -> str:
        printable = all(0x21 <= octet <= 0x7E for octet in self.liid)
        return self.liid.decode("ascii") if printable else self.liid.hex()

    def to_json(self) -> JsonObject:
        return {
            "session": self.number,
            "liid": self.liid_text,
            "cin": self.cin,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "ended": self.ended,
            "streams": [one.to_json() for one in self.streams],
        }


class Archive:
    """Read-only. `closing` it ends its files. Not for several threads at once."""

    def __init__(self, state: Path, key: AESGCM, keyring: Keyring) -> None:
        """Raises StorageError when nothing was ever received here."""
        self.keyring = keyring
        self.journal = JournalReader(state / index.JOURNAL, key)
        self.database = index.connect(state, writing=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.database.close()
        self.journal.close()

    def sessions(self, limit: int = PAGE, offset: int = 0) -> list[Session]:
        """Newest first."""
        rows = self._rows(
            "SELECT id, liid, cin, first_ns, last_ns, ended FROM sessions ORDER BY first_ns DESC, id DESC"
            " LIMIT ? OFFSET ?",
            (limit, offset),
        )
        return [self._session(row) for row in rows]

    def session(self, number: int) -> Session:
        """Raises NotFoundError."""
        rows = self._rows(
            "SELECT id, liid, cin, first_ns, last_ns, ended FROM sessions WHERE id = ?", (min(number, 1 << 62),)
        )
        for row in rows:
            return self._session(row)
        raise NotFoundError("there is no such session", remedy="nf-li lemf sessions lists them")

    def pdus(self, session: int, data_type: DataType) -> Iterator[PsPdu]:
        """In the order of their numbers, each once, in clear where there is a key. Raises IntegrityError."""
        for entry in self.entries(session, data_type):
            pdu = decode(entry.pdu)
            try:
                yield self.keyring.opened(pdu)
            except InputError:
                yield pdu

    def entries(self, session: int, data_type: DataType) -> Iterator[Entry]:
        """Raises IntegrityError."""
        rows = self._rows(
            "SELECT number, offset FROM pdus WHERE session = ? AND data_type = ? AND again = 0"
            " ORDER BY epoch, sequence",
            (session, data_type),
        )
        return (self.journal.read(Place(*row)) for row in rows)

    def everything(self, session: int) -> Iterator[Entry]:
        """All that came with the session's LIID and CIN, checks too, in the order in which it came."""
        rows = self._rows("SELECT number, offset FROM pdus WHERE session = ? ORDER BY number", (session,))
        return (self.journal.read(Place(*row)) for row in rows)

    def operator_messages(self, limit: int = PAGE) -> list[tuple[int, int, str]]:
        """(when it came in ns, priority, message), newest first."""
        found: list[tuple[int, int, str]] = []
        rows = self._rows(
            "SELECT number, offset FROM pdus WHERE kind = 'operator_message' ORDER BY number DESC LIMIT ?", (limit,)
        )
        for row in rows:
            entry = self.journal.read(Place(*row))
            try:
                found.append((entry.received_ns, *read_operator_message(self.keyring.opened(decode(entry.pdu)))))
            except (PduError, InputError):
                continue
        return found

    def unreadable(self) -> int:
        """PDUs that no decoder here could read; they are stored."""
        return int(next(iter(self._rows("SELECT count(*) FROM pdus WHERE kind = 'unreadable'", ())))[0])

    def _session(self, row: tuple[Any, ...]) -> Session:
        number, liid, cin, first_ns, last_ns, ended = row
        streams = tuple(self._stream(number, data_type) for data_type in DataType)
        known = tuple(one for one in streams if one.received or one.missing_count or one.checks)
        return Session(number, liid, None if cin == index.NO_CIN else cin, first_ns, last_ns, bool(ended), known)

    def _stream(self, session: int, data_type: DataType) -> StreamState:
        stream = index.read_stream(self.database, session, data_type)
        sequence = stream.sequence
        checks: dict[str, int] = {}
        hashed = 0
        for check_type, state, count, included in self._rows(
            "SELECT check_type, state, count(*), sum(included) FROM checks WHERE session = ? AND data_type = ?"
            " GROUP BY check_type, state",
            (session, data_type),
        ):
            checks[f"{'hash' if check_type == 1 else 'signature'} {state}"] = count
            if check_type == 1 and state == "right":
                hashed = included
        (sealed,) = next(
            iter(
                self._rows(
                    "SELECT count(*) FROM pdus WHERE session = ? AND data_type = ? AND kind = 'sealed' AND again = 0",
                    (session, data_type),
                )
            )
        )
        return StreamState(
            data_type,
            sequence.received,
            sequence.again,
            sequence.late,
            stream.conflicts,
            tuple(sequence.missing),
            sequence.forgotten,
            sequence.epoch,
            sealed,
            hashed,
            checks,
        )

    def _rows(self, query: str, values: tuple[object, ...]) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self.database.execute(query, values)
        except sqlite3.Error as error:
            raise StorageError("the index cannot be read", where=index.INDEX, remedy="has anything come?") from error
