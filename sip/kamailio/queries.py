"""What a proxy tells operators: calls, registrations, its state and that of its neighbours; and the end of a call.

Operations of the driver. Their arguments and results:

    voice-calls          {call, user, state, limit, offset}    -> {proxy, rows, total, calls}
    voice-registrations  {user, limit, offset}                 -> {proxy, rows, total, records}
    voice-nodes          {}                                    -> {rows}
    voice-records        {user, failed, limit}                 -> {proxy, rows}
    voice-hangup         {call}                                -> {ended, text}

Rows have the fields that are written here and no others: whatever else a daemon lists never leaves the appliance.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nf.contracts.driver import Checkpoint, Context, Operation
from nf.contracts.json import Json, JsonObject
from nf.errors import DeadlineError, InputError, NotFoundError, RefusedError
from sip.documents import MediaServer, Proxy, Relay
from sip.kamailio.dialogs import STATES, Rpc, call_row, dialogs, emergency_number, end, plain, whole
from sip.kamailio.documents import KamailioSection
from sip.kamailio.jsonrpc import RpcRefused
from sip.kamailio.records import FIELDS
from sip.kamailio.tables import DRAIN, DRAINED, OPENED, STARTING
from sip.operations import CALLS, HANGUP, NODES, RECORDS, REGISTRATIONS

MAX_ROWS: Final = 1000
"""Of one answer; more are had page by page."""
_DEFAULT_ROWS: Final = 50
_MOST: Final = 10_000_000
_DESTINATIONS: Final[Mapping[str, str]] = {"A": "active", "T": "trying", "I": "inactive", "D": "drained"}
"""First letter of dispatcher's FLAGS."""
_MOST_RECORDS: Final = 500_000
_HANGUP_S: Final = 10.0
_POLL_S: Final = 0.1


Ask = Callable[[], Rpc]
Know = Callable[[], KamailioSection | None]
"""Tells the section that is applied."""


def operations(rpc: Ask, know: Know, folder: Path) -> dict[str, Operation]:
    """For the driver's `operations`. `folder`: of call records."""
    return {
        RECORDS: Records(folder, know),
        CALLS: Calls(rpc, know),
        REGISTRATIONS: Registrations(rpc, know),
        NODES: Nodes(rpc, know),
        HANGUP: Hangup(rpc, know),
    }


# -- calls ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calls:
    rpc: Ask
    know: Know

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        """Newest first. Raises InputError."""
        call, user, state = (_text(arguments, name) for name in ("call", "user", "state"))
        if state and state not in STATES.values():
            raise InputError(f"no state {state!r}", where=CALLS, remedy=f"one of: {', '.join(STATES.values())}")
        limit, offset = _page(arguments)
        found = [row for one in await dialogs(self.rpc(), call) if (row := call_row(one)) is not None]
        kept = [one for one in found if _about(user, one, "from", "to") and state in {"", one["state"]}]
        kept.sort(key=lambda one: (-float(str(one["since"])), str(one["call"])))
        rows: list[Json] = [*kept[offset : offset + limit]]
        text = _shown(rows, len(kept), "call")
        return {"proxy": _name(self.know), "rows": rows, "total": len(kept), "calls": len(found), "text": text}


# -- registrations ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registrations:
    rpc: Ask
    know: Know

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        """By account. Raises InputError."""
        user = _text(arguments, "user")
        limit, offset = _page(arguments)
        found = list(registrations(await self.rpc().call("ul.dump")))
        kept = sorted(
            (one for one in found if _about(user, one, "account")),
            key=lambda one: (str(one["account"]), str(one["contact"])),
        )
        rows: list[Json] = [*kept[offset : offset + limit]]
        text = _shown(rows, len(kept), "registration")
        return {"proxy": _name(self.know), "rows": rows, "total": len(kept), "records": len(found), "text": text}


