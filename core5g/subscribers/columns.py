"""The one vocabulary of a subscriber in a table and on the command line: `msisdn`, `dnn`, `2.dnn`, ...

A session's column has the number of its session in front; the first has none: `dnn`, `slice`, `2.dnn`, `2.slice`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from core5g.subscribers.keys import NAMES
from nf.documents.keys import Loc
from nf.documents.quantities import format_bitrate
from nf.documents.rules import nearest

LISTS: Final = ("msisdn", "imeisv", "default_slices")
WHOLE: Final = ("barring", "access_restriction", "timer_min", "sqn")
OWN: Final = ("imsi", *LISTS, "status", *WHOLE, "access_mode", "ue_downlink", "ue_uplink")
SWITCHES: Final = ("preempt", "preemptable")
SESSION: Final = (
    *("dnn", "slice", "type", "5qi", "arp"),
    *(*SWITCHES, "downlink", "uplink", "ipv4", "ipv6"),
)
SECURITY: Final = NAMES
MAX_SESSIONS: Final = 32

_SESSION_COLUMN = re.compile(r"(?:([1-9][0-9]?)\.)?([a-z0-9_]+)")


def place_of(column: str) -> Loc | None:
    """Where a column stands in a subscriber's data; None when there is no such column."""
    if column in SECURITY:
        return ("security", column)
    if column in OWN:
        return (column,)
    match = _SESSION_COLUMN.fullmatch(column)
    if match is None or match[2] not in SESSION or int(match[1] or 1) > MAX_SESSIONS:
        return None
    return ("sessions", int(match[1] or 1) - 1, match[2])


def column_of(loc: Loc) -> str:
    """The inverse, of the nearest thing that is a column; the place itself as text where there is none."""
    match loc:
        case ("security", str(name), *_):
            return name
        case ("sessions", int(number), str(name), *_):
            return name if number == 0 else f"{number + 1}.{name}"
        case ("sessions", int(number), *_):
            return "dnn" if number == 0 else f"{number + 1}.dnn"
        case ("sessions",):
            return "dnn"
        case (str(name), *_):
            return name
    return "imsi"


def known() -> tuple[str, ...]:
    """All, as an example of the second session too."""
    return (*OWN, *SECURITY, *SESSION, *(f"2.{name}" for name in SESSION))


def suggestion(column: str) -> str:
    """A remedy for a column that does not exist."""
    return nearest(column, known())


def fill(data: dict[str, Any], cells: Mapping[str, str]) -> dict[str, Any]:
    """`data` with what the cells say; an empty cell says that there is nothing. Columns are known ones."""
    filled = {**data, "sessions": [dict(session) for session in data.get("sessions", [])]}
    for column, cell in cells.items():
        loc = place_of(column)
        text = cell.strip()
        if loc is None:
            continue
        if loc[0] == "sessions":
            number, name = int(loc[1]), str(loc[2])
            if text or number < len(filled["sessions"]):
                while len(filled["sessions"]) <= number:
                    filled["sessions"].append({})
                _put(filled["sessions"][number], name, text)
        elif loc[0] == "security":
            _put(filled.setdefault("security", {}), str(loc[1]), text)
        else:
            _put(filled, str(loc[0]), text)
    if not filled["sessions"]:
        del filled["sessions"]
    return filled


def _put(data: dict[str, Any], name: str, text: str) -> None:
    if not text:
        data.pop(name, None)
    else:
        data[name] = _value(name, text)


def _value(name: str, text: str) -> object:
    """As JSON would have it; text that is none stays, and breaks the rule of its column."""
    if name in LISTS:
        return [part.strip() for part in text.split(";") if part.strip()]
    if name in (*WHOLE, "5qi", "arp"):
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else text
    if name in SWITCHES:
        return {"yes": True, "no": False, "true": True, "false": False}.get(text.lower(), text)
    if name in ("downlink", "uplink", "ue_downlink", "ue_uplink"):
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else text
    return text


def cells_of(data: Mapping[str, Any]) -> dict[str, str]:
    """The inverse of `fill` for a subscriber's data without keys; what has no column (PCC rules) is left out."""
    cells = {name: _text(data[name]) for name in OWN if name in data}
    for number, session in enumerate(data.get("sessions", [])):
        prefix = f"{number + 1}." if number else ""
        cells.update({f"{prefix}{name}": _text(session[name]) for name in SESSION if name in session})
    return {name: text for name, text in cells.items() if text}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ";".join(map(str, value))
    return str(value)


def header(rows: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """The columns that any of the rows has, in the order of the vocabulary."""
    there = {name for row in rows for name in row}
    numbered = [f"{number}.{name}" for number in range(2, MAX_SESSIONS + 1) for name in SESSION]
    return tuple(name for name in (*OWN, *SESSION, *numbered) if name in there)


def rate_text(bps: int) -> str:
    """`50M`."""
    return str(format_bitrate(bps))
