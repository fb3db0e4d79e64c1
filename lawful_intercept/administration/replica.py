"""The ADMF's state in a second place, never older than half a minute. What is there is sealed as it is here.

Restored by starting an ADMF on a copy of it: that verifies itself, and asks every element what it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from lawful_intercept.administration.alarms import Code
from lawful_intercept.administration.office import Office
from lawful_intercept.administration.store import AUDIT_KEY_FILE, PUBLIC_KEY_FILE, STORE_FILE
from lawful_intercept.configuration import state_directory
from nf.errors import NfError
from nf.store.copy import ChangeWatch, copy_database
from nf.trust.files import read_private, write_private

EVERY_S: Final = 10.0
STORE_KEY_FILE: Final = "store.key"


def copy(state: Path, replica: Path) -> None:
    """All of it, the store as of one moment. Blocks. Raises NfError."""
    state_directory(replica)
    for name in (STORE_KEY_FILE, AUDIT_KEY_FILE, PUBLIC_KEY_FILE):
        write_private(replica / name, read_private(state / name, "a file of the state"))
    fresh = replica / f".{STORE_FILE}.new"
    copy_database(state / STORE_FILE, fresh)
    fresh.replace(replica / STORE_FILE)


async def replicate(office: Office, state: Path, replica: Path) -> None:
    """For ever; cancel it. A place that cannot be written is an alarm, and tried again."""
    watch = ChangeWatch(state / STORE_FILE)
    last = -1
    with contextlib.closing(watch):
        while True:
            try:
                version = await asyncio.to_thread(watch.version)
                if version != last:
                    await asyncio.to_thread(copy, state, replica)
                    last = version
                await office.clear_alarm(Code.REPLICA, "store")
            except (NfError, OSError):
                await office.raise_alarm(Code.REPLICA, "store", "the copy in the second place is not up to date")
            await office.clock.sleep(EVERY_S)
