"""The journal: full disks, damage, a second process."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nf.clock import VirtualClock
from nf.contracts.driver import Step, Undo
from nf.errors import IntegrityError, NfError, RefusedError, StorageError
from nf.transaction.journal import RESERVE_BYTES, Journal
from tests.nf.transaction.support import Box, commit, config, in_child, make_box, running
from tests.nf.transaction.test_engine import NEW, OLD, alarms, is_new, is_old, state

BIG = config({"alpha": {f"k{number}": "x" * 2000 for number in range(100)}})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Eight megabytes of disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    """Use up the disk but for `leave` bytes."""
    free = os.statvfs(disk)
    with (disk / "filler").open("ab", buffering=0) as file:
        try:
            file.write(b"x" * max(0, free.f_bavail * free.f_frsize - leave))
            while not leave:
                file.write(b"x" * 4096)
        except OSError:
            return


async def full_box(tmp_path: Path, disk: Path) -> Box:
    box = make_box(tmp_path / "box", journal_dir=disk, reserve_bytes=RESERVE_BYTES)
    await box.engine.recover()
    await commit(box, "t1", 1, OLD)
    return box


@pytest.mark.root
async def test_a_full_disk_refuses_the_commit_at_validate_and_nothing_is_lost(tmp_path: Path, small_disk: Path) -> None:
    box = await full_box(tmp_path, small_disk)
    fill(small_disk, leave=100_000)
    with pytest.raises(StorageError, match="no room for the journal") as caught:
        await box.engine.validate("t2", 2, NEW)
    assert "free disk space" in caught.value.remedy
    assert is_old(box)
    assert state(box) is None
    (small_disk / "filler").unlink()
    await commit(box, "t2", 2, NEW)
    assert is_new(box)
    box.journal.close()


@pytest.mark.root
async def test_a_disk_that_fills_before_prepare_refuses_it_and_nothing_is_lost(
    tmp_path: Path, small_disk: Path
) -> None:
    box = await full_box(tmp_path, small_disk)
    validated = await box.engine.validate("t2", 2, BIG)
    fill(small_disk)
    with pytest.raises(StorageError, match="cannot be written"):
        await box.engine.prepare("t2", [[planned.step.id for planned in validated.steps]], box.clock.now() + 9e4)
    await box.engine.abort("t2", "full")
    assert is_old(box)
    box.journal.close()
    assert box.journal is not None
    again = make_box(tmp_path / "box", journal_dir=small_disk, reserve_bytes=RESERVE_BYTES)
    await again.engine.recover()
    assert is_old(again)
    again.journal.close()


@pytest.mark.root
@pytest.mark.parametrize("step", [0, 1, 9, 40, 80])
async def test_a_disk_that_fills_in_the_middle_is_undone_from_the_reserve(
    tmp_path: Path, small_disk: Path, step: int
) -> None:
    """Undo records are large here, so that the journal outgrows what it holds already."""
    box = await full_box(tmp_path, small_disk)
    alpha = box.drivers["alpha"]
    original, seen = alpha.prepare, 0

    async def prepare(planned: Step) -> Undo:
        nonlocal seen
        if seen == step:
            fill(small_disk)
        seen += 1
        undo = await original(planned)
        return Undo(undo.kind, {**undo.data, "padding": "x" * 40_000})

    alpha.prepare = prepare  # type: ignore[method-assign, assignment]
    with pytest.raises(StorageError):
        await commit(box, "t2", 2, BIG, lasts_s=9e4)
    assert step < len(alpha.live()) < 100
    await box.engine.abort("t2", "full")
    assert is_old(box)
    alpha.prepare = original  # type: ignore[method-assign]
    async with running(box):
        await box.clock.sleep(0)
        with pytest.raises(StorageError):
            await commit(box, "t3", 3, NEW)
        (small_disk / "filler").unlink()
        await commit(box, "t4", 4, NEW)
    assert box.journal.has_reserve()
    assert box.live()["alpha"] == {"a": "2", "d": "2"}
    box.journal.close()


@pytest.mark.root
async def test_a_disk_that_is_full_at_confirm_does_not_keep_the_decision_from_being_durable(
    tmp_path: Path, small_disk: Path
) -> None:
    box = await full_box(tmp_path, small_disk)
    await commit(box, "t2", 2, BIG, until="verify", lasts_s=9e4)
    fill(small_disk)
    await box.engine.confirm("t2")
    box.journal.close()
    again = make_box(tmp_path / "box", journal_dir=small_disk, reserve_bytes=RESERVE_BYTES)
    await again.engine.recover()
    assert (again.engine.standing.confirmed_revision, again.engine.confirmed_config()) == (2, BIG)
    again.journal.close()


async def test_the_reserve_is_made_again_by_the_engine(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    assert not box.journal.has_reserve()
    async with running(box):
        assert isinstance(box.clock, VirtualClock)
        await box.clock.advance(10)
    assert box.journal.has_reserve()
    assert alarms(box) == set()


async def installed(root: Path) -> Path:
    box = make_box(root)
    await commit(box, "t1", 1, OLD)
    box.journal.close()
    return root / "journal.db"


@pytest.mark.parametrize("size", [4096, 8192])
async def test_a_damaged_file_is_called_so(tmp_path: Path, size: int) -> None:
    path = await installed(tmp_path)
    data = bytearray(path.read_bytes())
    data[100 : 100 + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="damaged") as caught:
        Journal(path)
    assert "the NOC brings the current revision back" in caught.value.remedy


async def test_a_file_that_is_no_journal_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_text("this is not a database, and it is long enough to be read as the head of one" * 20)
    with pytest.raises(IntegrityError):
        Journal(path)


async def test_a_configuration_that_does_not_match_its_digest_is_damage(tmp_path: Path) -> None:
    journal = Journal(await installed(tmp_path))
    journal._db.write("test", ("UPDATE configs SET config = replace(config, '\"1\"', '\"7\"')", ()))
    with pytest.raises(IntegrityError, match="does not match its digest"):
        journal.confirmed()
    journal.close()


async def test_a_record_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    await commit(box, "t1", 1, OLD, until="prepare")
    box.journal._db.write("test", ("UPDATE step_bodies SET step = '{'", ()))
    with pytest.raises(IntegrityError, match="cannot be read"):
        box.journal.steps("t1")


def test_a_journal_has_one_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")

    async def second() -> None:
        with pytest.raises(RefusedError, match="another process holds the journal"):
            Journal(tmp_path / "journal.db")

    assert in_child(second, tmp_path / "log")
    journal.close()


async def test_a_journal_of_newer_software_is_refused(tmp_path: Path) -> None:
    path = await installed(tmp_path)
    journal = Journal(path)
    journal._db._connection.execute("PRAGMA user_version = 99")
    journal.close()
    with pytest.raises(RefusedError, match="format 99"):
        Journal(path)


async def test_the_journal_does_not_grow_for_ever(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    for number in range(100):
        await commit(box, f"t{number}", number + 1, OLD if number % 2 else NEW)
    rows = box.journal._db.rows("SELECT id FROM transactions")
    assert len(rows) <= 64
    assert box.journal._db.rows("SELECT * FROM steps") == []
    with pytest.raises(NfError):
        await box.engine.validate("t99", 9, NEW)
    assert size_of(tmp_path) < 3_000_000


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("journal.db*"))


def test_only_its_owner_reads_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.touch(mode=0o644)
    journal = Journal(path)
    journal.ensure_room()
    assert {file.name: stat.S_IMODE(file.stat().st_mode) & 0o077 for file in tmp_path.iterdir()} == {
        "journal.db": 0, "journal.db-wal": 0, "journal.db.reserve": 0,
    }  # fmt: skip
    journal.close()