def registrations(dump: Json) -> Iterator[JsonObject]:
    """Of `ul.dump`: each contact."""
    for table in _under(dump, "Domains", "Domain"):
        for record in _under(table, "AoRs", "Info"):
            account = plain(record.get("AoR"))
            for contact in _under(record, "Contacts", "Contact"):
                yield {
                    "account": account,
                    "contact": plain(contact.get("Address")),
                    "received": plain(contact.get("Received")),
                    "expires_s": contact["Expires"] if isinstance(contact.get("Expires"), int) else 0,
                    "agent": plain(contact.get("User-Agent")),
                    "socket": plain(contact.get("Socket")),
                }


def _under(found: Any, many: str, one: str) -> Iterator[Mapping[str, Any]]:
    """Kamailio's lists of structures with one member each."""
    listed = found.get(many) if isinstance(found, dict) else None
    for entry in listed if isinstance(listed, list) else ():
        inner = entry.get(one) if isinstance(entry, dict) else None
        if isinstance(inner, dict):
            yield inner


# -- nodes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Nodes:
    """The proxy, and relays and media servers as it sees them."""

    rpc: Ask
    know: Know

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        section = self.know()
        if section is None:
            raise RefusedError("no proxy runs on this appliance", where=NODES, remedy="see nf lineup show")
        rows: list[Json] = [await self._proxy(section)]
        rows += relay_rows(section, await self._asked("rtpengine.show", "all"))
        rows += media_rows(section, await self._asked("dispatcher.list"))
        return {"rows": rows, "text": f"{section.proxy.id} sees {len(rows) - 1} relays and media servers"}

    async def _asked(self, *question: str) -> Json:
        """None: this one it does not answer, and the others are told all the same."""
        try:
            return await self.rpc().call(*question)
        except RpcRefused:
            return None

    async def _proxy(self, section: KamailioSection) -> JsonObject:
        counted = await self.rpc().call("dlg.stats_active")
        calls = whole(counted.get("all")) if isinstance(counted, dict) else 0
        uptime = await self._asked("core.uptime")
        control = await self._asked("htable.get", "ctl", DRAIN)
        state = {DRAINED: "drained", STARTING: "starting"}.get(_control(control), "open")
        seconds = whole(uptime.get("uptime")) if isinstance(uptime, dict) else 0
        return _node(section.proxy, "proxy", state, section.proxy.region, calls=calls, detail=f"up {seconds} s")


def _control(found: Json) -> int:
    """`htable.get`: {"item": {"name": ..., "value": ...}}."""
    item = found.get("item") if isinstance(found, dict) else None
    value = item.get("value") if isinstance(item, dict) else None
    return int(str(value)) if str(value).lstrip("-").isdecimal() else OPENED


def _node(
    node: Proxy | Relay | MediaServer, kind: str, state: str, region: str, *, calls: int | None, detail: str
) -> JsonObject:
    return {
        "kind": kind,
        "id": node.id,
        "appliance": node.appliance,
        "state": state,
        "region": region,
        "calls": calls,
        "detail": detail,
    }


