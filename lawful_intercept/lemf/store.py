"""Storing and judging what comes: journal first, then the index. For one thread; `Receiver` gives it one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lawful_intercept.handover.decoder import PsPdu, Tri, decode
from lawful_intercept.handover.encryption import PAYLOAD_TYPE_OF_PART
from lawful_intercept.handover.integrity import read_check
from lawful_intercept.handover.reading import PduError
from lawful_intercept.handover.values import DataType, IriType
from lawful_intercept.lemf import index
from lawful_intercept.lemf.checking import Checker, State
from lawful_intercept.lemf.journal import Entry, Journal, Place
from lawful_intercept.lemf.keyring import Keyring
from lawful_intercept.lemf.ledger import Verdict
from nf.errors import InputError, StorageError

CACHED: Final = 10_000
"""Sessions and streams that are kept in memory; the rest is read from the index."""


def _carried(interface: int) -> DataType:
    return DataType.IRI if interface == 2 else DataType.CC


def _kept_ns(at_ns: int | None, received_ns: int) -> int:
    """A time that the database can hold; the journal has the one that came."""
    return received_ns if at_ns is None else max(-index.MOST_SQLITE, min(at_ns, index.MOST_SQLITE))


class Store:
    """`state`: a private directory. `limit`: octets of the journal."""

    def __init__(self, state: Path, key: AESGCM, keyring: Keyring, limit: int) -> None:
        """Reads what was stored and not indexed. Raises StorageError, IntegrityError."""
        self._keyring = keyring
        self._journal = Journal(state / index.JOURNAL, key, limit)
        self._database = index.connect(state, writing=True)
        self._checker = Checker(self._database, self._journal, keyring)
        self._sessions: dict[tuple[bytes, int], int] = {}
        self._streams: dict[tuple[int, int], index.Stream] = {}
        self._changed: set[tuple[int, int]] = set()
        self._times: dict[int, tuple[int, int, bool]] = {}
        self._behind = True
        self.stored = 0
        self._catch_up()

    def close(self) -> None:
        self._database.close()
        self._journal.close()

    def take(self, interface: int, received_ns: int, octets: Sequence[bytes]) -> list[PsPdu | None]:
        """Durable when it returns: each PDU as it reads, None for what does not.

        Raises StorageError (nothing of it is stored, or not all is indexed: the next call does that first),
        IntegrityError.
        """
        if self._behind:
            self._catch_up()
        places = self._journal.append(interface, received_ns, octets)
        self._behind = True
        read: list[PsPdu | None] = []
        with self._transaction():
            for place, pdu in zip(places, octets, strict=True):
                entry = Entry(place, interface, received_ns, pdu, place)
                read.append(self._enter(entry))
            self._keep(self._journal.end)
        self._behind = False
        self.stored += len(octets)
        return read

    def _catch_up(self) -> None:
        with self._transaction():
            for entry in self._journal.recover(index.position(self._database)):
                self._enter(entry)
            self._keep(self._journal.end)
        self._behind = False

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except BaseException as error:
            self._sessions.clear()
            self._streams.clear()
            self._changed.clear()
            self._times.clear()
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StorageError("the index cannot be written", where=index.INDEX, remedy="free space") from error
            raise

    def _keep(self, place: Place) -> None:
        for key in self._changed:
            index.write_stream(self._database, *key, self._streams[key])
        self._changed.clear()
        self._database.executemany(
            "UPDATE sessions SET first_ns = min(first_ns, ?), last_ns = max(last_ns, ?), ended = max(ended, ?)"
            " WHERE id = ?",
            ((first, last, ended, session) for session, (first, last, ended) in self._times.items()),
        )
        self._times.clear()
        index.set_position(self._database, place)
        if len(self._streams) > CACHED:
            self._streams.clear()
        if len(self._sessions) > CACHED:
            self._sessions.clear()

    def _enter(self, entry: Entry) -> PsPdu | None:
        try:
            pdu = decode(entry.pdu)
        except PduError:
            self._row(entry, "unreadable")
            return None
        try:
            clear = self._keyring.opened(pdu)
        except InputError:
            clear = pdu
        if (sealed := clear.encrypted) is not None and sealed.payload_type == PAYLOAD_TYPE_OF_PART[1]:
            self._row(entry, "sealed", sequence=pdu.sequence, at_ns=pdu.at_ns)
        elif clear.iri or clear.cc or sealed is not None:
            self._enter_product(entry, clear)
        elif pdu.tri is Tri.INTEGRITY_CHECK:
            self._enter_check(entry, pdu)
        elif clear.tri is not None:
            session = None if pdu.cin is None else self._session(pdu, entry.received_ns)
            if clear.tri is Tri.CIN_RESET and session is not None:
                self._stream(session, _carried(entry.interface)).sequence.reset()
            self._row(entry, clear.tri.name.lower(), session=session, sequence=pdu.sequence, at_ns=pdu.at_ns)
        else:
            self._row(entry, "other", sequence=pdu.sequence, at_ns=pdu.at_ns)
        return pdu

    def _enter_product(self, entry: Entry, pdu: PsPdu) -> None:
        if pdu.encrypted is not None:
            data_type, kind = _carried(entry.interface), "sealed"
        else:
            data_type, kind = (DataType.IRI, "iri") if pdu.iri else (DataType.CC, "cc")
        session = self._session(pdu, entry.received_ns, ended=any(one.iri_type == IriType.END for one in pdu.iri))
        stream = self._stream(session, data_type)
        verdict = stream.sequence.take(pdu.sequence)
        again = verdict is Verdict.AGAIN
        if again and not self._same(session, data_type, stream.sequence.epoch, pdu):
            stream.conflicts += 1
        self._row(
            entry,
            kind,
            session=session,
            data_type=data_type,
            epoch=stream.sequence.epoch,
            sequence=pdu.sequence,
            at_ns=pdu.at_ns,
            direction=pdu.cc[0].direction if pdu.cc else None,
            iri_type=pdu.iri[0].iri_type if pdu.iri else None,
            again=again,
        )
        if verdict is Verdict.LATE:
            self._checker.again(session, data_type, states=(State.INCOMPLETE,))

    def _enter_check(self, entry: Entry, pdu: PsPdu) -> None:
        try:
            check = read_check(pdu)
        except PduError:
            self._row(entry, "unreadable")
            return
        session = self._session(pdu, entry.received_ns)
        epoch = self._stream(session, check.data_type).sequence.epoch
        new = self._checker.take(entry.place, session, epoch, pdu, check)
        self._row(entry, "check", session=session, sequence=pdu.sequence, at_ns=pdu.at_ns, again=not new)

    def _same(self, session: int, data_type: int, epoch: int, pdu: PsPdu) -> bool:
        """Whether what came again is what came first."""
        row = self._database.execute(
            "SELECT number, offset FROM pdus WHERE session = ? AND data_type = ? AND epoch = ? AND sequence = ?"
            " AND again = 0",
            (session, data_type, epoch, pdu.sequence),
        ).fetchone()
        return row is not None and self._journal.read(Place(*row)).pdu == pdu.octets

    def _stream(self, session: int, data_type: int) -> index.Stream:
        """To be changed by the caller."""
        key = (session, data_type)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = index.read_stream(self._database, *key)
        self._changed.add(key)
        return stream

    def _session(self, pdu: PsPdu, received_ns: int, *, ended: bool = False) -> int:
        at_ns = _kept_ns(pdu.at_ns, received_ns)
        key = (pdu.liid, index.NO_CIN if pdu.cin is None else pdu.cin)
        session = self._sessions.get(key)
        if session is None:
            self._database.execute("INSERT OR IGNORE INTO sessions VALUES (NULL, ?, ?, ?, ?, 0)", (*key, at_ns, at_ns))
            (session,) = self._database.execute("SELECT id FROM sessions WHERE liid = ? AND cin = ?", key).fetchone()
            self._sessions[key] = session
        if pdu.tri is None:
            first, last, over = self._times.get(session, (at_ns, at_ns, False))
            self._times[session] = (min(first, at_ns), max(last, at_ns), over or ended)
        return int(session)

    def _row(
        self,
        entry: Entry,
        kind: str,
        *,
        session: int | None = None,
        data_type: int | None = None,
        epoch: int | None = None,
        sequence: int | None = None,
        at_ns: int | None = None,
        direction: int | None = None,
        iri_type: int | None = None,
        again: bool = False,
    ) -> None:
        at = _kept_ns(at_ns, entry.received_ns)
        place, interface = entry.place, entry.interface
        values = (data_type, epoch, sequence, at, direction, iri_type, again)
        self._database.execute(
            "INSERT INTO pdus VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (place.number, place.offset, session, interface, kind, *values),
        )
