"""A machine's own disks: an overlay over an image that stays as it was built, and copies of small volumes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from nf.errors import DriverError, NotFoundError, UnavailableError

_MIB = 1 << 20


def overlay(image: Path, target: Path, *, at_least_mib: int = 0) -> None:
    """A qcow2 file of what the machine writes; `image` (raw or qcow2) is only read. An overlay that is there stays.

    qemu holds the overlay's tables back until the guest flushes: killing it loses what was written and not flushed, as
    a power cut does. Raises NotFoundError, UnavailableError, DriverError.
    """
    if target.exists():
        return
    if not image.is_file():
        raise NotFoundError("there is no such image", where=str(image), remedy="build it: nf image build")
    said = json.loads(_run("info", "--output=json", str(image)))
    size = max(int(said["virtual-size"]), at_least_mib * _MIB)
    _run("create", "-q", "-f", "qcow2", "-F", str(said["format"]), "-b", str(image.resolve()), str(target), str(size))


def copy(volume: Path, target: Path) -> None:
    """A volume that the machine may write. One that is there stays. Raises NotFoundError."""
    if target.exists():
        return
    if not volume.is_file():
        raise NotFoundError("there is no such volume", where=str(volume), remedy="name a file")
    shutil.copyfile(volume, target)


def copy_sparse(folder: Path, target: Path) -> None:
    """A machine's whole folder as it is now; holes stay holes. Raises DriverError."""
    done = subprocess.run(
        ["cp", "--archive", "--sparse=always", "--reflink=auto", f"{folder}/.", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DriverError(done.stderr.strip(), where=str(target), remedy="make room there")


def flatten(disk: Path, target: Path) -> None:
    """The whole disk as the machine has it now, as a raw file: for looking into it. Raises DriverError."""
    _run("convert", "-q", "-O", "raw", str(disk), str(target))


def _run(*arguments: str) -> str:
    program = shutil.which("qemu-img")
    if program is None:
        raise UnavailableError("qemu-img is missing", where="machine", remedy="install the package qemu-utils")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DriverError(done.stderr.strip() or f"qemu-img {arguments[0]} failed", where=arguments[-1])
    return done.stdout
