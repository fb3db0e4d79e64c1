"""What the supervisor keeps on disk: definitions, what is wanted, and which processes run. Written atomically."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nf.contracts.json import Json, JsonObject, canonical
from nf.contracts.units import UnitSpec
from nf.errors import InputError, StorageError
from nf.supervisor.process import ProcessIdentity
from nf.supervisor.protocol import spec_from_json, spec_to_json

_log = logging.getLogger(__name__)
_VERSION = 1


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """`running`: what the live process was started with, which a later definition does not change."""

    spec: UnitSpec
    wanted: bool
    process: ProcessIdentity | None
    running: UnitSpec | None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # definitions may name what is not for everybody's eyes


def _write(path: Path, text: str, *, durable: bool) -> None:
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "w", encoding="utf-8", opener=_private) as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _record_to_json(record: UnitRecord) -> JsonObject:
    identity: Json = None
    if record.process is not None:
        identity = {
            "pid": record.process.pid,
            "start_ticks": record.process.start_ticks,
            "boot_id": record.process.boot_id,
        }
    return {
        "spec": spec_to_json(record.spec),
        "wanted": record.wanted,
        "process": identity,
        "running": None if record.running is None else spec_to_json(record.running),
    }


def _record_from_json(data: Json) -> UnitRecord:
    if not isinstance(data, dict):
        raise InputError("a record is no object", where="supervisor")
    identity, running = data.get("process"), data.get("running")
    process = None
    if isinstance(identity, dict):
        pid, start_ticks = identity.get("pid"), identity.get("start_ticks")
        if isinstance(pid, int) and isinstance(start_ticks, int) and pid > 1:
            process = ProcessIdentity(pid, start_ticks, str(identity.get("boot_id")))
    return UnitRecord(
        spec=spec_from_json(data.get("spec")),
        wanted=data.get("wanted") is True,
        process=process,
        running=None if running is None else spec_from_json(running),
    )


def _records_from_json(data: Json) -> tuple[UnitRecord, ...]:
    units = data.get("units") if isinstance(data, dict) and data.get("version") == _VERSION else None
    if not isinstance(units, list):
        raise InputError("not the supervisor's records", where="supervisor")
    return tuple(_record_from_json(item) for item in units)


class Records:
    """The files in `directory`; the caller holds the lock on it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "supervisor.json"
        self._owner_path = directory / "supervisor.owner"
        self._definitions: object = None

    def owner(self) -> str:
        """A name for the marks of our processes, made once. Raises StorageError."""
        try:
            if self._owner_path.exists() and (known := self._owner_path.read_text(encoding="ascii").strip()):
                return known
            made = uuid.uuid4().hex
            _write(self._owner_path, made + "\n", durable=True)
        except OSError as error:
            raise StorageError(f"cannot keep supervisor state: {error}", where=str(self._owner_path)) from error
        return made

    def load(self) -> tuple[UnitRecord, ...]:
        """Everything that was kept; a file that fails its own check is set aside, with a word in the log."""
        try:
            return _records_from_json(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return ()
        except (ValueError, InputError) as error:
            aside = self._path.with_suffix(".damaged")
            self._path.replace(aside)
            _log.error("records of units are damaged (%s): set aside as %s", error, aside)
            return ()

    def save(self, records: Iterable[UnitRecord]) -> None:
        """Synced to disk when a definition or a wish changed; a process need not survive a power cut. Raises
        StorageError."""
        kept = tuple(records)
        definitions = tuple((record.spec, record.wanted) for record in kept)
        durable = definitions != self._definitions
        data: JsonObject = {"version": _VERSION, "units": [_record_to_json(record) for record in kept]}
        try:
            _write(self._path, canonical(data), durable=durable)
        except OSError as error:
            raise StorageError(f"cannot keep supervisor state: {error}", where=str(self._path)) from error
        self._definitions = definitions
