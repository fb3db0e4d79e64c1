"""What `nf steer` shows: what the documents plan for each UPF, and what the mechanisms answered. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from core5g.documents import EQUIPMENT, Core5g
from core5g.steering.contract import STEER_EXPLAIN, Explanation, Listing
from core5g.steering.destinations import network_of
from core5g.steering.places import Member, Places, Steering
from core5g.steering.ways import Way, ways
from nf.contracts.json import JsonObject
from nf.contracts.noc_client import NodeOutcome
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.rules import nearest
from nf.errors import DriverError, InputError, NfError, NotFoundError

MOST_DESTINATIONS: Final = 16
DONE: Final = "done"


@dataclass(frozen=True, slots=True)
class Planned:
    """A UPF that steers, and the paths that leave at it."""

    steering: Steering
    ways: tuple[Way, ...]

    @property
    def mechanism(self) -> str:
        return "n6" if self.steering.classifier is None else "classifier"

    @property
    def cache(self) -> str:
        cache = self.steering.cache
        return f"{cache.addresses} ({cache.appliance})"

    def to_json(self) -> JsonObject:
        steering = self.steering
        cache = steering.cache
        later: JsonObject = {"address6": str(cache.address6)} if cache.address6 is not None else {}
        return {
            "upf": steering.upf.id,
            "mechanism": self.mechanism,
            "appliance": steering.member[0],
            "breakout": steering.breakout.id,
            "cache": {"appliance": cache.appliance, "address": str(cache.address), **later},
            "paths": [
                {
                    "channel": way.channel.id,
                    "path": way.path.id,
                    "host": way.host,
                    "prefixes": [str(prefix) for prefix in way.path.prefixes],
                    "names": [*way.path.names],
                }
                for way in self.ways
            ],
        }


def planned(lineup: LineUp, fleet: Fleet) -> tuple[Planned, ...]:
    """By the UPF's id. Raises NotFoundError when nothing steers."""
    core = fleet.spec.equipment.get(EQUIPMENT)
    places = Places(fleet, core) if isinstance(core, Core5g) else None
    if places is None or not places.steering:
        remedy = f"write steering at a UPF of {EQUIPMENT} in the fleet document, and commit it"
        raise NotFoundError("no UPF of the committed fleet steers", where="nf steer", remedy=remedy)
    found = sorted(ways(lineup), key=lambda way: way.name)
    return tuple(
        Planned(steering, tuple(way for way in found if name in way.path.upfs))
        for name, steering in sorted(places.steering.items())
    )


def find(plans: Sequence[Planned], upf: str) -> Planned:
    """Raises NotFoundError."""
    for plan in plans:
        if plan.steering.upf.id == upf:
            return plan
    known = [plan.steering.upf.id for plan in plans]
    raise NotFoundError("no such UPF that steers", where=upf, remedy=nearest(upf, known))


def of_member(plans: Sequence[Planned], member: Member) -> str:
    """The UPF for which (appliance, driver) answers."""
    return next((plan.steering.upf.id for plan in plans if plan.steering.member == member), "")


def destinations(plans: Sequence[Planned]) -> tuple[str, ...]:
    """What people ask about when they name nothing: an address of each CDN prefix, and each of its names."""
    found: dict[str, None] = {}
    for plan in plans:
        for way in plan.ways:
            for prefix in way.path.prefixes:
                whole = prefix.prefixlen >= prefix.max_prefixlen - 1
                found[str(prefix.network_address if whole else prefix.network_address + 1)] = None
            found.update(dict.fromkeys(way.path.names))
    return tuple(found)[:MOST_DESTINATIONS]


def parse_destination(text: str) -> str:
    """An address, a prefix, or a name. Raises InputError."""
    network = network_of(text)
    if network is not None:
        return str(network if network.prefixlen < network.max_prefixlen else network.network_address)
    name = text.lower().rstrip(".")
    labels = name.split(".")
    plain = all(label and len(label) <= 63 and label.replace("-", "a").isalnum() for label in labels)
    if not plain or not name.isascii() or len(name) > 253 or labels[-1].isdecimal():
        remedy = "write an address or a prefix, such as 203.0.113.0/24, or a name, such as cdn.streamverse.test"
        raise InputError("neither an address nor a prefix nor a name", where=text[:80], remedy=remedy)
    return name


# ---- answers ----


@dataclass(frozen=True, slots=True)
class Listed:
    """What is known of a UPF now; `listing` is None when it was not told, and `fault` says why."""

    plan: Planned
    listing: Listing | None
    fault: str = ""

    @property
    def verdict(self) -> str:
        if self.listing is None:
            return "unknown"
        return "open" if self.listing.open else "closed"

    def to_json(self) -> JsonObject:
        listing = self.listing
        live: JsonObject | None = None
        if listing is not None:
            live = {
                "open": listing.open,
                "why": listing.why,
                "since": listing.since,
                "prefixes": listing.prefixes,
                "names": [*listing.names],
                "steered_packets": listing.steered_packets,
                "default_packets": listing.default_packets,
                "sessions": listing.sessions,
                "steered_sessions": listing.steered_sessions,
                "influences": [*sorted(listing.influences)],
            }
        return {**self.plan.to_json(), "verdict": self.verdict, "live": live, "fault": self.fault}

    def row(self) -> tuple[str, ...]:
        head = (self.plan.steering.upf.id, self.plan.mechanism, self.plan.steering.member[0], self.verdict)
        one = self.listing
        if one is None:
            return (*head, "", "", "", "", "", "", self.fault)
        counts = (str(one.prefixes), str(len(one.names)), *one.counted)
        return (*head, when(one.since), *counts, str(len(one.influences)), one.why)


