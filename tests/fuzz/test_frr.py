"""Text that no daemon and no kernel ever wrote must not stop the parsers, and what they made of it must stand."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.frr.adjacency import ospf_up, pim_up
from headend.multicast.frr.config import difference, format_config, parse_config
from headend.multicast.frr.render import DAEMONS, deviations, parse
from headend.multicast.frr.vty import ReplyParser
from headend.multicast.tree.render import parse_table, restore_commands

lines = st.sampled_from(
    [
        "interface eth1", "interface lo", "interface WAN", "router ospf", "bfd", " profile fast", "exit", "!", "end",
        "",        " ip ospf area 0", " ip ospf cost 10", " ip ospf cost x", " ip pim", " ip igmp", "no ip forwarding",
        "ip route 10.1.0.11/32 10.61.2.0", "ip route 999.1.0.11/32 10.61.2.0", "ip route 10.1.0.0/24 x",
        " ip pim hello 5", " ip pim hello 9 2", " ip pim hello x y", " ip igmp query-interval 1",
        " ip igmp last-member-query-count 999999999999", " ospf router-id 10.0.0.1",
        " ospf router-id x", "   deep", "\t tab", "hostname x",
    ]
)  # fmt: skip
configs = st.lists(lines | st.text(max_size=30), max_size=30).map("\n".join)
words = st.sampled_from(
    ["table", "set", "chain", "rule", "elem", "val", "concat", "expr", "match", "left", "payload", "field", "comment",
     "name", "nf_multicast", "admitted", "facts", "forward", "10.0.0.1", "232.1.1.1", "ch1/iptv 5000", "provides x",
     "ch1/iptv 5000 leg a meets", "pinned eth2", "pinned ETH 2"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_any_bytes_from_a_vty(pieces: list[bytes]) -> None:
    parser = ReplyParser()
    replies = [reply for piece in pieces for reply in parser.receive(piece)]
    assert sum(map(len, pieces)) >= 4 * len(replies) + parser.pending
    assert all(0 <= reply.status <= 255 for reply in replies)


@given(configs)
def test_any_configuration(text: str) -> None:
    parsed = parse_config(text)
    assert all(line and all(part.strip() == part and part for part in line) for line in parsed)
    assert difference(parsed, parsed) == ()
    difference(parsed, ())
    format_config(parsed)


@given(st.dictionaries(st.sampled_from(DAEMONS), configs))
def test_any_running_configuration(texts: dict[str, str]) -> None:
    running = {daemon: parse_config(text) for daemon, text in texts.items()}
    section = parse(running)
    deviations(running, section)


@given(st.dictionaries(st.text(max_size=8) | st.just("neighbors"), values))
def test_any_neighbours(data: dict[str, Any]) -> None:
    assert all(protocol == "ospf" for _, protocol in ospf_up(data))
    assert all(protocol == "pim" for _, protocol in pim_up(data))


@given(st.lists(st.dictionaries(words, values, min_size=1, max_size=1), max_size=8))
def test_any_table(listed: list[dict[str, Any]]) -> None:
    entries, damage = parse_table(listed)
    assert entries or damage
    assert len(restore_commands(listed)) == 2 + len(listed)
