"""A NOC is destroyed and comes back: from a backup, from its replica; and nothing that was altered comes back."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nf.clock import RealClock, VirtualClock
from nf.control.channel import noc_channel
from nf.control.v1 import admin_pb2, admin_pb2_grpc
from nf.control.v1 import noc_pb2 as pb
from nf.documents.loader import load_fleet
from nf.errors import DeniedError, InputError, IntegrityError, NfError, RefusedError
from nf.noc import archive, backup, restore
from nf.noc.daemon import init_noc, open_store
from nf.noc.replica import STALE, Replica, read_replica
from nf.store.audit import AuditEntry
from nf.store.contract import Put
from nf.telemetry.alarms import Severity
from nf.trust.register import local_actor
from tests.support.fleet import DOMAIN, SMALL, InProcessFleet, TablePlanner, fleet_text, in_process_fleet

PASSPHRASE = "four words that nobody guesses"


async def _init(directory: Path) -> None:
    await init_noc(
        directory, DOMAIN, "127.0.0.1:0", "127.0.0.1:0", ("127.0.0.1",),
        load_fleet(fleet_text(SMALL), file="fleet.yaml"), planners=(TablePlanner(),),
    )  # fmt: skip


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    await _init(tmp_path / "noc")
    return tmp_path / "noc"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("packed")

    async def make() -> None:
        await _init(directory / "noc")
        await backup.create(directory / "noc", directory / "noc.backup", PASSPHRASE, RealClock())

    asyncio.run(make())
    return (directory / "noc.backup").read_bytes()


@pytest.fixture
async def copied(tmp_path: Path) -> AsyncIterator[InProcessFleet]:
    """A fleet whose NOC keeps a replica."""
    async with in_process_fleet(tmp_path, start=False) as fleet:
        await fleet.stop_noc()
        fleet.config = replace(fleet.config, replica=tmp_path / "second")
        await fleet.start_noc()
        for place in fleet.places:
            await fleet.enrol(place.id)
            await fleet.start_agent(place.id)
        await fleet.current()
        yield fleet


async def _lost_and_restored(fleet: InProcessFleet, source: Path, passphrase: str) -> None:
    await fleet.stop_noc()
    shutil.rmtree(fleet.config.state_dir)
    fleet.config = replace(fleet.config, replica=None, state_dir=fleet.directory / "another machine" / "noc")
    await restore.restore(source, fleet.config.state_dir, passphrase, RealClock())
    await fleet.start_noc()


async def test_a_destroyed_noc_comes_back_from_a_backup(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101})
    agents = dict(fleet.agents)
    file = fleet.directory / "noc.backup"
    report = await backup.create(fleet.config.state_dir, file, PASSPHRASE, RealClock())
    assert (report.domain, report.revision) == (DOMAIN, 2)
    await _lost_and_restored(fleet, file, PASSPHRASE)
    await fleet.current()
    assert fleet.agents == agents, "no agent was started anew"
    event = await fleet.commit({"ch1": 101, "ch2": 102})
    assert (event.outcome, event.revision) == (pb.OUTCOME_CONFIRMED, 3)
    assert all(fleet.rows(name) == {"ch1": "101", "ch2": "102"} for name in fleet.daemons)
    async with fleet.client() as noc:
        assert (await noc.VerifyAudit(pb.VerifyAuditRequest())).intact
        actions = [r.action for r in (await noc.ShowAudit(pb.ShowAuditRequest())).records]
        assert {"backup.create", "backup.restore"} <= set(actions)


async def test_a_destroyed_noc_comes_back_from_its_replica(copied: InProcessFleet) -> None:
    fleet = copied
    await fleet.commit({"ch1": 101})
    assert fleet.noc is not None
    records = (await fleet.node.book.store.audit_verify()).records
    second = fleet.directory / "second"
    await fleet.until(lambda: int(str(read_replica(second).about["audit_records"])) >= records)
    async with noc_channel(f"127.0.0.1:{fleet.noc.port}", await fleet.operator()) as channel:
        status = await admin_pb2_grpc.NocAdminStub(channel).GetStatus(admin_pb2.GetStatusRequest())
    assert status.replica.directory == str(second)
    assert (status.current_revision, status.online, status.replica.stale) == (2, 4, False)
    await _lost_and_restored(fleet, second, "")
    await fleet.current()
    assert (await fleet.commit({"ch2": 102})).outcome == pb.OUTCOME_CONFIRMED


async def test_a_commit_that_the_backup_does_not_know_is_taken_back(fleet: InProcessFleet) -> None:
    """What was written after the last copy is lost; the fleet is then what the NOC says, and the next commit works."""
    await fleet.commit({"ch1": 101})
    file = fleet.directory / "noc.backup"
    await backup.create(fleet.config.state_dir, file, PASSPHRASE, RealClock())
    await fleet.commit({"ch1": 101, "ch2": 102})
    fleet._identities.clear()
    await _lost_and_restored(fleet, file, PASSPHRASE)
    await fleet.current()
    assert all(fleet.rows(name) == {"ch1": "101"} for name in fleet.daemons)
    await fleet.operator("later")
    assert (await fleet.commit({"ch3": 103}, name="later")).outcome == pb.OUTCOME_CONFIRMED


async def test_a_copy_is_whole_while_others_write(state: Path) -> None:
    """Each write changes two entries at once: no copy ever holds one without the other."""
    store = await open_store(state, RealClock())
    done = asyncio.Event()

    async def write() -> int:
        number = 0
        while not done.is_set():
            number += 1
            value = str(number).encode()
            entry = AuditEntry(local_actor(DOMAIN), "test.write", "pair", "done")
            await store.write([Put("pair", "a", value), Put("pair", "b", value)], entry)
        return number

    writing = asyncio.create_task(write())
    try:
        for _ in range(10):
            snapshot = await asyncio.to_thread(backup.take, state, 0.0)
            await backup.verify(snapshot, RealClock(), "copy")
            database = state.parent / "copy.db"
            database.write_bytes(snapshot.parts["noc.db"])
            with sqlite3.connect(database) as db:
                rows = db.execute("SELECT DISTINCT value FROM entries WHERE bucket = 'pair'").fetchall()
            db.close()
            assert len(rows) <= 1
    finally:
        done.set()
        assert await writing
        await store.close()


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def test_restore_refuses_a_target_that_is_not_empty(state: Path, packed: bytes, tmp_path: Path) -> None:
    file = tmp_path / "noc.backup"
    file.write_bytes(packed)
    before = _names(state)
    with pytest.raises(RefusedError, match="not empty"):
        await restore.restore(file, state, PASSPHRASE, RealClock())
    assert _names(state) == before
    (tmp_path / "empty").mkdir()
    assert (await restore.restore(file, tmp_path / "empty", PASSPHRASE, RealClock())).revision == 1
    assert (tmp_path / "empty" / "ca" / "ca.key").stat().st_mode & 0o777 == 0o600


async def test_the_keys_are_sealed(state: Path, packed: bytes, tmp_path: Path) -> None:
    assert b"PRIVATE KEY" not in packed
    file = tmp_path / "noc.backup"
    file.write_bytes(packed)
    with pytest.raises(DeniedError, match="passphrase"):
        await restore.restore(file, tmp_path / "new", "another passphrase", RealClock())
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="fewer than"):
        await backup.create(state, tmp_path / "b", "short", RealClock())
    with pytest.raises(RefusedError, match="exists"):
        await backup.create(state, file, PASSPHRASE, RealClock())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_altered_byte_is_accepted(packed: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(packed) - 1))
    flip = data.draw(st.integers(1, 255))
    altered = packed[:place] + bytes([packed[place] ^ flip]) + packed[place + 1 :]
    with pytest.raises(IntegrityError, match=r"the part \S+|behind its parts") as caught:
        archive.read(altered, "noc.backup")
    assert caught.value.where == "noc.backup"


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_truncated_backup_is_accepted(packed: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(IntegrityError, match=r"the part \S+|behind its parts"):
        archive.read(packed[:length], "noc.backup")


@pytest.mark.parametrize("part", ["noc.db", "ca.pem", "ca.key.sealed", "audit.key.sealed"])
def test_the_part_that_fails_is_named(packed: bytes, part: str) -> None:
    members = dict(archive.read(packed, "b").members)
    start = packed.index(members[part])
    altered = packed[: start + 40] + bytes([packed[start + 40] ^ 1]) + packed[start + 41 :]
    with pytest.raises(IntegrityError, match=f"the part {part} is altered"):
        archive.read(altered, "b")


def test_digests_that_were_altered_too_do_not_help(packed: bytes) -> None:
    """Who changes the store and every digest of it does not have the passphrase."""
    found = archive.read(packed, "b")
    members = dict(found.members)
    members["noc.db"] = members["noc.db"][:-1] + bytes([members["noc.db"][-1] ^ 1])
    parts = {name: members[name] for name in ("noc.db", "ca.pem", "ca.key.sealed", "audit.key.sealed")}
    forged = archive.Archive({**found.manifest, "parts": archive.describe(parts)}, members, "b")
    with pytest.raises(DeniedError):
        forged.open(PASSPHRASE)


async def test_a_broken_audit_chain_is_not_restored(state: Path, tmp_path: Path) -> None:
    with sqlite3.connect(state / "noc.db") as db:
        db.execute("UPDATE audit SET outcome = 'nothing happened' WHERE number = 1")
    db.close()
    second = tmp_path / "second"
    replica = Replica(state, second, RealClock(), lambda *_: None)
    await replica.copy()
    with pytest.raises(IntegrityError, match="audit chain: record 1"):
        await restore.restore(second, tmp_path / "new", "", RealClock())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("part", ["noc.db", "ca.pem", "ca.key", "audit.key"])
async def test_an_altered_replica_is_refused(state: Path, tmp_path: Path, part: str) -> None:
    second = tmp_path / "second"
    await Replica(state, second, RealClock(), lambda *_: None).copy()
    file = next(second.glob("noc-*.db")) if part == "noc.db" else second / part
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match=f"the part {part} is altered"):
        read_replica(second)
    file.unlink()
    with pytest.raises(IntegrityError, match=f"the part {part} is missing"):
        read_replica(second)


async def test_a_second_place_of_another_noc_is_not_overwritten(state: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    await _init(tmp_path / "other")
    await Replica(tmp_path / "other", second, RealClock(), lambda *_: None).copy()
    with pytest.raises(RefusedError, match="another NOC"):
        Replica(state, second, RealClock(), lambda *_: None)
    with pytest.raises(RefusedError, match="inside"):
        Replica(state, state / "copy", RealClock(), lambda *_: None)


async def test_a_newer_replica_is_not_overwritten_by_an_older_noc(state: Path, packed: bytes, tmp_path: Path) -> None:
    await backup.create(state, tmp_path / "old.backup", PASSPHRASE, RealClock())
    await backup.create(state, tmp_path / "later.backup", PASSPHRASE, RealClock())
    await Replica(state, tmp_path / "second", RealClock(), lambda *_: None).copy()
    await restore.restore(tmp_path / "old.backup", tmp_path / "new", PASSPHRASE, RealClock())
    store = await open_store(tmp_path / "new", RealClock())
    await store.close()
    with sqlite3.connect(state / "noc.db") as db:
        ahead = db.execute("SELECT number FROM audit_head").fetchone()[0]
    db.close()
    assert ahead == 3
    # The restored one has written its own record: three as well; one more copy of the old one is ahead.
    await backup.create(state, tmp_path / "last.backup", PASSPHRASE, RealClock())
    shutil.rmtree(tmp_path / "second")
    await Replica(state, tmp_path / "second", RealClock(), lambda *_: None).copy()
    with pytest.raises(RefusedError, match="newer state"):
        Replica(tmp_path / "new", tmp_path / "second", RealClock(), lambda *_: None)


async def test_a_replica_that_ages_is_an_alarm(state: Path, tmp_path: Path) -> None:
    clock = VirtualClock()
    alarms: list[tuple[str, Severity]] = []
    second = tmp_path / "second"
    replica = Replica(state, second, clock, lambda cause, _o, severity, *_: alarms.append((cause, severity)))
    second.write_text("a file stands where the directory should be")
    running = asyncio.create_task(replica.run())
    try:
        while not alarms or alarms[-1] != (STALE, Severity.MAJOR):
            await clock.advance(1.0)
            await asyncio.to_thread(lambda: None)
        assert replica.status().age_s > 60
        assert "cannot be written" in replica.status().error
        second.unlink()
        while alarms[-1] != (STALE, Severity.CLEARED):
            await clock.advance(1.0)
            await asyncio.to_thread(lambda: None)
        assert replica.status().error == ""
        assert read_replica(second).about["audit_records"] == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000))
def test_what_is_no_backup_is_refused(data: bytes) -> None:
    with pytest.raises(NfError):
        archive.read(data, "b")
