"""A call's messages as a ladder, for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from nf.contracts.json import Json

_LEAST, _MOST = 18, 34
_TIME: Final = 9
_TWIN_S: Final = 0.4
_NEAR: Final = 50


def merged(several: Iterable[Sequence[Mapping[str, Json]]]) -> list[Mapping[str, Json]]:
    """What several proxies saw, by time; what one sent to another was seen by both."""
    found: list[Mapping[str, Json]] = []
    for row in sorted((row for rows in several for row in rows), key=lambda row: _number(row["at"])):
        twin = any(
            all(one[name] == row[name] for name in ("from", "to", "text"))
            and 0 < _number(row["at"]) - _number(one["at"]) < _TWIN_S
            and one["seen_by"] != row["seen_by"]
            for one in found[-_NEAR:]
        )
        if not twin:
            found.append(row)
    return found


def ladder(rows: Sequence[Mapping[str, Json]], names: Mapping[str, str], width: int = 100) -> list[str]:
    """Lines. Who takes part has a column, in the order of appearance; times are seconds since the first message.

    `names`: address -> what it is called.
    """
    if not rows:
        return []
    rows = [{**row, "from": _called(row["from"], names), "to": _called(row["to"], names)} for row in rows]
    places = list(dict.fromkeys(str(row[end]) for row in rows for end in ("from", "to")))
    step = max(_LEAST, min(_MOST, (width - _TIME - 4) // len(places)))
    axis = {place: _TIME + step // 2 + step * number for number, place in enumerate(places)}
    began = _number(rows[0]["at"])
    lines = [_heads(places, axis, step)]
    for row in rows:
        when = f"{_number(row['at']) - began:.3f}"
        lines.append(_line(row, axis, when))
    return lines


def _heads(places: Sequence[str], axis: Mapping[str, int], step: int) -> str:
    line = ""
    for place in places:
        text = place if len(place) < step else f"{place[: step - 2]}~"
        line = line.ljust(max(len(line) + 1, axis[place] - len(text) // 2)) + text
    return line


def _line(row: Mapping[str, Json], axis: Mapping[str, int], when: str) -> str:
    cells = list(" " * (max(axis.values()) + 1))
    cells[: len(when)] = when
    for at in axis.values():
        cells[at] = "|"
    begin, end = axis[str(row["from"])], axis[str(row["to"])]
    label = str(row["short"]) + (" (SDP)" if row["sdp"] else "")
    if begin == end:
        return "".join(cells).rstrip() + f" {label} (to itself)"
    left, right = min(begin, end) + 1, max(begin, end)
    room = right - left - 4
    label = label if len(label) <= room else f"{label[: room - 1]}~"
    shaft = f" {label} ".center(right - left - 1, "-")
    cells[left:right] = f"{shaft}>" if end > begin else f"<{shaft}"
    return "".join(cells).rstrip()


def _called(place: Json, names: Mapping[str, str]) -> str:
    return names.get(str(place).rpartition(":")[0]) or str(place)


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
