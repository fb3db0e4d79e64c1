"""What the proxy knows, on disk, so that its own restart costs no session. SQLite, written before anything is sent.

What is lost here costs steering, never a session: the relay hands on what belongs to sessions that it does not know.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from core5g.pfcp.proxy.documents import ProxySection
from core5g.pfcp.proxy.sessions import Session, packed, unpacked
from core5g.pfcp.proxy.stamps import Stamps
from core5g.steering.classifier.filters import Traffic
from nf.contracts.json import JsonObject
from nf.errors import IntegrityError, NfError, StorageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (key TEXT PRIMARY KEY, data TEXT NOT NULL, book BLOB NOT NULL);
"""


@dataclass(slots=True)
class Kept:
    """From an earlier life. `damaged`: how much could not be read, and is left out."""

    stamps: Stamps | None = None
    sessions: list[Session] = field(default_factory=list)
    influences: list[Traffic] = field(default_factory=list)
    damaged: int = 0


class Store:
    """A file that is no database any more is put aside and begun anew. None: in memory, for this life alone.

    Raises StorageError or OSError when it cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self._damaged = 0
        self._meta: dict[str, str] = {}
        if path is None:
            self._database = _opened(":memory:")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = _opened(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise StorageError(str(error), where=str(path), remedy="see that its disk can be written") from error
            path.replace(path.with_suffix(".damaged"))
            for rest in ("-wal", "-shm"):
                path.with_name(path.name + rest).unlink(missing_ok=True)
            self._database = _opened(path)
            self._damaged = 1
        path.chmod(0o600)

    def load(self, section: ProxySection) -> Kept:
        """What still holds with this section: another UPF has none of the sessions, another edge none of its own.

        Raises sqlite3.Error for what cannot be read.
        """
        meta: dict[str, str] = dict(self._database.execute("SELECT name, value FROM meta"))
        kept = Kept(damaged=self._damaged)
        if "stamps" in meta:
            with contextlib.suppress(ValueError, IntegrityError):
                kept.stamps = Stamps.from_json(json.loads(meta["stamps"]))
        with contextlib.suppress(ValueError, AttributeError):
            found = json.loads(meta.get("influences", "{}"))
            kept.influences = [traffic_of(name, data) for name, data in found.items()]
        if meta.get("upf", str(section.upf.address)) != str(section.upf.address):
            self._database.execute("DELETE FROM sessions")
            if kept.stamps is not None:
                kept.stamps.to_smf += 1  # for the SMFs it is a restart: none of their sessions is there
            return kept
        for key, text, book in self._database.execute("SELECT key, data, book FROM sessions"):
            try:
                kept.sessions.append(unpacked(int(key), text, book))
            except (IntegrityError, ValueError):
                kept.damaged += 1
        if meta.get("edge", "") != _edge(section):
            for session in kept.sessions:
                session.own.edge, session.own.out = 0, None
        return kept

    def save(
        self,
        section: ProxySection,
        stamps: Stamps,
        changed: Iterable[tuple[int, Session | None]],
        influences: Mapping[str, Traffic],
    ) -> None:
        """All of it or nothing. Raises StorageError."""
        meta = {
            "stamps": json.dumps(stamps.to_json()),
            "influences": json.dumps({name: told(traffic) for name, traffic in influences.items()}),
            "upf": str(section.upf.address),
            "edge": _edge(section),
        }
        try:
            with self._database:
                if meta != self._meta:
                    self._database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
                for key, session in changed:
                    if session is None:
                        self._database.execute("DELETE FROM sessions WHERE key = ?", (str(key),))
                    else:
                        row = (str(key), *packed(session))
                        self._database.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)", row)
        except sqlite3.Error as error:
            raise StorageError(str(error), where="pfcp-proxy", remedy="see that its disk has room") from error
        self._meta = meta

    def close(self) -> None:
        self._database.close()


def told(traffic: Traffic) -> JsonObject:
    return {
        "prefixes": [*map(str, traffic.networks)],
        "ports": [*traffic.ports],
        "ues": [*sorted(traffic.ues)],
    }


def traffic_of(name: str, data: Mapping[str, object]) -> Traffic:
    """Raises ValueError."""
    return Traffic(
        rule=name,
        networks=tuple(ip_network(str(one)) for one in _list(data, "prefixes")),
        ports=tuple(_port(one) for one in _list(data, "ports")),
        ues=frozenset(_ue(str(one)) for one in _list(data, "ues")),
    )


def _list(data: Mapping[str, object], key: str) -> list[object]:
    value = data.get(key) or []
    if not isinstance(value, list):
        raise ValueError(f"{key} is a list")  # noqa: TRY004 - bad data
    return value


def _ue(text: str) -> str:
    return text if text.removeprefix("imsi-").isdecimal() and text.startswith("imsi-") else str(ip_network(text))


def _port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise ValueError(f"a port is 1 to 65535, not {value}")
    return value


def remembered(path: Path, section: ProxySection) -> tuple[Store, Kept, str]:
    """The store and what it kept. When the file cannot be used, one in memory, and why: N4 goes on without a disk."""
    store = None
    try:
        store = Store(path)
        return store, store.load(section), ""
    except Exception as error:  # noqa: BLE001 - fails open: whatever it is, messages are handed on
        if store is not None:
            store.close()
        store = Store(None)
        return store, store.load(section), f"{path}: {error.message if isinstance(error, NfError) else error}"


def _opened(path: Path | str) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    try:
        # WAL without a sync for each write: what counts is that it outlives the process.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_SCHEMA)
        database.execute("SELECT count(*) FROM sessions").fetchone()
    except sqlite3.Error:
        database.close()
        raise
    return database


def _edge(section: ProxySection) -> str:
    return str(section.edge.n4) if section.edge is not None else ""
