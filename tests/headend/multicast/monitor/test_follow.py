from __future__ import annotations

from headend.multicast.monitor.follow import Follows
from headend.multicast.tree.mroute import MulticastRoute, RouteChange

MS = 1_000_000
KEY = ("10.1.0.10", "232.1.1.1")


def route(*outputs: int, came_in: int = 2) -> MulticastRoute:
    return MulticastRoute(*KEY, 0, 0, 0, outputs, came_in)


def test_the_first_packet_after_a_join() -> None:
    follows = Follows((KEY, ("10.1.0.10", "232.1.1.2")))
    flow, other = follows.flows
    assert follows.changed(RouteChange(route(3), gone=False), 1000 * MS)
    assert (flow.interface, flow.wanted, other.wanted) == (2, True, False)
    flow.arrive(1012 * MS, 1100 * MS)
    assert flow.first_packet_ms == 12.0
    flow.arrive(1101 * MS, 1200 * MS)
    assert flow.first_packet_ms == 12.0


def test_a_flow_that_was_there_already_is_not_timed() -> None:
    follows = Follows((KEY,))
    (flow,) = follows.flows
    flow.arrive(900 * MS, 1000 * MS)
    follows.changed(RouteChange(route(3), gone=False), 1100 * MS)
    flow.arrive(1105 * MS, 1105 * MS)
    assert flow.first_packet_ms is None


def test_a_leave_and_another_join() -> None:
    follows = Follows((KEY,))
    (flow,) = follows.flows
    follows.changed(RouteChange(route(3), gone=False), 0)
    assert not follows.changed(RouteChange(route(), gone=False), 500 * MS)  # nobody came in time
    assert (flow.wanted, flow.asked_ns) == (False, None)
    follows.changed(RouteChange(route(3), gone=False), 1000 * MS)
    assert not follows.changed(RouteChange(route(3, 4), gone=False), 1001 * MS)  # one more output is no new join
    flow.arrive(1007 * MS, 1007 * MS)
    assert flow.first_packet_ms == 7.0


def test_the_interface_follows_the_route() -> None:
    follows = Follows((KEY,))
    (flow,) = follows.flows
    assert follows.all({KEY: route(3)}, 0)
    assert not follows.all({KEY: route(3)}, 1)
    assert follows.all({KEY: route(3, came_in=5)}, 2)
    assert flow.interface == 5
    assert follows.changed(RouteChange(route(3, came_in=5), gone=True), 3)
    assert (flow.interface, flow.wanted) == (0, False)
    assert not follows.changed(RouteChange(MulticastRoute("1.1.1.1", "232.9.9.9", 0, 0, 0, (1,), 1), gone=False), 4)
