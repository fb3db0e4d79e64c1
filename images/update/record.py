"""The durable record of the last update: what is open, and why the one before did not stay.

One file, replaced as a whole and synchronised before anything follows from it, under a lock that the agent and the
health service share. What cannot be read is no update: the slot that runs is what counts then.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from images.update.states import ENDED, ON_TRIAL, Effect, Input, State, follow
from nf.contracts.json import canonical
from nf.errors import StorageError

_log = logging.getLogger(__name__)

FORMAT: Final = 1
_STEPS: Final = 64


@dataclass(frozen=True, slots=True)
class Record:
    """Times: seconds since the epoch. Slots: "A" or "B".

    id            the upgrade that ordered it; sha256, size (octets), compatible: of its bundle
    home, target  the slot that ran when it was ordered, and the other one
    boot_id       of the last start that this record has heard of
    hold_s        so long health holds before the new system is marked good
    patience_s    so long it may take to become healthy
    baseline      what was wrong before it was activated: the new system is not blamed for that
    problems      what was wrong when it was last looked at
    reason        why it failed, or fell back
    written       fingerprint of the target after it was written
    gave_up       how often it was given up and came up again all the same
    fell_back     why the last update did not stay; kept until one is marked good
    steps         [state, at]: its history, newest last
    """

    state: State = State.NONE
    id: str = ""
    sha256: str = ""
    size: int = 0
    compatible: str = ""
    from_version: str = ""
    to_version: str = ""
    home: str = ""
    target: str = ""
    boot_id: str = ""
    hold_s: float = 60.0
    patience_s: float = 600.0
    baseline: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    written: dict[str, str] = field(default_factory=dict)
    gave_up: int = 0
    fell_back: str = ""
    fell_back_at: float = 0.0
    steps: tuple[tuple[str, float], ...] = ()

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def on_trial(self) -> bool:
        return self.state in ON_TRIAL


_PLAIN: Final = {
    item.name: type(item.default) for item in fields(Record) if isinstance(item.default, str | int | float)
}


def dump(record: Record) -> bytes:
    return canonical({"format": FORMAT, **asdict(record), "state": record.state.value}).encode()


def load(data: bytes) -> Record | None:
    """None for what is no record of this format."""
    try:
        values = json.loads(data)
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            return None
        values["state"] = State(values["state"])
        values["steps"] = tuple((str(State(name).value), float(at)) for name, at in values["steps"])
        for name in ("baseline", "problems", "written"):
            values[name] = _texts(values[name])
        for name, kind in _PLAIN.items():
            values[name] = _scalar(values[name], kind)
        return Record(**values)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise TypeError("no texts")
    return value


def _scalar(value: Any, kind: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise TypeError(f"no {kind.__name__}")
    if isinstance(value, int | float) and not 0 <= value < 1e15:
        raise ValueError("out of range")
    return kind(value)


class Journal:
    """`directory` is the update's own: the record, its lock, the bundle."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = directory / "record.json"

    def read(self) -> Record:
        """As it stands on disk."""
        try:
            data = self._file.read_bytes()
        except FileNotFoundError:
            return Record()
        except OSError as error:
            raise self._storage(error) from error
        record = load(data)
        if record is None:
            _log.error("%s cannot be read; it counts as no update", self._file)
            return Record()
        return record

    def take(self, given: Input, at: float, **changes: Any) -> tuple[Record, tuple[Effect, ...]]:
        """One input: the next state is on disk when this returns; its effects are the caller's to carry out.

        Raises RefusedError when the table has no such row, StorageError when it cannot be written.
        """
        with self._locked():
            before = self.read()
            effects, state = follow(before.state, given, before.id)
            steps = before.steps if given is not Input.ORDER else ()
            if state is not before.state or not steps:
                steps = (*steps, (state.value, at))[-_STEPS:]
            record = replace(before, state=state, steps=steps, **changes)
            self._write(record)
            return record, effects

    def note(self, **changes: Any) -> Record:
        """Remember something about the open update, in the state that it has."""
        with self._locked():
            before = self.read()
            record = replace(before, **changes)
            if record != before:
                self._write(record)
            return record

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._storage(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, record: Record) -> None:
        try:
            write_durably(self._file, dump(record))
        except OSError as error:
            raise self._storage(error) from error

    def _storage(self, error: OSError) -> StorageError:
        return StorageError(error.strerror or str(error), where=str(self._file), remedy="free space on /var")


def write_durably(path: Path, data: bytes) -> None:
    """The old content or the new one, whenever power goes; the new one once this returns."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
