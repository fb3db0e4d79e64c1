"""What every store does, whatever keeps its data. Runs over each factory in conftest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from nf.clock import Clock, VirtualClock
from nf.errors import ConflictError, InputError, NfError
from nf.store.audit import AuditEntry
from nf.store.contract import ABSENT, Delete, Entry, Put, Store

ACTOR = "spiffe://tv.example/operator/alice"


def note(number: int = 1) -> AuditEntry:
    return AuditEntry(ACTOR, "test.write", f"thing/{number}", "done", {"number": number})


async def test_a_written_entry_is_read_back(store: Store) -> None:
    revision = await store.write([Put("things", "a/b", b"\x00value\xff")])
    assert await store.get("things", "a/b") == Entry("things", "a/b", b"\x00value\xff", revision)
    assert await store.get("things", "a") is None
    assert await store.get("others", "a/b") is None


async def test_a_listing_is_sorted_and_takes_the_prefix_literally(store: Store) -> None:
    keys = ["a_b", "a.b", "ab", "a/2", "a/10", "b"]
    await store.write([Put("things", key, key.encode()) for key in keys] + [Put("others", "a/1", b"")])
    assert [entry.key for entry in await store.list("things")] == sorted(keys)
    assert [entry.key for entry in await store.list("things", "a/")] == ["a/10", "a/2"]
    assert [entry.key for entry in await store.list("things", "a_")] == ["a_b"]
    assert await store.list("things", "c") == ()


async def test_revisions_grow_and_never_repeat(store: Store) -> None:
    first = await store.write([Put("things", "a", b"1")])
    await store.write([Delete("things", "a")])
    again = await store.write([Put("things", "a", b"1", ABSENT)])
    assert again > first
    with pytest.raises(ConflictError):
        await store.write([Put("things", "a", b"2", first)])


async def test_all_entries_of_a_write_share_its_revision(store: Store) -> None:
    revision = await store.write([Put("things", "a", b""), Put("things", "b", b"")])
    assert {entry.revision for entry in await store.list("things")} == {revision}


@pytest.mark.parametrize("make", [lambda e: Put("things", "a", b"new", e), lambda e: Delete("things", "a", e)])
async def test_compare_and_swap(store: Store, make: Callable[[int], Put | Delete]) -> None:
    with pytest.raises(ConflictError):
        await store.write([make(7)])
    revision = await store.write([Put("things", "a", b"old", ABSENT)])
    for wrong in (ABSENT, revision - 1, revision + 1):
        if wrong != ABSENT or revision != 1:
            with pytest.raises(ConflictError):
                await store.write([make(wrong)])
    await store.write([make(revision)])
    entry = await store.get("things", "a")
    assert entry is None or entry.value == b"new"


async def test_a_lost_swap_leaves_nothing_behind(store: Store) -> None:
    before = await store.write([Put("things", "a", b"old")], note())
    with pytest.raises(ConflictError) as caught:
        await store.write([Put("things", "b", b""), Delete("things", "a"), Put("things", "c", b"", 99)], note())
    assert caught.value.retryable
    assert "things/c" in caught.value.where
    assert await store.list("things") == (Entry("things", "a", b"old", before),)
    assert len(await store.audit_records(10)) == 1


async def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    await store.write([Delete("things", "a")])
    assert await store.list("things") == ()


async def test_of_many_writers_with_the_same_expectation_exactly_one_wins(store: Store) -> None:
    revision = await store.write([Put("things", "a", b"0")])
    writes = [store.write([Put("things", "a", str(n).encode(), revision)], note(n)) for n in range(20)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 1
    assert all(isinstance(result, int | ConflictError) for result in results)
    assert len(await store.audit_records(100)) == 1


@pytest.mark.parametrize(
    ("bucket", "key"),
    [("", "a"), ("Things", "a"), ("things", ""), ("things", ".a"), ("things", "a."), ("things", "a:b")],
)
async def test_names_outside_the_contract_are_refused(store: Store, bucket: str, key: str) -> None:
    with pytest.raises(InputError):
        await store.write([Put(bucket, key, b"")])
    with pytest.raises(InputError):
        await store.get(bucket, key)


async def test_one_write_may_name_an_entry_once_only(store: Store) -> None:
    with pytest.raises(InputError, match="twice"):
        await store.write([Put("things", "a", b"1"), Delete("things", "a")])


async def test_audit_records_come_newest_first_in_pages(store: Store, clock: VirtualClock) -> None:
    for number in range(1, 6):
        await store.write([Put("things", "a", b"")], note(number))
        await clock.advance(1.5)
    records = await store.audit_records(2)
    assert [record.number for record in records] == [5, 4]
    assert [record.number for record in await store.audit_records(10, before=4)] == [3, 2, 1]
    assert records[0].at == clock.now() - 1.5
    assert records[0].actor == ACTOR
    assert records[0].detail_json == '{"number":5}'
    assert records[0].previous == records[1].hash


async def test_a_record_without_a_change_is_kept_and_counts_as_no_revision(store: Store) -> None:
    revision = await store.write([Put("things", "a", b"")])
    assert await store.write([], note()) == revision
    report = await store.audit_verify()
    assert report.intact
    assert report.records == 1


async def test_an_empty_chain_is_intact(store: Store) -> None:
    report = await store.audit_verify()
    assert (report.intact, report.records) == (True, 0)


async def test_what_was_written_survives_reopening(
    factory: Callable[[Path, Clock], Awaitable[Store]], tmp_path: Path, clock: VirtualClock
) -> None:
    first = await factory(tmp_path, clock)
    revision = await first.write([Put("things", "a", b"1")], note())
    await first.close()
    second = await factory(tmp_path, clock)
    assert await second.get("things", "a") == Entry("things", "a", b"1", revision)
    assert await second.write([Put("things", "b", b"1")], note()) > revision
    report = await second.audit_verify()
    assert (report.intact, report.records) == (True, 2)
    await second.close()


async def test_a_closed_store_says_so_and_closes_again(
    factory: Callable[[Path, Clock], Awaitable[Store]], tmp_path: Path, clock: VirtualClock
) -> None:
    store = await factory(tmp_path, clock)
    await store.close()
    await store.close()
    with pytest.raises(NfError, match="closed"):
        await store.get("things", "a")


async def test_two_handles_see_each_others_writes_in_one_chain(
    factory: Callable[[Path, Clock], Awaitable[Store]], tmp_path: Path, clock: VirtualClock
) -> None:
    one, two = await asyncio.gather(factory(tmp_path, clock), factory(tmp_path, clock))
    for number in range(10):
        await (one if number % 2 else two).write([Put("things", "a", b"")], note(number))
    assert (await one.get("things", "a")) == (await two.get("things", "a"))
    assert (await one.audit_verify()) == (await two.audit_verify())
    assert (await one.audit_verify()).intact
    await one.close()
    await two.close()
