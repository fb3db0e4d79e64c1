"""Where to look: the buckets that this appliance made or began to make. What stands there is read from the origin."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from nf.contracts.json import JsonObject
from nf.errors import IntegrityError
from nf.media.origin.plan import Place
from nf.trust.files import write_private


@dataclass(frozen=True, slots=True)
class Entry:
    """`marked`: this appliance put the marker, after it had seen that nothing was there. `created`: it was about to
    make the bucket, or has. `open`: players could read it when the origin answered last."""

    place: Place
    created: bool = False
    marked: bool = False
    open: bool = False

    def to_json(self) -> JsonObject:
        return {**self.place.to_json(), "created": self.created, "marked": self.marked, "open": self.open}

    @classmethod
    def from_json(cls, data: JsonObject) -> Entry:
        return cls(Place.from_json(data), bool(data["created"]), bool(data["marked"]), bool(data.get("open", False)))


class Register:
    """A small JSON file that survives a boot, written as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Entry]:
        """Raises IntegrityError when the file is not what was written."""
        try:
            data = json.loads(self._path.read_bytes())
            entries = [Entry.from_json(entry) for entry in data["entries"]]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"the register of buckets cannot be read: {error}", where=str(self._path), remedy="restore or delete it"
            ) from None
        return {entry.place.key: entry for entry in entries}

    def put(self, entry: Entry) -> None:
        self._write({**self.read(), entry.place.key: entry})

    def mark(self, place: Place, *, created: bool = False, marked: bool = False) -> Entry:
        """Add what is known of `place`; what was known stays known."""
        old = self.read().get(place.key, Entry(place))
        new = replace(old, place=place, created=old.created or created, marked=old.marked or marked)
        self.put(new)
        return new

    def saw(self, key: str, *, is_open: bool) -> None:
        """The origin answered. Written only when it is another answer than the one before."""
        entry = self.read().get(key)
        if entry is not None and entry.open is not is_open:
            self.put(replace(entry, open=is_open))

    def drop(self, place: Place) -> None:
        entries = self.read()
        if entries.pop(place.key, None) is not None:
            self._write(entries)

    def _write(self, entries: dict[str, Entry]) -> None:
        data = {"version": 1, "entries": [entry.to_json() for _, entry in sorted(entries.items())]}
        write_private(self._path, json.dumps(data, indent=2).encode())
