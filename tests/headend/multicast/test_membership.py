from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.igmp import Flow, GroupRecord, RecordType
from headend.multicast.membership import LAST_MEMBER_S, LIFETIME_S, Membership

G, H = 232 << 24 | 0x010101, 232 << 24 | 0x010102
ASM = 239 << 24 | 1


def joined(membership: Membership) -> list[Flow]:
    return list(membership.joined())


def report(kind: RecordType, group: int, *sources: int) -> tuple[GroupRecord, ...]:
    return (GroupRecord(kind, group, sources),)


def test_a_fast_leave_counts_when_the_last_host_left() -> None:
    membership = Membership(fast_leave=True)
    for host in (1, 2):
        membership.report(host, report(RecordType.ALLOW, G, 10, 11), 0.0)
    membership.report(1, report(RecordType.BLOCK, G, 10), 1.0)
    assert joined(membership) == [(10, G), (11, G)]
    membership.report(2, report(RecordType.BLOCK, G, 10), 1.0)
    assert joined(membership) == [(11, G)]


def test_a_slow_leave_waits_for_an_objection() -> None:
    membership = Membership(fast_leave=False)
    membership.report(1, report(RecordType.ALLOW, G, 10), 0.0)
    membership.report(1, report(RecordType.BLOCK, G, 10), 1.0)
    membership.expire(1.0 + LAST_MEMBER_S / 2)
    assert joined(membership) == [(10, G)]
    membership.report(2, report(RecordType.IS_INCLUDE, G, 10), 1.1)
    membership.expire(1.0 + LAST_MEMBER_S)
    assert joined(membership) == [(10, G)]
    membership.report(2, report(RecordType.TO_INCLUDE, G), 2.0)
    membership.expire(2.0 + LAST_MEMBER_S)
    assert joined(membership) == []


def test_a_change_to_a_list_leaves_what_is_not_in_it_and_no_other_group() -> None:
    membership = Membership(fast_leave=True)
    membership.report(1, report(RecordType.ALLOW, G, 10, 11) + report(RecordType.ALLOW, H, 10), 0.0)
    membership.report(1, report(RecordType.TO_INCLUDE, G, 11, 12), 1.0)
    assert joined(membership) == [(11, G), (10, H), (12, G)]


def test_silence_ends_it_and_other_kinds_of_groups_and_modes_never_begin_it() -> None:
    membership = Membership(fast_leave=True)
    membership.report(1, report(RecordType.ALLOW, G, 10), 0.0)
    membership.report(1, report(RecordType.ALLOW, ASM, 10) + report(RecordType.TO_EXCLUDE, H), 0.0)
    membership.expire(LIFETIME_S - 0.1)
    assert joined(membership) == [(10, G)]
    membership.expire(LIFETIME_S)
    assert joined(membership) == []


def test_beyond_its_limit_it_believes_nothing_new() -> None:
    membership = Membership(fast_leave=True, limit=2)
    membership.report(1, report(RecordType.ALLOW, G, 1, 2, 3, 4), 0.0)
    membership.report(2, report(RecordType.ALLOW, G, 1), 0.0)
    assert joined(membership) == [(1, G), (2, G)]
    assert membership.over == 2


events = st.tuples(
    st.integers(1, 3), st.sampled_from(RecordType), st.sampled_from([G, H]), st.sets(st.integers(1, 3), max_size=3)
)


@given(st.lists(events, max_size=20))
def test_hosts_are_counted_as_a_table_of_all_of_them_would(
    happened: list[tuple[int, RecordType, int, set[int]]],
) -> None:
    membership = Membership(fast_leave=True)
    table: set[tuple[int, Flow]] = set()
    for host, kind, group, sources in happened:
        membership.report(host, (GroupRecord(kind, group, tuple(sources)),), 0.0)
        named = {(host, (source, group)) for source in sources}
        if kind is RecordType.TO_INCLUDE:
            table -= {entry for entry in table if entry[0] == host and entry[1][1] == group}
        if kind in {RecordType.TO_INCLUDE, RecordType.IS_INCLUDE, RecordType.ALLOW}:
            table |= named
        if kind is RecordType.BLOCK:
            table -= named
    assert set(membership.joined()) == {flow for _, flow in table}


def test_what_is_believed_stands_until_a_host_says_more() -> None:
    membership = Membership(fast_leave=True)
    membership.report(1, report(RecordType.ALLOW, G, 12), 0.0)
    membership.believe([(10, G), (11, G), (12, G), (10, H)], 0.0)
    membership.report(1, report(RecordType.IS_INCLUDE, G, 10), 20.0)
    membership.report(2, report(RecordType.BLOCK, G, 11), 20.0)  # nobody else is known to ask for it
    membership.report(2, report(RecordType.BLOCK, G, 12), 20.0)  # host 1 still does
    assert joined(membership) == [(12, G), (10, G), (10, H)]
    membership.expire(LIFETIME_S)
    assert joined(membership) == [(10, G)]
    membership.report(1, report(RecordType.BLOCK, G, 10), LIFETIME_S)
    assert joined(membership) == []


def test_a_change_to_a_list_ends_what_is_believed_of_its_group_only() -> None:
    membership = Membership(fast_leave=True)
    membership.believe([(10, G), (11, G), (10, H)], 0.0)
    membership.report(1, report(RecordType.TO_INCLUDE, G, 11), 1.0)
    assert joined(membership) == [(11, G), (10, H)]
