"""Reads a spool in order, from any number that is still in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lawful_intercept.spool.errors import SpoolDamagedError
from lawful_intercept.spool.sealing import SEGMENT_HEAD
from lawful_intercept.spool.segments import Pages, Segment

if TYPE_CHECKING:
    from lawful_intercept.spool.store import Spool


class Batch(NamedTuple):
    """Records of consecutive numbers. Its text shows none of them."""

    first: int
    records: list[bytes]

    def __repr__(self) -> str:
        return f"Batch({self.first}, {len(self.records)} records)"

    @property
    def last(self) -> int:
        return self.first + len(self.records) - 1


class Reader:
    """A place in a spool. `next`: the number of the record that `take` gives next."""

    def __init__(self, spool: Spool, number: int) -> None:
        self._spool = spool
        self._next = number
        self._pages: Pages | None = None
        self._at = self._due = 0  # where the next frame begins, and the number of its first record
        self._searched = -1  # behind a damaged place this number is searched for, not expected

    @property
    def next(self) -> int:
        """Never one that is confirmed already."""
        return max(self._next, self._spool.first_unconfirmed)

    def seek(self, number: int) -> None:
        """To take from this one on, such as again from the first that is not confirmed."""
        self.close()
        self._next = number

    def take(self, limit_octets: int = 1 << 18) -> Batch | None:
        """The next records, in whole frames until `limit_octets` are reached. None when there are none yet.

        Raises SpoolDamagedError, again and again at the same place until `skip` or `seek`; OSError.
        """
        first = self._begun()
        taken: list[bytes] = []
        size = 0
        while self._next < self._spool.next and size < limit_octets:
            records = self._frame(self._next)
            if records is None:
                if taken:
                    break
                raise SpoolDamagedError(first, range(first, self._readable(first)))
            taken += records
            size += sum(map(len, records))
            self._next += len(records)
        return Batch(first, taken) if taken else None

    def take_joined(self, limit_octets: int = 1 << 18) -> bytes | None:
        """As `take`, the records one behind the other: many times as quick where nothing is to be done with each."""
        self._begun()
        taken: list[bytes] = []
        size = 0
        while self._next < self._spool.next and size < limit_octets:
            found = self._whole(self._next)
            if found is None:
                break
            octets, self._next = found
            taken.append(octets)
            size += len(octets)
        if taken:
            return b"".join(taken)
        batch = self.take(limit_octets)
        return None if batch is None else b"".join(batch.records)

    def _begun(self) -> int:
        """`next`, from which on it is read: what was confirmed meanwhile is passed over."""
        if self.next != self._next:
            self.seek(self.next)
        return self._next

    def skip(self) -> range:
        """Goes on behind a damaged place; the numbers of what cannot be read, which the spool counts as lost."""
        number = self.next
        self.seek(self._readable(number))
        self._searched = self._next
        self._spool.lost += self._next - number
        return range(number, self._next)

    def close(self) -> None:
        if self._pages is not None:
            self._pages.close()
            self._pages = None

    def _frame(self, number: int) -> list[bytes] | None:
        """Records from `number` to the end of the frame that holds it; None when something is not as it should be."""
        if number == self._searched:
            return self._search(number)
        pages = self._turned(self._spool.segment_of(number))
        while pages is not None and (found := pages.head(self._at)) is not None:
            frame, head = found
            end = self._at + len(head) + frame.length
            behind = frame.first + frame.records
            if frame.first != self._due:
                return None
            if behind > number:
                records = pages.records(self._at, head, frame)
                if records is not None:
                    self._at, self._due = end, behind
                    return records[number - frame.first :] if frame.first < number else records
                return None
            self._at, self._due = end, behind
        return None

    def _whole(self, number: int) -> tuple[bytes, int] | None:
        """The records of the frame that begins with this one, and the number behind it; None when none does, or
        something is not as it should be: `_frame` finds out."""
        if number == self._searched or number != self._due or self._pages is None:
            return None
        pages = self._turned(self._spool.segment_of(number))
        found = pages.head(self._at) if pages is not None else None
        if pages is None or found is None or found[0].first != number:
            return None
        frame, head = found
        octets = pages.joined(self._at, head, frame)
        if octets is None:
            return None
        self._at, self._due = self._at + len(head) + frame.length, number + frame.records
        return octets, self._due

    def _turned(self, segment: Segment | None) -> Pages | None:
        """Open at the place reached; None when what was read until now has more in it than its records."""
        if self._pages is not None and self._pages.segment is segment:
            return self._pages
        if self._pages is not None and self._at != self._pages.segment.size:
            return None
        self.close()
        self._pages = Pages.of(segment)
        if segment is not None:
            self._at, self._due = SEGMENT_HEAD, segment.first
        return self._pages

    def _search(self, number: int) -> list[bytes] | None:
        self.close()
        self._pages = Pages.of(self._spool.segment_of(number))
        if self._pages is None:
            return None
        for start, end, frame in self._pages.sound():
            if frame.first <= number < frame.first + frame.records:
                found = self._pages.head(start)
                self._searched = -1
                self._at, self._due = end, frame.first + frame.records
                records = self._pages.records(start, found[1], frame) if found else None
                return records[number - frame.first :] if records else None
        return None

    def _readable(self, number: int) -> int:
        """The lowest number from `number` on that can be read, or the spool's end."""
        at: int | None = number
        while at is not None and at < self._spool.next:
            pages = Pages.of(self._spool.segment_of(at))
            if pages is not None:
                with pages:
                    for _, _, frame in pages.sound():
                        if frame.first + frame.records > number:
                            return max(number, frame.first)
            at = self._spool.segment_after(at)
        return self._spool.next
