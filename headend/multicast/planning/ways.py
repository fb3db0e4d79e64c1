"""The delivery paths of type ssm with where they stand, and the groups that they have: written or allocated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headend.multicast.addresses import IpAddress
from headend.multicast.documents import Leg, SsmPath
from headend.multicast.equipment import GroupPool
from headend.multicast.planning.allocation import Pool, Use, allocate, ethernet_key, nearest_free, whole_range
from nf.documents.lineup import Channel, DeliveryPath, LineUp, Source
from nf.documents.quantities import format_bitrate
from nf.documents.rules import unique, unknown
from nf.errors import Problem

_KEYS: Final[Mapping[Use, str]] = {"a": "group", "b": "second.group", "output": "output.group"}


@dataclass(frozen=True, slots=True)
class Contribution:
    """A source of the line-up that a path takes in. `key` names it in the document; `source` None: there is none."""

    leg: Leg | None
    key: str
    name: str
    source: Source | None
    own: bool


@dataclass(frozen=True, slots=True)
class Way:
    """One delivery path of type ssm, with where it stands. `contributions`: one, or two with separate encoders."""

    key: str
    channel: Channel
    path: SsmPath
    contributions: tuple[Contribution, ...]

    @property
    def name(self) -> str:
        return f"{self.channel.id}/{self.path.id}"

    @property
    def uses(self) -> tuple[Use, ...]:
        legs: tuple[Use, ...] = ("a", "b") if self.path.protected else ("a",)
        return (*legs, "output") if self.path.given_out else legs

    def written(self, use: Use) -> IpAddress | None:
        """The group that the document names for it."""
        holder = {"a": self.path, "b": self.path.second, "output": self.path.output}[use]
        return holder.group if holder is not None else None


def ways_of(lineup: LineUp) -> list[Way]:
    sources = {source.id: source for source in lineup.spec.sources}
    return [
        Way(f"{key}.delivery[{index}]", channel, path, tuple(_contributions(key, index, channel, path, sources)))
        for number, channel in enumerate(lineup.spec.channels)
        for key in (f"spec.channels[{number}]",)
        for index, path in enumerate(channel.delivery)
        if isinstance(path, SsmPath)
    ]


def _contributions(
    key: str, index: int, channel: Channel, path: SsmPath, sources: Mapping[str, Source]
) -> Iterator[Contribution]:
    own = path.source is not None
    name = path.source if path.source is not None else channel.source
    first_key = f"{key}.delivery[{index}].source" if own else f"{key}.source"
    second = path.second.source if path.second is not None else None
    yield Contribution(None if second is None else "a", first_key, name, sources.get(name), own)
    if second is not None:
        yield Contribution("b", f"{key}.delivery[{index}].second.source", second, sources.get(second), own=True)


# ---- groups ----------------------------------------------------------------------------------------------------------


Groups = Mapping[tuple[str, str, Use], IpAddress]
"""(channel, path, use) -> group. Uses for which there is no pool are absent."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A group that a path needs."""

    way: Way
    use: Use

    @property
    def key(self) -> str:
        return f"{self.way.key}.{_KEYS[self.use]}"

    @property
    def written(self) -> IpAddress | None:
        return self.way.written(self.use)

    def group(self, pool: Pool | None) -> IpAddress | None:
        if self.written is not None or pool is None:
            return self.written
        return allocate(pool, self.way.channel.id, self.way.path.id, self.use)


_Holder = tuple[IpAddress, str, Use | None]
_Taken = dict[tuple[int, int], _Holder]
"""Ethernet address -> the first group that has it, who has it, for what."""


