"""What `nf sip` shows of what the appliances answered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import NodeOutcome
from nf.errors import DriverError, InputError

DONE: Final = "done"
MAX_ROWS: Final = 1000
"""Of one answer of an appliance."""

CALL_COLUMNS: Final = ("CALL-ID", "FROM", "TO", "STATE", "SINCE", "SECONDS", "PROXY")
REGISTRATION_COLUMNS: Final = ("ACCOUNT", "CONTACT", "RECEIVED FROM", "EXPIRES IN", "USER AGENT", "PROXY")
NODE_COLUMNS: Final = ("NODE", "KIND", "STATE", "CALLS", "REGION", "DETAIL", "TOLD BY")
RECORD_COLUMNS: Final = ("BEGAN", "CALLER", "DIALLED", "SECONDS", "CODE", "RESULT", "RELAY", "PROXY")
FINDING_COLUMNS: Final = ("AT", "CALL-ID", "FOUND", "DONE", "BY")
WAY_COLUMNS: Final = ("WAY", "MEASURED", "SENT", "LOST %", "LATE %", "JITTER MS", "DELAY MS", "R", "MOS")


def faults(nodes: Sequence[NodeOutcome]) -> list[str]:
    return [f"{one.appliance} is {one.state}: {one.text}" for one in nodes if one.state != DONE]


def require_all(nodes: Sequence[NodeOutcome], where: str) -> None:
    """Raises DriverError with the name of everybody who told nothing."""
    missing = faults(nodes)
    if missing:
        remedy = "what the others told is above; see nf appliance list, and nf sip nodes"
        raise DriverError(f"not told by all: {'; '.join(missing)}", where=where, remedy=remedy)


def rows_of(nodes: Iterable[NodeOutcome]) -> list[JsonObject]:
    """Of all that answered; each says which proxy told it."""
    found: list[JsonObject] = []
    for node in nodes:
        listed = node.result.get("rows")
        proxy = str(node.result.get("proxy") or node.appliance)
        found += [
            {**row, "proxy": proxy} for row in (listed if isinstance(listed, list) else ()) if isinstance(row, dict)
        ]
    return found


def total(nodes: Iterable[NodeOutcome]) -> int:
    return sum(_whole(node.result.get("total")) for node in nodes)


def page(limit: int, offset: int, *, several: bool) -> JsonObject:
    """What each appliance is asked for, so that the page is among it. Raises InputError."""
    if not several:
        return {"limit": limit, "offset": offset}
    if limit + offset > MAX_ROWS:
        remedy = (
            f"name one with --proxy, or look for something with --user; --limit and --offset are {MAX_ROWS} at most"
        )
        raise InputError(
            "so far down, several proxies cannot be leafed through together", where="nf sip", remedy=remedy
        )
    return {"limit": limit + offset, "offset": 0}


def call_row(row: Mapping[str, Json]) -> tuple[str, ...]:
    names = ("call", "from", "to", "state")
    since, seconds = row.get("since"), row.get("seconds")
    return (*(_text(row, name) for name in names), when(since), str(seconds), _text(row, "proxy"))


def registration_row(row: Mapping[str, Json]) -> tuple[str, ...]:
    received = _text(row, "received").partition("sip:")[2] or "-"
    names = (_text(row, "account"), _text(row, "contact"), received, f"{row.get('expires_s')} s")
    return (*names, _text(row, "agent"), _text(row, "proxy"))


def findings_of(nodes: Iterable[NodeOutcome]) -> list[JsonObject]:
    """Of `voice-relay-report`, the newest first."""
    found: list[JsonObject] = []
    for node in nodes:
        listed = node.result.get("rows")
        by = str(node.result.get("node") or node.appliance)
        found += [{**row, "by": by} for row in (listed if isinstance(listed, list) else ()) if isinstance(row, dict)]
    return sorted(found, key=lambda one: (-_real(one.get("at")), _text(one, "call")))


def finding_row(row: Mapping[str, Json]) -> tuple[str, ...]:
    return (when(row.get("at")), *(_text(row, name) for name in ("call", "found", "done", "by")))


def record_row(row: Mapping[str, Json]) -> tuple[str, ...]:
    seconds = row.get("seconds")
    told = f"{seconds:.0f}" if isinstance(seconds, int | float) else "-"
    result = _text(row, "result") + (" (emergency)" if row.get("emergency") else "")
    return (
        when(row.get("began")), _text(row, "caller"), _text(row, "dialled"), told, _text(row, "code"), result,
        _text(row, "relay"), _text(row, "proxy"),
    )  # fmt: skip


def counted(nodes: Iterable[NodeOutcome], name: str) -> dict[str, int]:
    """Appliance -> calls, of those that told."""
    return {one.appliance: _whole(one.result[name]) for one in nodes if one.state == DONE and name in one.result}


def merged_nodes(rows: Sequence[Mapping[str, Json]], calls_at: Mapping[str, Mapping[str, int]]) -> list[JsonObject]:
    """One for each node: a relay is seen by several proxies, and what they disagree about is told.

    `calls_at`: kind -> appliance -> calls, as the nodes count them themselves.
    """
    found: dict[tuple[str, str], list[Mapping[str, Json]]] = {}
    for row in rows:
        found.setdefault((_text(row, "kind"), _text(row, "id")), []).append(row)
    made: list[JsonObject] = []
    for (kind, name), seen in found.items():
        states = {_text(one, "state") for one in seen}
        state = states.pop() if len(states) == 1 else ", ".join(f"{one['state']} at {one['proxy']}" for one in seen)
        appliance = _text(seen[0], "appliance")
        calls = [one["calls"] for one in seen if isinstance(one.get("calls"), int)]
        calls += [calls_at[kind][appliance]] if appliance in calls_at.get(kind, {}) else []
        by: list[Json] = [_text(one, "proxy") for one in seen]
        made.append(
            {
                "kind": kind,
                "id": name,
                "appliance": appliance,
                "state": state,
                "calls": calls[0] if calls else None,
                "region": _text(seen[0], "region"),
                "detail": _text(seen[0], "detail"),
                "told_by": by,
            }
        )
    order = {"proxy": 0, "relay": 1, "media-server": 2}
    return sorted(made, key=lambda one: (order.get(str(one["kind"]), 9), str(one["id"])))


def node_row(row: Mapping[str, Json]) -> tuple[str, ...]:
    by = row.get("told_by")
    calls = "-" if row.get("calls") is None else str(row["calls"])
    told = ", ".join(map(str, by)) if isinstance(by, list) else ""
    return (
        *(_text(row, name) for name in ("id", "kind", "state")),
        calls,
        _text(row, "region"),
        _text(row, "detail"),
        told,
    )


def way_rows(result: Mapping[str, Json]) -> tuple[tuple[str, ...], ...]:
    """Both ways of a test call; what was not measured has no line."""
    return tuple(
        _way(name, one)
        for name, one in (("to the called", result.get("to_called")), ("to the caller", result.get("to_caller")))
        if isinstance(one, dict)
    )


def _way(name: str, one: Mapping[str, Json]) -> tuple[str, ...]:
    delay = one.get("delay_ms")
    return (
        name, _text(one, "measured"), _text(one, "sent"), f"{100 * _real(one.get('loss')):.2f}",
        f"{100 * _real(one.get('late')):.2f}", f"{_real(one.get('jitter_ms')):.2f}",
        "-" if delay is None else f"{_real(delay):.1f}", f"{_real(one.get('r')):.1f}", f"{_real(one.get('mos')):.2f}",
    )  # fmt: skip


def when(value: Json) -> str:
    """UTC, to the second; a hyphen where there is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e11:
        return "-"
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _text(row: Mapping[str, Json], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)


def _whole(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _real(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
