"""The multicast sum on every link and direction against the link's capacity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from nf.contracts.planner import LinkLoad
from nf.documents.fleet import Fleet, Link
from nf.documents.lineup import LineUp
from nf.documents.quantities import format_bitrate
from nf.errors import Problem

SHOWN_LOADS = 10


@dataclass(frozen=True, slots=True)
class LinkUse:
    """One direction of one link: what `sender` puts on it in the worst case."""

    link: str
    sender: str
    used_bps: int
    capacity_bps: int


def check_capacity(
    lineup: LineUp, fleet: Fleet, loads: Sequence[LinkLoad]
) -> tuple[tuple[LinkUse, ...], tuple[Problem, ...]]:
    """The use of every loaded direction, and a problem for each that is over capacity.

    A problem's key is the rate of the first delivery, in the order of the line-up, that does not fit any more.
    """
    links = {link.id: link for link in fleet.spec.links}
    by_direction: dict[tuple[str, str], list[LinkLoad]] = defaultdict(list)
    for load in loads:
        by_direction[load.link, load.sender].append(load)
    keys = _delivery_keys(lineup)
    uses: list[LinkUse] = []
    problems: list[Problem] = []
    for (name, sender), carried in sorted(by_direction.items()):
        if name not in links:
            continue
        use = LinkUse(name, sender, sum(load.bitrate_bps for load in carried), links[name].capacity_bps)
        uses.append(use)
        if use.used_bps > use.capacity_bps:
            problems.append(_overload(links[name], use, carried, keys))
    return tuple(uses), tuple(problems)


_Keys = dict[tuple[str, str], tuple[int, int]]


def _delivery_keys(lineup: LineUp) -> _Keys:
    """(channel, path) -> (index of the channel, index of the delivery)."""
    return {
        (channel.id, path.id): (number, index)
        for number, channel in enumerate(lineup.spec.channels)
        for index, path in enumerate(channel.delivery)
    }


def _overload(link: Link, use: LinkUse, carried: Sequence[LinkLoad], keys: _Keys) -> Problem:
    in_order = sorted(
        (load for load in carried if (load.channel, load.path) in keys), key=lambda load: keys[load.channel, load.path]
    )
    total = 0
    key, value = "", ""
    for load in in_order:
        total += load.bitrate_bps
        if total > use.capacity_bps:
            number, index = keys[load.channel, load.path]
            key, value = f"spec.channels[{number}].delivery[{index}].rate", str(format_bitrate(load.bitrate_bps))
            break
    others = ", ".join(end.partition(":")[0] for end in link.endpoints if end.partition(":")[0] != use.sender)
    short = use.used_bps - use.capacity_bps
    rule = (
        f"link {link.id} from {use.sender} to {others} is full: {format_bitrate(use.used_bps)} wanted, "
        f"{format_bitrate(use.capacity_bps)} there, {format_bitrate(short)} short ({_named(in_order)})"
    )
    remedy = f"lower rates by {format_bitrate(short)}, remove a channel or a site, or widen the link in the fleet"
    return Problem(rule, remedy, key=key, value=value)


def _named(loads: Sequence[LinkLoad]) -> str:
    largest = sorted(loads, key=lambda load: (-load.bitrate_bps, load.channel, load.path))
    text = ", ".join(f"{load.channel}/{load.path} {format_bitrate(load.bitrate_bps)}" for load in largest[:SHOWN_LOADS])
    more = len(largest) - SHOWN_LOADS
    return f"{text} and {more} more" if more > 0 else text
