"""Groups from the pool: the same for ever, never 0.0.x, never twice on one Ethernet address."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.addresses import ethernet, is_ssm_v6
from headend.multicast.equipment import GroupPool
from headend.multicast.planning.allocation import Use, allocate, ethernet_key, nearest_free, usable
from headend.multicast.planning.ways import groups_of, ways_of
from tests.headend.multicast.networks import lineup

POOL = IPv4Network("232.64.0.0/10")
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,38}", fullmatch=True)
USES = st.sampled_from(get_args(Use))
POOLS = st.integers(8, 23).flatmap(
    lambda length: st.integers(0, 2 ** (length - 8) - 1).map(
        lambda number: IPv4Network((int(IPv4Address("232.0.0.0")) + (number << (32 - length)), length))
    )
)


@given(POOLS, NAMES, NAMES, USES)
def test_in_the_pool_and_fit_for_ethernet(pool: IPv4Network, channel: str, path: str, use: Use) -> None:
    group = allocate(pool, channel, path, use)
    assert group in pool
    assert int(group) & 0x7FFFFF >= 0x100
    assert group == allocate(pool, channel, path, use)


@given(NAMES, NAMES, USES)
def test_of_ipv6_too(channel: str, path: str, use: Use) -> None:
    pool = IPv6Network("ff3e::8000:0/97")
    group = allocate(pool, channel, path, use)
    assert group in pool
    assert isinstance(group, IPv6Address)
    assert is_ssm_v6(group)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=8), st.data())
def test_a_channel_that_comes_or_goes_moves_no_other(protected: list[bool], data: st.DataObject) -> None:
    paths = [{"sites": ["n0"], "protection": "hot-hot" if one else "none"} for one in protected]
    whole = lineup(*paths)
    kept = data.draw(st.lists(st.sampled_from(whole.spec.channels), unique_by=lambda channel: channel.id))
    part = whole.model_copy(update={"spec": whole.spec.model_copy(update={"channels": tuple(kept)})})
    pool = GroupPool(v4=POOL)
    all_groups, _ = groups_of(ways_of(whole), pool, whole)
    groups, _ = groups_of(ways_of(part), pool, part)
    assert groups.items() <= all_groups.items()


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 40))
def test_what_falls_on_another_is_refused_with_a_free_one(channels: int) -> None:
    """A pool of 512 with up to 40 groups: collisions are common, each is told, and none is silent."""
    pool = IPv4Network("232.1.0.0/23")
    document = lineup(*({"sites": ["n0"]} for _ in range(channels)))
    groups, problems = groups_of(ways_of(document), GroupPool(v4=pool), document)
    keys = [ethernet_key(group) for group in groups.values()]
    assert len(problems) == len(keys) - len(set(keys))
    for problem in problems:
        assert "from the pool, and the group is used by ch" in problem.rule
        free = IPv4Address(problem.remedy.removeprefix("write group: ").removesuffix(", the nearest that is free"))
        assert free in pool
        assert ethernet_key(free) not in keys


def test_an_explicit_group_wins_over_an_allocated_one() -> None:
    given = allocate(POOL, "ch0", "iptv", "a")
    document = lineup({"sites": ["n0"]}, {"sites": ["n0"], "group": str(given)})
    _, (problem,) = groups_of(ways_of(document), GroupPool(v4=POOL), document)
    assert problem.key == "spec.channels[0].delivery[0].group"
    assert problem.rule == f"ch0/iptv is given {given} from the pool, and the group is used by ch1/iptv already"
    assert problem.remedy == f"write group: {given + 1}, the nearest that is free"
    other = IPv4Address(int(given) ^ 0x800000)
    document = lineup({"sites": ["n0"]}, {"sites": ["n0"], "group": str(other)})
    _, (problem,) = groups_of(ways_of(document), GroupPool(v4=POOL), document)
    assert f"the low 23 bits are those of {other} (ch1/iptv)" in problem.rule


def test_without_a_pool_a_group_is_written() -> None:
    document = lineup({"sites": ["n0"], "protection": "hot-hot", "group": "232.1.1.1"})
    _, problems = groups_of(ways_of(document), GroupPool(), document)
    assert [problem.key.rpartition("delivery[0].")[2] for problem in problems] == ["second.group", "output.group"]
    assert "no pool of ipv4 groups" in problems[0].rule


def test_nothing_is_free_in_a_full_pool() -> None:
    pool = IPv4Network("232.1.0.0/23")
    taken = {ethernet_key(group) for group in pool}
    assert nearest_free(pool, pool[5], taken) is None
    assert nearest_free(pool, pool[5], taken - {ethernet_key(pool[9])}) == pool[9]
    assert not usable(IPv4Address("232.128.0.77"))


def test_ethernet_addresses() -> None:
    assert ethernet(IPv4Address("232.138.1.2")) == "01:00:5e:0a:01:02"
    assert ethernet(IPv6Address("ff3e::8000:1")) == "33:33:80:00:00:01"


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ({"group": "232.0.0.5"}, "the low 23 bits may not be 0.0.x"),
        ({"group": "239.1.1.1"}, "a source-specific group is in 232.0.0.0/8"),
        ({"group": "ff3e::1", "family": "ipv6"}, "group ids below 4000:0001 are reserved"),
        ({"group": "ff0e::8000:1", "family": "ipv6"}, "a source-specific IPv6 group is in ff3x::/96"),
        ({"group": "ff3e::8000:1"}, "group ff3e::8000:1 is of the family ipv6, and the path is of ipv4"),
        ({"group": "232.1.1.1", "family": "ipv6"}, "group 232.1.1.1 is of the family ipv4, and the path is of ipv6"),
        ({"group": "nonsense"}, "must be a multicast group"),
        ({"output": {"group": "ff3e::8000:1"}}, "output.group ff3e::8000:1 is of the family ipv6"),
        ({"protection": "switch"}, "switch takes a second encoder"),
        ({"protection": "hot-hot", "second": {"source": "s9"}}, "hot-hot sends one stream twice"),
        ({"second": {"group": "232.1.1.1"}}, "a path without protection has no second feed"),
        ({"pinned": ["elsewhere"]}, "pinned to elsewhere, not among its sites"),
        ({"dscp": "gold"}, "must be a class of service"),
    ],
)
def test_what_a_path_may_not_say(path: dict[str, object], rule: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(rule)):
        lineup({"sites": ["n0"], **path})
