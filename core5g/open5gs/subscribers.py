"""Subscribers in the database of Open5GS (MongoDB), by PLMN: looked up, added, changed, removed.

Whoever writes holds a lease in the collection `nf_subscribers`, so that two people never give away one address; the
database itself refuses an IMSI that is there. Keys go in and never come out of here; text of the driver, which could
quote a document with keys, is in no error and in no log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pymongo import ASCENDING, MongoClient
from pymongo.collection import Collection
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from core5g.open5gs.subscribers_shape import addresses_of, fields, new_document, security
from core5g.subscribers.documents import Subscriber
from core5g.subscribers.keys import Keys
from core5g.subscribers.scope import Scope
from nf.errors import (
    BusyError,
    ConflictError,
    DeniedError,
    DriverError,
    IdentityError,
    InputError,
    NfError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)

Raw = dict[str, Any]

SUBSCRIBERS: Final = "subscribers"
WORK: Final = "nf_subscribers"
"""Ours: the lease, and how far imports are. Open5GS does not look at it."""

TIMEOUT_S = 10.0  # an election in a replica set takes as long
_WITHOUT_KEYS = {"security": 0}


def quiet_driver() -> None:
    """The driver's own log would quote commands, and keys with them, where the root logger is at DEBUG."""
    logging.getLogger("pymongo").setLevel(logging.WARNING)


@contextmanager
def told(where: str) -> Iterator[None]:
    """Errors of the driver as ours, without a word of theirs."""
    try:
        yield
    except PyMongoError as error:
        raise _ours(error, where) from None


def _ours(error: PyMongoError, where: str) -> NfError:
    if isinstance(error, ConnectionFailure):
        return UnavailableError(
            "the database of the subscribers does not answer", where=where, remedy="see that mongod runs there"
        )
    if isinstance(error, DuplicateKeyError) or (isinstance(error, BulkWriteError) and _codes(error) == {11000}):
        return ConflictError("there is such a subscriber already", where=where, remedy="look again, and repeat it")
    if isinstance(error, ConfigurationError | InvalidURI):
        return InputError(
            "not the address of a database", where=where, remedy="write mongodb://HOST:27017/open5gs in the fleet"
        )
    code = error.code if isinstance(error, OperationFailure) else None
    known = next((make for codes, make in _REFUSALS if code in codes), None)
    if known is not None:
        return known(where)
    return DriverError(f"the database refused (code {code})", where=where, remedy="see the log of mongod")


def _held(where: str) -> NfError:
    return BusyError(
        "a transaction that was cut off holds these subscribers", where=where, remedy="it ends in a minute; try again"
    )


def _denied(where: str) -> NfError:
    return DeniedError("the database does not let this user do that", where=where, remedy="give it readWrite there")


def _not_known(where: str) -> NfError:
    return IdentityError("the database knows no such user and password", where=where, remedy="check the secret")


_REFUSALS: Final = (({112, 246}, _held), ({13}, _denied), ({18, 8000}, _not_known))
"""Codes of the server that have a remedy."""


def _codes(error: BulkWriteError) -> set[Any]:
    return {one.get("code") for one in error.details.get("writeErrors", [])}


