"""All drivers that are installed, together: an agent that finds two of them claiming one thing does not start."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from unittest.mock import create_autospec

from nf.clock import VirtualClock
from nf.contracts.driver import Driver, DriverContext
from nf.contracts.units import Units
from nf.transaction.ownership import check_ownership


def installed(tmp_path: Path) -> list[Driver]:
    context = DriverContext("pop1", tmp_path / "run", tmp_path / "state", create_autospec(Units), VirtualClock())
    return [point.load()(context) for point in entry_points(group="nf.drivers")]


def test_no_two_installed_drivers_own_the_same_thing(tmp_path: Path) -> None:
    drivers = installed(tmp_path)
    assert len(drivers) >= 15
    check_ownership(drivers)


def test_an_entry_point_is_called_what_its_driver_is_called(tmp_path: Path) -> None:
    names = sorted(point.name for point in entry_points(group="nf.drivers"))
    assert names == sorted(driver.name for driver in installed(tmp_path))
