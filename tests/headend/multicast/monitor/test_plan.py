from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from headend.multicast.documents import MonitorSection, TreeSection, Watch
from headend.multicast.monitor.driver import MonitorDriver, create
from nf.clock import RealClock
from nf.contracts.driver import DriverContext, State, Step
from nf.contracts.units import Units
from nf.errors import InputError
from tests.headend.multicast.tree.network import context

FLOW = Watch(
    channel="ch1",
    path="iptv",
    source=IPv4Address("10.1.0.10"),
    group=IPv4Address("232.1.1.1"),
    port=5000,
    rate_bps=4_000_000,
)
SECTION = MonitorSection(interfaces=("eth1",), flows=(FLOW,))


@pytest.fixture
def driver(tmp_path: Path) -> MonitorDriver:
    return create(DriverContext("pop1", tmp_path, tmp_path, create_autospec(Units), RealClock()))


def test_what_is_as_wanted_needs_no_step(driver: MonitorDriver) -> None:
    assert driver.plan(State(SECTION.to_json()), SECTION) == ()
    assert driver.plan(State(None), None) == ()


def test_one_step_sets_or_removes_it(driver: MonitorDriver) -> None:
    for have in (None, MonitorSection().to_json(), {**SECTION.to_json(), "altered": "the monitor does not answer"}):
        (step,) = driver.plan(State(have), SECTION)
        assert (step.kind, step.disruption) == ("monitor.configure", "")
        assert Step.from_json(step.to_json()) == step
        assert MonitorSection.model_validate(step.arguments["section"]) == SECTION
    (step,) = driver.plan(State(SECTION.to_json()), None)
    assert step.kind == "monitor.remove"


async def test_strange_things_are_refused(driver: MonitorDriver) -> None:
    with pytest.raises(InputError):
        driver.plan(State(None), TreeSection())
    with pytest.raises(InputError, match="unknown step"):
        await driver.apply(Step("x", "monitor.configure", {}, version=2), context())
