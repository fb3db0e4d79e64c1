"""Influences as they are kept in the driver's state: soft, beside the committed section."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError

from core5g.steering.n6.documents import Influence
from nf.contracts.json import JsonObject
from nf.errors import InputError, IntegrityError, RefusedError, StorageError

MOST = 200
_WHERE = "influence"


class InfluenceStore:
    def __init__(self, directory: Path) -> None:
        self._file = directory / "influences.json"

    def read(self) -> tuple[Influence, ...]:
        """In order of their ids. Raises IntegrityError for a file that is not ours, StorageError."""
        try:
            data = json.loads(self._file.read_text())
            return tuple(Influence.model_validate(one) for one in data)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StorageError(f"influences cannot be read: {error}", where=str(self._file)) from error
        except (ValueError, TypeError) as error:
            remedy = "remove the file and let the NOC give the influences again"
            raise IntegrityError(f"influences cannot be read: {error}", where=str(self._file), remedy=remedy) from error

    def write(self, influences: tuple[Influence, ...]) -> None:
        """Durable when it returns. Raises StorageError."""
        fresh = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with fresh.open("w") as stream:
                json.dump([one.to_json() for one in influences], stream)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(self._file)
        except OSError as error:
            raise StorageError(f"influences cannot be kept: {error}", where=str(self._file)) from error


def changed(influences: tuple[Influence, ...], arguments: JsonObject) -> tuple[Influence, ...]:
    """With one added, replaced or removed as the arguments of the operation say. Raises InputError, RefusedError."""
    action, identity = arguments.get("action"), arguments.get("id")
    if not isinstance(identity, str) or action not in {"add", "remove"}:
        raise InputError("an influence has an id and an action", where=_WHERE, remedy="action is add or remove")
    rest = tuple(one for one in influences if one.id != identity)
    if action == "remove":
        return rest
    if len(rest) >= MOST:
        raise RefusedError(f"there are {MOST} influences already", where=_WHERE, remedy="remove one first")
    given = {key: arguments[key] for key in ("id", "prefixes", "ues", "ports") if arguments.get(key) is not None}
    try:
        one = Influence.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{place}: {first['msg']}", where=f"{_WHERE} {identity}") from error
    return tuple(sorted((*rest, one), key=lambda influence: influence.id))
