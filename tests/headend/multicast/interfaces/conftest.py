from __future__ import annotations

from pathlib import Path
from unittest.mock import create_autospec

import pytest

from headend.multicast.interfaces.driver import InterfacesDriver, create
from nf.clock import VirtualClock
from nf.contracts.driver import DriverContext
from nf.contracts.units import Units


@pytest.fixture
def interfaces_driver(tmp_path: Path) -> InterfacesDriver:
    return create(DriverContext("c1", tmp_path, tmp_path, create_autospec(Units), VirtualClock()))
