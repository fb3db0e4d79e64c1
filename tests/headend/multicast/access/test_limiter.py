from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.access.limiter import PortLimiter, name
from headend.multicast.igmp import Flow

flows = st.tuples(st.just(1), st.integers(1, 6))


@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), flows), max_size=30))
def test_the_first_that_are_still_joined_pass(most: int, happened: list[tuple[bool, Flow]]) -> None:
    limiter = PortLimiter(most)
    order: list[Flow] = []
    for joins, flow in happened:
        passing = limiter.passing
        if joins:
            limiter.join(flow)
            order += [flow] if flow not in order else []
        else:
            limiter.leave(flow)
            order = [other for other in order if other != flow]
        assert limiter.order() == tuple(order)
        assert len(limiter.passing) == min(most, len(order))
        # Nobody who passes is pushed out by another.
        assert passing - {flow} <= limiter.passing
    assert set(limiter.waiting) == set(order) - limiter.passing
    assert list(limiter.waiting) == [flow for flow in order if flow not in limiter.passing]


def test_what_the_port_may_not_have_takes_no_place() -> None:
    limiter = PortLimiter(1, frozenset({2}))
    limiter.join((1, 3))
    limiter.join((1, 2))
    assert limiter.passing == {(1, 2)}
    assert (limiter.unentitled, limiter.refused) == (1, 0)


def test_a_whole_reading_keeps_who_was_there_before() -> None:
    limiter = PortLimiter(2)
    limiter.settle([(1, 5), (1, 4)])
    limiter.replace([(1, 1), (1, 2), (1, 4), (1, 5)])
    assert limiter.passing == {(1, 4), (1, 5)}
    limiter.replace([(1, 1), (1, 2), (1, 4)])
    assert limiter.passing == {(1, 4), (1, 1)}
    assert limiter.waiting == ((1, 2),)
    assert name((0x0A000001, 0xE8010101)) == "(10.0.0.1, 232.1.1.1)"
