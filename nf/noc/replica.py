"""The continuous copy of a NOC in a second place: never older than what was written a few seconds ago.

replica.json      format, when it was taken, name, file, size and SHA-256 of each part; replaced as the last act
noc-N.db          the store; the one that replica.json names is whole, also when the copying machine dies
ca.pem, ca.key, audit.key
                  mode 0600, as in the state directory: guard the second place as you guard the first
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.clock import Clock
from nf.contracts.json import Json, JsonObject
from nf.errors import NfError, NotFoundError, RefusedError, StorageError
from nf.noc.archive import Snapshot, broken, describe
from nf.noc.backup import take
from nf.store.copy import ChangeWatch
from nf.telemetry.alarms import Severity
from nf.trust.files import read_private, write_private

FORMAT: Final = "streamverse.nf/replica/v1"
STALE: Final = "backup-stale"
STALE_AFTER_S: Final = 60.0
_POLL_S, _SHORTEST_S, _LONGEST_S = 1.0, 2.0, 30.0
_MANIFEST: Final = "replica.json"

Alarm = Callable[[str, str, Severity, str, str], None]
"""(cause, object, severity, text, remedy)"""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """`copied_at`: seconds since the epoch, 0 = not yet; `age_s`: since the last good copy, or since the start."""

    directory: str
    copied_at: float
    age_s: float
    error: str

    @property
    def stale(self) -> bool:
        return self.age_s > STALE_AFTER_S


class Replica:
    """Copies after each change, at most every 2 s and at least every 30 s."""

    def __init__(self, state_dir: Path, directory: Path, clock: Clock, alarm: Alarm) -> None:
        """Raises RefusedError when the directory is the NOC's own, another NOC's, or ahead of this one."""
        self._state_dir = state_dir
        self._directory = directory
        self._clock = clock
        self._alarm = alarm
        self._started = clock.monotonic()
        self._done: float | None = None
        self._copied_at = 0.0
        self._error = ""
        self._seen = -1
        self._number = 0
        self._refuse_foreign()

    def _refuse_foreign(self) -> None:
        own, other = self._state_dir.resolve(), self._directory.resolve()
        if own == other or own in other.parents:
            raise RefusedError("is inside the NOC's own directory", where=str(other), remedy="name another disk")
        if not (self._directory / _MANIFEST).exists():
            return
        there, here = _read_manifest(self._directory)["about"], take(self._state_dir, 0.0).about
        if not isinstance(there, dict) or there.get("ca_sha256") != here["ca_sha256"]:
            raise RefusedError("holds the copy of another NOC", where=str(other), remedy="name another directory")
        if int(str(there.get("audit_records", 0))) > int(str(here["audit_records"])):
            raise RefusedError(
                "holds a newer state than this NOC has; it would be lost",
                where=str(other),
                remedy="restore from it (nf backup restore), or move it away",
            )

    def status(self) -> ReplicaStatus:
        since = self._started if self._done is None else self._done
        age_s = self._clock.monotonic() - since
        return ReplicaStatus(str(self._directory), self._copied_at, age_s, self._error)

    async def run(self) -> None:
        """Until cancelled."""
        watch = ChangeWatch(self._state_dir / "noc.db")
        try:
            while True:
                await self._look(watch)
                self._tell()
                await self._clock.sleep(_POLL_S)
        finally:
            watch.close()

    async def _look(self, watch: ChangeWatch) -> None:
        try:
            version = watch.version()
            age_s = self.status().age_s
            changed = version != self._seen and age_s >= _SHORTEST_S
            if self._done is None or changed or age_s >= _LONGEST_S:
                await self.copy()
                self._seen = version
        except (NfError, OSError) as error:
            self._error = str(error)

    async def copy(self) -> None:
        """One copy, now. Raises StorageError, IntegrityError, OSError."""
        now, began = self._clock.now(), self._clock.monotonic()
        snapshot = await asyncio.to_thread(take, self._state_dir, now)
        self._number = await asyncio.to_thread(write_replica, self._directory, snapshot)
        self._done, self._copied_at, self._error = began, now, ""

    def _tell(self) -> None:
        status = self.status()
        if status.stale:
            text = f"the last copy in {status.directory} is {status.age_s:.0f} s old: {status.error or 'not yet made'}"
            remedy = "see that its disk is there and has room; what is written now has no second place"
            self._alarm(STALE, "noc", Severity.MAJOR, text, remedy)
        else:
            self._alarm(STALE, "noc", Severity.CLEARED, "", "")


def write_replica(directory: Path, snapshot: Snapshot) -> int:
    """The number of the copy. What stood before stays whole until the manifest is replaced. Raises StorageError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        older = sorted(directory.glob("noc-*.db"))
        number = 1 + max(
            (int(stem) for file in older if (stem := file.stem.removeprefix("noc-")).isdecimal()), default=0
        )
        files = {name: name for name in snapshot.parts} | {"noc.db": f"noc-{number}.db"}
        for name, data in snapshot.parts.items():
            file = directory / files[name]
            if name == "noc.db" or not file.exists() or file.read_bytes() != data:
                write_private(file, data)
        parts: list[Json] = [
            {**part, "file": files[str(part["name"])]} for part in describe(snapshot.parts) if isinstance(part, dict)
        ]
        manifest: JsonObject = {"format": FORMAT, "about": snapshot.about, "parts": parts}
        write_private(directory / _MANIFEST, json.dumps(manifest, indent=2).encode())
        for file in older:
            os.unlink(file)  # noqa: PTH108 - a Path's own unlink says the same at greater length
    except OSError as error:
        raise StorageError(
            f"cannot be written: {error.strerror}", where=str(directory), remedy="check free space and permissions"
        ) from error
    return number


def _read_manifest(directory: Path) -> JsonObject:
    try:
        manifest = json.loads((directory / _MANIFEST).read_bytes())
    except OSError as error:
        raise NotFoundError("holds no replica", where=str(directory), remedy="name the --replica directory") from error
    except ValueError as error:
        raise broken("is not JSON", str(directory), _MANIFEST) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or "about" not in manifest:
        raise broken(f"is not of the format {FORMAT}", str(directory), _MANIFEST)
    return manifest


def read_replica(directory: Path) -> Snapshot:
    """Raises NotFoundError, or IntegrityError that names the part which is missing or altered."""
    manifest, where = _read_manifest(directory), str(directory)
    listed = manifest.get("parts")
    described = (
        {str(part.get("name")): part for part in listed if isinstance(part, dict)} if isinstance(listed, list) else {}
    )
    parts: dict[str, bytes] = {}
    for name in ("noc.db", "ca.pem", "ca.key", "audit.key"):
        part = described.get(name)
        if part is None:
            raise broken("is missing", where, name)
        file = directory / Path(str(part.get("file"))).name
        try:
            parts[name] = read_private(file, name)
        except NotFoundError as error:
            raise broken("is missing", where, name) from error
        found = describe({name: parts[name]})[0]
        if {**part, "file": ""} != {**(found if isinstance(found, dict) else {}), "file": ""}:
            raise broken("is altered: its SHA-256 is not the one of the manifest", where, name)
    about = manifest["about"]
    return Snapshot(parts, about if isinstance(about, dict) else {})
