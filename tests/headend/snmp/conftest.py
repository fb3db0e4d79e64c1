"""Agents that serve a whole test module: snmpsim over our own walks, and over captured ones where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from nf.clock import RealClock
from tests.support.snmp import CAPTURED, OWN_WALKS, Simulator, Snmpd, simulator, snmpd


@pytest.fixture(scope="session")
def sim() -> Iterator[Simulator]:
    with simulator(sorted(OWN_WALKS.glob("*.snmprec"))) as running:
        yield running


@pytest.fixture(scope="session")
def captured() -> Iterator[Simulator]:
    if not CAPTURED.is_dir():
        pytest.skip(f"no captured walks in {CAPTURED}")
    with simulator(sorted(CAPTURED.glob("*.snmprec"))) as running:
        yield running


@pytest.fixture
def agent(require_programs: Callable[..., None]) -> Iterator[Snmpd]:
    require_programs("snmpd")
    with snmpd() as running:
        yield running


@pytest.fixture
def clock() -> RealClock:
    return RealClock()
