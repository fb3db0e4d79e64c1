from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address

import pytest

from headend.multicast.mfc.codec import Entry
from headend.multicast.mfc.pins import Change, Keeper, Kernel, Pin, missing

S, G = IPv4Address("10.1.0.10"), IPv4Address("232.1.1.1")
PIN = Pin(S, G, ("eth2",))
VIFS = {"pimreg": 0, "eth1": 1, "eth2": 2, "eth3": 3}


def kernel(
    input_vif: int | None = None,
    outputs: tuple[int, ...] = (),
    vifs: Mapping[str, int] = VIFS,
    ways: tuple[str, ...] = ("eth1",),
) -> Kernel:
    entries = {} if input_vif is None else {(S, G): entry(input_vif, *outputs)}
    return Kernel(vifs, entries, {S: ways} if ways else {})


def entry(input_vif: int, *outputs: int) -> Entry:
    return Entry(S, G, input_vif, frozenset(outputs))


def test_a_pin_is_its_text() -> None:
    assert Pin.parse(str(PIN)) == PIN
    for text in ("10.1.0.10,232.1.1.1", "10.1.0.10,232.1.1.1,", "x,y,z", ""):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever is wrong with it
            Pin.parse(text)


def test_a_pin_is_written_once_and_taken_out_at_the_end() -> None:
    keeper = Keeper([PIN])
    assert missing(PIN, kernel()) != ""
    assert keeper.reconcile(kernel()) == Change((entry(1, 2),))
    assert missing(PIN, kernel(1, (2,))) == ""
    assert keeper.reconcile(kernel(1, (2,))) == Change()
    assert keeper.release() == Change(delete=(entry(1, 2),))
    assert keeper.release() == Change()


def test_what_the_routing_daemon_forwards_goes_on() -> None:
    keeper = Keeper([PIN])
    assert keeper.reconcile(kernel(1, (3,))) == Change((entry(1, 2, 3),))
    assert keeper.reconcile(kernel(1, (2, 3))) == Change()
    # It writes its own outputs over ours when a receiver comes or goes.
    assert keeper.reconcile(kernel(1, (2,))) == Change()
    assert keeper.reconcile(kernel(1, (3,))) == Change((entry(1, 2, 3),))
    assert keeper.release() == Change((entry(1, 3),))


def test_nothing_waits_for_numbers_that_mean_something_else() -> None:
    keeper = Keeper([PIN])
    keeper.reconcile(kernel())
    assert keeper.reconcile(kernel(1, (2,), vifs={})) == Change(delete=(entry(1, 2),))
    assert "eth2" in missing(PIN, kernel(vifs={}))
    shifted = {"pimreg": 0, "eth2": 1, "eth1": 2}
    assert keeper.reconcile(kernel(vifs=shifted)) == Change((entry(2, 1),))


def test_the_way_to_the_source_moves() -> None:
    keeper = Keeper([PIN])
    keeper.reconcile(kernel())
    assert keeper.reconcile(kernel(1, (2,), ways=("eth3",))) == Change((entry(3, 2),))
    assert keeper.reconcile(kernel(3, (2,), ways=())) == Change(delete=(entry(3, 2),))
    assert "no route" in missing(PIN, kernel(ways=()))


def test_among_equal_ways_the_daemons_choice_stands() -> None:
    keeper = Keeper([PIN])
    assert keeper.reconcile(kernel(3, (2,), ways=("eth1", "eth3"))) == Change()
    assert keeper.reconcile(kernel(ways=("eth1", "eth3"))) == Change((entry(1, 2),))
