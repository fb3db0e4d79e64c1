"""Opens what an earlier process left behind: the end is found, a torn end is cut, and what is not whole is told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lawful_intercept.spool.position import Place, Position
from lawful_intercept.spool.sealing import SEGMENT_HEAD
from lawful_intercept.spool.segments import Pages, Segment, flush, numbers, opened, path_of
from nf.errors import IntegrityError


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found when a spool was opened.

    cut        octets of a torn end that were never synced, and that are gone
    damaged    numbers of records that cannot be read, or lie in a segment that is gone. Segments before the last are
               not read when a spool is opened: a reader tells what is damaged in them
    foreign    files that are no segments of this spool, by the number in their names
    positions  slots of its position that could not be read, of two
    """

    cut: int = 0
    damaged: tuple[range, ...] = ()
    foreign: tuple[int, ...] = ()
    positions: int = 0

    @property
    def clean(self) -> bool:
        return self == Recovery()


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """`next`: the number of the next record. `unsynced`: open segments whose octets may not be on the disk yet."""

    place: Place
    next: int
    segments: list[Segment]
    unsynced: list[tuple[int, Segment]]
    recovery: Recovery


def recover(directory: Path, key: bytes, identity: bytes, position: Position) -> Found:
    """Raises IntegrityError when there is no position that could be read, OSError."""
    names = numbers(directory)
    place = _place(directory, position, fresh=not names)
    segments: list[Segment] = []
    cut, foreign = 0, []
    for number in names:
        segment = opened(directory, key, identity, number)
        if segment is not None:
            segments.append(segment)
        elif number >= place.synced:
            path = path_of(directory, number)
            cut += path.stat().st_size
            path.unlink()
        else:
            foreign.append(number)
    end, torn, damaged = _end(segments, place)
    damaged = [*_missing(segments, place), *damaged]
    if end < place.synced:
        damaged.append(range(end, place.synced))
    told = tuple(range(max(one.start, place.confirmed), one.stop) for one in damaged if one.stop > place.confirmed)
    unsynced = []
    if segments:
        descriptor = os.open(segments[-1].path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        unsynced.append((descriptor, segments[-1]))
    return Found(
        place,
        max(end, place.synced, place.confirmed),
        segments,
        unsynced,
        Recovery(cut + torn, told, tuple(foreign), position.damaged),
    )


def _place(directory: Path, position: Position, *, fresh: bool) -> Place:
    if position.place is not None:
        return position.place
    if position.damaged or not fresh:
        raise IntegrityError(
            "its position cannot be read",
            where="spool",
            remedy="give the key and identity it was made with; or move its directory away and keep it as evidence",
        )
    position.write(Place(), durable=True)
    flush([], directory)
    return Place()


def _missing(segments: Sequence[Segment], place: Place) -> list[range]:
    """Segments that should be there: each names the one before."""
    missing = []
    if segments and segments[0].first > place.confirmed:
        missing.append(range(place.confirmed, segments[0].first))
    for before, segment in pairwise(segments):
        if segment.before != before.first:
            with Pages(before) as pages:
                end = max((frame.first + frame.records for _, _, frame in pages.sound()), default=before.first)
            missing.append(range(end, segment.first))
    return missing


def _end(segments: list[Segment], place: Place) -> tuple[int, int, list[range]]:
    """Of the last segment: the number behind its last record, octets that were cut, numbers that cannot be read."""
    if not segments:
        return 0, 0, []
    last = segments[-1]
    number, size, damaged = last.first, SEGMENT_HEAD, []
    with Pages(last) as pages:
        for _, end, frame in pages.sound():
            if frame.first > number:
                damaged.append(range(number, frame.first))
            number, size = frame.first + frame.records, end
    torn = last.size - size
    if number < place.synced:
        return number, 0, damaged
    if number == last.first:
        last.path.unlink()  # no record of it was ever whole; its number is given again
        segments.remove(last)
        return number, torn, damaged
    if not torn:
        return number, 0, damaged
    os.truncate(last.path, size)
    last.size = size
    return number, torn, damaged
