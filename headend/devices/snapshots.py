"""The snapshots of a device that an appliance keeps: files, the newest fifty."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from headend.devices.names import DEVICES
from headend.devices.snapshot import Snapshot
from nf.documents.rules import nearest
from nf.errors import InputError, NotFoundError, StorageError

KEPT: Final = 50
_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z(-[0-9]{1,3})?")


class Snapshots:
    """Names are times, so that they sort: `20260823T101500Z`. Errors: StorageError."""

    def __init__(self, state_dir: Path, device: str) -> None:
        self._device = device
        self._directory = state_dir / DEVICES / "snapshots" / device

    def add(self, taken: Snapshot) -> str:
        """Its name. The oldest go when there are too many."""
        stem = datetime.fromtimestamp(taken.at, UTC).strftime("%Y%m%dT%H%M%SZ")
        known = self._names()
        name = next(n for n in (stem, *(f"{stem}-{number:03}" for number in range(1, 1000))) if n not in known)
        path = self._directory / f"{name}.json"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".new")
            fresh.write_text(taken.dumps())
            fresh.replace(path)
            for old in sorted([*known, name])[:-KEPT]:
                (self._directory / f"{old}.json").unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"the snapshot cannot be written: {error.strerror}", where=str(path)) from error
        return name

    def all(self) -> Iterator[tuple[str, Snapshot]]:
        """With their names, oldest first."""
        return ((name, self.get(name)) for name in self._names())

    def get(self, name: str) -> Snapshot:
        """Raises NotFoundError, InputError for a file that is none."""
        if not _NAME.fullmatch(name):
            raise InputError("is no name of a snapshot", where=name, remedy=f"nf device snapshot {self._device} --list")
        path = self._directory / f"{name}.json"
        try:
            return Snapshot.loads(path.read_text(), where=str(path))
        except FileNotFoundError:
            known = self._names()
            raise NotFoundError(
                "no such snapshot", where=f"{self._device} {name}", remedy=nearest(name, known)
            ) from None
        except OSError as error:
            raise StorageError(f"the snapshot cannot be read: {error.strerror}", where=str(path)) from error

    def _names(self) -> list[str]:
        return sorted(path.stem for path in self._directory.glob("*.json") if _NAME.fullmatch(path.stem))
