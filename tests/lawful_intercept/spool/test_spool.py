"""The spool: order, numbers, limits, what a crash leaves at any octet, and what tampering cannot hide."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lawful_intercept.spool import Batch, Reader, Recovery, Spool, SpoolDamagedError, SpoolFullError
from lawful_intercept.spool.sealing import FRAME_HEAD, FRAME_TARGET, RECORD_LIMIT, SEGMENT_HEAD
from nf.errors import InputError, IntegrityError, RefusedError, StorageError

KEY = bytes(range(32))
WHOSE = b"agency 1, IRI"


def spool_in(directory: Path, limit: int = 1 << 24, segment: int = 1 << 20, identity: bytes = WHOSE) -> Spool:
    return Spool(directory, KEY, identity, limit_octets=limit, segment_octets=segment)


def everything(reader: Reader) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while (batch := reader.take(1)) is not None:
        assert batch.last == reader.next - 1
        found.update(enumerate(batch.records, batch.first))
    return found


def filled(spool: Spool, records: list[bytes]) -> int:
    """Until it takes no more; how many it took."""
    taken = 0
    while True:
        try:
            spool.append_many(records)
        except SpoolFullError:
            return taken
        taken += len(records)


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.segment"))


def frames(path: Path) -> list[tuple[int, int]]:
    """Where each frame begins and ends, by their heads alone."""
    octets, at, found = path.read_bytes(), SEGMENT_HEAD, []
    while at < len(octets):
        end = at + FRAME_HEAD.size + FRAME_HEAD.unpack_from(octets, at)[0]
        found.append((at, end))
        at = end
    return found


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    made = spool_in(tmp_path / "spool")
    yield made
    made.close()


async def test_in_order_and_confirmed(spool: Spool, tmp_path: Path) -> None:
    assert spool.append(b"a") == 0
    assert spool.append_many([b"b", b"", b"c"]) == 1
    assert spool.append_many([]) == 4
    await spool.sync()
    assert (spool.next, spool.synced, spool.first_unconfirmed, spool.waiting) == (4, 4, 0, 4)
    reader = spool.reader()
    batch = reader.take()
    assert batch is not None
    assert (batch.first, batch.records, batch.last) == (0, [b"a", b"b", b"", b"c"], 3)
    assert reader.take() is None
    spool.confirm(2)
    spool.confirm(1)
    assert spool.waiting == 1
    assert everything(spool.reader(0)) == {3: b"c"}
    with pytest.raises(InputError):
        spool.confirm(4)
    reader.seek(3)
    assert reader.next == 3
    spool.close()
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()} == {0o600}
    again = spool_in(tmp_path / "spool")
    assert again.recovery == Recovery()
    assert again.recovery.clean
    assert everything(again.reader()) == {3: b"c"}
    assert again.append(b"d") == 4
    assert everything(again.reader()) == {3: b"c", 4: b"d"}
    again.close()


async def test_nothing_can_be_read_on_disk(spool: Spool, tmp_path: Path) -> None:
    spool.append_many([b"sip:alice@d.test"] * 10)
    await spool.sync()
    for path in (tmp_path / "spool").iterdir():
        octets = path.read_bytes()
        assert b"alice" not in octets
        assert WHOSE not in octets
    assert "alice" not in repr(spool.reader().take())


async def test_the_same_records_are_never_sealed_alike(tmp_path: Path) -> None:
    """Neither by another opening after a crash nor after a write that failed: key and nonce are others."""
    seen: set[bytes] = set()
    for _ in range(3):
        directory = tmp_path / "crashed"
        made = spool_in(directory)
        made.append(b"\0" * 64)
        octets = segments(directory)[-1].read_bytes()
        seen.add(octets[-32:])
        segments(directory)[-1].unlink()
        made.close()
        shutil.rmtree(directory)
    assert len(seen) == 3


async def test_a_second_process_is_refused(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        spool_in(tmp_path / "spool")


async def test_another_key_or_identity_is_refused(spool: Spool, tmp_path: Path) -> None:
    spool.append(b"a")
    spool.close()
    with pytest.raises(IntegrityError):
        Spool(tmp_path / "spool", bytes(32), WHOSE)
    with pytest.raises(IntegrityError):
        spool_in(tmp_path / "spool", identity=b"agency 2, IRI")
    with pytest.raises(InputError):
        Spool(tmp_path / "spool", b"short", WHOSE)
    assert everything(spool_in(tmp_path / "spool").reader()) == {0: b"a"}


async def test_closed(spool: Spool) -> None:
    spool.close()
    spool.close()
    with pytest.raises(StorageError):
        spool.append(b"a")


async def test_large_records_and_many(spool: Spool) -> None:
    large = [bytes([number]) * (FRAME_TARGET // 3) for number in range(10)]
    small = [b""] * 300 + [b"%d" % number for number in range(3000)]
    assert spool.append_many(large) == 0
    assert spool.append_many(small) == 10
    assert spool.append(bytes(RECORD_LIMIT)) == 3310
    with pytest.raises(InputError):
        spool.append(bytes(RECORD_LIMIT + 1))
    assert everything(spool.reader()) == dict(enumerate([*large, *small, bytes(RECORD_LIMIT)]))
    assert everything(spool.reader(7)) == dict(list(enumerate([*large, *small, bytes(RECORD_LIMIT)]))[7:])


@given(
    groups=st.lists(st.lists(st.binary(max_size=40) | st.just(bytes(FRAME_TARGET // 2)), max_size=5), max_size=8),
    start=st.integers(0, 20),
    limit=st.sampled_from([1, 100, FRAME_TARGET]),
    damaged=st.booleans(),
)
def test_joined_is_what_is_taken_one_by_one(
    groups: list[list[bytes]], start: int, limit: int, *, damaged: bool
) -> None:
    with TemporaryDirectory() as folder:
        spool = spool_in(Path(folder), segment=2000)
        for group in groups:
            spool.append_many(group)
        records = [record for group in groups for record in group]
        start = min(start, len(records))
        if damaged and records:
            path = segments(Path(folder))[-1]
            octets = bytearray(path.read_bytes())
            octets[-1] ^= 1
            path.write_bytes(octets)
        one_by_one: list[bytes] = []
        joined: list[bytes] = []
        for reader, found in ((spool.reader(start), one_by_one), (spool.reader(start), joined)):
            try:
                while True:
                    octets_ = reader.take_joined(limit) if found is joined else reader.take(limit)
                    if octets_ is None:
                        break
                    found.append(octets_ if isinstance(octets_, bytes) else b"".join(octets_.records))
            except SpoolDamagedError as error:
                found.append(str(error.missing).encode())
            reader.close()
        spool.close()
    assert b"".join(one_by_one) == b"".join(joined)
    assert damaged or b"".join(joined) == b"".join(records[start:])


async def test_segments_are_deleted_when_confirmed(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, segment=2000)
    for number in range(60):
        spool.append(b"%03d" % number * 30)
        if number % 20 == 19:
            await spool.sync()
    many = len(segments(tmp_path))
    assert many > 3
    before = spool.octets
    assert before == sum(path.stat().st_size for path in segments(tmp_path))
    spool.confirm(30)
    assert 1 < len(segments(tmp_path)) < many
    assert spool.octets == sum(path.stat().st_size for path in segments(tmp_path)) < before
    assert list(everything(spool.reader(0))) == list(range(31, 60))
    spool.confirm(59)
    assert spool.octets <= 500
    assert spool.append(b"x") == 60
    assert everything(spool.reader()) == {60: b"x"}
    spool.close()
    again = spool_in(tmp_path, segment=2000)
    assert again.recovery.clean
    assert everything(again.reader()) == {60: b"x"}
    again.confirm(60)
    again.close()
    assert spool_in(tmp_path).next == 61


async def test_a_full_spool_takes_all_or_nothing(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, limit=4000)
    taken = filled(spool, [bytes(100)] * 3)
    assert spool.next == taken
    assert sum(path.stat().st_size for path in segments(tmp_path)) == spool.octets <= 4000
    assert len(everything(spool.reader())) == taken
    spool.confirm(taken - 1)
    assert spool.append(bytes(100)) == taken
    spool.close()


async def test_the_oldest_can_be_dropped(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, limit=4000)
    reader = spool.reader()
    filled(spool, [bytes(100)])
    reader.take(1)
    lost = spool.drop_oldest()
    assert lost.start == 0
    assert len(lost) == spool.dropped > 1
    batch = reader.take(1)
    assert batch is not None
    assert batch.first == lost.stop
    spool.append(bytes(100))
    spool.close()
    again = spool_in(tmp_path, limit=4000)
    assert again.recovery.clean
    assert again.dropped == len(lost)
    while again.drop_oldest():
        pass
    assert (again.waiting, again.dropped) == (0, again.next)
    assert segments(tmp_path) == []
    again.append(b"x")
    again.close()


@pytest.mark.parametrize("short", [False, True])
async def test_a_full_disk(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, short: bool) -> None:
    spool.append(b"before")
    real = os.pwrite
    (path,) = segments(tmp_path / "spool")
    size = path.stat().st_size

    def full(descriptor: int, octets: bytes, at: int) -> int:
        if short and len(octets) > 10:
            return real(descriptor, bytes(octets)[:10], at)
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        for _ in range(2):
            with pytest.raises(SpoolFullError):
                spool.append_many([b"lost"] * 100)
    assert path.stat().st_size == size
    assert spool.next == 1
    assert spool.append(b"after") == 1
    spool.close()
    again = spool_in(tmp_path / "spool")
    assert again.recovery.clean
    assert everything(again.reader()) == {0: b"before", 1: b"after"}


async def test_a_full_disk_before_the_first_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spool_in(tmp_path)
    with monkeypatch.context() as patch:

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "full")

        patch.setattr(os, "pwrite", full)
        with pytest.raises(SpoolFullError):
            spool.append(b"lost")
    assert segments(tmp_path) == []
    assert spool.append(b"a") == 0
    assert everything(spool.reader()) == {0: b"a"}
    spool.close()


async def test_a_disk_that_fails_to_sync_is_not_written_any_more(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append(b"a")
    await spool.sync()
    spool.append(b"b")
    with monkeypatch.context() as patch:

        def failing(_: int) -> None:
            raise OSError(errno.EIO, "bad")

        patch.setattr(os, "fdatasync", failing)
        both = await asyncio.gather(spool.sync(), spool.sync(), return_exceptions=True)
    assert [type(one) for one in both] == [StorageError, StorageError]
    with pytest.raises(StorageError):
        spool.append(b"c")
    assert spool.synced == 1
    spool.close()
    again = spool_in(tmp_path / "spool")
    assert everything(again.reader()) == {0: b"a", 1: b"b"}


async def test_syncs_at_the_same_time_share_one(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = os.fdatasync

    def counting(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", counting)

    async def one(number: int) -> None:
        spool.append(b"%d" % number)
        await spool.sync()
        assert spool.synced > number

    await asyncio.gather(*map(one, range(50)))
    assert calls <= 3


async def test_waiting_for_a_record(spool: Spool) -> None:
    waiting = asyncio.ensure_future(spool.wait(1))
    spool.append(b"a")
    await asyncio.sleep(0)
    assert not waiting.done()
    spool.append(b"b")
    await waiting
    await spool.wait(0)


# --- a crash at any write


def records_of(shape: list[list[int]]) -> list[list[bytes]]:
    number = iter(range(10_000))
    return [[b"%05d" % next(number) + b"." * size for size in batch] for batch in shape]


SHAPES = st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=4), min_size=1, max_size=8)


@settings(max_examples=60)
@given(SHAPES, st.integers(0, 8), st.sampled_from([300, 1 << 20]), st.data())
def test_power_is_lost_at_any_octet(shape: list[list[int]], synced: int, segment: int, data: st.DataObject) -> None:
    """Of what was not synced any part may be there: what was synced is there, and the rest is a beginning of it."""

    async def scenario(directory: Path) -> None:
        spool = spool_in(directory, segment=segment)
        batches = records_of(shape)
        sizes: dict[str, int] = {}
        for index, batch in enumerate(batches):
            if index == synced:
                await spool.sync()
                sizes = {path.name: path.stat().st_size for path in segments(directory)}
            spool.append_many(batch)
        durable = spool.synced
        every = dict(enumerate(record for batch in batches for record in batch))
        left = directory.parent / "left"
        shutil.copytree(directory, left)
        cut_at = data.draw(st.sampled_from([path.name for path in segments(left)]))
        for path in segments(left):
            if path.name == cut_at:
                os.truncate(path, data.draw(st.integers(sizes.get(path.name, 0), path.stat().st_size)))
            elif path.name > cut_at and path.name not in sizes:
                path.unlink()
        spool.close()
        again = spool_in(left, segment=segment)
        assert again.recovery.damaged == again.recovery.foreign == ()
        found = everything(again.reader())
        assert list(found) == list(range(len(found)))
        assert len(found) >= durable
        assert all(every[number] == record for number, record in found.items())
        assert again.next == len(found)
        number = again.append(b"new")
        again.close()
        last = spool_in(left, segment=segment)
        assert last.recovery.clean
        assert everything(last.reader()) == {**found, number: b"new"}
        last.close()

    with TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder) / "spool"))


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["append", "many", "sync", "confirm", "drop", "reopen"]), max_size=30))
def test_any_life_of_a_spool(acts: list[str]) -> None:
    async def scenario(directory: Path) -> None:
        spool = spool_in(directory, segment=300)
        held: dict[int, bytes] = {}
        count = 0
        for act in acts:
            if act in {"append", "many"}:
                for number in range(1 if act == "append" else 5):
                    held[spool.append(b"%d" % count)] = b"%d" % count
                    count += 1
                    assert number >= 0
            elif act == "sync":
                await spool.sync()
            elif act == "confirm" and held:
                done = sorted(held)[len(held) // 2]
                spool.confirm(done)
                held = {number: record for number, record in held.items() if number > done}
            elif act == "drop":
                for number in spool.drop_oldest():
                    del held[number]
            elif act == "reopen":
                spool.close()
                spool = spool_in(directory, segment=300)
                assert spool.recovery.clean
            assert spool.next == count
            assert everything(spool.reader()) == held
        spool.close()

    with TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder) / "spool"))


async def lived(spool: Spool, act: str, unsynced: set[int]) -> None:
    if act in {"append", "many"}:
        records = [b"%d" % (spool.next + one) for one in range(1 if act == "append" else 5)]
        first = spool.append_many(records)
        unsynced.update(range(first, first + len(records)))
    elif act == "sync":
        await spool.sync()
        unsynced.clear()
    elif act == "confirm" and spool.waiting:
        spool.confirm((spool.first_unconfirmed + spool.next) // 2)
    elif act == "drop":
        spool.drop_oldest()


@settings(max_examples=60)
@given(
    acts=st.lists(st.sampled_from(["append", "many", "sync", "confirm", "drop"]), min_size=1, max_size=30),
    all_written=st.booleans(),
)
def test_power_is_lost_and_the_position_is_an_old_one(*, acts: list[str], all_written: bool) -> None:
    """The position is written without a sync: the last one that was synced is there, and perhaps no other."""
    durable: dict[str, bytes] = {}
    real = os.fdatasync

    def noting(descriptor: int) -> None:
        real(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        if path.exists():
            durable[path.name] = path.read_bytes()

    async def scenario(directory: Path) -> None:
        spool = spool_in(directory, segment=300)
        unsynced: set[int] = set()
        for act in acts:
            await lived(spool, act, unsynced)
        wanted = set(range(spool.first_unconfirmed, spool.next)) - (set() if all_written else unsynced)
        left = directory.parent / "left"
        shutil.copytree(directory, left)
        (left / "position").write_bytes(durable["position"])
        for path in [] if all_written else segments(left):
            if path.name in durable:
                path.write_bytes(durable[path.name])
            else:
                path.unlink()
        spool.close()
        again = spool_in(left, segment=300)
        assert again.recovery.damaged == again.recovery.foreign == ()
        found = everything(again.reader())
        assert wanted <= found.keys()
        assert all(record == b"%d" % number for number, record in found.items())
        again.close()

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdatasync", noting)
        asyncio.run(scenario(Path(folder) / "spool"))


KILLED = """
import asyncio, sys
from pathlib import Path
from lawful_intercept.spool import Spool

