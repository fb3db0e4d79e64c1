"""dm-verity over a root image: the tree of hashes goes behind the data in the same file (veritysetup(8))."""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from images.builder.tools import run
from nf.errors import DriverError, InputError

BLOCK_OCTETS = 4096

_UUID = uuid.UUID("6e660000-0000-4000-8000-000000000001")
_ROOT_HASH = re.compile(r"^Root hash:\s*([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True)
class Verity:
    """What a kernel image must know of its root."""

    root_hash: str
    hash_offset: int
    """Octets of data, and where the tree begins."""


def salt(name: str) -> bytes:
    """32 octets from what identifies an image, such as role and version: the same image gets the same root hash."""
    return hashlib.sha256(b"streamverse-nf verity\0" + name.encode()).digest()


def add_verity(image: Path, *, salt: bytes, uuid: uuid.UUID = _UUID) -> Verity:
    """Appends the tree to `image`, filled up to whole blocks first.

    Raises InputError for an empty image, UnavailableError, DriverError.
    """
    octets = image.stat().st_size
    if not octets:
        raise InputError("is empty", where=str(image))
    offset = -(-octets // BLOCK_OCTETS) * BLOCK_OCTETS
    with image.open("r+b") as file:
        file.truncate(offset)
    said = run(
        "veritysetup", "format", str(image), str(image), f"--hash-offset={offset}", f"--salt={salt.hex()}",
        f"--uuid={uuid}", "--hash=sha256", f"--data-blocks={offset // BLOCK_OCTETS}", package="cryptsetup-bin",
    )  # fmt: skip
    found = _ROOT_HASH.search(said)
    if found is None:
        raise DriverError("veritysetup named no root hash")
    return Verity(found[1], offset)


def check_verity(image: Path, verity: Verity) -> None:
    """Reads all of `image`. Raises DriverError when an octet is not what the root hash covers, UnavailableError."""
    run(
        "veritysetup", "verify", str(image), str(image), verity.root_hash, f"--hash-offset={verity.hash_offset}",
        package="cryptsetup-bin",
    )  # fmt: skip