def groups_of(ways: Sequence[Way], pool: GroupPool, lineup: LineUp) -> tuple[Groups, list[Problem]]:
    """Every group in the plan. (S, G) and the Ethernet address of G are used once."""
    groups: dict[tuple[str, str, Use], IpAddress] = {}
    taken: _Taken = {ethernet_key(group): (group, name, None) for group, name in _given_out_elsewhere(lineup)}
    problems: list[Problem] = []
    fallen: list[tuple[_Asked, IpAddress, _Holder]] = []
    asked = [_Asked(way, use) for way in ways for use in way.uses]
    # Written groups first: of two that fall on one another it is the allocated one that can move.
    for one in sorted(asked, key=lambda one: one.written is None):
        network = pool.v6 if one.way.path.family == "ipv6" else pool.v4
        group = one.group(network)
        if group is None:
            problems.append(_no_pool(one))
            continue
        own: _Holder = (group, one.way.name, one.use)
        groups[one.way.channel.id, one.way.path.id, one.use] = group
        other = taken.setdefault(ethernet_key(group), own)
        if other != own:
            fallen.append((one, group, other))
    # The nearest free group is told when all are known, so that it is nobody's.
    problems += [_collision(one, group, other, pool, taken) for one, group, other in fallen]
    return groups, problems


def _no_pool(asked: _Asked) -> Problem:
    family = asked.way.path.family
    part = f"pool: {{{'v6' if family == 'ipv6' else 'v4'}: ...}}"
    return Problem(
        f"{asked.way.name} names no group, and the fleet has no pool of {family} groups",
        f"write one, or add {part} to spec.equipment.multicast of the fleet",
        key=asked.key,
    )


def _collision(asked: _Asked, group: IpAddress, other: _Holder, pool: GroupPool, taken: _Taken) -> Problem:
    holder = f"this path's {_KEYS[other[2]]}" if other[1] == asked.way.name and other[2] else other[1]
    rule = f"the group is used by {holder} already"
    if other[0] != group:
        low = "23" if group.version == 4 else "32"
        rule = f"the low {low} bits are those of {other[0]} ({holder}): both have one Ethernet address"
    network: Pool | None = pool.v4 if group.version == 4 else pool.v6
    if asked.written is None:
        rule = f"{asked.way.name} is given {group} from the pool, and {rule}"
    elif network is None or group not in network:
        network = whole_range(group)
    free = nearest_free(network, group, taken) if network is not None else None
    remedy = f"write {_KEYS[asked.use]}: {free}, the nearest that is free" if free else "enlarge the pool"
    return Problem(rule, remedy, key=asked.key, value=str(group))


def _given_out_elsewhere(lineup: LineUp) -> Iterator[tuple[IpAddress, str]]:
    for channel in lineup.spec.channels:
        for path in channel.delivery:
            group = None if isinstance(path, SsmPath) else given_out_group(path)
            if group is not None:
                yield group, f"{channel.id}/{path.id}"


def given_out_group(path: DeliveryPath) -> IpAddress | None:
    """What a path of another type gives to receivers, such as satellite's `output: {group: ...}`."""
    group = getattr(getattr(path, "output", None), "group", None)
    return group if group is not None and getattr(group, "is_multicast", False) else None


# ---- contributions ---------------------------------------------------------------------------------------------------


def contribution_problems(ways: Sequence[Way], lineup: LineUp) -> Iterator[Problem]:
    """One port has one reader; what is reserved is at least what comes in."""
    given = [(way, one) for way in ways for one in way.contributions]
    for _, one in given:
        if one.source is None and one.own:
            yield unknown("source in spec.sources", one.key, one.name, (s.id for s in lineup.spec.sources))
    yield from unique(
        "its contribution feeds another path already: {first}",
        "give it a source of its own (source: ...), or add its sites to that path",
        (
            (one.key if one.own else f"{way.key}.id", one.name, one.name if one.own else way.path.id)
            for way, one in given
            if one.source is not None
        ),
    )
    for way, one in given:
        if one.source is not None and way.path.rate_bps < one.source.bitrate_bps:
            yield Problem(
                f"less than the {format_bitrate(one.source.bitrate_bps)} that the source {one.source.id} sends",
                "reserve at least the bit rate of the source",
                key=f"{way.key}.rate",
                value=str(format_bitrate(way.path.rate_bps)),
            )
