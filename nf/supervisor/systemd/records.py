"""What is kept of units that systemd runs: definitions and wishes, a file for each, and its file for systemd beside it.

systemd itself forgets all of it at a reboot, since the links in /run are gone; the files here make it again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nf.contracts.json import JsonObject, canonical
from nf.contracts.units import UnitSpec
from nf.errors import InputError, StorageError
from nf.supervisor.protocol import spec_from_json, spec_to_json
from nf.supervisor.systemd.names import service

_log = logging.getLogger(__name__)
_VERSION = 1
DIRECTORY = "units"
"""Of the state."""


@dataclass(frozen=True, slots=True)
class Kept:
    """`wanted`: somebody asked for it to run and nobody asked for it to stop.

    `old` is what the process of the invocation `old_invocation` was started with, when the definition has changed
    since; every other invocation is of the definition.
    """

    spec: UnitSpec
    wanted: bool = False
    old: UnitSpec | None = None
    old_invocation: str = ""

    def running(self, invocation: str) -> UnitSpec:
        return self.old if self.old is not None and invocation == self.old_invocation else self.spec


def to_json(kept: Kept) -> JsonObject:
    return {
        "version": _VERSION,
        "spec": spec_to_json(kept.spec),
        "wanted": kept.wanted,
        "old": None if kept.old is None else spec_to_json(kept.old),
        "old_invocation": kept.old_invocation,
    }


def from_json(text: str) -> Kept:
    """Raises InputError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("not JSON", where="units") from None
    if not isinstance(data, dict) or data.get("version") != _VERSION:
        raise InputError("not the record of a unit", where="units")
    old = data.get("old")
    return Kept(
        spec=spec_from_json(data.get("spec")),
        wanted=data.get("wanted") is True,
        old=None if old is None else spec_from_json(old),
        old_invocation=str(data.get("old_invocation", "")),
    )


class Store:
    """The directory `units` of the state, and the links to it where systemd looks."""

    def __init__(self, state_dir: Path, links: Path) -> None:
        self._directory = state_dir / DIRECTORY
        self._links = links

    def load(self) -> dict[str, Kept]:
        """Every record; one that fails its own check is set aside with a word in the log. Raises StorageError."""
        found: dict[str, Kept] = {}
        with self._told():
            for path in sorted(self._directory.glob("*.json")):
                try:
                    kept = from_json(path.read_text(encoding="utf-8"))
                    if path.stem != kept.spec.name:
                        raise InputError(f"it is that of {kept.spec.name}", where=str(path))  # noqa: TRY301
                except FileNotFoundError:
                    continue  # removed this moment
                except (ValueError, InputError) as error:
                    _log.error("the record %s is damaged (%s): set aside", path, error)
                    path.replace(path.with_suffix(".damaged"))
                    continue
                found[kept.spec.name] = kept
        return found

    def save(self, kept: Kept) -> None:
        """Raises StorageError."""
        with self._told():
            self._write(self._directory / f"{kept.spec.name}.json", canonical(to_json(kept)), 0o600)

    def publish(self, name: str, text: str) -> bool:
        """Have systemd find `text` under the unit's name; True when it replaces another. Raises StorageError."""
        file = self._directory / service(name)
        with self._told():
            before = file.read_text(encoding="utf-8") if file.exists() else None
            if before != text:
                # Readable by all, as everything that systemd shows of a unit is.
                self._write(file, text, 0o644)
            self.link(name)
        return before is not None and before != text

    def link(self, name: str) -> None:
        """Raises OSError."""
        link, file = self._links / service(name), self._directory / service(name)
        if link.is_symlink() and link.readlink() == file:
            return
        self._links.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(file)
        fresh.replace(link)

    def remove(self, name: str) -> None:
        """Raises StorageError."""
        with self._told():
            for path in (
                self._directory / f"{name}.json",
                self._links / service(name),
                self._directory / service(name),
            ):
                path.unlink(missing_ok=True)

    def _write(self, path: Path, text: str, mode: int) -> None:
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(fd, mode)
            os.fsync(fd)
        temporary.replace(path)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = str(self._directory)
            raise StorageError(f"cannot keep units: {error}", where=where, remedy="check space and rights") from error
