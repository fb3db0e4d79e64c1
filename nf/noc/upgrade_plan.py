"""Who is upgraded with whom, and what follows from what an appliance says: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from nf.documents.fleet import Criticality, Fleet
from nf.noc.upgrade_records import MemberState

WAVE: Final = 4
"""Appliances at once after the canary, when nobody says."""


def plan_waves(fleet: Fleet, names: Sequence[str], canary: str, size: int) -> tuple[tuple[str, ...], ...]:
    """The canary alone, then waves of at most `size`, none of which takes away what stands in for one another.

    Not in one wave: two of a site, nor all of those that carry a function which several carry.
    """
    waves: list[list[str]] = [[canary]] if canary else []
    first = len(waves)
    for name in sorted(set(names) - {canary}):
        for wave in waves[first:]:
            if len(wave) < size and not in_the_way(fleet, name, wave):
                wave.append(name)
                break
        else:
            waves.append([name])
    return tuple(map(tuple, waves))


def in_the_way(fleet: Fleet, name: str, others: Sequence[str]) -> str:
    """Why `name` may not be away while `others` are, in words; empty = it may."""
    sites = {appliance.id: appliance.site for appliance in fleet.spec.appliances}
    for other in others:
        if other != name and sites.get(other) == sites.get(name):
            return f"{other} of the same site is away"
    carriers: dict[str, set[str]] = {}
    for placement in fleet.spec.placement:
        carriers.setdefault(placement.function, set()).update(placement.appliances)
    for function, carried in sorted(carriers.items()):
        rest = carried - {name, *others}
        if name in carried and len(carried) > 1 and not rest:
            return f"nobody else would carry {function}"
    return ""


def choose_canary(fleet: Fleet, names: Sequence[str], online: frozenset[str]) -> str:
    """One that is there, at a site that the fleet can do without if there is one; the first by name."""
    optional = {site.id for site in fleet.spec.sites if site.criticality is Criticality.OPTIONAL}
    sites = {appliance.id: appliance.site for appliance in fleet.spec.appliances}
    return min(names, key=lambda name: (name not in online, sites.get(name) not in optional, name))


class Action(Enum):
    ORDER = "order"
    INSTALL = "install"
    ACTIVATE = "activate"
    WAIT = "wait"
    END = "end"


_A, _M = Action, MemberState

SAID: Final[Mapping[str, tuple[Action, MemberState]]] = {
    "transfer": (_A.WAIT, _M.TRANSFER),
    "fetched": (_A.INSTALL, _M.INSTALL),
    "installing": (_A.WAIT, _M.INSTALL),
    "installed": (_A.ACTIVATE, _M.INSTALLED),
    "activating": (_A.WAIT, _M.ACTIVATE),
    "activated": (_A.WAIT, _M.REBOOT),
    "trial": (_A.WAIT, _M.TRIAL),
    "giving-up": (_A.WAIT, _M.TRIAL),
    "healthy": (_A.END, _M.GOOD),
    "fell-back": (_A.END, _M.FELL_BACK),
    "failed": (_A.END, _M.FAILED),
    "cancelled": (_A.END, _M.CANCELLED),
}
"""What the appliance's update is (`images.update.states`) -> what is to be done, and how the NOC calls that."""


def next_action(order: str, ordered: bool, said_order: str, said: str) -> tuple[Action, MemberState]:
    """`order`: the update's id there; `ordered`: it was asked for and taken. Whatever was done before is not repeated.

    An appliance that was asked and speaks of another update, or of none, has lost it: that is a failure.
    """
    if said_order == order:
        return SAID.get(said, (Action.WAIT, MemberState.TRANSFER))
    return (Action.END, MemberState.FAILED) if ordered else (Action.ORDER, MemberState.TRANSFER)
