"""What the policy of a carrier's services has to remember beyond the process: when it switched, and to what."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from nf.contracts.json import JsonObject

FILE = "policy.json"


class Memory:
    """By service, in a file of `directory`. One that cannot be read or written forgets, and stops nothing.

    It is for the next process, not for the next boot, which empties the directory: so nothing is synced to a disk, for
    which packets would wait.
    """

    def __init__(self, directory: Path) -> None:
        self.services: dict[str, JsonObject] = {}
        self._file = directory / FILE
        with suppress(OSError, ValueError, AttributeError):
            found = json.loads(self._file.read_bytes())
            self.services = {key: entry for key, entry in found.items() if isinstance(entry, dict)}

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all others."""
        kept = set(keys)
        self.services = {key: entry for key, entry in self.services.items() if key in kept}

    def note(self, key: str, entry: JsonObject) -> None:
        self.services[key] = entry
        fresh = self._file.with_name(f".{self._file.name}.new")
        with suppress(OSError):
            fresh.write_text(json.dumps(self.services), encoding="utf-8")
            fresh.replace(self._file)
