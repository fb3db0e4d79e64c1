"""A machine for code that is not asynchronous: its console is read by a thread, whatever the caller waits for."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from lab.machine.machine import Machine, is_reset
from lab.machine.spec import MachineSpec
from lab.machine.transcript import Line
from lab.native.processes import Process

T = TypeVar("T")


class DrivenMachine:
    """What Machine does, step by step. The machine is cut off from power at the end of the `with` block."""

    def __init__(self, spec: MachineSpec, folder: Path, *, node: Process | None = None) -> None:
        self._machine = Machine(spec, folder, node=node)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"machine-{spec.name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._do(self._machine.power_cut())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @property
    def spec(self) -> MachineSpec:
        return self._machine.spec

    @property
    def folder(self) -> Path:
        return self._machine.folder

    @property
    def disk(self) -> Path:
        return self._machine.disk

    @property
    def running(self) -> bool:
        return self._machine.running

    @property
    def text(self) -> str:
        """All that the console of this run has shown."""
        return self._machine.console.transcript.text

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(self._machine.console.transcript.lines)

    @property
    def position(self) -> int:
        """Where the next thing that the console shows will stand in `text`."""
        return len(self.text)

    def age_s(self) -> float:
        """Since power on."""
        return self._machine.console.age()

    def tail(self, count: int = 15) -> str:
        return self._machine.console.transcript.tail(count)

    def power_on(self) -> None:
        self._do(self._machine.power_on())

    def power_cut(self) -> None:
        self._do(self._machine.power_cut())

    def left_by_a_power_cut(self, folder: Path) -> None:
        self._do(self._machine.left_by_a_power_cut(folder))

    def power_down(self, *, patience_s: float = 120.0) -> None:
        self._do(self._machine.power_down(patience_s=patience_s))

    def await_end(self, *, patience_s: float) -> None:
        self._do(self._machine.await_end(patience_s=patience_s))

    def reset(self) -> None:
        self._do(self._machine.reset())

    def resets(self) -> int:
        """How often it was reset in this run, by itself or by us."""
        return sum(event.name == "RESET" or is_reset(event) for event in self._machine.monitor.events)

    def send(self, text: str) -> None:
        """Type at the console; a line ends with \\r."""
        self._do(self._machine.console.send(text))

    def await_console(
        self, pattern: str, *, patience_s: float, unless: str = "", since: int | None = None
    ) -> re.Match[str]:
        """See SerialConsole.await_pattern."""
        waiting = self._machine.console.await_pattern(pattern, patience_s=patience_s, unless=unless, since=since)
        return self._do(waiting)

    def at(self, found: re.Match[str]) -> float:
        """When the line of a match began, in seconds since power on."""
        return self._machine.console.transcript.stamp(found.start())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
