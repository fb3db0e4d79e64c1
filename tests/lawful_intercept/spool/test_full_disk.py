"""A file system that is really full: nothing half-written, and it goes on when there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WRITER = """
import asyncio, sys
from pathlib import Path
from lawful_intercept.spool import Spool, SpoolFullError

def spool():
    return Spool(Path(sys.argv[1]) / "spool", bytes(32), b"full", segment_octets=1 << 16)

async def main():
    made = spool()
    ballast = Path(sys.argv[1]) / "ballast"
    ballast.write_bytes(bytes(200_000))
    taken = 0
    try:
        while True:
            made.append_many([b"%06d" % (taken + one) + bytes(300) for one in range(7)])
            taken += 7
            if taken % 70 == 0:
                await made.sync()
    except SpoolFullError:
        print("full")
    await made.sync()
    print("synced" if made.synced == taken == made.next else "not synced")
    ballast.unlink()
    made.append(b"%06d" % taken)
    made.close()
    again = spool()
    print("clean" if again.recovery.clean else again.recovery)
    reader, found = again.reader(), []
    while (batch := reader.take()) is not None:
        found += [int(record[:6]) for record in batch.records]
    print("whole" if found == list(range(taken + 1)) else found)
    again.confirm(taken)
    print("empty" if not again.waiting else again.waiting)

asyncio.run(main())
"""


@pytest.mark.root
def test_on_a_full_disk_nothing_is_lost(tmp_path: Path, require_programs: Callable[..., None]) -> None:
    require_programs("unshare", "mount")
    script = 'mount -t tmpfs -o size=1m,mode=700 tmpfs "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, WRITER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ), check=False)
    assert done.stderr == ""
    assert done.stdout.split("\n")[:-1] == ["full", "synced", "clean", "whole", "empty"]
