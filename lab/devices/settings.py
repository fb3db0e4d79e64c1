"""What a device keeps through a restart: the values of its writable objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from lab.devices.objects import Value
from lab.devices.tree import Key

PRIVATE = "_"


class Settings:
    """Begins with what the configuration says; what was set since then comes first. Written at every change.

    Names that begin with `PRIVATE` are kept like the others, and are no objects.
    """

    def __init__(self, defaults: Mapping[Key, Value], path: Path) -> None:
        self._values = dict(defaults)
        self._path = path
        if path.exists():
            kept = {_key(text): value for text, value in json.loads(path.read_bytes()).items()}
            self._values |= {key: value for key, value in kept.items() if key in defaults}

    def __getitem__(self, key: Key) -> Value:
        return self._values[key]

    def number(self, name: str, row: int = 0) -> int:
        value = self._values[name, row]
        assert isinstance(value, int)  # noqa: S101 - the tree lets only numbers into such an object
        return value

    def text(self, name: str, row: int = 0) -> str:
        return str(self._values[name, row])

    def update(self, changes: Mapping[Key, Value]) -> None:
        self._values |= changes
        fresh = self._path.with_suffix(".new")
        fresh.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps({f"{name}.{row}": value for (name, row), value in self._values.items()}))
        fresh.replace(self._path)

    def reader(self, name: str) -> Callable[[int], Value]:
        """What answers a GET of this object."""
        return lambda row: self._values[name, row]

    def readers(self) -> dict[str, Callable[[int], Value]]:
        names = dict.fromkeys(name for name, _ in self._values if not name.startswith(PRIVATE))
        return {name: self.reader(name) for name in names}


def _key(text: str) -> Key:
    name, _, row = text.rpartition(".")
    return name, int(row)
