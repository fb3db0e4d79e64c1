"""Makes a running proxy's tables those that are wanted: what differs is told by RPC, and nothing else.

The wanted ones stand in `tables.json`, in the form of `sip.kamailio.tables`. The agent and the keeper may both have
reason to tell them: whoever does holds a lock, and reads the file after it has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nf.contracts.json import Json, JsonObject, digest
from nf.errors import DriverError
from sip.kamailio.jsonrpc import Parameter, RpcRefused
from sip.kamailio.paths import SETTINGS_DB
from sip.kamailio.places import DRAINED_FILE, HELD_FILE, TABLES_FILE, Places
from sip.kamailio.rpc import RpcClient
from sip.kamailio.sets import REGION_SET, SPARE_SET
from sip.kamailio.tables import CONTROL, DRAIN, DRAINED, OPENED, STARTING, Row, Tables
from sip.naming import observer_alive

LOCK_FILE: Final = "lock"
PLAN_MARK: Final = "plan"
"""Key of `ctl`: digest of the number plan that the proxy read last. The tree itself cannot be asked for it."""
OBSERVED_MARK: Final = "observed"
"""Key of `ctl`: the observation point beside the proxy has told it what it has to, which is the same whatever it is."""
OBSERVER_S: Final = 3.0
"""For which a proxy that could open waits for that at most. A call is more than what is observed of it."""
_OURS: Final = frozenset({(CONTROL, DRAIN), (CONTROL, PLAN_MARK), (CONTROL, OBSERVED_MARK)})
"""Keys that are a matter of operation, not of the section."""
_BATCH: Final = 64
_AGAIN_S: Final = 0.5
_RELOAD_S: Final = 30.0
_ANSWER_S: Final = 20.0
_LOOK_S: Final = 0.05
_DUMP_S: Final = 100.0
"""Kamailio needs some 10 s for a table of 100,000."""
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "plan": ("tprefix", "tvalue"),
    "rtpengine": ("setid", "url", "weight", "disabled"),
}


def to_text(tables: Tables) -> str:
    data = {
        "hashes": {name: dict(values) for name, values in tables.hashes.items()},
        "rows": {name: [list(row) for row in rows] for name, rows in tables.rows.items()},
        "settings": [[group, name, value] for (group, name), value in sorted(tables.settings.items())],
    }
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def from_text(text: str) -> Tables:
    """Raises DriverError for what is no such file."""
    try:
        data: Any = json.loads(text)
        return Tables(
            hashes={name: dict(values) for name, values in data["hashes"].items()},
            rows={name: tuple(tuple(row) for row in rows) for name, rows in data["rows"].items()},
            settings={(group, name): value for group, name, value in data["settings"]},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        remedy = "commit the line-up again: it is written anew"
        raise DriverError("what is wanted of the tables cannot be read", where=TABLES_FILE, remedy=remedy) from None


def held(places: Places) -> frozenset[str]:
    """URLs of the relays that an operator has drained (`sip.kamailio.held`)."""
    try:
        found = json.loads(places.read(HELD_FILE) or "[]")
    except ValueError:
        return frozenset()
    return frozenset(one for one in found if isinstance(one, str)) if isinstance(found, list) else frozenset()


def wanted_tables(text: str, places: Places) -> Tables:
    """Those of `tables.json`, and what an operator has drained. Raises DriverError."""
    tables, urls = from_text(text), held(places)
    relays = tuple((*row[:3], 1) if row[1] in urls else row for row in tables.rows.get("rtpengine", ()))
    return Tables(tables.hashes, {**tables.rows, "rtpengine": relays}, tables.settings)


@dataclass(frozen=True, slots=True)
class RelayChange:
    """`others`: Kamailio knows other relays, or with other weights. `drained`: URL -> whether it should be."""

    others: bool = False
    drained: Mapping[str, bool] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.others or bool(self.drained)


@dataclass(frozen=True, slots=True)
class Difference:
    """What is to be told. `hashes`: table -> key -> value, None: it goes."""

    hashes: Mapping[str, Mapping[str, str | int | None]]
    settings: Mapping[tuple[str, str], int]
    plan: bool = False
    relays: RelayChange = field(default_factory=RelayChange)

    def __bool__(self) -> bool:
        return bool(self.hashes or self.settings or self.plan or self.relays)

    @property
    def names(self) -> tuple[str, ...]:
        """Of what differs. No key and no value: some are credentials."""
        found = {*self.hashes, *(["settings"] if self.settings else [])}
        return tuple(sorted(found | ({"plan"} if self.plan else set()) | ({"relays"} if self.relays else set())))


# -- reading -----------------------------------------------------------------------------------------------------------


async def read_hash(rpc: RpcClient, name: str) -> dict[str, str | int]:
    try:
        found = await rpc.call("htable.dump", name, timeout_s=_DUMP_S)
    except RpcRefused:
        return {}  # it has no such table: then nothing can be told either, and that is said
    slots = (slot for entry in _objects(found) for slot in _objects(entry.get("slot")))
    pairs = ((str(slot.get("name")), slot.get("value")) for slot in slots)
    return {name: value for name, value in pairs if isinstance(value, str | int)}


async def read_drain(rpc: RpcClient) -> int:
    """What `ctl` `drain` says; STARTING when it says nothing."""
    try:
        found = await rpc.call("htable.get", CONTROL, DRAIN)
    except RpcRefused:
        return STARTING
    item = found.get("item") if isinstance(found, dict) else None
    value = item.get("value") if isinstance(item, dict) else None
    return value if isinstance(value, int) else STARTING


async def read_settings(rpc: RpcClient, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    found = {}
    for group, name in wanted:
        value = await rpc.call("cfg.get", group, name)
        if isinstance(value, int):
            found[group, name] = value
    return found


def plan_digest(tables: Tables) -> str:
    return digest(sorted(list(row) for row in tables.rows.get("plan", ())))


def read_rows(database: Path) -> dict[str, tuple[tuple[int | str, ...], ...]]:
    """Raises DriverError."""
    try:
        with contextlib.closing(_open(database)) as connection:
            return {
                table: tuple(sorted(connection.execute(_select(table, columns)))) for table, columns in _COLUMNS.items()
            }
    except sqlite3.Error as error:
        raise DriverError(f"cannot read the number plan: {error}", where=str(database)) from error


def write_rows(database: Path, tables: Tables) -> frozenset[str]:
    """Names of the tables that were others. Raises DriverError."""
    before = read_rows(database)
    changed = frozenset(name for name in _COLUMNS if before[name] != tuple(sorted(tables.rows.get(name, ()))))
    if not changed:
        return changed
    try:
        with contextlib.closing(_open(database)) as connection, connection:
            for table in sorted(changed):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
                connection.executemany(_insert(table, _COLUMNS[table]), tables.rows.get(table, ()))
    except sqlite3.Error as error:
        raise DriverError(f"cannot write the number plan: {error}", where=str(database)) from error
    return changed


def _select(table: str, columns: tuple[str, ...]) -> str:
    return f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - names of ours


def _insert(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" for _ in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of ours


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{database}?mode=rw", timeout=20.0, uri=True)


def is_drained(node: JsonObject) -> bool:
    """One that does not answer is disabled for a while, one that is drained for good."""
    return "permanent" in str(node.get("disabled"))


def is_down(node: JsonObject) -> bool:
    return node.get("disabled") == 1


async def read_relays(rpc: RpcClient) -> tuple[JsonObject, ...]:
    return tuple(one for one in _objects(await rpc.call("rtpengine.show", "all")) if "url" in one)


def relay_change(live: Iterable[JsonObject], wanted: Iterable[Row]) -> RelayChange:
    known = {(_whole(one.get("set")), str(one.get("url"))): one for one in live}
    rows = {(_whole(row[0]), str(row[1])): (_whole(row[2]), bool(row[3])) for row in wanted}
    same = known.keys() == rows.keys() and all(_whole(known[key].get("weight")) == rows[key][0] for key in rows)
    if not same:
        return RelayChange(others=True)
    # In the set that a relay has alone it is there for the calls that it has; `rtpengine.enable` takes it out of all.
    turned = {
        url: drained
        for (group, url), (_, drained) in rows.items()
        if group in {REGION_SET, SPARE_SET} and is_drained(known[group, url]) != drained
    }
    return RelayChange(drained=turned)


async def difference(rpc: RpcClient, tables: Tables, right: frozenset[str] = frozenset()) -> Difference:
    """Between what the proxy has now and what it should have. `right`: hash tables that are not looked at."""
    hashes: dict[str, dict[str, str | int | None]] = {}
    for name, wanted in tables.hashes.items():
        if name in right:
            continue
        have = await read_hash(rpc, name)
        told: dict[str, str | int | None] = {key: value for key, value in wanted.items() if have.get(key) != value}
        told |= dict.fromkeys(key for key in have if key not in wanted and (name, key) not in _OURS)
        if told:
            hashes[name] = told
    live = await read_settings(rpc, tables.settings)
    settings = {key: value for key, value in tables.settings.items() if live.get(key) != value}
    plan = (await read_hash(rpc, CONTROL)).get(PLAN_MARK) != plan_digest(tables)
    return Difference(hashes, settings, plan, relay_change(await read_relays(rpc), tables.rows.get("rtpengine", ())))


# -- telling -----------------------------------------------------------------------------------------------------------


async def tell(rpc: RpcClient, found: Difference) -> None:
    """What is new before what goes, so that a call in between meets one of the two."""
    for name, values in sorted(found.hashes.items()):
        await _each(_put(rpc, name, key, value) for key, value in values.items() if value is not None)
        await _each(_put(rpc, name, key, value) for key, value in values.items() if value is None)
    for (group, name), number in sorted(found.settings.items()):
        await rpc.call("cfg.set_now_int", group, name, number)


async def _put(rpc: RpcClient, table: str, key: str, value: str | int | None) -> None:
    if value is None:
        with contextlib.suppress(RpcRefused):  # it is gone
            await rpc.call("htable.delete", table, key, timeout_s=_ANSWER_S)
    elif isinstance(value, int):
        await rpc.call("htable.seti", table, key, value, timeout_s=_ANSWER_S)
    else:
        await rpc.call("htable.sets", table, key, value, timeout_s=_ANSWER_S)


async def _each(calls: Iterable[Coroutine[None, None, None]]) -> None:
    """Some at a time, so that a table of many thousand is no task for each line."""
    waiting = iter(calls)
    while some := [*itertools.islice(waiting, _BATCH)]:
        await asyncio.gather(*some)


async def reload(rpc: RpcClient, method: str, *parameters: Parameter, limit_s: float = _RELOAD_S) -> None:
    """Kamailio refuses a reload so soon after another one: it is asked again. Raises what the client raises."""
    loop = asyncio.get_running_loop()
    until = loop.time() + limit_s
    while True:
        try:
            await rpc.call(method, *parameters)
        except RpcRefused:
            if loop.time() >= until:
                raise
            await asyncio.sleep(_AGAIN_S)
        else:
            return


async def push(rpc: RpcClient, places: Places) -> tuple[str, ...]:
    """All that stands in `tables.json`; then the proxy opens, unless it is drained. Names of what differed."""
    async with locked(places.data / LOCK_FILE):
        text = await asyncio.to_thread(places.read, TABLES_FILE)
        if text is None:
            raise DriverError("no tables are there to be told", where=str(places.file(TABLES_FILE)))
        tables = wanted_tables(text, places)
        changed = await asyncio.to_thread(write_rows, places.data / SETTINGS_DB, tables)
        found = await difference(rpc, tables)
        await tell(rpc, found)
        if found.plan or "plan" in changed:
            await reload(rpc, "mtree.reload", "plan")
            await rpc.call("htable.sets", CONTROL, PLAN_MARK, plan_digest(tables))
        await _relays(rpc, found.relays)
        await _observed(rpc, observer_alive(places.run_dir))
        await set_drain(rpc, drained=places.file(DRAINED_FILE).exists())
        return tuple(sorted({*found.names, *changed}))


async def _observed(rpc: RpcClient, alive: Path) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + OBSERVER_S
    while loop.time() < until and await asyncio.to_thread(alive.exists):
        with contextlib.suppress(RpcRefused):
            if "item" in _first(await rpc.call("htable.get", CONTROL, OBSERVED_MARK)):
                return
        await asyncio.sleep(_LOOK_S)


async def _relays(rpc: RpcClient, change: RelayChange) -> None:
    """A relay is drained at once; others are read from their table, which Kamailio does every ten seconds at most."""
    if change.others:
        await reload(rpc, "rtpengine.reload")
    for url, drained in sorted(change.drained.items()):
        await rpc.call("rtpengine.enable", url, int(not drained))


async def set_drain(rpc: RpcClient, *, drained: bool) -> None:
    await rpc.call("htable.seti", CONTROL, DRAIN, DRAINED if drained else OPENED)


@contextlib.asynccontextmanager
async def locked_if(places: Places) -> AsyncIterator[None]:
    """Before the first start there is nobody who could hold it."""
    if not places.data.is_dir():
        yield
        return
    async with locked(places.data / LOCK_FILE):
        yield


@contextlib.asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _objects(value: Json) -> list[JsonObject]:
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if isinstance(one, dict)]


def _first(value: Json) -> JsonObject:
    return next(iter(_objects(value)), {})


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0
