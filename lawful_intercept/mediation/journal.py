"""What was taken is durable, or was not taken: spools and state are written together, in groups.

A group is everything that was staged since the one before. Its PS-PDUs go to their spools and are synced; then one
transaction of the state says how far each spool counts, with all the numbers that were given. What a crash leaves
behind in a spool beyond that does not count: its point delivers it again, and it gets the same numbers again. Points
are answered after the transaction and not before.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Final

from lawful_intercept.mediation.alarms import Alarms, Code
from lawful_intercept.mediation.correlation import Counter, Counters, Numbers
from lawful_intercept.mediation.state import State
from lawful_intercept.spool import Batch, Reader, Spool, SpoolDamagedError, SpoolFullError
from nf.clock import Clock
from nf.errors import StorageError

_GATHER_S: Final = 0.01
_AGAIN_S: Final = 1.0
_PORTION: Final = 256
"""Records that are appended at once: a bound is hit by few."""
_ROUND_ABOUT: Final = 65_536


class Outbox:
    """The spool of a destination's IRI or CC, and how far it counts.

    committed  the first number that does not count yet
    held       the first that no integrity check covers: what is from there on is not confirmed
    """

    def __init__(
        self, label: str, spool: Spool, committed: Counter, held: Counter, void: list[tuple[int, int]]
    ) -> None:
        self.label = label
        self.spool = spool
        self.committed = committed
        self.held = held
        self.written_void = [*void]
        self.void = void
        """Ranges (from, to) of what a crash left behind: it is as if it was not there."""
        self.missing = max(0, committed.value - spool.next)
        """Records that counted and are not there: somebody has put an older spool in its place."""
        if spool.next > committed.value:
            void.append((committed.value, spool.next))
        committed.value = spool.next
        self.visible = committed.value
        self._held = 0
        self.staged: list[bytes] = []
        """For the next group."""
        self.arrived = asyncio.Event()

    def stage(self, octets: bytes) -> int:
        self.staged.append(octets)
        return self.committed.value + len(self.staged) - 1

    def settle(self) -> None:
        """The group is durable: what it staged is delivered, and what it checked may be confirmed."""
        self._held = self.held.value
        if self.visible != self.committed.value:
            self.visible = self.committed.value
            self.arrived.set()

    @property
    def waiting(self) -> int:
        """PS-PDUs that the agency does not have yet, as far as is known."""
        return max(0, self.visible - self.spool.first_unconfirmed)

    def take(self, reader: Reader, limit_octets: int) -> Batch | None:
        """The next that count. Raises SpoolDamagedError."""
        if reader.next >= self.visible:
            return None
        found = reader.take(limit_octets)
        if found is None:
            return None
        first, records = found
        if found.last >= self.visible:
            records = records[: self.visible - first]
            reader.seek(self.visible)
        for start, end in self.void:
            if start < first + len(records) and end > first:
                return self._without(found, records, reader, (start, end))
        return Batch(first, records)

    def _without(self, found: Batch, records: list[bytes], reader: Reader, void: tuple[int, int]) -> Batch:
        """Up to what does not count; nothing, behind it, when it begins with that."""
        start, end = void
        if start <= found.first:
            reader.seek(end)
            return Batch(end, [])
        reader.seek(start)
        return Batch(found.first, records[: start - found.first])

    def confirm(self, number: int) -> None:
        """The agency has all up to this one."""
        number = min(number, self._held - 1)
        if number >= self.spool.first_unconfirmed:
            self.spool.confirm(number)
            self.void[:] = [one for one in self.void if one[1] > number]


class Journal:
    """`collect`: rows that changed. `holds`: by label, what `Outbox.held` is to be."""

    def __init__(
        self,
        state: State,
        counters: Counters,
        collect: Callable[[], dict[str, bytes | None]],
        *,
        alarms: Alarms,
        clock: Clock,
    ) -> None:
        self._state = state
        self._counters = counters
        self._collect = collect
        self._alarms = alarms
        self._clock = clock
        self.holds: Callable[[], Mapping[str, int]] = dict
        self.dropped: Callable[[str, int], None] = lambda _label, _count: None
        """Told of what a spool gave up at its bound: label, and how many."""
        self.outboxes: dict[str, Outbox] = {}
        self.resuming = False
        """What no integrity check covers is being looked for: what is held stays held."""
        self._kick = asyncio.Event()
        self._group = asyncio.Event()
        self._failed: StorageError | None = None

    def open(self, label: str, spool: Spool, numbers: Numbers) -> Outbox:
        """A spool whose records are delivered by whoever takes them."""
        ranges = [(start, end) for start, end in json.loads(self._void(label) or b"[]")]
        before = len(ranges)
        outbox = Outbox(label, spool, numbers.of(f"committed/{label}"), numbers.of(f"held/{label}"), ranges)
        outbox.held.value = min(outbox.held.value, outbox.committed.value)
        outbox.settle()
        self.outboxes[label] = outbox
        if len(ranges) != before or spool.next:
            self._counters.changed |= {outbox.committed, outbox.held}
        return outbox

    def _void(self, label: str) -> bytes | None:
        return dict(self._state.rows("void")).get(label)

    def close(self, label: str) -> Outbox | None:
        return self.outboxes.pop(label, None)

    def stage_of(self, label: str) -> Outbox:
        return self.outboxes[label]

    def soon(self) -> None:
        """Whatever has changed is written, though nobody waits for it."""
        self._kick.set()

    async def durable(self) -> None:
        """Returns when all that was staged, given or changed by now is on the disk.

        Raises StorageError: the process has to start anew.
        """
        if self._failed is not None:
            raise self._failed
        group = self._group
        self._kick.set()
        await group.wait()
        if self._failed is not None:
            raise self._failed

    async def run(self) -> None:
        """For ever, or until the disk has failed in a way that only a new start can mend: raises StorageError."""
        try:
            while True:
                await self._kick.wait()
                await self._clock.sleep(_GATHER_S)
                self._kick.clear()
                await self._write()
        except StorageError as error:
            self._failed = error
            raise
        finally:
            self._group.set()

    async def _write(self) -> None:
        group, self._group = self._group, asyncio.Event()
        batches = self._staged()
        rows = self._collect() | self._voids()
        counters = self._counters.take()
        if batches or rows or counters:
            for outbox, records in batches:
                await self._append(outbox, records)
            await asyncio.gather(*(outbox.spool.sync() for outbox, _ in batches))
            await self._commit(rows, counters)
            for outbox in self.outboxes.values():
                outbox.settle()
        group.set()

    def _staged(self) -> list[tuple[Outbox, list[bytes]]]:
        """What goes to each spool, and how far they count with it."""
        batches: list[tuple[Outbox, list[bytes]]] = []
        holds, changed = self.holds(), self._counters.changed
        for outbox in self.outboxes.values():
            if outbox.staged:
                batches.append((outbox, outbox.staged[:]))
                outbox.committed.value += len(outbox.staged)
                outbox.staged.clear()
                changed.add(outbox.committed)
            held = min(holds.get(outbox.label, outbox.committed.value), outbox.committed.value)
            if held != outbox.held.value and not self.resuming:
                outbox.held.value = held
                changed.add(outbox.held)
        return batches

    def _voids(self) -> dict[str, bytes | None]:
        rows: dict[str, bytes | None] = {}
        for outbox in self.outboxes.values():
            if outbox.void != outbox.written_void:
                rows[f"void/{outbox.label}"] = json.dumps(outbox.void).encode() if outbox.void else None
                outbox.written_void = [*outbox.void]
        return rows

    async def _append(self, outbox: Outbox, records: list[bytes]) -> None:
        """At the bound what is oldest gives way; a full disk is waited for: points hold what they have."""
        spool = outbox.spool
        for at in range(0, len(records), _PORTION):
            portion = records[at : at + _PORTION]
            octets = sum(map(len, portion)) + _ROUND_ABOUT
            while True:
                try:
                    spool.append_many(portion)
                except SpoolFullError:
                    if spool.octets + octets >= spool.limit_octets and self._drop(outbox):
                        continue
                    self._alarms.stands(Code.FULL, "", "the disk is full: points wait with what they have")
                    await self._clock.sleep(_AGAIN_S)
                else:
                    break
        self._alarms.over(Code.FULL, "")

    def _drop(self, outbox: Outbox) -> int:
        """The oldest segment is given up, and told; how many PS-PDUs that were."""
        count = len(outbox.spool.drop_oldest())
        if count:
            did = outbox.label.partition("/")[0]
            self._alarms.happened(Code.DROPPED, did, f"the bound of a spool was hit: {count} PS-PDUs were given up")
            self.dropped(outbox.label, count)
        return count

    async def _commit(self, rows: Mapping[str, bytes | None], counters: list[int]) -> None:
        while True:
            try:
                await asyncio.to_thread(self._state.commit, rows, counters)
            except StorageError:
                self._alarms.stands(Code.STATE, "", "the state cannot be written: points wait with what they have")
                await self._clock.sleep(_AGAIN_S)
            else:
                self._alarms.over(Code.STATE, "")
                return


def damaged(outbox: Outbox, reader: Reader, error: SpoolDamagedError, alarms: Alarms) -> int:
    """Goes on behind a damaged place, which is told; how many PS-PDUs are lost."""
    lost = len(reader.skip())
    did = outbox.label.partition("/")[0]
    alarms.happened(Code.SPOOL, did, f"{error.message}: {lost} PS-PDUs cannot be delivered")
    return lost
