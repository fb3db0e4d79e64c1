"""Names by which an operator's approval of the way back finds the switch that waits for it.

It comes as the fleet operation `failback`. The planner that compiles a switch of its own (T0) contributes it, one for
each channel and site:

    FleetOperation(FAILBACK, failback_object(channel, site), (((appliance, driver),),))

Its driver has an `Operation` of this name, which gets `{"channel": ..., "path": ...}` (`path`: the one that may
return, or "" for the one that waits) and answers `{"text": ...}`; it raises RefusedError when there is nothing to
approve. The NOC takes the alarm `satellite-on-fallback` of `CHANNEL/PATH` as the fact that the switch is on PATH's
`fallback` (`nf.policy.health.ON_FALLBACK`), and its end as the fact that PATH is back.
"""

from __future__ import annotations

from typing import Final

FAILBACK: Final = "failback"
"""Name of the fleet operation that approves the way back."""


def failback_object(channel: str, site: str) -> str:
    """The object of that operation."""
    return f"{channel}/{site}"
