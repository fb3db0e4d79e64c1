"""How records lie in a segment: sealed by AES-256-GCM in frames, bound to their numbers and to the spool. Pure.

A segment has a random salt, from which its own key is derived together with the spool's identity and the number of the
segment's first record; whoever opens a spool begins a new segment. So a nonce, which counts the frames that were
sealed for a segment, is never used twice with a key, whatever a crash took away.

    segment  magic (8), salt (32), sealed number of the segment before (8 + 16), frames
    frame    length of what is sealed (u32), nonce (u32), number of the first record (u64), count (u32); sealed:
             the records' lengths (u32 each), the records; tag (16)
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC: Final = b"NFSPOOL1"
TAG: Final = 16
RECORD_LIMIT: Final = 1 << 20
"""Octets of one record."""
FRAME_TARGET: Final = 1 << 16
"""A frame is closed when it holds this many octets of records, so that a reader's memory is bounded."""
FRAME_LIMIT: Final = 5 * FRAME_TARGET + RECORD_LIMIT + 64
"""More than any frame has: an empty record counts as one octet, its length takes four."""
FRAME_HEAD: Final = struct.Struct("!IIQI")
SEGMENT_HEAD: Final = len(MAGIC) + 32 + 8 + TAG
NONCES: Final = (1 << 32) - 1
_OPENING: Final = b"\xff" * 12


class Frame(NamedTuple):
    """The head of a frame. `length`: octets of what is sealed, with its tag. `first`, `records`: which are in it."""

    length: int
    nonce: int
    first: int
    records: int


def derive(key: bytes, salt: bytes, purpose: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt, purpose).derive(key))


class SegmentSeal:
    """Seals and opens what belongs into one segment of one spool."""

    __slots__ = ("_cipher", "salt")

    def __init__(self, key: bytes, identity: bytes, first: int, salt: bytes) -> None:
        self.salt = salt
        self._cipher = derive(key, salt, b"spool segment" + first.to_bytes(8, "big") + identity)

    def head(self, before: int) -> bytes:
        """`before`: the first number of the segment before, or its own."""
        return MAGIC + self.salt + self._cipher.encrypt(_OPENING, before.to_bytes(8, "big"), MAGIC)

    def before(self, head: bytes) -> int | None:
        """None when it is not this segment's head."""
        if len(head) != SEGMENT_HEAD or not head.startswith(MAGIC):
            return None
        try:
            return int.from_bytes(self._cipher.decrypt(_OPENING, head[len(MAGIC) + 32 :], MAGIC), "big")
        except InvalidTag:
            return None

    def frame(self, nonce: int, first: int, records: Sequence[bytes], lengths: Sequence[int]) -> bytes:
        count = len(records)
        plain = b"".join((struct.pack(f"!{count}I", *lengths), *records))
        head = FRAME_HEAD.pack(len(plain) + TAG, nonce, first, count)
        return head + self._cipher.encrypt(nonce.to_bytes(12, "big"), plain, head)

    def joined(self, head: bytes, sealed: bytes) -> bytes | None:
        """The records' lengths, then the records; None when any octet is not as it was written."""
        _, nonce, _, _ = FRAME_HEAD.unpack(head)
        try:
            return self._cipher.decrypt(nonce.to_bytes(12, "big"), sealed, head)
        except InvalidTag:
            return None

    def records(self, head: bytes, sealed: bytes) -> list[bytes] | None:
        """None when any octet is not as it was written."""
        plain = self.joined(head, sealed)
        if plain is None:
            return None
        count = FRAME_HEAD.unpack(head)[3]
        found: list[bytes] = []
        at = 4 * count
        for length in struct.unpack_from(f"!{count}I", plain):
            found.append(plain[at : at + length])
            at += length
        return found


def read_head(octets: bytes) -> Frame | None:
    """None when it cannot be one."""
    if len(octets) < FRAME_HEAD.size:
        return None
    frame = Frame(*FRAME_HEAD.unpack(octets))
    good = frame.records and 4 * frame.records + TAG <= frame.length <= FRAME_LIMIT
    return frame if good else None


def portions(lengths: Sequence[int]) -> list[slice]:
    """As many records as go into one frame each, in order; an empty one counts as one octet."""
    ends = list(accumulate(lengths if min(lengths) else [length or 1 for length in lengths]))
    found, start, before = [], 0, 0
    while start < len(ends):
        end = bisect_left(ends, before + FRAME_TARGET, start) + 1
        found.append(slice(start, end))
        start, before = end, ends[min(end, len(ends)) - 1]
    return found
