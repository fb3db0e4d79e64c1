"""The driver against units that run what they were started with, and routes that are a dictionary."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from headend.multicast.documents import ProxySection
from headend.multicast.kernel import driver as module
from headend.multicast.kernel.driver import Routes, create
from nf.clock import VirtualClock
from nf.contracts.driver import Context, DriverContext
from nf.contracts.units import Units, UnitSpec, UnitState, UnitStatus

GATEWAY, FIRST, SECOND = (IPv4Address(text) for text in ("10.1.0.1", "10.2.0.1", "10.2.0.2"))


class Machine:
    """`starts`: how often a process began."""

    def __init__(self) -> None:
        self.routes: Routes = {}
        self.starts = 0
        self._defined: UnitSpec | None = None
        self._running: UnitSpec | None = None

    def units(self) -> Units:
        units = create_autospec(Units, instance=True)
        units.define.side_effect = self._define
        units.start.side_effect = self._start
        units.restart.side_effect = self._restart
        units.status.side_effect = self._status
        made: Units = units
        return made

    def _define(self, spec: UnitSpec) -> None:
        self._defined = spec

    def _start(self, name: str) -> None:
        if self._running is None:
            self._restart(name)

    def _restart(self, _name: str) -> None:
        self.starts += 1
        self._running = self._defined

    def _status(self, name: str) -> UnitStatus | None:
        spec = self._running or self._defined
        state = UnitState.READY if self._running else UnitState.STOPPED
        return None if spec is None else UnitStatus(name, state, 1, 0.0, 0, spec=spec)

    async def read(self) -> Routes:
        return dict(self.routes)

    async def set(self, wanted: Routes) -> None:
        self.routes = dict(wanted)


def section(*sources: IPv4Address) -> ProxySection:
    return ProxySection(uplink="eth1", access=("eth2",), gateway=GATEWAY, sources=sources)


def test_another_source_is_a_route_and_no_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    monkeypatch.setattr(module, "read_routes", machine.read)
    monkeypatch.setattr(module, "set_routes", machine.set)
    clock = VirtualClock()
    driver = create(DriverContext("p1", tmp_path, tmp_path, machine.units(), clock))

    async def commit(want: ProxySection) -> None:
        for step in driver.plan(await driver.observe(), want):
            await driver.apply(step, Context(clock, 20.0))
        assert not await driver.verify(want, Context(clock, 0.0))
        assert driver.plan(await driver.observe(), want) == ()

    async def body() -> None:
        await commit(section(FIRST))
        for want in (section(SECOND, FIRST), section(SECOND), section()):
            await commit(want)
            assert machine.routes == dict.fromkeys(want.sources, GATEWAY)
        assert machine.starts == 1
        machine.routes = {FIRST: IPv4Address("10.1.0.9")}
        assert (await driver.verify(section(), Context(clock, 0.0))).differences

    asyncio.run(body())