async def main():
    spool = Spool(Path(sys.argv[1]), bytes(range(32)), b"agency 1, IRI", segment_octets=20000)
    while True:
        first = spool.append_many([b"%d" % (spool.next + one) for one in range(50)])
        if first % 3 == 0:
            await spool.sync()
            print(spool.synced, flush=True)

asyncio.run(main())
"""


def test_killed_while_it_writes(tmp_path: Path) -> None:
    synced = 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(20):
            synced = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        synced = max([synced, *map(int, process.stdout.read().split())])
        process.stdout.close()
        spool = spool_in(tmp_path)
        assert spool.recovery.damaged == ()
        found = everything(spool.reader())
        assert len(found) >= synced
        assert all(record == b"%d" % number for number, record in found.items())
        spool.close()


# --- tampering


async def written(directory: Path, segment: int = 400) -> dict[int, bytes]:
    spool = spool_in(directory, segment=segment)
    for batch in records_of([[20, 20], [30], [10, 10, 10], [50], [5], [5, 5], [60], [7]]):
        spool.append_many(batch)
    every = everything(spool.reader())
    spool.close()
    return every


def taken(reader: Reader) -> tuple[Batch | None, SpoolDamagedError | None]:
    try:
        return reader.take(1), None
    except SpoolDamagedError as error:
        return None, error


def judged(directory: Path, every: dict[int, bytes]) -> tuple[list[int], set[int]]:
    """(numbers at which damage was told, numbers that could not be read); what can be read is what was written."""
    spool = spool_in(directory, segment=400)
    told = [one.start for one in spool.recovery.damaged] + list(spool.recovery.foreign)
    if spool.recovery.cut or spool.recovery.positions:
        told.append(spool.next)
    reader = spool.reader()
    found: dict[int, bytes] = {}
    lost: set[int] = set()
    while True:
        batch, error = taken(reader)
        if error is not None:
            told.append(error.number)
            assert error.missing == reader.skip()
            assert not lost & set(error.missing)
            lost |= set(error.missing)
        elif batch is None:
            break
        else:
            assert not found.keys() & set(range(batch.first, batch.last + 1))
            found.update(enumerate(batch.records, batch.first))
    assert all(every[number] == record for number, record in found.items())
    assert found.keys() | lost == every.keys()
    assert spool.lost == len(lost)
    spool.close()
    return told, lost


def tampered(change: Callable[[Path], None], segment: int = 400) -> tuple[list[int], set[int], dict[int, bytes]]:
    with TemporaryDirectory() as folder:
        directory = Path(folder) / "spool"
        every = asyncio.run(written(directory, segment))
        change(directory)
        return *judged(directory, every), every


@settings(max_examples=150)
@given(st.data(), st.sampled_from([400, 1 << 20]))
def test_one_changed_octet_is_told(data: st.DataObject, segment: int) -> None:
    def change(directory: Path) -> None:
        path = data.draw(st.sampled_from(segments(directory)))
        octets = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(octets) - 1))
        number = next(
            (FRAME_HEAD.unpack_from(octets, start)[2] for start, end in frames(path) if start <= at < end), -1
        )
        changed.append(int(path.stem) if number < 0 else number)
        octets[at] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(octets)

    changed: list[int] = []
    told, lost, _ = tampered(change, segment)
    assert changed[0] in told
    assert min(lost) == changed[0]


@pytest.mark.parametrize("slot", [0, 1])
def test_a_changed_position_is_told(slot: int) -> None:
    def change(directory: Path) -> None:
        octets = bytearray((directory / "position").read_bytes())
        octets[slot * 4096 + 50] ^= 1
        (directory / "position").write_bytes(octets)

    told, lost, _ = tampered(change)
    assert told
    assert not lost


def test_a_position_that_is_gone_is_told() -> None:
    with pytest.raises(IntegrityError):
        tampered(lambda directory: (directory / "position").unlink())


@pytest.mark.parametrize("index", [0, 1, -1])
def test_a_segment_that_is_gone_is_told(index: int) -> None:
    gone: list[int] = []

    def change(directory: Path) -> None:
        gone.append(int(segments(directory)[index].stem))
        segments(directory)[index].unlink()

    told, lost, _ = tampered(change)
    assert gone[0] in told
    assert min(lost) == gone[0]


def test_a_segment_in_anothers_place_is_told() -> None:
    def swap(directory: Path) -> None:
        first, second, *_ = segments(directory)
        one, two = first.read_bytes(), second.read_bytes()
        first.write_bytes(two)
        second.write_bytes(one)

    def copy(directory: Path) -> None:
        shutil.copy(segments(directory)[0], directory / f"{1:020d}.segment")

    told, lost, _ = tampered(swap)
    assert told
    assert {0, 1} <= lost
    told, lost, _ = tampered(copy)
    assert 1 in told
    assert not lost


def edited(edit: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    """Frames of the only segment in another order, or others of them."""

    def change(directory: Path) -> None:
        (path,) = segments(directory)
        octets = path.read_bytes()
        parts = edit([octets[start:end] for start, end in frames(path)])
        path.write_bytes(octets[:SEGMENT_HEAD] + b"".join(parts))

    return change


@pytest.mark.parametrize(
    ("edit", "number", "missing"),
    [
        pytest.param(lambda f: f[1:], 0, {0, 1}, id="first removed"),
        pytest.param(lambda f: f[:2] + f[3:], 3, {3, 4, 5}, id="removed"),
        pytest.param(lambda f: f[:-1], 11, {11}, id="last removed"),
        pytest.param(lambda f: f[:2] + f[1:], 3, set(), id="repeated"),
        pytest.param(lambda f: [*f, f[0]], 12, set(), id="repeated at the end"),
        pytest.param(lambda f: [f[0], f[2], f[1], *f[3:]], 2, {2}, id="swapped"),
        pytest.param(lambda f: [*f[1:], f[0]], 0, {0, 1}, id="moved to the end"),
        pytest.param(lambda f: [f[0], f[1][:-1], *f[2:]], 2, {2}, id="shortened"),
        pytest.param(lambda f: [f[0], b"\xff" * 30 + f[1][30:], *f[2:]], 2, {2}, id="head destroyed"),
        pytest.param(lambda f: [f[0], b"\0" * len(b"".join(f[1:4])), *f[4:]], 2, {2, 3, 4, 5, 6}, id="a sector lost"),
        pytest.param(lambda f: [], 0, set(range(12)), id="all removed"),
    ],
)
def test_records_removed_moved_repeated(
    edit: Callable[[list[bytes]], list[bytes]], number: int, missing: set[int]
) -> None:
    told, lost, _ = tampered(edited(edit), segment=1 << 20)
    assert number in told
    assert lost == missing


async def test_a_segment_that_vanishes_while_it_is_open(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, segment=400)
    for number in range(20):
        spool.append(b"%02d" % number * 50)
    middle = segments(tmp_path)[2]
    middle.unlink()
    reader = spool.reader()
    found: dict[int, bytes] = {}
    while True:
        batch, error = taken(reader)
        if batch is None:
            break
        found.update(enumerate(batch.records, batch.first))
    assert error is not None
    assert error.number == int(middle.stem)
    lost = reader.skip()
    assert len(everything(reader)) + len(lost) + len(found) == 20
    spool.close()