COLUMNS: Final = (
    *("UPF", "MECHANISM", "APPLIANCE", "STATE", "SINCE", "PREFIXES", "NAMES", "STEERED", "DEFAULT", "INFLUENCES"),
    "REASON",
)


def listed(plans: Sequence[Planned], nodes: Sequence[NodeOutcome]) -> tuple[Listed, ...]:
    answers = {(node.appliance, node.driver): node for node in nodes}
    found: list[Listed] = []
    for plan in plans:
        node = answers.get(plan.steering.member)
        if node is None or node.state != DONE:
            found.append(Listed(plan, None, "was not asked" if node is None else f"{node.state}: {node.text}"))
            continue
        try:
            found.append(Listed(plan, Listing.of(node.result)))
        except DriverError as error:
            found.append(Listed(plan, None, str(error)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Told:
    """What a mechanism says of a UE and a destination."""

    destination: str
    upf: str
    appliance: str
    explanation: Explanation | None
    fault: str = ""

    @property
    def steered(self) -> bool:
        return self.explanation is not None and self.explanation.exit in {"cache", "partly"}

    @property
    def knows(self) -> bool:
        return self.explanation is not None and self.explanation.exit != "unknown-ue"

    def to_json(self) -> JsonObject:
        head: JsonObject = {"destination": self.destination, "upf": self.upf, "appliance": self.appliance}
        told = self.explanation.to_json() if self.explanation is not None else {"exit": None}
        return {**head, **told, "fault": self.fault}

    def row(self) -> tuple[str, ...]:
        one = self.explanation
        if one is None:
            return self.destination, self.upf, "", "", "", self.fault
        why = f"{one.why} ({self.fault})" if self.fault else one.why
        return self.destination, self.upf, one.exit, one.cache or "", one.rule, why


TOLD_COLUMNS: Final = ("DESTINATION", "UPF", "EXIT", "CACHE", "RULE", "REASON")


def told(plans: Sequence[Planned], destination: str, nodes: Sequence[NodeOutcome]) -> tuple[Told, ...]:
    """Those who know the UE first."""
    found: list[Told] = []
    for node in nodes:
        upf = of_member(plans, (node.appliance, node.driver))
        explanation, fault = None, ""
        if node.state != DONE:
            fault = f"{node.state}: {node.text}"
        else:
            try:
                explanation = Explanation.of(node.result)
            except NfError as error:
                fault = str(error)
        found.append(Told(destination, upf, node.appliance, explanation, fault))
    return tuple(sorted(found, key=lambda one: (not one.knows, one.upf)))


def edges(plans: Sequence[Planned], found: Sequence[Told]) -> tuple[Planned, ...]:
    """The UPFs to which classifiers send something of it, and whose gates therefore decide where it leaves."""
    names = {edge for one in found if one.steered and (edge := _edge(plans, one)) is not None}
    return tuple(find(plans, name) for name in sorted(names))


def gated(plans: Sequence[Planned], found: Sequence[Told], gates: Sequence[Listed]) -> tuple[Told, ...]:
    """With what the gates of the edges make of it: a classifier on another appliance does not see that of its edge."""
    by_edge = {gate.plan.steering.upf.id: gate for gate in gates}
    return tuple(_gated(one, by_edge.get(_edge(plans, one) or "")) for one in found)


def _edge(plans: Sequence[Planned], one: Told) -> str | None:
    steering = find(plans, one.upf).steering if one.upf else None
    return steering.breakout.id if steering is not None and steering.classifier is not None else None


def _gated(one: Told, gate: Listed | None) -> Told:
    explanation = one.explanation
    if gate is None or explanation is None or not one.steered:
        return one
    edge = gate.plan.steering.upf.id
    if gate.listing is None:
        return replace(one, fault=f"whether the gate of {edge} is open is not told: {gate.fault}")
    if gate.listing.open:
        return one
    why = f"{explanation.why}; the gate of {edge} is shut, it leaves by the default exit there: {gate.listing.why}"
    return replace(one, explanation=Explanation("default", why, explanation.rule))


def conclude(ue: str, found: Sequence[Told]) -> None:
    """Raises NotFoundError when nobody knows the UE, DriverError when those who know, or may know, were not asked."""
    if any(one.knows for one in found):
        unsure = sorted({one.fault for one in found if one.steered and one.fault})
        if unsure:
            remedy = "bring it back: while its gate is shut, the default exit is taken"
            raise DriverError("; ".join(unsure), where=ue, remedy=remedy)
        return
    missing = sorted({one.upf or one.appliance for one in found if one.explanation is None})
    if missing:
        remedy = "bring them back, or see what they say: nf steer list"
        raise DriverError(
            f"no UPF that answered knows this UE; not told by {', '.join(missing)}", where=ue, remedy=remedy
        )
    reasons = {one.explanation.why for one in found if one.explanation is not None and one.explanation.why}
    why = f" ({'; '.join(sorted(reasons))})" if reasons else ""
    remedy = "see that it has a session at one of them, and name it by its address"
    raise NotFoundError(f"no UPF that steers knows this UE{why}"[:600], where=f"{STEER_EXPLAIN} {ue}", remedy=remedy)


def when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") if at > 0 else ""
