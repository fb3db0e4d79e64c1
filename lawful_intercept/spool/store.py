"""The spool itself: appends, syncs, confirms; opens what an earlier process left behind."""

from __future__ import annotations

import asyncio
import bisect
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from lawful_intercept.spool.errors import SpoolFullError
from lawful_intercept.spool.position import Place, Position
from lawful_intercept.spool.reader import Reader
from lawful_intercept.spool.recovery import recover
from lawful_intercept.spool.sealing import RECORD_LIMIT, SEGMENT_HEAD
from lawful_intercept.spool.segments import Segment, Writer, flush
from nf.errors import InputError, StorageError

SEGMENT_OCTETS: Final = 64 << 20


class Spool:
    """See the package.

    key           32 octets
    identity      what this spool is for; another spool's files are not taken for its own
    limit_octets  of all its files; what would be more is refused
    """

    def __init__(
        self,
        directory: Path,
        key: bytes,
        identity: bytes,
        *,
        limit_octets: int = 16 << 30,
        segment_octets: int = SEGMENT_OCTETS,
    ) -> None:
        """Raises RefusedError when another process has it open; IntegrityError for a key or identity that is not its
        own, and when all that tells its position is damaged; OSError.
        """
        if len(key) != 32:
            raise InputError("the key of a spool is 32 octets", where="spool")
        self._directory, self._key, self._identity = directory, key, identity
        self._limit = limit_octets
        self._segment_octets = max(1, min(segment_octets, limit_octets // 8))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._position = Position(directory / "position", key, identity)
        try:
            found = recover(directory, key, identity, self._position)
        except BaseException:
            self._position.close()
            raise
        self.recovery = found.recovery
        self.lost = 0
        """Records that a reader found unreadable and skipped."""
        self._place, self._next = found.place, found.next
        self._segments = found.segments
        self._firsts = [segment.first for segment in self._segments]
        self._size = sum(segment.size for segment in self._segments)
        self._writer: Writer | None = None
        self._unsynced = found.unsynced
        self._new_names = self._failed = self._closed = False
        self._syncing: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._delete()

    # --- what it holds

    @property
    def next(self) -> int:
        """The number that the next record gets; numbers begin with 0 and are never used again."""
        return self._next if self._writer is None else self._writer.next

    @property
    def first_unconfirmed(self) -> int:
        return self._place.confirmed

    @property
    def synced(self) -> int:
        """The first number that is not known to be durable."""
        return self._place.synced

    @property
    def waiting(self) -> int:
        """Records that are not confirmed."""
        return self.next - self._place.confirmed

    @property
    def dropped(self) -> int:
        """Records that `drop_oldest` gave up since the spool was made."""
        return self._place.dropped

    @property
    def octets(self) -> int:
        """Of its segments on disk."""
        return self._size

    @property
    def limit_octets(self) -> int:
        return self._limit

    def reader(self, number: int | None = None) -> Reader:
        """From `number` on, or from the first that is not confirmed."""
        return Reader(self, self.first_unconfirmed if number is None else number)

    async def wait(self, number: int) -> None:
        """Until there is a record of this number."""
        while self.next <= number:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    # --- appending

    def append(self, record: bytes) -> int:
        """Its number. Raises as `append_many` does."""
        return self.append_many((record,))

    def append_many(self, records: Sequence[bytes]) -> int:
        """All of them or none; the number of the first. They survive this process, and after `sync` a power loss.

        Raises SpoolFullError; InputError for a record of more than 1 MiB; StorageError when the disk failed before.
        """
        if not records:
            return self.next
        self._check()
        lengths = list(map(len, records))
        if max(lengths) > RECORD_LIMIT:
            raise InputError("a record is larger than 1 MiB", where="spool")
        writer = self._room()
        first = writer.next
        frames = writer.sealed(records, lengths)
        if self._size + len(frames) > self._limit:
            raise SpoolFullError("its limit is reached")
        writer.write(frames, len(records))
        self._size += len(frames)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        return first

    def _check(self) -> None:
        self._check_open()
        if self._failed:
            raise StorageError(
                "the disk did not take what was written",
                where="spool",
                remedy="look after the disk and start anew: what was synced is there",
            )

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("it is closed", where="spool")

    def _room(self) -> Writer:
        """The segment to write to."""
        writer = self._writer
        if writer is not None and (
            writer.next == writer.segment.first or (writer.segment.size < self._segment_octets and not writer.worn)
        ):
            return writer
        self._retire()
        if self._size + SEGMENT_HEAD > self._limit:
            raise SpoolFullError("its limit is reached")
        first = self._next
        before = self._segments[-1].first if self._segments else first
        writer = self._writer = Writer(self._directory, self._key, self._identity, first, before)
        self._segments.append(writer.segment)
        self._firsts.append(first)
        self._size += writer.segment.size
        self._new_names = True
        return writer

    def _retire(self) -> None:
        """Nothing more is written to this segment."""
        if self._writer is not None:
            self._next = self._writer.next
            self._unsynced.append((self._writer.descriptor, self._writer.segment))
            self._writer = None

    # --- making it durable

    async def sync(self) -> None:
        """What was appended before is durable when this returns. Calls at the same time share the disk's work.

        Raises StorageError; the spool takes nothing more then, as what the disk has is not known.
        """
        wanted = self.next
        while self._place.synced < wanted:
            self._check()
            if self._syncing is None:
                self._syncing = asyncio.ensure_future(self._sync())
            await asyncio.shield(self._syncing)

    async def _sync(self) -> None:
        reached, new_names = self.next, self._new_names
        full, active = list(self._unsynced), self._writer
        self._new_names = False
        descriptors = [descriptor for descriptor, _ in full] + ([active.descriptor] if active else [])
        try:
            await asyncio.to_thread(flush, descriptors, self._directory if new_names else None)
        except OSError:
            self._failed = True
        else:
            self._synced(reached, full)
        finally:
            self._syncing = None

    def _synced(self, reached: int, full: Sequence[tuple[int, Segment]]) -> None:
        for descriptor, _ in full:
            os.close(descriptor)
        self._unsynced = [one for one in self._unsynced if one not in full]
        self._mark(replace(self._place, synced=max(self._place.synced, reached)))

    def _mark(self, place: Place) -> None:
        """On disk as well, if it takes it: what stands there then claims less."""
        self._place = place
        with suppress(OSError):
            self._position.write(place)

    # --- giving up what is not needed

    def confirm(self, number: int) -> None:
        """Records up to this one are not needed any more.

        Raises InputError for one that was never appended, StorageError when it is closed.
        """
        self._check_open()
        if number >= self.next:
            raise InputError("a record that was never appended cannot be confirmed", where="spool")
        if number >= self._place.confirmed:
            self._mark(replace(self._place, confirmed=number + 1))
            self._delete()

    def drop_oldest(self) -> range:
        """Gives up the oldest segment though it is not confirmed; the numbers that are lost. `dropped` counts them."""
        self._check_open()
        end = self._firsts[1] if len(self._firsts) > 1 else self.next
        lost = range(self._place.confirmed, end)
        if lost:
            self._mark(replace(self._place, confirmed=end, dropped=self._place.dropped + len(lost)))
            self._delete(small=True)
        return lost

    def _delete(self, *, small: bool = False) -> None:
        """Segments of confirmed records. The one that is written stays while it is `small`, unless it is to go too."""
        confirmed = self._place.confirmed
        done = sum(first <= confirmed for first in self._firsts[1:])
        if done == len(self._firsts) - 1 and self.next <= confirmed:
            writer = self._writer
            if writer is None or small or writer.segment.size * 4 >= self._segment_octets:
                self._retire()
                done += 1
        if not done:
            return
        try:
            self._position.write(self._place, durable=True)
        except OSError:
            return  # they are deleted with the next ones, or when it is opened again
        for segment in self._segments[:done]:
            segment.path.unlink(missing_ok=True)
            self._size -= segment.size
        if self._syncing is None:
            gone = [one for one in self._unsynced if one[1] in self._segments[:done]]
            for descriptor, _ in gone:
                os.close(descriptor)
            self._unsynced = [one for one in self._unsynced if one not in gone]
        del self._segments[:done], self._firsts[:done]

    def close(self) -> None:
        """Syncs what can be synced, as it is closed for good. Idempotent."""
        if self._closed:
            return
        self._retire()
        self._closed = True
        try:
            if not self._failed:
                flush([descriptor for descriptor, _ in self._unsynced], self._directory)
                self._mark(replace(self._place, synced=self._next))
        except OSError:
            self._failed = True
        if self._syncing is None:
            self._release()
        else:
            self._syncing.add_done_callback(lambda _: self._release())

    def _release(self) -> None:
        for descriptor, _ in self._unsynced:
            os.close(descriptor)
        self._unsynced.clear()
        self._position.close()

    # --- for readers

    def segment_of(self, number: int) -> Segment | None:
        """The one in which this record stands, if it stands in any."""
        index = bisect.bisect_right(self._firsts, number) - 1
        return self._segments[index] if index >= 0 else None

    def segment_after(self, number: int) -> int | None:
        """The first number of the next one."""
        index = bisect.bisect_right(self._firsts, number)
        return self._firsts[index] if index < len(self._firsts) else None
