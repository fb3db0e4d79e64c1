"""Sequence numbers of X2 and X3 (TS 103 221-2, attribute 8): each of a task, kind and point has one life.

They go on where they were after a restart, so that mediation takes nothing for a duplicate. Numbers are reserved ahead
in blocks, in a file that is sealed by the store's key: after a crash they leap, which mediation tells as a gap, and
after a crash something may indeed be missing.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lawful_intercept.x2x3.codec import PduType
from nf.errors import IntegrityError, NotFoundError
from nf.trust.files import read_private, write_private

BLOCKS: Final = {PduType.X2: 1 << 10, PduType.X3: 1 << 18}
"""How many are reserved at once: some seconds of the busiest task."""
MOST: Final = 20_000
"""Series that are remembered; the longest unused go first."""
_WRAP: Final = 1 << 32
_MAGIC: Final = b"LIN1"
_NONCE: Final = 12

Series = tuple[str, str, str]
"""XID, "2" or "3", point."""


class Numbers:
    """Raises StorageError where the disk does not take a reservation, IntegrityError for a file that is not its own."""

    def __init__(self, path: Path, aead: AESGCM) -> None:
        self._path, self._aead = path, aead
        self._next: dict[Series, int] = {}
        self._reserved: dict[Series, int] = {}
        for series, number in self._read().items():
            self._next[series] = self._reserved[series] = number

    def take(self, series: Series, block: int) -> int:
        number = self._next.get(series, 0)
        if number >= self._reserved.get(series, 0):
            self._reserved.pop(series, None)  # what was used last stands last
            self._reserved[series] = number + block
            self._write(self._reserved)
        self._next[series] = number + 1
        return number % _WRAP

    def close(self) -> None:
        """In order: the next life goes on without a leap. Raises StorageError."""
        self._reserved = {series: self._next.get(series, number) for series, number in self._reserved.items()}
        self._write(self._reserved)

    def _write(self, numbers: dict[Series, int]) -> None:
        for series in list(numbers)[: max(0, len(numbers) - MOST)]:
            del numbers[series]
            self._next.pop(series, None)
        text = json.dumps([[*series, number] for series, number in numbers.items()], separators=(",", ":"))
        nonce = secrets.token_bytes(_NONCE)
        write_private(self._path, _MAGIC + nonce + self._aead.encrypt(nonce, text.encode(), _MAGIC))

    def _read(self) -> dict[Series, int]:
        try:
            data = read_private(self._path, "the file of sequence numbers")
        except NotFoundError:
            return {}
        at = len(_MAGIC)
        try:
            text = self._aead.decrypt(data[at : at + _NONCE], data[at + _NONCE :], data[:at])
            return {(str(xid), str(kind), str(point)): int(number) for xid, kind, point, number in json.loads(text)}
        except (InvalidTag, ValueError, TypeError):
            remedy = "see `store_key`; without the file, numbers begin anew and mediation may take some for duplicates"
            raise IntegrityError("not this point's file of numbers", where=str(self._path), remedy=remedy) from None
