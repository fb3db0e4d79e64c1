"""Version numbers of service lists, which grow with every change and never fall: kept in the service's records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nf.contracts.json import JsonObject, digest
from nf.contracts.service import Records
from nf.errors import IntegrityError
from nf.media.dvbi.content import Content
from nf.media.dvbi.document import Head, Versions

_ALL = "all"


@dataclass(frozen=True, slots=True)
class _Numbered:
    version: int
    digest: str

    def after(self, now: str) -> _Numbered:
        return self if self.digest == now else _Numbered(self.version + 1, now)


_NONE = _Numbered(0, "")


class Book:
    """Of every list what it was last, so that a change is one also across restarts."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: dict[str, dict[str, _Numbered]] = {}

    async def load(self) -> None:
        """Raises the errors of `Records`, IntegrityError."""
        for key, value in (await self._records.all()).items():
            self._known[key] = _read(key, value)

    async def number(self, content: Content, head: Head) -> Versions:
        """The versions of what is shown now, durable when it returns. Raises the errors of `Records`."""
        key = f"list-{content.region or _ALL}"
        known = self._known.get(key, {})
        # A service that goes and comes again goes on counting: receivers may have kept what it was.
        now = dict(known)
        own = digest([head.language, head.provider, head.scheme])
        for service in content.services:
            name = f"service {service.uid}"
            now[name] = known.get(name, _NONE).after(digest([service.digest, own]))
        now["regions"] = known.get("regions", _NONE).after(content.regions_digest)
        whole = digest([content.digest, own, head.id, head.name, head.country])
        now["whole"] = known.get("whole", _NONE).after(whole)
        if now != known:
            await self._records.put(key, {name: [one.version, one.digest] for name, one in sorted(now.items())})
            self._known[key] = now
        services = {service.uid: now[f"service {service.uid}"].version for service in content.services}
        return Versions(now["whole"].version, now["regions"].version, services)


def _read(key: str, value: JsonObject) -> dict[str, _Numbered]:
    found: dict[str, _Numbered] = {}
    for name, pair in value.items():
        match _pair(pair):
            case (int(version), str(text)):
                found[name] = _Numbered(version, text)
            case _:
                raise IntegrityError("not versions of a service list", where=f"records of dvbi, {key}, {name}")
    return found


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else ()
