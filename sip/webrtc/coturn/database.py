"""What coturn is told while it runs, by its SQLite database: of which secret credentials are, to whom it relays.

It asks for the secret with each new allocation, and keeps the key of those that exist: without a secret it is drained.
It reads peers every few seconds.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from nf.errors import DriverError

_TABLES = """
CREATE TABLE IF NOT EXISTS turn_secret (realm varchar(127), value varchar(256), primary key (realm,value));
CREATE TABLE IF NOT EXISTS allowed_peer_ip (realm varchar(127) default '', ip_range varchar(256),
  primary key (realm,ip_range));
CREATE TABLE IF NOT EXISTS denied_peer_ip (realm varchar(127) default '', ip_range varchar(256),
  primary key (realm,ip_range));
"""


@dataclass(frozen=True, slots=True)
class Told:
    """`secrets` show nowhere, also not in `repr`."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    peers: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()


def told(peers: tuple[IPv4Address, ...], secret: str | None) -> Told:
    """`secret` None: it allocates nothing."""
    return Told((secret,) if secret is not None else (), tuple(sorted(map(str, peers))))


def write(path: Path, realm: str, wanted: Told) -> None:
    """All of it at once; what is there already is left. Raises DriverError."""
    if read(path) == wanted:
        return
    with _opened(path) as connection:
        connection.executescript(_TABLES)
        path.chmod(0o600)
        connection.execute("BEGIN IMMEDIATE")
        for table in ("turn_secret", "allowed_peer_ip", "denied_peer_ip"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours
        connection.executemany("INSERT INTO turn_secret VALUES (?, ?)", [(realm, one) for one in wanted.secrets])
        connection.executemany("INSERT INTO allowed_peer_ip VALUES ('', ?)", [(one,) for one in wanted.peers])
        connection.commit()


def read(path: Path) -> Told | None:
    """None: it is not there, or nothing that can be read."""
    if not path.exists():
        return None
    try:
        with _opened(path) as connection:
            columns = [
                tuple(sorted(str(row[0]) for row in connection.execute(query)))
                for query in (
                    "SELECT value FROM turn_secret",
                    "SELECT ip_range FROM allowed_peer_ip",
                    "SELECT ip_range FROM denied_peer_ip",
                )
            ]
    except DriverError:
        return None
    return Told(*columns)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10.0, isolation_level=None)) as connection:
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise DriverError(f"cannot use the database: {error}", where=str(path)) from error
