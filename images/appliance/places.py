"""Where things are on an appliance. Tests, and tools on other machines, give a root of their own."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.errors import StorageError
from nf.trust.files import write_private

ESP_LABEL: Final = "ESP"
DATA_LABEL: Final = "data"
SEED_LABEL: Final = "NFSEED"
MAPPED: Final = "nf-data"
"""Name of the opened data partition below /dev/mapper."""
ESP_SEED: Final = "nf/seed/seed.json"
"""The seed on the ESP of an appliance's own disk."""


@dataclass(frozen=True, slots=True)
class Places:
    root: Path = Path("/")

    @property
    def esp(self) -> Path:
        return self.root / "efi"

    @property
    def key_file(self) -> Path:
        """Opens the data partition where no TPM does."""
        return self.esp / "nf/data.key"

    @property
    def formatting(self) -> Path:
        """There while the first boot makes the data partition: nothing of value is on it yet."""
        return self.esp / "nf/data.new"

    @property
    def reset(self) -> Path:
        """The order to erase everything, carried out before the data is opened."""
        return self.esp / "nf/reset.json"

    @property
    def wiped(self) -> Path:
        """There after a wipe: no seed enrols this machine by itself."""
        return self.esp / "nf/wiped.json"

    @property
    def esp_seed(self) -> Path:
        return self.esp / ESP_SEED

    @property
    def var(self) -> Path:
        return self.root / "var"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/nf"

    @property
    def etc(self) -> Path:
        """What /etc/nf shows: identity, secrets, the operator's own."""
        return self.state / "etc"

    @property
    def run(self) -> Path:
        return self.root / "run/nf"

    @property
    def storage_state(self) -> Path:
        """How the data is kept, for the console."""
        return self.run / "storage.json"

    @property
    def storage_failed(self) -> Path:
        """There when /var is only memory; holds the reason. Nothing that serves starts then."""
        return self.run / "data-failed"


def write_durable(path: Path, data: bytes) -> None:
    """On the disk, whole, when this returns. Raises StorageError."""
    write_private(path, data)


def remove_durable(path: Path) -> None:
    """Gone, also after a power cut, when this returns. Raises StorageError."""
    try:
        path.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"cannot be removed: {error.strerror}", where=str(path)) from error


def shred(path: Path) -> None:
    """Overwrite a key, then remove it. A flash translation layer may keep the old block."""
    with contextlib.suppress(FileNotFoundError):
        try:
            with path.open("r+b") as file:
                file.write(os.urandom(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(f"cannot be overwritten: {error.strerror}", where=str(path)) from error
    remove_durable(path)


def replace_secret(path: Path, data: bytes) -> None:
    """Put `data` in place of a file that held a secret, whose blocks are written over. Raises StorageError.

    A power cut leaves one of the two; `recover` finds the new one.
    """
    beside = _beside(path)
    write_durable(beside, data)
    shred(path)
    try:
        beside.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(path)) from error


def recover(path: Path) -> None:
    """After a `replace_secret` that a power cut ended: the new file, if the old one is gone."""
    beside = _beside(path)
    if beside.exists():
        if path.exists():
            beside.unlink()
        else:
            beside.rename(path)
        sync_directory(path.parent)


def _beside(path: Path) -> Path:
    return path.with_suffix(".new")


def sync_directory(directory: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
