"""Which OSPF and PIM adjacencies stand, from the daemons' JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headend.multicast.documents import FrrSection
from nf.contracts.json import Json, JsonObject
from nf.telemetry.alarms import AlarmEvent, Severity

Adjacency = tuple[str, str]
"""(interface, "ospf" or "pim")."""

CAUSE = "adjacency-down"


def expected(section: FrrSection) -> frozenset[Adjacency]:
    """Those that a neighbour is expected on: every interface that is not passive."""
    active = [i for i in section.interfaces if i.ospf and not i.passive and i.name != "lo"]
    return frozenset((i.name, "ospf") for i in active) | frozenset((i.name, "pim") for i in active if i.pim)


def ospf_up(neighbors: JsonObject) -> frozenset[Adjacency]:
    """Interfaces with a fully adjacent neighbour (RFC 2328 section 10.1), from `show ip ospf neighbor json`."""
    up: set[Adjacency] = set()
    for entry in _entries(neighbors.get("neighbors", neighbors)):
        state = str(entry.get("nbrState") or entry.get("state") or "")
        name = str(entry.get("ifaceName") or "").partition(":")[0]
        if name and state.partition("/")[0].lower() == "full":
            up.add((name, "ospf"))
    return frozenset(up)


def _entries(neighbors: Json) -> Iterable[JsonObject]:
    for group in neighbors.values() if isinstance(neighbors, dict) else ():
        for entry in group if isinstance(group, list) else ():
            if isinstance(entry, dict):
                yield entry


def pim_up(neighbors: JsonObject) -> frozenset[Adjacency]:
    """Interfaces with a PIM neighbour (RFC 7761 section 4.3), from `show ip pim neighbor json`."""
    return frozenset((name, "pim") for name, on_it in neighbors.items() if isinstance(on_it, dict) and on_it)


class AdjacencyAlarms:
    """Turns what is expected and what is up into alarms that are raised and cleared once each."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._known: dict[Adjacency, bool] = {}

    def take(
        self, wanted: frozenset[Adjacency], up: frozenset[Adjacency], at: float, reasons: Mapping[str, str]
    ) -> tuple[AlarmEvent, ...]:
        """`reasons`: protocol -> why its state could not be read; its adjacencies count as down."""
        events = [self._event(adjacency, Severity.CLEARED, at) for adjacency in sorted(self._known.keys() - wanted)]
        for adjacency in sorted(wanted):
            is_up = adjacency in up
            if self._known.get(adjacency) is not is_up:
                severity = Severity.CLEARED if is_up else Severity.MAJOR
                events.append(self._event(adjacency, severity, at, reasons.get(adjacency[1], "")))
        self._known = {adjacency: adjacency in up for adjacency in wanted}
        return tuple(events)

    def _event(self, adjacency: Adjacency, severity: Severity, at: float, reason: str = "") -> AlarmEvent:
        interface, protocol = adjacency
        down = severity is not Severity.CLEARED
        text = f"{protocol.upper()} has {'no' if down else 'a'} neighbour on {interface}"
        return AlarmEvent(
            cause=CAUSE,
            object=f"{self._appliance}/{interface}/{protocol}",
            severity=severity,
            at=at,
            text=f"{text}: {reason}" if reason else text,
            remedy=f"look at the link behind {interface} and at the router on its other end" if down else "",
        )
