"""What is SQLite's own: files, corruption, a full disk, several processes, death in the middle of a write."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from nf.clock import RealClock, VirtualClock
from nf.errors import BusyError, IntegrityError, RefusedError, StorageError
from nf.store import audit, sqlite
from nf.store.audit import AuditEntry
from nf.store.contract import Put
from nf.store.sqlite import SqliteStore
from nf.trust.keys import AuditKey

ACTOR = "spiffe://tv.example/noc/local"
WRITER = Path(__file__).with_name("writer.py")


def note() -> AuditEntry:
    return AuditEntry(ACTOR, "test.write", "thing/a", "done", {})


@contextlib.asynccontextmanager
async def opened(directory: Path, *, signed: bool = True) -> AsyncIterator[SqliteStore]:
    sign = AuditKey.load_or_create(directory / "audit.key").sign if signed else None
    store = await SqliteStore.open(directory / "store.db", sign=sign, clock=VirtualClock())
    try:
        yield store
    finally:
        await store.close()


def tamper(directory: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(directory / "store.db")) as db, db:
        db.execute(statement)


async def filled(directory: Path, records: int = 5) -> None:
    async with opened(directory) as store:
        for number in range(records):
            await store.write([Put("things", str(number), b"x")], note())


async def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    async with opened(tmp_path / "noc") as store:
        await store.write([Put("things", "a", b"")])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "noc").iterdir()}
    assert set(modes) >= {"store.db", "store.db-wal"}
    assert set(modes.values()) == {0o600}


async def test_it_writes_ahead_and_waits_for_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        mode = await store._writer.run(lambda db: db.execute("PRAGMA journal_mode").fetchone()[0])
        level = await store._writer.run(lambda db: db.execute("PRAGMA synchronous").fetchone()[0])
    assert (mode, level) == ("wal", 2)


@pytest.mark.parametrize(
    ("statement", "first_broken"),
    [
        ("UPDATE audit SET outcome = 'refused' WHERE number = 3", 3),
        ("UPDATE audit SET at_us = at_us + 1 WHERE number = 1", 1),
        ("UPDATE audit SET actor = CAST(x'ff' AS TEXT) WHERE number = 2", 2),
        ("UPDATE audit SET number = 9 WHERE number = 5", 5),
        ("DELETE FROM audit WHERE number = 2", 2),
        ("DELETE FROM audit WHERE number > 3", 4),
        ("DELETE FROM audit", 1),
        ("DELETE FROM audit_head", 6),
        ("UPDATE audit_head SET signature = x''", 5),
        ("UPDATE audit_head SET number = 4", 5),
        ("UPDATE audit_head SET hash = previous FROM audit WHERE audit.number = 5", 5),
    ],
)
async def test_tampering_with_the_file_is_found(tmp_path: Path, statement: str, first_broken: int) -> None:
    await filled(tmp_path)
    tamper(tmp_path, statement)
    async with opened(tmp_path) as store:
        report = await store.audit_verify()
        assert not report.intact
        assert report.first_broken == first_broken
        assert await store.audit_records(10) is not None


async def test_a_forged_head_is_never_signed_over(tmp_path: Path) -> None:
    await filled(tmp_path)
    tamper(tmp_path, "DELETE FROM audit WHERE number = 5")
    tamper(
        tmp_path, "UPDATE audit_head SET (number, hash, signature) = (SELECT 4, hash, x'' FROM audit WHERE number = 4)"
    )
    async with opened(tmp_path) as store:
        with pytest.raises(IntegrityError, match="audit chain"):
            await store.write([Put("things", "new", b"")], note())
        assert await store.get("things", "new") is None
        assert not (await store.audit_verify()).intact


async def test_without_the_key_a_signed_chain_does_not_grow(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with opened(tmp_path, signed=False) as store:
        with pytest.raises(RefusedError, match="signed"):
            await store.write([Put("things", "new", b"")], note())
        assert await store.get("things", "new") is None


async def test_another_key_is_noticed(tmp_path: Path) -> None:
    await filled(tmp_path)
    (tmp_path / "audit.key").unlink()
    async with opened(tmp_path) as store:
        assert "not by this key" in (await store.audit_verify()).detail


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"\x00" * 8192])
async def test_a_file_that_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store.db").write_bytes(content)
    with pytest.raises(IntegrityError):
        async with opened(tmp_path):
            pass
    assert (tmp_path / "store.db").read_bytes() == content


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    tamper(tmp_path, "CREATE TABLE theirs (a)")
    with pytest.raises(IntegrityError, match="not a store"):
        async with opened(tmp_path):
            pass


async def test_a_damaged_page_is_refused_at_opening(tmp_path: Path) -> None:
    await filled(tmp_path, 50)
    path = tmp_path / "store.db"
    damaged = bytearray(path.read_bytes())
    for page in range(1, len(damaged) // 4096):
        damaged[page * 4096 : page * 4096 + 64] = b"\xa5" * 64
    path.write_bytes(damaged)
    with pytest.raises(IntegrityError, match="corrupt") as caught:
        async with opened(tmp_path):
            pass
    assert "backup" in caught.value.remedy


async def test_a_newer_release_s_store_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path)
    tamper(tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(RefusedError, match="newer"):
        async with opened(tmp_path):
            pass


async def test_a_full_store_refuses_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write([Put("things", "a", b"kept")], note())
        pages = await store._writer.run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await store._writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))
        with pytest.raises(StorageError, match="no space"):
            await store.write([Put("things", "a", b"y" * 100_000)], note())
        assert (await store.get("things", "a")).value == b"kept"  # type: ignore[union-attr]
        await store._writer.run(lambda db: db.execute("PRAGMA max_page_count = 1000000"))
        await store.write([Put("things", "a", b"y" * 100_000)], note())
        report = await store.audit_verify()
        assert (report.intact, report.records) == (True, 2)


async def test_a_lock_held_too_long_is_a_busy_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    async with opened(tmp_path) as store:
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BusyError) as caught:
                await store.write([Put("things", "a", b"")])
            assert caught.value.retryable
            other.execute("ROLLBACK")
        await store.write([Put("things", "a", b"")])


async def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        await SqliteStore.open(tmp_path / "file" / "store.db", clock=RealClock())


def _write(directory: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(WRITER), str(directory), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


async def test_two_processes_lose_no_update(tmp_path: Path) -> None:
    rounds = 60
    writers = [_write(tmp_path, "increment", str(rounds)) for _ in range(2)]
    for writer in writers:
        with writer:
            assert await asyncio.to_thread(writer.wait) == 0
    async with opened(tmp_path) as store:
        entry = await store.get("things", "counter")
        assert entry is not None
        assert entry.value == str(2 * rounds).encode()
        report = await store.audit_verify()
        assert (report.intact, report.records) == (True, 2 * rounds)


async def test_a_process_that_comes_and_goes_leaves_the_log_of_the_one_that_stays(tmp_path: Path) -> None:
    """As `nf operator add` beside a running NOC: whoever leaves last deletes the log, and it is not the last."""
    async with opened(tmp_path) as store:
        await store.write([Put("things", "mine", b"1")], note())
        assert await store.get("things", "mine")  # reading is a second connection of this process
        for expected in (1, 2):
            with _write(tmp_path, "increment", "1") as other:
                assert await asyncio.to_thread(other.wait) == 0
            entry = await store.get("things", "counter")
            assert entry is not None
            assert entry.value == str(expected).encode()
            await store.write([Put("things", "mine", str(expected).encode())], note())
    async with opened(tmp_path) as store:
        entry = await store.get("things", "mine")
        assert entry is not None
        assert entry.value == b"2"
        report = await store.audit_verify()
        assert (report.intact, report.records) == (True, 5)


@pytest.mark.parametrize("after", [1, 7, 23])
async def test_killed_in_the_middle_of_writing_the_chain_verifies_and_nothing_acknowledged_is_lost(
    tmp_path: Path, after: int
) -> None:
    with _write(tmp_path, "for-ever") as writer:
        assert writer.stdout is not None
        acknowledged = [await asyncio.to_thread(writer.stdout.readline) for _ in range(after)][-1]
        writer.send_signal(signal.SIGKILL)
        # What it still managed to say before it died counts as well.
        acknowledged = (await asyncio.to_thread(writer.stdout.read)).splitlines()[-1:] or [acknowledged]
        assert await asyncio.to_thread(writer.wait) == -signal.SIGKILL
    written = int(acknowledged[0])
    async with opened(tmp_path) as store:
        report = await store.audit_verify()
        assert report.intact
        assert written <= report.records <= written + 1
        # Change and record are one: the entry says how many records there are.
        entry = await store.get("things", "counter")
        assert entry is not None
        assert int(entry.value) == report.records


async def test_a_long_verification_delays_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    before = audit.verify

    def long(*arguments: Any) -> Any:
        began.set()
        go_on.wait(20)
        return before(*arguments)

    monkeypatch.setattr(audit, "verify", long)
    async with opened(tmp_path) as store:
        verification = asyncio.create_task(store.audit_verify())
        await asyncio.to_thread(began.wait, 10)
        async with asyncio.timeout(90):
            assert await store.get("things", "mine") is None
        assert not verification.done()
        go_on.set()
        assert (await verification).intact


@pytest.mark.root
async def test_on_a_full_disk_nothing_is_lost(tmp_path: Path, require_programs: Callable[..., None]) -> None:
    require_programs("unshare", "mount")
    script = 'mount -t tmpfs -o size=512k,mode=700 tmpfs "$1" && exec "$2" "$3" "$1" fill'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, str(WRITER)]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, env=dict(os.environ), check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["StorageError", "kept", "intact", "written"]
