"""What was set on a device, by whom, and how it ended: bounded, in the appliance's state directory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from headend.devices.errors import DeviceError
from headend.devices.values import Value
from headend.devices.wanted import SetOutcome
from nf.errors import NfError, StorageError

LIMIT: Final = 1000
_LONGEST: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """`before` and `after` by name; secrets show as such. `result`: "done", or what an operator was told."""

    at: float
    device: str
    who: str
    result: str
    before: Mapping[str, Value] = field(default_factory=dict)
    after: Mapping[str, Value] = field(default_factory=dict)
    confirmed_by: tuple[str, ...] = ()
    reason: str = ""


def entry_of(at: float, device: str, who: str, outcome: SetOutcome | NfError, reason: str = "") -> Entry:
    """The entry of a set that ended so. `reason`: why somebody wanted it."""
    if isinstance(outcome, SetOutcome):
        before = {name: change.before for name, change in outcome.changed.items()}
        after = {name: change.after for name, change in outcome.changed.items()}
        return Entry(at, device, who, "done", before, after, outcome.confirmed_by, reason)
    before = outcome.before if isinstance(outcome, DeviceError) else {}
    return Entry(at, device, who, str(outcome), before, reason=reason)


class History:
    """The last `limit` entries of one device, oldest first, one JSON line each.

    A line that a crash has torn is left out. Errors: StorageError.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._lines = len(self._read())

    def add(self, entry: Entry) -> None:
        """Durable when it returns."""
        line = json.dumps(asdict(entry), ensure_ascii=False, separators=(",", ":"))
        if len(line) > _LONGEST:
            line = json.dumps(asdict(Entry(entry.at, entry.device, entry.who, entry.result[:1000])), ensure_ascii=False)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b") as file:
                if file.tell() and not self._ends_whole():
                    file.write(b"\n")
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._lines += 1
            if self._lines >= 2 * self._limit:
                self._compact()
        except OSError as error:
            raise StorageError(f"the history cannot be written: {error}", where=str(self._path)) from error

    def entries(self) -> tuple[Entry, ...]:
        """Oldest first, at most `limit`."""
        return tuple(found for line in self._read()[-self._limit :] if (found := _parse(line)) is not None)

    def _ends_whole(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _read(self) -> list[str]:
        try:
            return self._path.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"the history cannot be read: {error}", where=str(self._path)) from error

    def _compact(self) -> None:
        kept = self._read()[-self._limit :]
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(("\n".join(kept) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self._lines = len(kept)


def _parse(line: str) -> Entry | None:
    try:
        data: dict[str, Any] = json.loads(line)
        return Entry(**{**data, "confirmed_by": tuple(data["confirmed_by"])})
    except (ValueError, TypeError, KeyError):
        return None
