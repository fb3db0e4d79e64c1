"""What lies in a machine's partitions, read from outside: also while it runs, for what it does not write."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nf.errors import DriverError, IntegrityError, NotFoundError

_SECTOR = 512
_PIECE = 1 << 20
_HEADER = struct.Struct("<8s4sIIIQQQQ16sQIII")  # UEFI 2.10, 5.3.2
_ENTRY = struct.Struct("<16s16sQQQ72s")  # UEFI 2.10, 5.3.3
_MOST_ENTRIES = 512


@dataclass(frozen=True, slots=True)
class Partition:
    """`start` and `size` in octets."""

    label: str
    start: int
    size: int


def parse_gpt(head: bytes) -> dict[str, Partition]:
    """Label -> partition, from the first MiB of a disk. Raises IntegrityError."""
    try:
        fields = _HEADER.unpack_from(head, _SECTOR)
        signature, first, count, width = fields[0], fields[10], fields[11], fields[12]
        if signature != b"EFI PART" or width < _ENTRY.size or count > _MOST_ENTRIES:
            raise IntegrityError("this is no GPT", where="disk")
        found = {}
        for number in range(count):
            kind, _, start, end, _, name = _ENTRY.unpack_from(head, first * _SECTOR + number * width)
            if any(kind) and end >= start:
                label = name.decode("utf-16-le", "replace").partition("\0")[0]
                found[label] = Partition(label, start * _SECTOR, (end - start + 1) * _SECTOR)
    except struct.error:
        raise IntegrityError("this GPT is cut off", where="disk") from None
    return found


def partitions(disk: Path) -> dict[str, Partition]:
    """Of a qcow2 file, which may be in use. Raises DriverError, IntegrityError."""
    return parse_gpt(_read(disk, 0, _PIECE))


def digest(disk: Path, label: str, size: int) -> str:
    """SHA-256 of the first `size` octets of a partition. Raises NotFoundError, DriverError, IntegrityError."""
    found = partitions(disk).get(label)
    if found is None or size > found.size:
        raise NotFoundError(f"no partition {label} of {size} octets", where=str(disk))
    return hashlib.sha256(_read(disk, found.start, size)).hexdigest()


def _read(disk: Path, start: int, size: int) -> bytes:
    """qemu-img counts in whole blocks of one size, from the start of the disk."""
    first, last = start // _PIECE, -(-(start + size) // _PIECE)
    copy = disk.with_suffix(".part")
    argv = ["qemu-img", "dd", "-U", "-f", "qcow2", "-O", "raw", f"bs={_PIECE}"]
    argv += [f"skip={first}", f"count={last}", f"if={disk}", f"of={copy}"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DriverError(done.stderr.strip(), where=str(disk))
        with copy.open("rb") as file:
            file.seek(start - first * _PIECE)
            return file.read(size)
    finally:
        copy.unlink(missing_ok=True)
