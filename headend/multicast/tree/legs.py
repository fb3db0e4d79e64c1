"""Alarm `legs-share-router`: both trees of a protected channel go through one router that they do not meet at. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from headend.multicast.documents import TreeEntry
from headend.multicast.tree.mroute import MulticastRoute
from nf.telemetry.alarms import AlarmEvent, Severity

CAUSE = "legs-share-router"


def shared(
    entries: Sequence[TreeEntry], routes: Mapping[tuple[str, str], MulticastRoute]
) -> frozenset[tuple[str, str]]:
    """(channel, path) whose legs a and b both have outputs in `routes` although an entry does not say `meets`."""
    legs: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    apart: set[tuple[str, str]] = set()
    for entry in entries:
        route = routes.get((str(entry.source), str(entry.group)))
        if entry.leg is not None and route is not None and route.wanted:
            legs[entry.channel, entry.path].add(entry.leg)
            if not entry.meets:
                apart.add((entry.channel, entry.path))
    return frozenset(path for path, found in legs.items() if len(found) > 1 and path in apart)


def _watched(entries: Sequence[TreeEntry]) -> frozenset[tuple[str, str]]:
    """(channel, path) whose legs a and b are both to cross this router, and do not meet here."""
    legs: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in entries:
        if entry.leg is not None:
            legs[entry.channel, entry.path].add(entry.leg)
    apart = {(entry.channel, entry.path) for entry in entries if not entry.meets}
    return frozenset(path for path, found in legs.items() if len(found) > 1 and path in apart)


class LegAlarms:
    """Turns successive readings into alarms that are raised and cleared once each. Says every state once, also the good
    one, so that what an earlier life of the agent raised is cleared."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[tuple[str, str], bool] = {}

    def take(
        self, entries: Sequence[TreeEntry], routes: Mapping[tuple[str, str], MulticastRoute], at: float
    ) -> tuple[AlarmEvent, ...]:
        """`at`: seconds since the epoch."""
        raised, watched = shared(entries, routes), _watched(entries)
        gone = {path: False for path, said in self._said.items() if said and path not in watched}
        now = {path: path in raised for path in sorted(watched)}
        told = gone | {path: state for path, state in now.items() if self._said.get(path) is not state}
        self._said = now
        return tuple(self._event(path, Severity.MAJOR if told[path] else Severity.CLEARED, at) for path in told)

    def _event(self, path: tuple[str, str], severity: Severity, at: float) -> AlarmEvent:
        name = "/".join(path)
        over = severity is Severity.CLEARED
        return AlarmEvent(
            cause=CAUSE,
            object=f"{self._appliance}/{name}",
            severity=severity,
            at=at,
            text=f"the legs of {name} {'no longer ' if over else ''}both go through this router",
            remedy="" if over else "look for a link or router that is down on one leg; this router is a single failure",
        )