class SubscriberDatabase:
    """The subscribers of one PLMN. Every filter has the bounds of `scope`; an IMSI outside them is DeniedError."""

    def __init__(self, client: MongoClient[Raw], name: str, scope: Scope, *, where: str = "subscribers") -> None:
        self.client, self.scope, self.where = client, scope, where
        self.subscribers: Collection[Raw] = client[name][SUBSCRIBERS]
        self.work: Collection[Raw] = client[name][WORK]

    @classmethod
    def connect(
        cls, uri: str, name: str, scope: Scope, *, user: str = "", password: str = "", timeout_s: float | None = None
    ) -> SubscriberDatabase:
        """`uri` has no credentials. Users are those of the database `name`, as for Open5GS, unless `uri` says other.

        Raises UnavailableError, IdentityError, InputError.
        """
        quiet_driver()
        options: dict[str, Any] = {"authSource": name} if user and "authSource=" not in uri else {}
        wait_ms = (timeout_s or TIMEOUT_S) * 1000
        with told(uri):
            client: MongoClient[Raw] = MongoClient(
                uri,
                username=user or None,
                password=password or None,
                **options,
                serverSelectionTimeoutMS=wait_ms,
                connectTimeoutMS=wait_ms,
                socketTimeoutMS=wait_ms * 6,
                retryWrites=False,
                w="majority",
                appname="nf-subscriber",
            )
            try:
                client.admin.command("ping")
            except BaseException:
                client.close()
                raise
        return cls(client, name, scope, where=uri)

    def close(self) -> None:
        self.client.close()

    # ---- reading ----

    def _within(self, *, first: str = "", last: str = "", after: str = "") -> Raw:
        """A filter of IMSIs that never leaves the PLMN. Behind the digits comes the colon in ASCII: by the index."""
        prefix = self.scope.prefix
        end = f"{prefix}:"
        bounds = {"$gt": after} if after > prefix else {"$gte": max(prefix, first)}
        return {"imsi": bounds | ({"$lte": last} if last and last < end else {"$lt": end})}

    def _one(self, imsi: str) -> Raw:
        self.scope.require(imsi)
        return {"imsi": imsi}

    def find(self, imsi: str) -> Raw | None:
        """With its keys: for comparisons, never to be shown. Raises DeniedError."""
        query = self._one(imsi)
        with told(self.where):
            return self.subscribers.find_one(query)

    def get(self, imsi: str) -> Raw:
        """Without keys. Raises NotFoundError, DeniedError."""
        query = self._one(imsi)
        with told(self.where):
            found = self.subscribers.find_one(query, _WITHOUT_KEYS)
        if found is None:
            raise self._absent(imsi)
        return found

    def _absent(self, imsi: str) -> NotFoundError:
        return NotFoundError("there is no such subscriber", where=imsi, remedy="`nf subscriber list` shows them")

    def page(self, limit: int, *, after: str = "", matching: Mapping[str, Any] | None = None) -> list[Raw]:
        """In the order of their IMSIs, without keys. `after`: the last IMSI of the page before."""
        query = {**(matching or {}), **self._within(after=after)}
        with told(self.where):
            return list(self.subscribers.find(query, _WITHOUT_KEYS).sort("imsi", ASCENDING).limit(limit))

    def count(self, matching: Mapping[str, Any] | None = None) -> int:
        with told(self.where):
            return self.subscribers.count_documents({**(matching or {}), **self._within()})

    def present(self, first: str, last: str) -> set[str]:
        """The IMSIs from `first` to `last` that are there."""
        with told(self.where):
            found = self.subscribers.find(self._within(first=first, last=last), {"imsi": 1, "_id": 0})
            return {str(one["imsi"]) for one in found}

    def whole(self, first: str, last: str) -> dict[str, Raw]:
        """As `present`, with all that is there, keys too: for comparisons, never to be shown."""
        with told(self.where):
            found = self.subscribers.find(self._within(first=first, last=last))
            return {str(one["imsi"]): one for one in found}

    def addresses(self) -> dict[str, str]:
        """Static address (IPv6: its /64) -> IMSI, of every PLMN: pools are shared. Who has it is for rules only."""
        with told(self.where):
            found = self.subscribers.find(
                {"slice.session.ue": {"$exists": True}}, {"imsi": 1, "slice.session.ue": 1, "_id": 0}
            )
            return {address: str(one.get("imsi")) for one in found for address in addresses_of(one)}

    # ---- writing; the caller holds the lease ----

    def ensure_index(self) -> None:
        """The one that Open5GS's WebUI makes as well. Raises RefusedError where an IMSI is there twice."""
        try:
            with told(self.where):
                self.subscribers.create_index([("imsi", ASCENDING)], unique=True, background=True)
        except (ConflictError, DriverError):
            raise RefusedError(
                "an IMSI stands in the database twice, so it cannot guard against that",
                where=self.where,
                remedy="remove one of the two there; then try again",
            ) from None

    def add(self, subscriber: Subscriber, keys: Keys) -> None:
        """Raises ConflictError when it is there."""
        self.scope.require(subscriber.imsi)
        with told(subscriber.imsi):
            self.subscribers.insert_one(new_document(subscriber, keys))

    def change(self, subscriber: Subscriber, keys: Keys | None) -> tuple[str, ...]:
        """Make it so; the names of what was changed. The sequence number of the SIM stays as it is.

        Raises NotFoundError, and ConflictError when somebody else changed it meanwhile.
        """
        before = self.find(subscriber.imsi)
        if before is None:
            raise self._absent(subscriber.imsi)
        wanted = difference(before, subscriber, keys)
        if not wanted:
            return ()
        with told(subscriber.imsi):
            guard = {"_id": before["_id"], "imsi": subscriber.imsi, **unchanged(before, wanted)}
            result = self.subscribers.update_one(guard, {"$set": wanted})
        if not result.matched_count:
            raise ConflictError(
                "somebody else changed it meanwhile", where=subscriber.imsi, remedy="look again, and repeat it"
            )
        return tuple(sorted(wanted))

    def remove(self, imsis: Sequence[str]) -> int:
        """How many there were. Raises DeniedError before anything is removed."""
        removed = 0
        for query in [self._one(imsi) for imsi in imsis]:
            with told(self.where):
                removed += self.subscribers.delete_one(query).deleted_count
        return removed


def difference(before: Mapping[str, Any], subscriber: Subscriber, keys: Keys | None) -> Raw:
    """What `$set` has to say. Never the sequence number: the SIM would refuse the network, or take a replay."""
    wanted: Raw = {name: value for name, value in fields(subscriber, before).items() if before.get(name) != value}
    there = before.get("security")
    known = there if isinstance(there, Mapping) else {}
    if keys is not None and not same_keys(known, keys):
        wanted |= {f"security.{name}": value for name, value in security(keys).items() if known.get(name) != value}
    return wanted


def same_keys(there: Mapping[str, Any], keys: Keys) -> bool:
    """Whether a `security` holds these keys, however they are spelled."""
    return all(
        str(there.get(name) or "").replace(" ", "").lower() == value
        for name, value in (("k", keys.k), ("opc", keys.opc), ("amf", keys.amf))
    )


def unchanged(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> Raw:
    """A filter: what will be set is as it was read."""
    guard: Raw = {}
    for name in wanted:
        head, _, inner = name.partition(".")
        part = before.get(head)
        value = part.get(inner) if inner and isinstance(part, Mapping) else part
        guard[name] = {"$eq": value} if value is not None else None
    return guard
