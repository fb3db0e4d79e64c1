"""Sequence numbers of X2 and X3 (TS 103 221-2, attribute 8): each of a task, kind and point has one life.

They go on where they were after a restart, so that mediation takes nothing for a duplicate. Numbers are reserved ahead
in a file that is sealed by the store's key, for two seconds at the pace of each series: after a crash they leap by as
much and by one at least, which mediation tells as a gap, since after a crash something may indeed be missing. Whether
the last life ended in order is what the file begins with.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lawful_intercept.x2x3.codec import PduType
from nf.clock import Clock
from nf.errors import IntegrityError, NotFoundError, StorageError
from nf.trust.files import read_private, write_private

LEAST: Final = {PduType.X2: 8, PduType.X3: 64}
"""That are reserved at once, however slow a series is."""
AHEAD_S: Final = 2.0
MOST_AHEAD: Final = 1 << 20
MOST_LEFT_OUT: Final = 1 << 24
MOST: Final = 20_000
"""Series that are remembered; the longest unused go first."""
_WRAP: Final = 1 << 32
_IN_USE: Final = b"LIN1"
_ENDED: Final = b"LIN2"
_FIRST_LEAP: Final = 2
"""Of a series of which no number was used: mediation takes 0 and 1 for its beginning."""
_NONCE: Final = 12

Series = tuple[str, str, str]
"""XID, "2" or "3", point."""


@dataclass(slots=True)
class _Count:
    """`used`: since the last reservation."""

    next: int
    reserved: int
    used: int = 0
    least: int = 1


class Numbers:
    """Raises StorageError where the disk does not take a reservation, IntegrityError for a file that is not its own."""

    def __init__(self, path: Path, aead: AESGCM, clock: Clock) -> None:
        self._path, self._aead, self._clock = path, aead, clock
        ended, known = self._read()
        numbers = known if ended else {series: _leapt(number) for series, number in known.items()}
        self._counts = {series: _Count(number, number) for series, number in numbers.items()}
        self._in_use = False
        self._written_at = clock.monotonic()

    def expect(self, series: Iterable[Series]) -> None:
        """Numbers of these may be taken from now on: after a crash there is a gap, even where none was."""
        known = len(self._counts)
        for one in series:
            self._counts[one] = self._counts.pop(one, _Count(0, 0))
        if len(self._counts) > known or not self._in_use:
            self._write()

    def take(self, series: Series, least: int) -> int:
        """`least`: how many are reserved at once, if it is not taken from more quickly."""
        count = self._counts.get(series)
        if count is None:
            count = self._counts[series] = _Count(0, 0)
        if count.next >= count.reserved:
            count.least = least
            self._counts[series] = self._counts.pop(series)  # what was used last stands last
            self._reserve(count)
        number = count.next
        count.next += 1
        count.used += 1
        return number % _WRAP

    def leave_out(self, series: Series, count: int) -> None:
        """So many that nothing is sent with, and one at least, so that mediation has a gap: what has them is lost."""
        known = self._counts.setdefault(series, _Count(0, 0))
        known.next = max(known.next + min(max(count, 1), MOST_LEFT_OUT), _FIRST_LEAP)

    def _reserve(self, wanting: _Count) -> None:
        """For all that are in use at once, so that the file is written once in a while however many they are."""
        now = self._clock.monotonic()
        elapsed_s = max(now - self._written_at, 0.001)
        before = {series: count.reserved for series, count in self._counts.items()}
        for count in self._counts.values():
            if count.used or count is wanting:
                ahead = max(count.least, int(count.used * AHEAD_S / elapsed_s) if count.used > count.least // 2 else 0)
                count.reserved = max(count.reserved, count.next + min(ahead, MOST_AHEAD))
        try:
            self._write()
        except StorageError:
            for series, reserved in before.items():
                self._counts[series].reserved = reserved
            raise
        self._written_at = now
        for count in self._counts.values():
            count.used = 0

    def close(self) -> None:
        """In order: the next life goes on without a leap. Raises StorageError."""
        for count in self._counts.values():
            count.reserved = count.next
        self._write(_ENDED)

    def _write(self, word: bytes = _IN_USE) -> None:
        for series in list(self._counts)[: max(0, len(self._counts) - MOST)]:
            del self._counts[series]
        numbers = [[*series, count.reserved] for series, count in self._counts.items()]
        nonce = secrets.token_bytes(_NONCE)
        text = json.dumps(numbers, separators=(",", ":")).encode()
        write_private(self._path, word + nonce + self._aead.encrypt(nonce, text, word))
        self._in_use = word == _IN_USE

    def _read(self) -> tuple[bool, dict[Series, int]]:
        """(whether it was closed in order, the number that each series goes on with)."""
        try:
            data = read_private(self._path, "the file of sequence numbers")
        except NotFoundError:
            return True, {}
        at = len(_IN_USE)
        word = data[:at]
        try:
            text = self._aead.decrypt(data[at : at + _NONCE], data[at + _NONCE :], word)
            numbers = {(str(xid), str(kind), str(point)): int(number) for xid, kind, point, number in json.loads(text)}
            ended = {_IN_USE: False, _ENDED: True}[word]
        except (InvalidTag, KeyError, ValueError, TypeError):
            remedy = "see `store_key`; without the file, numbers begin anew and mediation may take some for duplicates"
            raise IntegrityError("not this point's file of numbers", where=str(self._path), remedy=remedy) from None
        return ended, numbers


def _leapt(last: int) -> int:
    """What follows a crash. `last`: the first number that was surely not used."""
    return last + 1 if last else _FIRST_LEAP
