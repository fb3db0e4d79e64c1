"""The support bundle: what helps to find a fault, from the NOC and its appliances, without secrets.

    noc/            versions, log, alarms, revisions with both documents, appliances, audit tail, samples
    appliances/ID/  what the agent collected, or error.txt
    manifest.json   what is in it, who was not there

Nothing here reads a key, a token or an identity; what is collected passes a scrubber before it is packed.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import platform
import tarfile
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import distributions
from typing import Final

from nf.contracts.json import Json, JsonObject
from nf.errors import NfError
from nf.noc.node import Node
from nf.telemetry.alarms import Alarm
from nf.telemetry.recent import RECENT
from nf.trust.redaction import Scrubber, secrets_of

MAX_APPLIANCE_BYTES: Final = 16 * 1024 * 1024
_ASK_S: Final = 20.0
_AT_ONCE: Final = 8
_REVISIONS, _AUDIT_RECORDS = 20, 200


class Support:
    """Makes bundles of one NOC."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def named(self, appliances: Iterable[str]) -> tuple[str, ...]:
        """Those, or all of the fleet. Raises NotFoundError."""
        current = self._node.lineups.current
        wanted = tuple(dict.fromkeys(appliances))
        for name in wanted:
            current.appliance(name)
        return wanted or tuple(sorted(appliance.id for appliance in current.fleet.spec.appliances))

    def bundle(self) -> Bundle:
        return Bundle(self._node)


class Bundle:
    """One bundle: first the appliances, then `finish`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._files: dict[str, Json] = {}
        self._missing: JsonObject = {}

    async def appliances(self, names: Iterable[str]) -> AsyncIterator[str]:
        """One line for each appliance as it answers; who is offline or fails is named, never an error."""
        gate = asyncio.Semaphore(_AT_ONCE)
        tasks = [asyncio.create_task(self._ask(name, gate), name=f"support {name}") for name in names]
        try:
            for next_one in asyncio.as_completed(tasks):
                yield await next_one
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, name: str, gate: asyncio.Semaphore) -> str:
        session = self._node.sessions.get(name)
        if session is None:
            return self._lack(name, "is offline")
        try:
            async with gate:
                answer = await session.request("support.collect", {}, _ASK_S)
        except NfError as error:
            return self._lack(name, str(error))
        if not isinstance(answer, dict):
            return self._lack(name, "answered something else than files")
        left = MAX_APPLIANCE_BYTES
        for path, content in sorted(answer.items()):
            left -= len(_text(content))
            if left < 0:
                self._missing[name] = f"more than {MAX_APPLIANCE_BYTES} bytes: {path} and what follows is left out"
                break
            self._files[f"appliances/{name}/{_safe(path)}"] = content
        return f"{name}: {len(answer)} files"

    def _lack(self, name: str, why: str) -> str:
        self._missing[name] = why
        return f"{name}: {why}"

    async def finish(self) -> bytes:
        """The tar.gz."""
        self._files |= await self._own()
        scrubber = Scrubber(secrets_of(os.environ))
        listed: list[Json] = [*sorted(self._files)]
        self._files["manifest.json"] = {"at": self._node.clock.now(), "files": listed, "missing": self._missing}
        return await asyncio.to_thread(_pack, self._files, scrubber, self._node.clock.now())

    async def _own(self) -> dict[str, Json]:
        node = self._node
        summaries = [await node.summary(appliance.id) for appliance in node.lineups.current.fleet.spec.appliances]
        files: dict[str, Json] = {
            "noc/versions.json": _versions(node.version),
            "noc/log.txt": "".join(f"{line}\n" for line in RECENT.lines()),
            "noc/alarms.json": [_alarm(name, alarm) for name, alarm in node.telemetry.alarms(cleared=True)],
            "noc/appliances.json": [
                {
                    "id": one.id,
                    "site": one.site,
                    "role": one.role,
                    "online": one.online,
                    "enrolled": one.enrolled,
                    "confirmed_revision": one.confirmed_revision,
                    "current": one.current,
                    "transaction_state": one.transaction_state,
                    "last_seen": one.last_seen,
                    "software_version": one.software_version,
                    "alarms": one.alarms,
                    "certificate_expires": one.certificate_expires,
                }
                for one in summaries
            ],
        }
        files["noc/audit.json"] = [
            {"number": r.number, "at": r.at, "actor": r.actor, "action": r.action, "object": r.object,
             "outcome": r.outcome, "detail": json.loads(r.detail_json)}
            for r in await node.book.store.audit_records(_AUDIT_RECORDS)
        ]  # fmt: skip
        return files | await self._revisions()

    async def _revisions(self) -> dict[str, Json]:
        files: dict[str, Json] = {}
        newest = await self._node.book.last_number()
        for number in range(newest, max(0, newest - _REVISIONS), -1):
            record = await self._node.book.revision(number)
            place = f"noc/revisions/{record.revision:010d}"
            summary = asdict(record)
            files[f"{place}/lineup.yaml"] = str(summary.pop("lineup_text"))
            files[f"{place}/fleet.yaml"] = str(summary.pop("fleet_text"))
            summary.pop("hops")
            files[f"{place}/revision.json"] = json.loads(json.dumps(summary))
        return files


def _alarm(appliance: str, alarm: Alarm) -> JsonObject:
    return {
        "appliance": appliance,
        "cause": alarm.cause,
        "object": alarm.object,
        "severity": alarm.severity.value,
        "text": alarm.text,
        "first_at": alarm.first_at,
        "last_at": alarm.last_at,
        "count": alarm.count,
    }


def _versions(own: str) -> JsonObject:
    packages: dict[str, Json] = {found.metadata["Name"]: found.version for found in distributions()}
    return {
        "nf": own,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "packages": {name: packages[name] for name in sorted(packages)},
    }


def _safe(path: str) -> str:
    """A path that an appliance named, held inside its own folder."""
    kept = ["".join(c if c.isalnum() or c in "._-@" else "_" for c in part) for part in path.split("/")]
    return "/".join(part for part in kept if part.strip(".")) or "unnamed"


def _text(content: Json) -> str:
    return content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False)


def _pack(files: Mapping[str, Json], scrubber: Scrubber, at: float) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=at) as packed,
        tarfile.open(fileobj=packed, mode="w:") as tar,
    ):
        for path, content in sorted(files.items()):
            # By key first, then as the text that it becomes: what one pattern misses the other may see.
            data = scrubber.text(_text(scrubber.json(content))).encode("utf-8", "replace")
            info = tarfile.TarInfo(f"support/{path}")
            info.size, info.mode, info.mtime = len(data), 0o600, at
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
