from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.documents import PinnedRoute, TreeEntry, TreeSection
from headend.multicast.tree.render import (
    base_commands,
    canonical_section,
    entry_commands,
    entry_order,
    parse_table,
    restore_commands,
    withdraw_commands,
)
from nf.contracts.json import JsonObject

DATA = Path(__file__).parents[3] / "data" / "multicast"
names = st.text("abz09-", max_size=38).map(lambda rest: f"c{rest}")
facts = st.lists(
    st.text("abz09 /.=-", min_size=1, max_size=40).filter(lambda fact: fact == fact.strip()), max_size=2
).map(tuple)
entries = st.builds(
    TreeEntry,
    channel=names,
    path=names,
    source=st.ip_addresses(v=4),
    group=st.integers(0xE8000100, 0xE87FFFFF).map(IPv4Address),
    port=st.integers(1024, 65535),
    leg=st.sampled_from([None, "a", "b"]),
    meets=st.booleans(),
    pinned=st.none()
    | st.builds(PinnedRoute, outputs=st.lists(st.sampled_from(["eth1", "eth2.10", "nfout0"]), min_size=1).map(tuple)),
    requires=facts,
    provides=facts,
)
trees = st.lists(entries, max_size=6, unique_by=lambda entry: entry.group).map(
    lambda found: TreeSection(entries=tuple(found))
)


def table(*groups: list[JsonObject]) -> list[JsonObject]:
    """What nftables lists after these commands: objects with handles, the elements inside their set."""
    objects: list[JsonObject] = []
    for number, command in enumerate(command for group in groups for command in group):
        (verb, added), *_ = command.items()
        assert verb == "add"
        assert isinstance(added, dict)
        (kind, body), *_ = added.items()
        assert isinstance(body, dict)
        if kind == "element":
            listed_set = next(o["set"] for o in objects if "set" in o)
            assert isinstance(listed_set, dict)
            assert isinstance(body["elem"], list)
            listed_set["elem"] = body["elem"]
        else:
            objects.append({kind: {**body, "handle": number}})
    return objects


@given(trees)
def test_a_tree_is_read_back_as_it_was_rendered(tree: TreeSection) -> None:
    listed = table(base_commands(), entry_commands(tree.entries))
    assert parse_table(listed) == (canonical_section(tree).entries, ())


@given(trees)
def test_a_table_restored_is_the_same_table(tree: TreeSection) -> None:
    listed = table(base_commands(), entry_commands(tree.entries))
    _delete_first = restore_commands(listed)[2:]
    assert parse_table(table(_delete_first)) == parse_table(listed)
    assert len(restore_commands(None)) == 2


def _rules(entry: TreeEntry) -> int:
    return len(entry.requires) + len(entry.provides) + len(entry.pinned.outputs if entry.pinned else ())


@given(trees)
def test_withdrawal_names_every_element_and_fact(tree: TreeSection) -> None:
    listed = table(base_commands(), entry_commands(tree.entries))
    commands = withdraw_commands(tree.entries, listed)
    rules = [command for command in commands if "rule" in command["delete"]]  # type: ignore[operator]
    assert len(rules) == sum(_rules(entry) for entry in tree.entries)
    assert len(commands) - len(rules) == (1 if tree.entries else 0)
    assert withdraw_commands(tree.entries, table(base_commands())) == []


def test_a_recorded_table() -> None:
    listed = json.loads((DATA / "nft-table.json").read_text())["nftables"]
    (entry,), damage = parse_table(listed)
    assert damage == ()
    assert (entry.channel, entry.path, entry.port) == ("ch1", "iptv", 5000)
    assert (str(entry.source), str(entry.group)) == ("10.61.1.10", "232.61.1.1")
    assert entry.provides == ("tree ch1/iptv",)


def test_damage_by_hand_is_told() -> None:
    listed = table(base_commands())
    without_rule = [entry for entry in listed if "rule" not in entry]
    assert parse_table(without_rule)[1] == ("the rules of chain forward are not what they should be",)
    other = table(base_commands(), [{"add": {"chain": {"family": "ip", "table": "nf_multicast", "name": "mine"}}}])
    assert parse_table(other)[1] == ("chain mine is not wanted",)
    element: JsonObject = {"elem": {"val": {"concat": ["10.0.0.1", "232.1.1.1"]}}}
    added: JsonObject = {"family": "ip", "table": "nf_multicast", "name": "admitted", "elem": [element]}
    assert parse_table(table(base_commands(), [{"add": {"element": added}}]))[1] == (
        "(10.0.0.1, 232.1.1.1) is admitted without a channel",
    )


def test_order_is_that_of_channels() -> None:
    listed = json.loads((DATA / "nft-table.json").read_text())["nftables"]
    (entry,), _ = parse_table(listed)
    other = entry.model_copy(update={"channel": "ch0"})
    assert canonical_section(TreeSection(entries=(entry, other))).entries == (other, entry)
    assert entry_order(other) < entry_order(entry)
