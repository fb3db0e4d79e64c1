"""What a loss would do, in sentences and as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from headend.multicast.planning.admission import named, told
from headend.multicast.planning.planned import Planned
from headend.multicast.planning.whatif import Squeezed, WhatIf
from nf.contracts.json import JsonObject

_SHOWN = 12


def sentences(plan: Planned, found: WhatIf) -> Iterator[str]:
    if not (found.moves or found.lost):
        yield f"{found.loss.what}: no channel of IPTV is touched"
        return
    moved = {move.way.way.name for move in found.moves}
    yield f"{found.loss.what}: {_plural(len(moved), 'path')} touched"
    for name, places in _by_name((planned.way.name, place) for planned, place in found.lost):
        yield f"lost: {name} at {_some(places)}"
    gone = {(planned.way.name, pop) for planned, pop in found.lost}
    halves = [
        (f"{move.way.way.name}, leg {move.leg}", move.pop)
        for move in found.moves
        if move.lost and move.leg is not None and (move.way.way.name, move.pop) not in gone
    ]
    for name, places in _by_name(halves):
        yield f"gone, while the other leg goes on without a gap: {name} at {_some(places)}"
    for planned, pop, routers in found.shared:
        yield f"both legs of {planned.way.name} to {pop} then pass {', '.join(routers)}"
    if not found.squeezed:
        yield "what remains fits on every link"
    for one in found.squeezed:
        yield f"does not fit: {told(plan, one.budget)}; out: {named(one.out)}"


def whatif_json(found: WhatIf) -> JsonObject:
    return {
        "loss": {"link": found.loss.link or None, "node": found.loss.node or None},
        "moves": [
            {
                "channel": move.way.way.channel.id,
                "path": move.way.way.path.id,
                "leg": move.leg,
                "pop": move.pop,
                "now": list(move.before),
                "then": list(move.after),
            }
            for move in found.moves
        ],
        "lost": [
            {"channel": planned.way.channel.id, "path": planned.way.path.id, "pop": place}
            for planned, place in found.lost
        ],
        "shared": [
            {
                "channel": planned.way.channel.id,
                "path": planned.way.path.id,
                "pop": pop,
                "routers": list(routers),
            }
            for planned, pop, routers in found.shared
        ],
        "does_not_fit": [_squeezed_json(one) for one in found.squeezed],
    }


def _squeezed_json(one: Squeezed) -> JsonObject:
    budget = one.budget
    return {
        "link": budget.edge.link,
        "sender": budget.edge.sender,
        "limit": budget.what,
        "limit_bps": budget.limit_bps,
        "wanted_bps": budget.wanted_bps,
        "short_bps": budget.short_bps,
        "out": [
            {
                "channel": claim.way.way.channel.id,
                "path": claim.way.way.path.id,
                "admission": claim.way.way.path.admission,
                "bitrate_bps": claim.bitrate_bps,
            }
            for claim in one.out
        ],
    }


def _by_name(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, place in pairs:
        found[name].append(place)
    return sorted(found.items())


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
