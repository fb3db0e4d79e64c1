"""What the policy says of a channel at a site, from its state and the verdicts: ranking and alarms. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from nf.contracts.paths import PathHealth, Verdict
from nf.noc.policy_places import Spot
from nf.noc.policy_records import SpotRecord
from nf.policy.engine import RANK
from nf.policy.model import Candidate, Phase
from nf.telemetry.alarms import Severity

PATH_DOWN: Final = "path-down"
FAILOVER: Final = "failover"
WAITS: Final = "failback-waits-for-approval"
BARRED: Final = "failover-barred"
CAUSES: Final = (PATH_DOWN, FAILOVER, WAITS, BARRED)
TOLD_S: Final = 3.0
"""A path is down for so long before the NOC raises an alarm of its own: whoever measures it is quicker."""


@dataclass(frozen=True, slots=True)
class Order:
    """A ranking without its number."""

    paths: tuple[str, ...]
    active: str
    alert: bool


@dataclass(frozen=True, slots=True)
class Told:
    """An alarm that is to stand."""

    cause: str
    subject: str
    severity: Severity
    text: str
    remedy: str


def candidates(spot: Spot, health: Mapping[str, PathHealth]) -> tuple[Candidate, ...]:
    """The preferred first, which is their priority."""
    return tuple(
        Candidate(at.path.id, health[at.path.id].verdict, number, not at.path.scrambled, health[at.path.id].reason)
        for number, at in enumerate(spot.paths)
    )


def order_of(spot: Spot, health: Mapping[str, PathHealth], record: SpotRecord) -> Order:
    """The active path, then the others by how they are, and by preference among those that are equal."""
    state = record.state
    names = [at.path.id for at in spot.paths]
    if state is None:
        return Order(tuple(names), "", alert=True)
    rest = sorted((name for name in names if name != state.active), key=lambda name: RANK[health[name].verdict])
    calm = state.active == names[0] and state.phase is Phase.SETTLED
    usable = any(one.verdict is not Verdict.DOWN for one in health.values()) or state.phase is not Phase.BARRED
    if not usable:
        return Order((state.active, *rest), "", alert=True)
    degraded = health[state.active].verdict in {Verdict.DEGRADED, Verdict.DOWN}
    return Order((state.active, *rest), state.active, alert=not calm or degraded)


def alarms_of(
    spot: Spot,
    health: Mapping[str, PathHealth],
    record: SpotRecord,
    now: float,
    *,
    said: Callable[[str, str], bool],
    barred: str,
) -> Iterator[Told]:
    """Those that are to stand. `said`: whether an appliance of the site says (cause, path) itself; `barred`: why the
    active path has to stay although it is bad and another could be taken."""
    channel, site, state = spot.channel, spot.site, record.state
    here = f"{channel}/{site}"
    for at in spot.paths:
        one = health[at.path.id]
        if one.verdict is Verdict.DOWN and now - one.since >= TOLD_S and not said(PATH_DOWN, at.path.id):
            remedy = f"nf channel show {channel} tells where it ends"
            yield Told(PATH_DOWN, f"{channel}/{at.path.id}/{site}", Severity.MAJOR, one.reason, remedy)
    if state is None:
        return
    first = spot.paths[0].path.id
    if state.active != first:
        text = f"{channel} is taken by {state.active} instead of {first} at {site}"
        text = f"{text}: {record.reason}" if record.reason else text
        yield Told(FAILOVER, here, Severity.MINOR, text, f"nf path show {channel} --site {site} says when it returns")
    if state.phase is Phase.WAITING:
        text = f"{state.waiting} is sound again, and returns when an operator lets it"
        yield Told(WAITS, here, Severity.WARNING, text, f"nf path approve {channel} --site {site}")
    if state.phase is Phase.BARRED and barred:
        yield Told(BARRED, here, Severity.MAJOR, barred, "see `nf path history`: what goes to and fro, and why")
