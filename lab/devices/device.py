"""A simulated device: its objects, its alarms, what it does with packets, and the agent in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from lab.devices.agent import Agent
from lab.devices.alarms import SEVERITIES, AlarmBoard, AlarmKind
from lab.devices.config import DeviceConfig
from lab.devices.control import Control, Identity, Order, Weather
from lab.devices.objects import ALARM_CHANGED, NF_LAB, SPECS, Oid, Syntax, Value
from lab.devices.settings import Settings
from lab.devices.tree import Changes, DiedError, Instance, Reader, Tree
from nf.clock import Clock

KIND_NUMBERS = {"encoder": 1, "mux": 2, "modem": 3, "receiver": 4}
TICK_S = 0.01
_LOOK_S = 0.1  # how often faults are looked for and alarms are judged
_SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)
_ENGINE: Oid = (1, 3, 6, 1, 6, 3, 10, 2, 1)
_COLD_START: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 5, 1)
_DESCRIPTION = "StreamVerse NF lab simulator, not a real device"
_NORMAL = 2

log = logging.getLogger("lab.devices")


class Works(Protocol):
    """What makes a device an encoder, a multiplexer, a modulator or a receiver. Times are monotonic."""

    kind: str
    settings: Settings
    weather: Weather  # as the device finds it, again and again
    rows: Mapping[str, tuple[int, ...]]
    alarms: tuple[AlarmKind, ...]

    def readers(self) -> Mapping[str, Reader]:
        """What answers a GET, by object; those of `settings` are added."""

    def change(self, changes: Changes) -> None:
        """Do a SET. Raises UnfitError, and then nothing has changed."""

    def tick(self, now: float) -> None:
        """Carry what came in since the last one."""

    def holding(self, now: float) -> Mapping[AlarmKind, str]:
        """The alarms whose condition holds."""

    def close(self) -> None: ...


class Device:
    """One device from power-on to power-off or reboot."""

    def __init__(self, config: DeviceConfig, works: Works, clock: Clock, *, run_dir: Path, state_dir: Path) -> None:
        self._config = config
        self._works = works
        self._clock = clock
        self._control = Control(run_dir)
        self._boots_file = state_dir / "boots.json"
        self._engine_id = b"\x80\x00\x1f\x88\x05" + hashlib.sha256(config.name.encode()).digest()[:8]
        self._boots = 0
        self._started = clock.monotonic()
        self._board = AlarmBoard(works.alarms)
        self._end = asyncio.Event()
        self._reboot = False
        self.tree = self._make_tree()

    @staticmethod
    def keep_time() -> None:
        """Ask the kernel for what a device's hardware has: its turn when it is due, however busy the machine is.

        It takes a few per cent of one processor. Without the permission it works as any process does.
        """
        try:
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        except OSError as error:
            log.info("no real-time scheduling: %s", error.strerror)

    async def run(self) -> bool:
        """Until `stop`, or a reboot: then True. Raises UnavailableError when a port cannot be had."""
        await self._clock.sleep(self._config.boot_s)
        self._boots = self._count_boot()
        self._started = self._clock.monotonic()
        self._control.introduce(Identity(self._works.kind, self._config.name, self._config.site))
        self._works.weather = self._control.weather()
        self._control.tell(self._works.weather.faults)
        agent = Agent(self._config.snmp, self, engine_id=self._engine_id, boots=self._boots)
        try:
            agent.start()
            agent.notify(_COLD_START, (), self.uptime())
            await self._carry(agent)
        finally:
            agent.close()
            self._works.close()
        return self._reboot

    def stop(self) -> None:
        self._end.set()

    def weather(self) -> Weather:
        return self._works.weather

    def uptime(self) -> int:
        """In hundredths of a second."""
        return int((self._clock.monotonic() - self._started) * 100) & 0xFFFFFFFF

    def change(self, changes: Changes) -> None:
        """Do a SET. Raises UnfitError; DiedError when a fault ends the device in the middle of it."""
        if self._control.ordered(Order.REBOOT_IN_SET):
            first = next(iter(changes.items()))
            self._works.change(dict([first]))
            self._restart()
            raise DiedError
        asked = dict(changes)
        command = asked.pop(("SysRebootCommand", 0), None)
        if asked:
            self._works.change(asked)
        if command == _NORMAL:
            self._restart()

    async def _carry(self, agent: Agent) -> None:
        look = 0.0
        while not self._end.is_set():
            now = self._clock.monotonic()
            if now >= look:
                look = now + _LOOK_S
                if self._control.changed():
                    self._look_out()
                    self._obey()
                self._judge(now, agent)
            self._works.tick(now)
            await self._clock.sleep(TICK_S - (self._clock.monotonic() - now))

    def _look_out(self) -> None:
        before, self._works.weather = self._works.weather, self._control.weather()
        if self._works.weather.faults.keys() != before.faults.keys():
            self._control.tell(self._works.weather.faults)

    def _obey(self) -> None:
        if self._control.ordered(Order.BOOTS_LOST):
            self._boots_file.unlink(missing_ok=True)
            self._restart()
        if self._control.ordered(Order.REBOOT):
            self._restart()

    def _judge(self, now: float, agent: Agent) -> None:
        for kind in self._board.update(self._works.holding(now), self.uptime()):
            texts = self._board.text(kind) or "cleared"
            log.info("alarm %s: %s", kind.name, texts)
            values: dict[str, Value] = {
                "AlarmState": self._board.state(kind),
                "AlarmSeverity": int(SEVERITIES[kind]),
                "AlarmText": self._board.text(kind),
            }
            bindings = [(SPECS[name].row_oid(kind), SPECS[name].syntax, value) for name, value in values.items()]
            agent.notify(ALARM_CHANGED, bindings, self.uptime())

    def _restart(self) -> None:
        self._reboot = True
        self._end.set()

    def _count_boot(self) -> int:
        boots = 1
        with contextlib.suppress(FileNotFoundError):
            boots = int(json.loads(self._boots_file.read_bytes())) + 1
        self._boots_file.parent.mkdir(parents=True, exist_ok=True)
        self._boots_file.write_text(json.dumps(boots))
        return boots

    def _make_tree(self) -> Tree:
        works, config = self._works, self._config
        texts = {
            "SysModel": f"NF-LAB {works.kind}",
            "SysSerialNumber": config.serial,
            "SysSoftwareVersion": version("streamverse-nf"),
        }
        readers: dict[str, Reader] = {name: _constant(text) for name, text in texts.items()}
        readers |= {"SysDeviceKind": _constant(KIND_NUMBERS[works.kind]), "SysRebootCommand": _constant(1)}
        readers |= self._board.readers() | works.settings.readers() | dict(works.readers())
        rows = {"Alarm": tuple(int(kind) for kind in self._board.kinds())} | dict(works.rows)
        return Tree.of(readers, rows, self._others())

    def _others(self) -> dict[Oid, Instance]:
        """The system group of SNMPv2-MIB and the engine group of SNMP-FRAMEWORK-MIB."""
        config = self._config
        product = ".".join(map(str, (*NF_LAB, 3, KIND_NUMBERS[self._works.kind])))
        values: dict[Oid, tuple[Syntax, Reader]] = {
            (*_SYSTEM, 1): (Syntax.TEXT, _constant(f"{_DESCRIPTION} ({self._works.kind})")),
            (*_SYSTEM, 2): (Syntax.OID, _constant(product)),
            (*_SYSTEM, 3): (Syntax.TIMETICKS, lambda _: self.uptime()),
            (*_SYSTEM, 4): (Syntax.TEXT, _constant("")),
            (*_SYSTEM, 5): (Syntax.TEXT, _constant(config.name)),
            (*_SYSTEM, 6): (Syntax.TEXT, _constant(config.site)),
            (*_SYSTEM, 7): (Syntax.INTEGER, _constant(72)),
            (*_ENGINE, 1): (Syntax.OCTETS, _constant(self._engine_id)),
            (*_ENGINE, 2): (Syntax.INTEGER, lambda _: self._boots),
            (*_ENGINE, 3): (Syntax.INTEGER, lambda _: self.uptime() // 100),
        }
        return {(*oid, 0): Instance(syntax, 0, _now(read)) for oid, (syntax, read) in values.items()}


def _constant(value: Value) -> Reader:
    return lambda _: value


def _now(read: Reader) -> Callable[[], Value]:
    return lambda: read(0)
