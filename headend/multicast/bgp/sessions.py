"""Which BGP sessions stand, as alarms that are raised and cleared once each. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from nf.contracts.json import JsonObject
from nf.telemetry.alarms import AlarmEvent, Severity

CAUSE = "bgp-session-down"


def sessions_up(summary: JsonObject) -> dict[str, bool]:
    """Neighbour -> whether its session is established, from `show bgp ipv4 unicast summary json`."""
    peers = summary.get("peers")
    entries = peers if isinstance(peers, dict) else {}
    return {name: isinstance(one, dict) and one.get("state") == "Established" for name, one in entries.items()}


class SessionAlarms:
    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._known: dict[str, bool] = {}

    def take(self, peers: Mapping[str, bool], at: float) -> tuple[AlarmEvent, ...]:
        gone = [self._event(name, at, up=True) for name in sorted(self._known.keys() - peers.keys())]
        new = [self._event(name, at, up=up) for name, up in sorted(peers.items()) if self._known.get(name) is not up]
        self._known = dict(peers)
        return (*gone, *new)

    def _event(self, name: str, at: float, *, up: bool) -> AlarmEvent:
        return AlarmEvent(
            cause=CAUSE,
            object=f"{self._appliance}/bgp/{name}",
            severity=Severity.CLEARED if up else Severity.MAJOR,
            at=at,
            text=f"BGP has {'a' if up else 'no'} session with {name}",
            remedy="" if up else f"look at the link to {name}, and whether both ends name the same AS numbers",
        )
