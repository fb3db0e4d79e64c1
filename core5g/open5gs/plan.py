"""From what runs and what is wanted to steps: exactly the functions whose file changed restart. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from core5g.open5gs.documents import ManagedFunction, Open5gsSection
from core5g.open5gs.naming import START_ORDER
from nf.contracts.driver import State, Step
from nf.contracts.json import Json, JsonObject

CONFIGURE, REMOVE, RESTORE = "open5gs.configure", "open5gs.remove", "open5gs.restore"
BUDGET_S: Final = 40.0
UNGUARDED: Final = "open to PFCP of others"
UNITS, SESSIONS = "units", "sessions"
"""Keys beside the section's in what is observed: units that are not as they should be, and how many sessions a restart
would drop."""

_SILENT: Final = frozenset({"nrf", "scp", "ausf", "udm", "udr", "pcf", "bsf", "nssf", "hss", "pcrf"})
"""What asks them asks again: sessions that stand need none of them."""
_WHOSE: Final[Mapping[str, tuple[str, str, str]]] = {
    "upf": ("drops", "session", ""),
    "sgwu": ("drops", "EPC bearer", ""),
    "sgwc": ("drops", "EPC bearer", ""),
    "smf": ("drops", "session", ", those of every UPF"),
    "amf": ("makes", "UE", " register anew"),
    "mme": ("drops", "EPC session", ", and their UEs attach anew"),
}


def functions_of(section: Open5gsSection | None) -> dict[str, ManagedFunction]:
    return {function.kind: function for function in section.functions} if section is not None else {}


def standing(value: JsonObject | None) -> dict[str, ManagedFunction]:
    """What was observed, by kind."""
    listed = (value or {}).get("functions")
    found = [ManagedFunction.model_validate(one) for one in (listed if isinstance(listed, list) else ())]
    return {function.kind: function for function in found}


def plan(have: State, want: Open5gsSection | None) -> tuple[Step, ...]:
    """First what goes, last started first; then the others in the order in which they start."""
    before, wanted = standing(have.value), functions_of(want)
    amiss = _mapping(have.value, UNITS)
    gone = [kind for kind in reversed(START_ORDER) if (kind in before or kind in amiss) and kind not in wanted]
    steps = [_remove(kind, before.get(kind), have.value) for kind in gone]
    steps += [
        _configure(wanted[kind], before.get(kind), have.value)
        for kind in START_ORDER
        if kind in wanted and (before.get(kind) != wanted[kind] or kind in amiss)
    ]
    return tuple(steps)


def step_id(kind: str) -> str:
    return f"open5gs.{kind}"


def _configure(function: ManagedFunction, before: ManagedFunction | None, have: JsonObject | None) -> Step:
    name = _title(function)
    amiss = _mapping(have, UNITS).get(function.kind)
    restarts = before is not None and (before.config != function.config or amiss == "altered")
    if before is None or (amiss not in {None, UNGUARDED} and not restarts):
        summary = f"start {name}"
    elif restarts:
        summary = f"restart {name}: its file changed"
    else:
        guarded = amiss == UNGUARDED or before.peers != function.peers
        summary = f"{name}: who may speak PFCP with it" if guarded else f"{name}: ordering facts"
    return Step(
        id=step_id(function.kind),
        kind=CONFIGURE,
        arguments={"function": function.to_json()},
        requires=frozenset(function.requires),
        provides=frozenset(function.provides),
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption=cost(function, have, "restarting") if restarts else "",
        summary=summary,
    )


def _remove(kind: str, before: ManagedFunction | None, have: JsonObject | None) -> Step:
    return Step(
        id=step_id(kind),
        kind=REMOVE,
        arguments={"kind": kind},
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption=cost(before, have, "removing") if before is not None else "",
        summary=f"remove {_title(before) if before is not None else kind.upper()}",
    )


def cost(function: ManagedFunction, have: JsonObject | None, verb: str) -> str:
    """In an operator's words; empty when nobody notices."""
    if verb == "restarting" and function.kind in _SILENT:
        return ""
    if function.kind in _SILENT:
        return f"{verb} {_title(function)} ends its service: no new registrations or sessions that need it"
    count = _mapping(have, SESSIONS).get(function.kind)
    if count == 0:
        return ""
    what, noun, rest = _WHOSE[function.kind]
    told = f"{count:,} {noun}" if isinstance(count, int) else f"all its {noun}"
    first = (
        f"; to drain it first: commit --drain 10m, or nf upf drain {function.name}" if function.kind == "upf" else ""
    )
    return f"{verb} {_title(function)} {what} {told}{'' if count == 1 else 's'}{rest}{first}"


def differences(have: JsonObject | None, want: Open5gsSection | None) -> tuple[str, ...]:
    """In an operator's words; empty = every function runs with the file that is wanted."""
    before, wanted = standing(have), functions_of(want)
    amiss = _mapping(have, UNITS)
    lines = [f"{kind.upper()} is still there" for kind in sorted((before.keys() | amiss.keys()) - wanted.keys())]
    for kind, function in wanted.items():
        if kind not in before and kind not in amiss:
            lines.append(f"{_title(function)} is not there")
        elif kind in amiss:
            lines.append(f"{_title(function)} is {amiss[kind]}")
        elif before[kind].config != function.config:
            lines.append(f"{_title(function)} has another configuration")
        elif before[kind].peers != function.peers:
            lines.append(f"{_title(function)} has other PFCP peers")
        elif before[kind] != function:
            lines.append(f"{_title(function)} has other ordering facts")
    return tuple(lines)


def _title(function: ManagedFunction) -> str:
    kind = function.kind.upper()
    return kind if function.name == function.kind else f"{kind} {function.name}"


def _mapping(have: JsonObject | None, key: str) -> dict[str, Json]:
    found = (have or {}).get(key)
    return found if isinstance(found, dict) else {}
