"""An element's tasks and destinations on disk: one file, sealed by AES-256-GCM, written whole or not at all."""

from __future__ import annotations

import contextlib
import secrets
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag

from lawful_intercept.keys import SecretKey
from nf.errors import IntegrityError, NotFoundError, StorageError
from nf.trust.files import read_private, write_private

_MAGIC: Final = b"LIX1"
_NONCE_OCTETS: Final = 12
_LENGTH: Final = struct.Struct("!I")


class Shelf(Protocol):
    """Where an element keeps its records. Blocks."""

    def load(self) -> tuple[bytes, ...] | None:
        """None: there are none. Raises IntegrityError, StorageError."""

    def save(self, records: Iterable[bytes]) -> None:
        """In place of what was there. Raises StorageError; what was there may stand then."""

    def clear(self) -> None:
        """Nothing is left. Raises StorageError."""


class SealedFile:
    """`path`: mode 0600. `key`: 32 octets; a file opens for the key and the file name it was written with alone."""

    def __init__(self, path: Path, key: SecretKey) -> None:
        self._path = path
        self._aead = key.aead()
        self._bound = _MAGIC + path.name.encode()

    def load(self) -> tuple[bytes, ...] | None:
        try:
            octets = read_private(self._path, "the element's tables")
        except NotFoundError:
            return None
        if not octets.startswith(_MAGIC):
            raise self._broken()
        nonce, sealed = octets[len(_MAGIC) :][:_NONCE_OCTETS], octets[len(_MAGIC) + _NONCE_OCTETS :]
        try:
            plain = self._aead.decrypt(nonce, sealed, self._bound)
        except (InvalidTag, ValueError):
            raise self._broken() from None
        records, at = [], 0
        while at < len(plain):
            (length,) = _LENGTH.unpack_from(plain, at)
            at += _LENGTH.size
            records.append(plain[at : at + length])
            at += length
        return tuple(records)

    def save(self, records: Iterable[bytes]) -> None:
        plain = b"".join(part for record in records for part in (_LENGTH.pack(len(record)), record))
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        write_private(self._path, _MAGIC + nonce + self._aead.encrypt(nonce, plain, self._bound))

    def clear(self) -> None:
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
        except OSError as error:
            raise StorageError("the element's tables cannot be removed", remedy="see the disk") from error

    def _broken(self) -> IntegrityError:
        return IntegrityError(
            "the element's tables are not what was written", remedy="remove the file: the ADMF provisions anew"
        )
