"""What the policy of a carrier's services has to remember beyond the process and beyond a boot: when it switched, and
to what.

A way back that waits for an operator waits also after a reboot, and what may happen once an hour does not happen again
because the power failed. The policy's times are those of the machine's monotonic clock, which begins anew with a boot:
so the file says by both clocks when it was written, and in another boot the times are moved by what has passed since.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nf.contracts.json import JsonObject
from nf.errors import IntegrityError
from nf.policy.model import State

FILE = "policy.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment by both clocks, in seconds, and which boot the monotonic one is of."""

    boot: str
    wall: float
    monotonic: float

    @classmethod
    def now(cls) -> Instant:
        return cls(_BOOT.read_text(encoding="ascii").strip(), time.time(), time.monotonic())


def moved(entry: Mapping[str, Any], then: Instant, now: Instant) -> JsonObject:
    """A service's state that was written at `then`, with the times of `now`'s boot. Pure.

    A wall clock that is behind what was written (no battery, and the network not asked yet) tells nothing: then it
    counts as written this moment, so that a limit rather lasts too long. Raises IntegrityError for no state.
    """
    state = State.from_json(entry)
    if then.boot == now.boot:
        return state.to_json()
    offset = now.monotonic - max(0.0, now.wall - then.wall) - then.monotonic
    switches = tuple(at + offset for at in state.switches)
    return replace(state, at=state.at + offset, switches=switches, bad_since=None, up_since={}).to_json()


class Memory:
    """By service, in a file of `directory`. One that cannot be read or written forgets, and stops nothing.

    It is on the disk when a switch is some milliseconds old; a thread waits for the disk, since packets do not.
    """

    def __init__(self, directory: Path, now: Instant | None = None) -> None:
        self.services: dict[str, JsonObject] = {}
        self._file = directory / FILE
        self._writer = ThreadPoolExecutor(1, "memory")
        with suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
            found = json.loads(self._file.read_bytes())
            then = Instant(str(found["boot"]), float(found["wall"]), float(found["monotonic"]))
            now = now or Instant.now()
            for key, entry in found["services"].items():
                with suppress(IntegrityError):
                    self.services[key] = moved(entry, then, now)

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all others."""
        kept = set(keys)
        self.services = {key: entry for key, entry in self.services.items() if key in kept}

    def note(self, key: str, entry: JsonObject, now: Instant | None = None) -> None:
        self.services[key] = entry
        # Entries that came from another boot were moved: all of them are of this one.
        text = json.dumps({**asdict(now or Instant.now()), "services": self.services})
        self._writer.submit(_write, self._file, text)

    def close(self) -> None:
        """What was noted is on the disk when this returns."""
        self._writer.shutdown()


def _write(file: Path, text: str) -> None:
    fresh = file.with_name(f".{file.name}.new")
    with suppress(OSError):
        with fresh.open("w", encoding="utf-8") as writing:
            writing.write(text)
            writing.flush()
            os.fsync(writing.fileno())
        fresh.replace(file)
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
