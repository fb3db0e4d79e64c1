"""How far a spool has come: what is confirmed, what was durable, what was dropped. Two slots, written in turn.

What stands here was true when it was written, and its numbers only grow: an older slot claims less, never wrong. It is
written without a sync, but before segments are deleted.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lawful_intercept.spool.sealing import TAG, derive
from nf.errors import RefusedError

_PLACES: Final = struct.Struct("!QQQ")
_SALT: Final = 32
_SLOT: Final = _SALT + 12 + _PLACES.size + TAG
_APART: Final = 4096  # the slots lie in different blocks, so that one torn write leaves the other


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """`confirmed`, `synced`: the first number that is not. `dropped`: how many records were given up."""

    confirmed: int = 0
    synced: int = 0
    dropped: int = 0


class Position:
    """The open file of it. `damaged`: slots that could not be read though they were written."""

    def __init__(self, path: Path, key: bytes, identity: bytes) -> None:
        """Raises RefusedError when another process has it open, OSError. `place` is None without any good slot."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise RefusedError("another process has it open", where="spool") from error
        purpose = b"spool position" + identity
        self.damaged = 0
        found: list[tuple[Place, int]] = []
        for slot in range(2):
            octets = os.pread(self._fd, _SLOT, slot * _APART)
            if not octets.strip(b"\0"):
                continue
            place = _opened(octets, key, purpose)
            if place is None:
                self.damaged += 1
            else:
                found.append((place, slot))
        newest = max(found, default=(None, 1))
        self.place: Place | None = newest[0]
        self._slot = newest[1]
        self._salt = os.urandom(_SALT)
        self._cipher = derive(key, self._salt, purpose)
        self._nonce = 0

    def write(self, place: Place, *, durable: bool = False) -> None:
        """Raises OSError; then the older slot stands."""
        if place != self.place:
            slot = self._slot ^ 1
            nonce = self._nonce.to_bytes(12, "big")
            self._nonce += 1
            sealed = self._cipher.encrypt(nonce, _PLACES.pack(place.confirmed, place.synced, place.dropped), self._salt)
            octets = self._salt + nonce + sealed
            if os.pwrite(self._fd, octets, slot * _APART) != len(octets):
                raise OSError("short write")
            self._slot, self.place = slot, place
        if durable:
            os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def _opened(octets: bytes, key: bytes, purpose: bytes) -> Place | None:
    if len(octets) != _SLOT:
        return None
    salt, nonce, sealed = octets[:_SALT], octets[_SALT : _SALT + 12], octets[_SALT + 12 :]
    cipher: AESGCM = derive(key, salt, purpose)
    try:
        return Place(*_PLACES.unpack(cipher.decrypt(nonce, sealed, salt)))
    except InvalidTag:
        return None
