from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.documents import FrrInterface, FrrSection, FrrTimers, ReversePath
from headend.multicast.frr.config import Line, difference, format_config, parse_config
from headend.multicast.frr.render import DAEMONS, canonical, deviations, parse, render

names = st.from_regex(r"[a-z][a-z0-9._-]{0,14}", fullmatch=True)
interfaces = st.builds(
    FrrInterface,
    name=names,
    cost=st.integers(1, 65535),
    passive=st.booleans(),
    pim=st.booleans(),
    igmp=st.booleans(),
    bfd=st.booleans(),
)
timers = st.builds(
    FrrTimers,
    pim_hello_s=st.integers(1, 180),
    pim_hold_s=st.integers(181, 630),
    igmp_query_interval_s=st.integers(10, 1800),
    last_member_query_count=st.integers(1, 7),
    last_member_query_interval_ds=st.integers(1, 255),
) | st.just(FrrTimers(pim_hello_s=30, pim_hold_s=105, igmp_query_interval_s=125))
paths = st.builds(ReversePath, source=st.ip_addresses(v=4), neighbour=st.ip_addresses(v=4))
sections = st.builds(
    FrrSection,
    reverse_paths=st.lists(paths, max_size=4, unique_by=lambda path: path.source).map(tuple),
    timers=timers,
    router_id=st.ip_addresses(v=4),
    interfaces=st.lists(interfaces, max_size=6, unique_by=lambda interface: interface.name).map(tuple),
)


@given(sections)
def test_a_router_is_read_back_as_it_was_rendered(section: FrrSection) -> None:
    files = {daemon: format_config(lines) for daemon, lines in render(section).items()}
    running = {daemon: parse_config(text) for daemon, text in files.items()}
    assert running == render(section)
    assert parse(running) == canonical(section)
    assert deviations(running, parse(running)) == ((), ())


@given(sections)
def test_the_order_of_interfaces_means_nothing(section: FrrSection) -> None:
    turned = section.model_copy(
        update={"interfaces": section.interfaces[::-1], "reverse_paths": section.reverse_paths[::-1]}
    )
    assert render(turned) == render(section)


def _apply(have: tuple[Line, ...], want: tuple[Line, ...]) -> set[Line]:
    """What a daemon that takes every command makes of it."""
    lines = set(have)
    for command in difference(have, want):
        if command.command.startswith("no "):
            gone = (*command.parents, command.command.removeprefix("no "))
            lines = {line for line in lines if line[: len(gone)] != gone}
        else:
            lines |= {(*command.parents, command.command)}
    used = {line[0] for line in lines if len(line) > 1}
    return {line for line in lines if line[0] in used or not line[0].startswith("interface ")}


@given(sections, sections)
def test_a_difference_leads_from_one_router_to_the_other(before: FrrSection, after: FrrSection) -> None:
    for daemon in DAEMONS:
        have, want = render(before)[daemon], render(after)[daemon]
        assert _apply(have, want) == set(want)
        assert difference(want, want) == ()


def test_bfd_is_on_before_its_profile_and_goes_after_it() -> None:
    with_bfd = FrrSection.model_validate({"router_id": "10.0.0.1", "interfaces": [{"name": "eth1", "bfd": True}]})
    without = FrrSection.model_validate({"router_id": "10.0.0.1", "interfaces": [{"name": "eth1"}]})
    here, there = render(without)["ospfd"], render(with_bfd)["ospfd"]
    assert [c.command for c in difference(here, there)] == ["ip ospf bfd", "ip ospf bfd profile fast"]
    assert [c.command for c in difference(there, here)] == ["no ip ospf bfd profile fast", "no ip ospf bfd"]


def test_a_block_that_goes_takes_its_lines_along() -> None:
    have = parse_config("router ospf\n ospf router-id 10.0.0.1\nexit\nip pim ecmp\nno ip something\n")
    commands = [(c.parents, c.command) for c in difference(have, ())]
    assert commands == [((), "ip something"), ((), "no ip pim ecmp"), ((), "no router ospf")]


def test_what_belongs_to_others_is_left_out() -> None:
    text = "frr version 8.4.4\nhostname x\nlog file /x\nno ip forwarding\n!\nip nht resolve-via-default\nend\n"
    assert parse_config(text) == (("ip nht resolve-via-default",),)
