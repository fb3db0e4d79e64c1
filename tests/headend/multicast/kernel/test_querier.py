from __future__ import annotations

from ipaddress import IPv4Address
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.kernel.igmp import Query, Record, RecordType, Report
from headend.multicast.kernel.querier import (
    MAX_MEMBERSHIPS,
    TRANSITIONS,
    Effect,
    Input,
    Intervals,
    Membership,
    Querier,
)

ADDRESS, HOST, LOWER = IPv4Address("10.1.0.5"), IPv4Address("10.1.0.9"), IPv4Address("10.1.0.2")
G, A, B = IPv4Address("232.1.1.1"), IPv4Address("10.9.0.1"), IPv4Address("10.9.0.2")
TIMES = Intervals(query_s=10.0, last_member_query_s=0.1, last_member_query_count=2, robustness=2)


def report(kind: RecordType, *sources: IPv4Address, group: IPv4Address = G) -> Report:
    return Report((Record(kind, group, sources),))


def querier(now: float = 0.0) -> Querier:
    """Past its startup queries."""
    made = Querier(ADDRESS, TIMES, now)
    made.due(now)
    return made


def joined(*sources: IPv4Address) -> Querier:
    made = querier()
    made.receive(report(RecordType.ALLOW_NEW_SOURCES, *sources), HOST, 1.0)
    assert made.due(1.0) == ()
    return made


def test_general_queries_come_faster_at_first() -> None:
    made = Querier(ADDRESS, TIMES, 100.0)
    at = []
    now = 100.0
    for _ in range(4):
        (query,) = made.due(now)
        assert (query.destination, query.interval_s, query.max_response_ds) == (IPv4Address("224.0.0.1"), 10, 50)
        at.append(now)
        now = made.next_timeout(now)
    assert at == [100.0, 102.5, 112.5, 122.5]


def test_who_is_not_heard_again_is_forgotten() -> None:
    made = joined(A)
    assert made.wanted == {(A, G)}
    made.receive(report(RecordType.MODE_IS_INCLUDE, A), HOST, 20.0)
    made.due(20.0 + TIMES.membership_s - 0.01)
    assert made.wanted == {(A, G)}
    made.due(20.0 + TIMES.membership_s)
    assert made.wanted == frozenset()


def test_a_leave_is_asked_about_twice_and_then_believed() -> None:
    made = joined(A, B)
    made.receive(report(RecordType.BLOCK_OLD_SOURCES, A), HOST, 2.0)
    (first,) = made.due(2.0)
    assert (first.destination, first.sources, first.max_response_ds) == (G, (A,), 1)
    assert made.next_timeout(2.0) == 2.1
    (second,) = made.due(2.1)
    assert second == first
    assert made.wanted == {(A, G), (B, G)}
    assert made.due(2.2) == ()
    assert made.wanted == {(B, G)}


def test_another_member_speaks_up() -> None:
    made = joined(A)
    made.receive(report(RecordType.BLOCK_OLD_SOURCES, A), HOST, 2.0)
    made.due(2.0)
    made.receive(report(RecordType.MODE_IS_INCLUDE, A), HOST, 2.05)
    assert made.due(2.1) == ()
    made.due(3.0)
    assert made.wanted == {(A, G)}


def test_a_change_to_include_doubts_what_it_leaves_out() -> None:
    made = joined(A)
    made.receive(report(RecordType.CHANGE_TO_INCLUDE, B), HOST, 2.0)
    (query,) = made.due(2.0)
    assert query.sources == (A,)
    assert made.wanted == {(A, G), (B, G)}
    made.due(2.3)
    assert made.wanted == {(B, G)}


def test_what_is_not_source_specific_is_ignored() -> None:
    made = querier()
    for kind in (RecordType.MODE_IS_EXCLUDE, RecordType.CHANGE_TO_EXCLUDE):
        made.receive(report(kind, A), HOST, 1.0)
    made.receive(report(RecordType.ALLOW_NEW_SOURCES, A, group=IPv4Address("239.1.1.1")), HOST, 1.0)
    assert made.wanted == frozenset()


def test_the_lower_address_is_the_querier() -> None:
    made = joined(A, B)
    made.receive(Query(suppress=True), HOST, 1.5)  # a higher address
    assert made.is_querier(1.5)
    made.receive(Query(suppress=True), LOWER, 2.0)
    assert not made.is_querier(2.0)
    made.receive(report(RecordType.BLOCK_OLD_SOURCES, A), HOST, 2.5)
    made.due(3.0)
    assert made.wanted == {(A, G), (B, G)}  # it is the other's to ask
    made.receive(Query(G, (A,)), LOWER, 3.0)
    assert made.due(3.05) == ()
    made.due(3.3)
    assert made.wanted == {(B, G)}
    over = made.next_timeout(3.3)
    made.receive(report(RecordType.MODE_IS_INCLUDE, B), HOST, 4.0)
    while not made.is_querier(over):
        made.due(over)
        over = made.next_timeout(over)
    assert [query.group for query in made.due(over + 0.001)] == [IPv4Address(0)]


def test_a_flood_fills_no_memory() -> None:
    made = querier()
    for group in range(MAX_MEMBERSHIPS + 10):
        made.receive(report(RecordType.ALLOW_NEW_SOURCES, A, group=IPv4Address(0xE8010000 + group)), HOST, 1.0)
    assert len(made.wanted) == MAX_MEMBERSHIPS


def test_many_sources_are_asked_about_in_several_queries() -> None:
    many = tuple(IPv4Address(0x0A090000 + number) for number in range(400))
    made = joined(*many)
    made.receive(report(RecordType.CHANGE_TO_INCLUDE), HOST, 2.0)
    assert [len(query.sources) for query in made.due(2.0)] == [366, 34]


def test_the_table_knows_all_that_can_happen() -> None:
    impossible = {
        (Membership.ABSENT, Input.REPEAT),
        (Membership.ABSENT, Input.TIMEOUT),
        (Membership.MEMBER, Input.REPEAT),
    }
    assert set(product(Membership, Input)) - set(TRANSITIONS) == impossible
    for effect, after in TRANSITIONS.values():
        assert (effect is Effect.FORGET) <= (after is Membership.ABSENT)


kinds = st.sampled_from(RecordType)
events = st.tuples(kinds, st.lists(st.sampled_from([A, B, HOST]), max_size=3, unique=True), st.floats(0.0, 15.0))


@given(st.lists(events, max_size=30))
def test_time_always_goes_on(steps: list[tuple[RecordType, list[IPv4Address], float]]) -> None:
    """Whatever is heard: the next time-out lies ahead after `due`, and silence ends every membership."""
    made, now = querier(), 0.0
    for kind, sources, wait in steps:
        now += wait
        made.receive(report(kind, *sources), HOST, now)
        made.due(now)
        assert made.next_timeout(now) > now
    made.due(now + TIMES.membership_s)
    assert made.wanted == frozenset()
