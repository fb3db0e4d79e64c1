"""snmpsim over the captured walks (where they are) and over our own, and devices on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from headend.devices.device import Device
from headend.devices.model import Model
from headend.snmp.session import Session
from headend.snmp.setter import Setter
from headend.snmp.stack import Stack
from nf.clock import RealClock
from tests.support.snmp import CAPTURED, REPOSITORY, Simulator, simulator

OWN = REPOSITORY / "tests" / "data" / "devices"
Opener = Callable[..., Device]


@pytest.fixture(scope="session")
def captured() -> Iterator[Simulator]:
    if not CAPTURED.is_dir():
        pytest.skip(f"no captured walks in {CAPTURED}")
    with simulator(sorted(CAPTURED.glob("*.snmprec"))) as running:
        yield running


@pytest.fixture(scope="session")
def own() -> Iterator[Simulator]:
    with simulator(sorted(OWN.glob("*.snmprec"))) as running:
        yield running


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """`opened(simulator, walk, model)`: a device on that walk; its session is closed afterwards."""
    async with AsyncExitStack() as closing:
        stack = Stack()
        closing.callback(stack.close)

        def opener(sim: Simulator, walk: str, model: Model, version: str = "v2c") -> Device:
            target = sim.target(walk, version=version)
            session = Session(target, RealClock(), name=walk, stack=stack)
            closing.push_async_callback(session.close)
            return Device(model, target, session, Setter(stack), RealClock(), name=walk)

        yield opener
