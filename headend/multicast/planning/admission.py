"""Multicast CAC: what the tree may use of a link, after the MCAC that operators know from SR OS.

Of a link's `unconstrained` rate, `mandatory` is kept for mandatory channels on every link direction that any of their
trees may use; they must fit in it. Optional channels fill the rest, never what is kept. Then bundles are capped. The
link's raw capacity, with all that is delivered over it, is judged elsewhere, for every link.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from headend.multicast.equipment import LinkAdmission
from headend.multicast.planning.planned import Planned, PlannedWay
from headend.multicast.planning.spt import Edge
from nf.documents.quantities import format_bitrate
from nf.documents.rules import unique, unknown
from nf.errors import Problem

_KEY = "spec.equipment.multicast.links"
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Claim:
    """What a path asks of one direction of a link."""

    way: PlannedWay
    bitrate_bps: int

    @property
    def mandatory(self) -> bool:
        return self.way.way.path.admission == "mandatory"


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit of one direction of a link, and who it is for. `what`: in words."""

    edge: Edge
    what: str
    limit_bps: int
    claims: tuple[Claim, ...]

    @property
    def wanted_bps(self) -> int:
        return sum(claim.bitrate_bps for claim in self.claims)

    @property
    def short_bps(self) -> int:
        return max(0, self.wanted_bps - self.limit_bps)


def claims_by_direction(ways: Iterable[PlannedWay]) -> dict[Edge, list[Claim]]:
    found: dict[Edge, list[Claim]] = defaultdict(list)
    for way in ways:
        for edge, times in way.edges.items():
            found[edge].append(Claim(way, times * way.way.path.rate_bps))
    return found


def budgets(rules: Sequence[LinkAdmission], claims: dict[Edge, list[Claim]]) -> Iterator[Budget]:
    """Every limit of every direction that somebody claims something of."""
    by_link = {rule.link: rule for rule in rules}
    for edge, asked in sorted(claims.items(), key=lambda one: (one[0].link, one[0].sender)):
        rule = by_link.get(edge.link)
        if rule is not None:
            yield from _budgets(rule, edge, asked)


def _budgets(rule: LinkAdmission, edge: Edge, asked: Sequence[Claim]) -> Iterator[Budget]:
    if rule.mandatory_bps is None:
        yield Budget(edge, "multicast", rule.unconstrained_bps, tuple(asked))
    else:
        left = rule.unconstrained_bps - rule.mandatory_bps
        yield Budget(edge, "mandatory channels", rule.mandatory_bps, tuple(c for c in asked if c.mandatory))
        yield Budget(edge, "optional channels", left, tuple(c for c in asked if not c.mandatory))
    for bundle in rule.bundles:
        own = tuple(claim for claim in asked if claim.way.way.path.bundle == bundle.id)
        yield Budget(edge, f"the bundle {bundle.id}", bundle.limit_bps, own)


def admission_problems(plan: Planned) -> Iterator[Problem]:
    """A problem for each limit that is exceeded, at the rate of the first path that does not fit any more."""
    rules = plan.equipment.links
    capped = {bundle.id for rule in rules for bundle in rule.bundles}
    for planned in plan.ways:
        bundle = planned.way.path.bundle
        if bundle is not None and bundle not in capped:
            yield unknown(f"bundle in {_KEY}[].bundles of the fleet", f"{planned.way.key}.bundle", bundle, capped)
    yield from unique(
        "the link has a rule already: {first}",
        "write one for each link",
        ((f"{_KEY}[{number}].link", rule.link, rule.link) for number, rule in enumerate(rules)),
    )
    known = {link.id: link for link in plan.fleet.spec.links}
    for number, rule in enumerate(rules):
        link = known.get(rule.link)
        if link is None:
            yield unknown("link in the fleet", f"{_KEY}[{number}].link", rule.link, known)
        elif rule.unconstrained_bps > link.capacity_bps:
            yield Problem(
                f"more than the link's capacity, {format_bitrate(link.capacity_bps)}",
                "lower it, or correct the capacity",
                key=f"{_KEY}[{number}].unconstrained",
                value=str(format_bitrate(rule.unconstrained_bps)),
            )
    for budget in budgets(rules, claims_by_direction(plan.ways)):
        if budget.short_bps:
            yield _refusal(plan, budget)


def _refusal(plan: Planned, budget: Budget) -> Problem:
    total, over = 0, budget.claims[-1]
    for claim in budget.claims:
        total += claim.bitrate_bps
        if total > budget.limit_bps:
            over = claim
            break
    short = format_bitrate(budget.short_bps)
    return Problem(
        f"{told(plan, budget)} ({named(budget.claims)})",
        f"lower rates by {short}, remove a channel or a site, or raise the link's budget in the fleet",
        key=f"{over.way.way.key}.rate",
        value=str(format_bitrate(over.way.way.path.rate_bps)),
    )


def told(plan: Planned, budget: Budget) -> str:
    """Link, direction and shortfall, in words."""
    edge = budget.edge
    others = ", ".join(name for name in plan.topology.members.get(edge.link, ()) if name != edge.sender)
    return (
        f"link {edge.link} from {edge.sender} to {others} has {format_bitrate(budget.limit_bps)} for {budget.what}: "
        f"{format_bitrate(budget.wanted_bps)} wanted, {format_bitrate(budget.short_bps)} short"
    )


def named(claims: Sequence[Claim]) -> str:
    """The largest of them."""
    largest = sorted(claims, key=lambda claim: (-claim.bitrate_bps, claim.way.way.name))
    text = ", ".join(f"{claim.way.way.name} {format_bitrate(claim.bitrate_bps)}" for claim in largest[:_SHOWN])
    more = len(largest) - _SHOWN
    return f"{text} and {more} more" if more > 0 else text