def relay_rows(section: KamailioSection, listed: Json) -> Iterator[JsonObject]:
    """A relay is in several sets: its worst state counts."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            found.setdefault(str(one.get("url", "")), []).append(one)
    for relay in section.relays:
        shown = found.get(f"udp:{relay.address}:{relay.control}", [])
        flags = [str(one.get("disabled", "0")) for one in shown]
        if not shown:
            state = "unknown"
        elif relay.drained or any("perm" in one for one in flags):
            state = "drained"
        else:
            state = "down" if any(one not in {"0", "no"} for one in flags) else "active"
        weight = shown[0].get("weight") if shown else relay.weight
        yield _node(relay, "relay", state, relay.region, calls=None, detail=f"weight {weight}")


def media_rows(section: KamailioSection, listed: Json) -> Iterator[JsonObject]:
    """By the answers to OPTIONS."""
    found: dict[str, str] = {}
    records = listed.get("RECORDS") if isinstance(listed, dict) else None
    for one in records if isinstance(records, list) else ():
        for target in _under(one.get("SET") if isinstance(one, dict) else None, "TARGETS", "DEST"):
            found[str(target.get("URI", ""))] = str(target.get("FLAGS", ""))
    for server in section.media_servers:
        flags = found.get(f"sip:{server.address}:{server.port}", "")
        state = _DESTINATIONS.get(flags[:1], "unknown")
        yield _node(server, "media-server", state, "", calls=None, detail=f"weight {server.weight}")


# -- call records -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Records:
    folder: Path
    know: Know

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        """Newest first; `failed`: of calls that were not answered. Raises InputError."""
        user, failed = _text(arguments, "user"), arguments.get("failed") is True
        limit, _ = _page(arguments)
        rows: list[Json] = [*await asyncio.to_thread(self._last, user, limit, failed=failed)]
        return {"proxy": _name(self.know), "rows": rows, "text": _shown(rows, len(rows), "record")}

    def _last(self, user: str, limit: int, *, failed: bool) -> list[JsonObject]:
        found: list[JsonObject] = []
        looked_at = 0
        for path in sorted(self.folder.glob("cdr-*.jsonl"), reverse=True):
            for line in backwards(path):
                looked_at += 1
                row = _record(line)
                if (
                    row is not None
                    and _about(user, row, "caller", "dialled", "called")
                    and not (failed and row["answered"])
                ):
                    found.append(row)
                if len(found) >= limit or looked_at >= _MOST_RECORDS:
                    return found
        return found


def _record(line: bytes) -> JsonObject | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return {name: found.get(name) if not isinstance(found.get(name), str) else plain(found[name]) for name in FIELDS}


def backwards(path: Path, chunk: int = 65_536) -> Iterator[bytes]:
    """Lines of a file, the last one first. A file that is gone has none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        place, rest = file.seek(0, os.SEEK_END), b""
        while place:
            step = min(chunk, place)
            place -= step
            file.seek(place)
            rest, *lines = (file.read(step) + rest).split(b"\n")
            yield from (line for line in reversed(lines) if line)
        if rest:
            yield rest


# -- the end of a call ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hangup:
    rpc: Ask
    know: Know

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        """BYE to both, or CANCEL while it rings; done when the proxy has the call no more. Raises NotFoundError,
        RefusedError (an emergency call), DeadlineError."""
        call = _text(arguments, "call")
        if not call:
            raise InputError("`call` is a Call-ID", where=HANGUP, remedy="see nf sip calls")
        found = [one for one in await dialogs(self.rpc(), call) if call_row(one) is not None]
        if not found:
            raise NotFoundError("no such call here", where=call, remedy="see nf sip calls")
        for one in found:
            number = emergency_number(one, self.know())
            if number:
                remedy = "let it end by itself: emergency calls are never cut off from here"
                raise RefusedError(f"a call to {number} is an emergency call", where=call, remedy=remedy)
        for one in found:
            await end(self.rpc(), one)
        until = context.clock.monotonic() + min(_HANGUP_S, context.remaining())
        while any(call_row(one) is not None for one in await dialogs(self.rpc(), call)):
            if context.clock.monotonic() >= until:
                raise DeadlineError(
                    "it has not ended", where=call, remedy="see nf sip trace; its parties do not answer"
                )
            await context.clock.sleep(_POLL_S)
        return {"ended": len(found), "text": f"{call} has ended"}


# -- common -----------------------------------------------------------------------------------------------------------


def _name(know: Know) -> str:
    section = know()
    return section.proxy.id if section is not None else ""


def _text(arguments: JsonObject, name: str) -> str:
    value = arguments.get(name, "")
    if not isinstance(value, str) or len(value) > 300:
        raise InputError(f"`{name}` is a text of at most 300 characters", where="nf sip")
    return value


def _page(arguments: JsonObject) -> tuple[int, int]:
    limit, offset = arguments.get("limit", _DEFAULT_ROWS), arguments.get("offset", 0)
    for name, value, least, most in (("limit", limit, 1, MAX_ROWS), ("offset", offset, 0, _MOST)):
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InputError(f"`{name}` is a whole number from {least} to {most:,}", where="nf sip")
    return int(str(limit)), int(str(offset))


def _about(user: str, row: Mapping[str, Json], *names: str) -> bool:
    return not user or any(user.lower() in str(row[name]).lower() for name in names)


def _shown(rows: Iterable[Json], total: int, what: str) -> str:
    return f"{len([*rows])} of {total:,} {what}{'s' * (total != 1)}"
