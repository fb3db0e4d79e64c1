"""A process that writes to a store: what tests kill, run twice at once, or run on a full disk."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from pathlib import Path

from nf.clock import RealClock
from nf.errors import ConflictError, StorageError
from nf.store.audit import AuditEntry
from nf.store.contract import ABSENT, Put
from nf.store.sqlite import SqliteStore
from nf.trust.keys import AuditKey

NOTE = AuditEntry("spiffe://tv.example/noc/local", "test.write", "thing/counter", "done", {})


async def increment(store: SqliteStore) -> int:
    while True:
        entry = await store.get("things", "counter")
        value = int(entry.value) + 1 if entry else 1
        change = Put("things", "counter", str(value).encode(), entry.revision if entry else ABSENT)
        try:
            await store.write([change], NOTE)
        except ConflictError:
            continue
        return value


def fill_disk(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


async def fill(store: SqliteStore, ballast: Path) -> None:
    await increment(store)
    fill_disk(ballast)
    try:
        await store.write([Put("things", "large", b"y" * 200_000)], NOTE)
    except StorageError as error:
        print(type(error).__name__)
    entry = await store.get("things", "counter")
    print("kept" if entry and entry.value == b"1" and not await store.get("things", "large") else "lost")
    print("intact" if (await store.audit_verify()).intact else "broken")
    await asyncio.to_thread(ballast.unlink)
    await store.write([Put("things", "large", b"y" * 50_000)], NOTE)
    print("written" if (await store.audit_verify()).records == 2 else "not written")


async def main(directory: Path, what: str, rounds: int) -> None:
    key = AuditKey.load_or_create(directory / "audit.key")
    store = await SqliteStore.open(directory / "store.db", sign=key.sign, clock=RealClock())
    if what == "fill":
        await fill(store, directory / "ballast")
    else:
        for _ in itertools.count() if what == "for-ever" else range(rounds):
            print(await increment(store), flush=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))
