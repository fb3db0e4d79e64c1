"""Against the running configuration that real daemons showed."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from headend.multicast.documents import FrrInterface, FrrSection, ReversePath
from headend.multicast.frr.config import Line, parse_config
from headend.multicast.frr.render import DAEMONS, deviations, parse, render

DATA = Path(__file__).parents[3] / "data" / "multicast"
ROUTER = FrrSection(
    router_id=IPv4Address("10.61.255.2"),
    interfaces=(FrrInterface(name="eth1", bfd=True), FrrInterface(name="eth2", passive=True, igmp=True)),
    reverse_paths=(ReversePath(source=IPv4Address("10.61.1.11"), neighbour=IPv4Address("10.61.2.0")),),
)


@pytest.fixture
def running() -> dict[str, tuple[Line, ...]]:
    return {daemon: parse_config((DATA / f"running-{daemon}.txt").read_text()) for daemon in DAEMONS}


def test_what_was_rendered_is_what_the_daemons_show(running: dict[str, tuple[Line, ...]]) -> None:
    assert parse(running) == ROUTER
    assert deviations(running, ROUTER) == ((), ())
    for daemon, lines in render(ROUTER).items():
        assert set(running[daemon]) == set(lines)


def test_a_line_that_a_daemon_dropped_is_missing(running: dict[str, tuple[Line, ...]]) -> None:
    running["ospfd"] = tuple(line for line in running["ospfd"] if line[-1] != "ip ospf bfd profile fast")
    assert deviations(running, parse(running)) == ((), ("ospfd: interface eth1 / ip ospf bfd profile fast",))


def test_a_line_set_by_hand_is_extra(running: dict[str, tuple[Line, ...]]) -> None:
    running["zebra"] = (
        *running["zebra"],
        *parse_config("interface eth1\n description by hand\nexit\ninterface eth2\nexit\n"),
    )
    extra, missing = deviations(running, parse(running))
    assert extra == ("zebra: interface eth1", "zebra: interface eth1 / description by hand")
    assert missing == ()


def test_daemons_without_a_router_are_no_section() -> None:
    assert parse({"ospfd": (), "pimd": (("ip pim ecmp",),)}) is None
    assert deviations({"pimd": (("ip pim ecmp",),)}, None) == (("pimd: ip pim ecmp",), ())


def test_what_no_document_can_hold_is_extra(running: dict[str, tuple[Line, ...]]) -> None:
    running["ospfd"] += (("interface WAN",), ("interface WAN", "ip ospf area 0"))
    section = parse(running)
    assert section == ROUTER
    assert "ospfd: interface WAN / ip ospf area 0" in deviations(running, section)[0]
