"""From what runs and what is wanted to at most one step. Pure.

HOT: numbers, menus, rooms, boxes, who may call, how many calls: FreeSWITCH reads its file again, and no call notices.
RESTART: where it listens, its password, its modules; what a step costs says how many calls it drops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nf.contracts.driver import State, Step
from nf.contracts.json import Json, JsonObject
from sip.freeswitch.documents import SECTION, FreeswitchSection
from sip.freeswitch.render import fixed_digest
from sip.freeswitch.units import START_S

CONFIGURE, REMOVE, RESTORE = "freeswitch.configure", "freeswitch.remove", "freeswitch.restore"
LIVE: Final = "live"
"""Key beside the section's in what is observed: `amiss` and `cure`, and how many `calls` there are."""
START, RESTART, RELOAD = "start", "restart", "reload"
"""Cures of what is amiss."""
HOT_S: Final = 20.0


def standing(have: JsonObject | None) -> FreeswitchSection | None:
    """What was observed; None when no file of ours is there."""
    data = {key: value for key, value in (have or {}).items() if key != LIVE}
    return FreeswitchSection.model_validate(data) if data else None


def plan(have: State, want: FreeswitchSection | None) -> tuple[Step, ...]:
    before, live = standing(have.value), _live(have.value)
    if want is None:
        return () if have.value is None else (_remove(before, live),)
    if before == want and not live.get("amiss"):
        return ()
    how = _how(before, want, live)
    return (
        Step(
            id=SECTION,
            kind=CONFIGURE,
            arguments={"section": want.to_json()},
            requires=frozenset(want.requires),
            provides=frozenset(want.provides),
            budget_s=HOT_S if how == RELOAD else START_S + HOT_S,
            undo_budget_s=HOT_S if how == RELOAD else START_S + HOT_S,
            disruption=cost(want.server.id, live, "restarting") if how == RESTART else "",
            summary=_summary(before, want, how, live),
        ),
    )


def _how(before: FreeswitchSection | None, want: FreeswitchSection, live: Mapping[str, Json]) -> str:
    cure = live.get("cure")
    if cure == START or (before is None and cure is None):
        return START
    if cure == RESTART or before is None or fixed_digest(before) != fixed_digest(want):
        return RESTART
    return RELOAD


def _summary(before: FreeswitchSection | None, want: FreeswitchSection, how: str, live: Mapping[str, Json]) -> str:
    name = want.server.id
    if how != RELOAD:
        return f"{how} {name}"
    if before is None or live.get("amiss"):
        return f"{name} reads its file again"
    if before.server.drained != want.server.drained and before == _with_drained(want, before.server.drained):
        return f"{name} takes no new calls" if want.server.drained else f"{name} takes new calls"
    return f"{name}: {', '.join(_changes(before, want)) or 'ordering facts'}, while it runs"


def _with_drained(section: FreeswitchSection, drained: bool) -> FreeswitchSection:
    return section.model_copy(update={"server": section.server.model_copy(update={"drained": drained})})


def _changes(before: FreeswitchSection, want: FreeswitchSection) -> list[str]:
    told = {
        "services": before.services != want.services,
        "who may call": before.callers != want.callers,
        "ways out": before.ways_out != want.ways_out,
        "boxes": (before.domains, before.accounts) != (want.domains, want.accounts),
        "limits": (before.server.sessions, before.rate) != (want.server.sessions, want.rate),
        "its share": before.server.weight != want.server.weight,
    }
    return [name for name, changed in told.items() if changed]


def _remove(before: FreeswitchSection | None, live: Mapping[str, Json]) -> Step:
    name = before.server.id if before is not None else "the media server"
    return Step(
        id=SECTION,
        kind=REMOVE,
        arguments={},
        budget_s=HOT_S,
        undo_budget_s=START_S + HOT_S,
        disruption=cost(name, live, "removing"),
        summary=f"remove {name}",
    )


def cost(name: str, live: Mapping[str, Json], verb: str) -> str:
    """In an operator's words; empty when nobody notices."""
    calls = live.get("calls")
    if calls == 0 or live.get("cure") == START:
        return ""
    told = f"{calls:,} call{'' if calls == 1 else 's'}" if isinstance(calls, int) else "all its calls"
    return f"{verb} {name} drops {told}; to drain it first: nf sip drain {name}"


def differences(have: JsonObject | None, want: FreeswitchSection | None) -> tuple[str, ...]:
    """In an operator's words; empty = it runs as is wanted."""
    before, live = standing(have), _live(have)
    if want is None:
        return () if have is None else ("the media server is still there",)
    name = want.server.id
    if have is None:
        return (f"{name} is not there",)
    if live.get("amiss") or before is None:
        return (f"{name} {live.get('amiss') or 'has no file of ours'}",)
    if before == want:
        return ()
    if before.server.drained != want.server.drained:
        told = f"{'takes' if want.server.drained else 'does not take'} new calls"
    else:
        fixed = ["where it listens"] if fixed_digest(before) != fixed_digest(want) else []
        told = f"differs: {', '.join(fixed or _changes(before, want) or ['ordering facts'])}"
    return (f"{name} {told}",)


def _live(have: JsonObject | None) -> Mapping[str, Json]:
    found = (have or {}).get(LIVE)
    return found if isinstance(found, dict) else {}
