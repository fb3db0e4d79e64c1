"""Samples of the tree: bit rate, packets and age of each admitted (S, G), from the kernel's counters. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headend.multicast.documents import TreeEntry
from headend.multicast.planning.facts import point
from headend.multicast.tree.mroute import MulticastRoute
from nf.telemetry.samples import Sample

_HEADERS = 28
"""Octets of the IPv4 and UDP headers (RFC 791, RFC 768), which are no payload."""


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    route: MulticastRoute | None
    moved_at: float | None


class TreeMeter:
    """Turns successive readings of the routes into samples of kind `path.hop`, point `tree`, or `tree-a` and `tree-b`.

    bitrate_bps   UDP payload between two readings; 0 in the first one
    packets       forwarded since the kernel made the route (it forgets a route that nobody wants)
    age_ms        since the counter last moved; absent while it never did
    wanted        1 when the kernel has an output for it; 0 when no receiver behind this router asks
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], _Reading] = {}

    def take(
        self, entries: Sequence[TreeEntry], routes: Mapping[tuple[str, str], MulticastRoute], now: float, at: float
    ) -> tuple[Sample, ...]:
        """`now`: monotonic seconds, for differences; `at`: seconds since the epoch, for the samples."""
        wanted = {key: route for key, route in routes.items() if route.wanted}
        readings = {key: self._reading(key, wanted.get(key), now) for key in map(_key, entries)}
        samples = [self._sample(entry, readings[_key(entry)], now, at) for entry in entries]
        self._last = readings
        return tuple(samples)

    def _reading(self, key: tuple[str, str], route: MulticastRoute | None, now: float) -> _Reading:
        last = self._last.get(key)
        if last is None:
            return _Reading(now, route, None)
        before = last.route.forwarded if last.route is not None else 0
        moved = route is not None and route.forwarded != before and route.forwarded > 0
        return _Reading(now, route, now if moved else last.moved_at)

    def _sample(self, entry: TreeEntry, reading: _Reading, now: float, at: float) -> Sample:
        last = self._last.get(_key(entry))
        values = {
            "bitrate_bps": _bitrate(last, reading),
            "packets": float(reading.route.forwarded if reading.route is not None else 0),
            "wanted": float(reading.route is not None),
        }
        if reading.moved_at is not None:
            values["age_ms"] = (now - reading.moved_at) * 1000.0
        labels = {"channel": entry.channel, "path": entry.path, "point": point("tree", entry.leg)}
        return Sample(kind="path.hop", at=at, labels=labels, values=values)


def _key(entry: TreeEntry) -> tuple[str, str]:
    return (str(entry.source), str(entry.group))


def _bitrate(last: _Reading | None, reading: _Reading) -> float:
    if last is None or reading.route is None or reading.at <= last.at:
        return 0.0
    before, route = last.route, reading.route
    anew = before is None or route.packets < before.packets
    arrived = route.packets if anew or before is None else route.packets - before.packets
    octets = route.octets if anew or before is None else route.octets - before.octets
    forwarded = route.forwarded if anew or before is None else route.forwarded - before.forwarded
    if arrived <= 0 or forwarded <= 0:
        return 0.0
    # The kernel counts octets of what it drops on the wrong interface too: they are taken off in proportion.
    payload = max(0.0, octets * forwarded / arrived - _HEADERS * forwarded)
    return payload * 8.0 / (reading.at - last.at)
