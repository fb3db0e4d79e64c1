"""Batches of subscribers: each comes in as a whole or not at all, also when the database dies in the middle.

Where the database is a replica set, a batch is one transaction. A mongod that stands alone has none: there, what a
batch is about to write is kept first, and whoever writes next takes a half one back. Both keep, with the batch, how far
the import is, so that the same file goes on where it ended.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bson.objectid import ObjectId
from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import ConnectionFailure, DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from core5g.open5gs.subscribers import Raw, SubscriberDatabase, told, unchanged
from nf.errors import BusyError, ConflictError, NfError, UnavailableError

LEASE_S: Final = 60.0
_LEASE = "lease"
_MISSING = "nf-missing"


@dataclass(frozen=True, slots=True)
class Change:
    """`before`: as it was read; `wanted`: what is set."""

    before: Mapping[str, Any] = field(repr=False)
    wanted: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Batch:
    """`number` from 0."""

    number: int
    new: Sequence[Raw] = field(repr=False)
    changes: Sequence[Change] = field(default=(), repr=False)


class Batches:
    """Writes under the lease: `with Batches(database).writing() as batches: ...`"""

    def __init__(self, database: SubscriberDatabase) -> None:
        self._database = database
        self._owner = {"host": socket.gethostname(), "pid": os.getpid(), "key": str(ObjectId())}
        self._transactions = False

    @contextmanager
    def writing(self) -> Iterator[Batches]:
        """Raises BusyError while somebody else writes. What a dead one left half done is taken back first."""
        database = self._database
        with told(database.where):
            hello = database.client.admin.command("hello")
        self._transactions = "setName" in hello or hello.get("msg") == "isdbgrid"
        self._take_lease()
        try:
            self.take_back()
            database.ensure_index()
            yield self
        except UnavailableError:
            raise  # nobody is there who could take the lease back: it ends by itself
        except BaseException:
            self._give_back()
            raise
        self._give_back()

    # ---- the lease ----

    def _now(self) -> datetime:
        """The database's own clock, so that machines with wrong ones agree."""
        with told(self._database.where):
            local: datetime = self._database.client.admin.command("hello")["localTime"]
        return local if local.tzinfo is None else local.astimezone(UTC).replace(tzinfo=None)

    def _take_lease(self) -> None:
        work, now = self._database.work, self._now()
        until = now + timedelta(seconds=LEASE_S)
        with told(self._database.where):
            held = work.find_one({"_id": _LEASE})
            if held is not None and held["until"] > now and not _dead(held["owner"]):
                raise self._busy(held["owner"])
            if held is not None:
                self._end_transaction(held)
                work.delete_one({"_id": _LEASE, "owner": held["owner"]})
            try:
                work.insert_one({"_id": _LEASE, "owner": self._owner, "until": until})
            except DuplicateKeyError:
                raise self._busy({}) from None

    def _end_transaction(self, held: Mapping[str, Any]) -> None:
        """One that its owner left open would hold what it wrote for a minute."""
        if "session" in held:
            with suppress(PyMongoError):
                self._database.client.admin.command("killSessions", [{"id": held["session"]}])

    def _busy(self, owner: Mapping[str, Any]) -> BusyError:
        who = f"{owner.get('host')} (process {owner.get('pid')})" if owner else "somebody else"
        return BusyError(
            f"{who} writes subscribers now",
            where=self._database.where,
            remedy="wait for it; a dead one ends in a minute",
        )

    def _renew(self, session: ClientSession | None = None) -> None:
        """Before a batch, never inside its transaction: who takes over from a dead one has to write it."""
        holding: Raw = {"until": self._now() + timedelta(seconds=LEASE_S)}
        if session is not None:
            holding["session"] = session.session_id["id"]
        found = self._database.work.update_one({"_id": _LEASE, "owner": self._owner}, {"$set": holding})
        if not found.matched_count:
            raise ConflictError(
                "it took so long that somebody else writes now", where=self._database.where, remedy="run it again"
            )

    def _give_back(self) -> None:
        try:
            self._database.work.delete_one({"_id": _LEASE, "owner": self._owner})
        except PyMongoError:
            return  # it ends by itself

    # ---- imports ----

    def done(self, key: str) -> int:
        """How many batches of the import `key` are in."""
        with told(self._database.where):
            found = self._database.work.find_one({"_id": key})
        return int(found["done"]) if found else 0

    def apply(self, key: str, batch: Batch) -> None:
        """All of it or nothing. Raises the error tree; what is unknown then, `done` tells the next time."""
        with told(self._database.where):
            if self._transactions:
                self._in_transaction(key, batch)
            else:
                self._kept_first(key, batch)

    def forget(self, key: str) -> None:
        """The import is over."""
        with told(self._database.where):
            self._database.work.delete_one({"_id": key})

    def _in_transaction(self, key: str, batch: Batch) -> None:
        with self._database.client.start_session() as session:
            self._renew(session)
            with session.start_transaction(ReadConcern("snapshot"), WriteConcern("majority")):
                self._write(batch, session)
                self._database.work.update_one(
                    {"_id": key}, {"$set": {"done": batch.number + 1}}, upsert=True, session=session
                )

    def _kept_first(self, key: str, batch: Batch) -> None:
        self._renew()
        for document in batch.new:
            document.setdefault("_id", ObjectId())
        pending = {
            "new": [document["_id"] for document in batch.new],
            "changed": [{"_id": one.before["_id"], "fields": _fields_before(one)} for one in batch.changes],
        }
        work = self._database.work
        work.update_one({"_id": key}, {"$set": {"pending": pending, "done": batch.number}}, upsert=True)
        try:
            self._write(batch, None)
            work.update_one({"_id": key}, {"$set": {"done": batch.number + 1}, "$unset": {"pending": ""}})
        except ConnectionFailure:
            raise  # the next one who writes takes it back
        except BaseException:
            with suppress(NfError):
                self.take_back()
            raise

    def _write(self, batch: Batch, session: ClientSession | None) -> None:
        subscribers = self._database.subscribers
        if batch.new:
            subscribers.insert_many(list(batch.new), session=session)
        if not batch.changes:
            return
        updates = [
            UpdateOne({"_id": one.before["_id"], **unchanged(one.before, one.wanted)}, {"$set": dict(one.wanted)})
            for one in batch.changes
        ]
        result = subscribers.bulk_write(updates, session=session)
        if result.matched_count != len(updates):
            raise ConflictError(
                "somebody else changed one of these subscribers", where=self._database.where, remedy="run it again"
            )

    def take_back(self) -> None:
        """What a batch left that never ended."""
        work, subscribers = self._database.work, self._database.subscribers
        with told(self._database.where):
            for found in list(work.find({"pending": {"$exists": True}})):
                pending = found["pending"]
                if pending["new"]:
                    subscribers.delete_many({"_id": {"$in": pending["new"]}})
                for one in pending["changed"]:
                    subscribers.update_one({"_id": one["_id"]}, _restoring(one["fields"]))
                work.update_one({"_id": found["_id"]}, {"$unset": {"pending": ""}})


def _fields_before(change: Change) -> list[Raw]:
    """As a list: names with a dot are no keys for a document. Keys of SIMs are never among them (`imports`)."""
    return [{"name": name, "value": change.before.get(name, _MISSING)} for name in change.wanted]


def _restoring(before: Sequence[Mapping[str, Any]]) -> Raw:
    there = {str(one["name"]): one["value"] for one in before if one["value"] != _MISSING}
    missing = {str(one["name"]): "" for one in before if one["value"] == _MISSING}
    return {**({"$set": there} if there else {}), **({"$unset": missing} if missing else {})}


def _dead(owner: Mapping[str, Any]) -> bool:
    """Whether it was a process of this machine that is no more."""
    if owner.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(owner.get("pid", 0)) or os.getpid(), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
