from __future__ import annotations

from ipaddress import IPv4Address

from headend.multicast.documents import Leg, TreeEntry
from headend.multicast.tree.legs import LegAlarms
from headend.multicast.tree.mroute import MulticastRoute
from nf.telemetry.alarms import Severity


def entry(leg: Leg, *, meets: bool = False) -> TreeEntry:
    source, group = {"a": ("10.1.0.11", "232.1.1.1"), "b": ("10.1.0.12", "232.1.1.2")}[leg]
    return TreeEntry(
        channel="ch1",
        path="iptv",
        source=IPv4Address(source),
        group=IPv4Address(group),
        port=5000,
        leg=leg,
        meets=meets,
    )


def routes(**outputs: tuple[int, ...]) -> dict[tuple[str, str], MulticastRoute]:
    found = {}
    for leg, entries in (("a", entry("a")), ("b", entry("b"))):
        if leg in outputs:
            key = (str(entries.source), str(entries.group))
            found[key] = MulticastRoute(*key, packets=1, octets=1, wrong_if=0, outputs=outputs[leg])
    return found


def test_two_legs_with_outputs_are_told_once_and_cleared() -> None:
    alarms = LegAlarms("p1")
    both = [entry("a"), entry("b")]
    (first,) = alarms.take(both, routes(a=(1,)), 1.0)  # an earlier life of the agent may have raised it
    assert (first.object, first.severity) == ("p1/ch1/iptv", Severity.CLEARED)
    assert alarms.take(both, routes(a=(1,), b=()), 2.0) == ()  # nobody asks for b any more
    (raised,) = alarms.take(both, routes(a=(1,), b=(2,)), 3.0)
    assert (raised.cause, raised.object, raised.severity) == ("legs-share-router", "p1/ch1/iptv", Severity.MAJOR)
    assert raised.remedy
    assert alarms.take(both, routes(a=(1,), b=(2,)), 4.0) == ()
    (cleared,) = alarms.take(both, routes(b=(2,)), 5.0)
    assert (cleared.object, cleared.severity) == ("p1/ch1/iptv", Severity.CLEARED)


def test_where_the_legs_meet_nothing_is_told() -> None:
    meeting = [entry("a", meets=True), entry("b", meets=True)]
    assert LegAlarms("pop1").take(meeting, routes(a=(1,), b=(1,)), 1.0) == ()
    (raised,) = LegAlarms("pop1").take([entry("a", meets=True), entry("b")], routes(a=(1,), b=(1,)), 1.0)
    assert raised.severity is Severity.MAJOR


def test_a_channel_that_is_withdrawn_clears_its_alarm() -> None:
    alarms = LegAlarms("p1")
    alarms.take([entry("a"), entry("b")], routes(a=(1,), b=(2,)), 1.0)
    (cleared,) = alarms.take([], routes(a=(1,), b=(2,)), 2.0)
    assert cleared.severity is Severity.CLEARED
