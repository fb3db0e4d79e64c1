from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.documents import InterfaceConfig, InterfacesSection
from headend.multicast.interfaces.client import Address, LinkState
from headend.multicast.interfaces.driver import InterfacesDriver
from headend.multicast.interfaces.state import (
    Observed,
    canonical,
    differences,
    foreign_addresses,
    is_empty,
    marked,
    rp_filter_for,
    to_value,
    wanted_addresses,
    wanted_loopback6,
    wanted_pairs,
)
from nf.contracts.driver import State

names = st.from_regex(r"eth[1-9]", fullmatch=True)
prefixes = st.builds(lambda a, n: IPv4Interface((a, n)), st.ip_addresses(v=4), st.integers(8, 32))
secondaries = st.lists(prefixes, max_size=3, unique=True).map(tuple)


def _with_tap(interface: InterfaceConfig) -> InterfaceConfig:
    """Every interface of an even number is one end of a pair."""
    secondary = tuple(s for s in interface.secondary if s != interface.address)
    update: dict[str, object] = {"secondary": secondary}
    if int(interface.name[-1]) % 2 == 0:
        update |= {"pair": f"{interface.name}t", "pair_address": IPv4Interface("169.254.255.1/31")}
    return interface.model_copy(update=update)


sections = st.builds(
    InterfacesSection,
    loopback=st.none() | st.ip_addresses(v=4),
    loopback6=st.none() | st.ip_addresses(v=6, network="2001:db8::/32"),
    forwarding=st.booleans(),
    interfaces=st.lists(
        st.builds(InterfaceConfig, name=names, address=prefixes, secondary=secondaries),
        max_size=5,
        unique_by=lambda i: i.name,
    ).map(lambda interfaces: tuple(map(_with_tap, interfaces))),
)
LOCAL = Address("127.0.0.1/8", scope=254)


def live(section: InterfacesSection, **links: LinkState) -> Observed:
    """The kernel as it is once `section` is effective; `links` replace some."""
    wanted = wanted_addresses(section)
    loopback = tuple(map(marked, wanted.get("lo", ())))
    own6 = wanted_loopback6(section)
    state = {
        "lo": LinkState("lo", 1, True, (LOCAL, *loopback), own6=own6),
        "eth0": LinkState("eth0", 2, True, (LOCAL,)),
    }
    indices = {name: number for number, name in enumerate(sorted(wanted.keys() - {"lo"}), start=3)}
    state |= {n: LinkState(n, i, True, tuple(map(marked, wanted[n]))) for n, i in indices.items()}
    for near, far in wanted_pairs(section).items():
        state[near] = replace(state[near], peer=indices[far])
        state[far] = replace(state[far], peer=indices[near], tap=True)
    taps = wanted_pairs(section).values()
    rp_filter = {name: rp_filter_for(section.forwarding, tap=name in taps) for name in state}
    return Observed(state | links, section.forwarding, rp_filter)


@given(sections)
def test_what_is_effective_needs_no_step(section: InterfacesSection) -> None:
    value = to_value(live(section))
    assert differences(value, section) == ()
    assert value is None if is_empty(section) else value == canonical(section).to_json()


@given(sections, sections)
def test_two_sections_differ_exactly_when_their_values_do(one: InterfacesSection, other: InterfacesSection) -> None:
    same = (is_empty(one) and is_empty(other)) or canonical(one) == canonical(other)
    assert (differences(to_value(live(one)), other) == ()) is same


ROUTER = InterfacesSection(
    loopback=IPv4Address("10.255.0.1"),
    forwarding=True,
    interfaces=(InterfaceConfig(name="eth1", address=IPv4Interface("10.1.0.1/24")),),
)


def test_every_kind_of_drift_is_told() -> None:
    extra = LinkState("eth1", 3, True, (marked("10.1.0.1/24"), Address("10.9.9.9/24")))
    assert to_value(live(ROUTER, eth1=extra)) == canonical(ROUTER).to_json() | {"extra": ["eth1 10.9.9.9/24"]}
    down = LinkState("eth1", 3, False, (marked("10.1.0.1/24"),))
    assert to_value(live(ROUTER, eth1=down)) == canonical(ROUTER).to_json() | {"down": ["eth1"]}
    observed = live(ROUTER)
    strict = Observed(observed.links, True, {"eth1": 1})
    assert to_value(strict) == canonical(ROUTER).to_json() | {"rp_filter": {"eth1": 1}}


def test_addresses_that_others_set_on_lo_are_not_touched() -> None:
    link = LinkState("lo", 1, True, (LOCAL, marked("10.255.0.9/32"), Address("192.0.2.1/32")))
    assert foreign_addresses(link, ("10.255.0.1/32",)) == (marked("10.255.0.9/32"),)


def test_a_change_of_address_says_what_it_costs(interfaces_driver: InterfacesDriver) -> None:
    have = State(to_value(live(ROUTER)))
    moved = ROUTER.model_copy(
        update={"interfaces": (InterfaceConfig(name="eth1", address=IPv4Interface("10.1.0.2/24")),)}
    )
    assert interfaces_driver.plan(have, ROUTER) == ()
    (step,) = interfaces_driver.plan(have, moved)
    assert "eth1" in step.disruption
    assert step.provides == {"c1.interface.eth1", "c1.interface.lo"}
    (first,) = interfaces_driver.plan(State(None), ROUTER)
    assert first.disruption == ""
    assert interfaces_driver.plan(State(None), None) == ()
    assert interfaces_driver.plan(State(None), InterfacesSection()) == ()


def test_a_secondary_address_that_goes_is_told(interfaces_driver: InterfacesDriver) -> None:
    both = ROUTER.interfaces[0].model_copy(update={"secondary": (IPv4Interface("10.1.0.11/24"),)})
    have = State(to_value(live(ROUTER.model_copy(update={"interfaces": (both,)}))))
    (step,) = interfaces_driver.plan(have, ROUTER)
    assert "eth1" in step.disruption
    (more,) = interfaces_driver.plan(State(to_value(live(ROUTER))), ROUTER.model_copy(update={"interfaces": (both,)}))
    assert more.disruption == ""
