"""Who may speak PFCP with a UPF: planned from the fleet, enforced by the kernel, counted and told."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.open5gs import guard
from core5g.open5gs.planner import upf_masters
from core5g.open5gs.telemetry import QUIET_S, CoreWatch, Readings
from nf.telemetry.alarms import AlarmEvent, Severity
from tests.core5g.open5gs.live import section
from tests.core5g.open5gs.samples import core
from tests.headend.multicast.tree.network import Node, nodes

UPF, OTHER, SMF, STRANGER = "127.0.0.7", "127.0.0.8", "127.0.0.4", "127.0.0.66"
ADDRESSES = st.ip_addresses(v=4).map(str)


@given(st.frozensets(st.tuples(ADDRESSES, ADDRESSES), min_size=1, max_size=8))
def test_a_table_that_somebody_changed_is_not_taken_for_ours(pairs: guard.Pairs) -> None:
    sets = [
        {"set": {"name": "guarded", "elem": sorted({own for own, _ in pairs})}},
        {"set": {"name": "listed", "elem": [{"concat": [*pair]} for pair in sorted(pairs)]}},
    ]
    rule = {"rule": {"chain": "n4", "expr": [{"counter": "refused"}, {"drop": None}]}}
    assert guard.pairs_of([*sets, rule]) == pairs  # type: ignore[list-item]
    assert guard.pairs_of(sets) is None  # type: ignore[arg-type]
    assert guard.pairs_of([sets[1], rule]) is None  # type: ignore[list-item]
    assert guard.pairs_of(None) == frozenset()


def test_masters_are_the_smfs_or_the_classifier_before_it_and_behind_it() -> None:
    upf = {"appliance": "pop1", "dnns": ["internet"], "exit": "eth1"}
    made = core(
        upfs=[
            {**upf, "id": "central", "n3": "10.0.0.1", "n4": "10.0.0.2", "steering": "classifier"},
            {**upf, "id": "edge", "n3": "10.0.0.3", "n4": "10.0.0.4", "steering": "n6"},
        ],
        classifiers=[
            {"id": "ulcl", "appliance": "pop1", "address": "10.0.0.9", "upf": "central", "edge": "edge"},
        ],
    )
    smfs = [str(one.address) for one in made.functions if one.kind == "smf"]
    central, edge = made.upfs
    assert [*map(str, upf_masters(made, central))] == ["10.0.0.9"]
    assert [*map(str, upf_masters(made, edge))] == [*smfs, "10.0.0.9"]


def test_strangers_are_an_alarm_until_they_have_been_quiet() -> None:
    watch, functions = CoreWatch("pop1"), section("upf").functions

    def alarms(refused: int, at: float) -> list[tuple[str, Severity]]:
        events = watch.take(functions, Readings(refused=refused), at)
        return [(one.cause, one.severity) for one in events if isinstance(one, AlarmEvent)]

    assert alarms(0, 1000.0) == []
    assert alarms(3, 1005.0) == [("core5g-n4-refused", Severity.MAJOR)]
    assert alarms(3, 1010.0) == []
    assert alarms(3, 1005.0 + QUIET_S) == [("core5g-n4-refused", Severity.CLEARED)]


@pytest.fixture
def node(require_programs: Callable[..., None]) -> Iterator[Node]:
    require_programs("ip", "nft", "nsenter")
    with nodes("g") as made:
        yield made["g"]


async def heard(address: str) -> list[str]:
    """Who is heard at N4 of the listed one and a stranger, and of them again; the last one is known to pass."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upf:
        upf.bind((address, 8805))
        upf.settimeout(30)
        for sender in (STRANGER, SMF, STRANGER, SMF):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((sender, 0))
                sock.sendto(b"x" if sender == STRANGER else b"y", (address, 8805))
        found: list[str] = []
        while found.count(SMF) < 2:
            found.append(upf.recvfrom(100)[1][0])
        return found


@pytest.mark.root
def test_only_who_is_listed_is_heard_and_the_others_are_counted(node: Node) -> None:
    assert node.call(heard, UPF) == [STRANGER, SMF, STRANGER, SMF]
    pairs = frozenset({(UPF, SMF), ("127.0.0.9", STRANGER)})
    node.call(guard.make, pairs)
    assert node.call(guard.read) == pairs
    assert node.call(heard, UPF) == [SMF, SMF]
    assert node.call(heard, OTHER) == [STRANGER, SMF, STRANGER, SMF]
    assert node.call(guard.refused) == 2
    node.shell("nft", "add", "element", "inet", "nf_pfcp", "guarded", f"{{ {OTHER} }}")
    assert node.call(guard.read) is None
    node.call(guard.make, frozenset())
    assert node.call(guard.read) == frozenset()
    assert "nf_pfcp" not in node.shell("nft", "list", "ruleset")
