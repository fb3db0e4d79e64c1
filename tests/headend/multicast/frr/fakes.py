"""Daemons that answer on real vty sockets without being FRR, and the units that run them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from headend.multicast.frr.config import Line, format_config, parse_config
from nf.contracts.units import UnitSpec, UnitState, UnitStatus
from nf.errors import DriverError


def _unlink(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _configured(spec: UnitSpec) -> tuple[Line, ...]:
    return parse_config(Path(spec.argv[spec.argv.index("-f") + 1]).read_text())


class FakeDaemon:
    """Keeps configuration lines. `crash_on`: the command it dies of; `deaf_to`: the one it takes and forgets."""

    def __init__(self, spec: UnitSpec, lines: tuple[Line, ...], crash_on: str, deaf_to: str) -> None:
        self.spec = spec
        self.lines = list(lines)
        self.dead = False
        self._crash_on, self._deaf_to = crash_on, deaf_to
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.spec.ready.target)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        _unlink(self.spec.ready.target)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        blocks: list[str] = []
        try:
            while True:
                command = (await reader.readuntil(b"\0"))[:-1].decode()
                if self._crash_on and command == self._crash_on:
                    self.dead = True
                    return
                writer.write(self._answer(command, blocks).encode() + b"\0\0\0\0")
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()

    def _answer(self, command: str, blocks: list[str]) -> str:
        if command == "show running-config":
            return format_config(sorted(self.lines))
        if command in {"enable", "configure terminal", "end"}:
            blocks.clear()
        elif command.startswith("no "):
            gone = (*blocks, command.removeprefix("no "))
            self.lines = [line for line in self.lines if line[: len(gone)] != gone]
        elif command != self._deaf_to:
            line = (*blocks, command)
            if line not in self.lines:
                self.lines.append(line)
            if command.startswith(("interface ", "router ", "profile ")) or command == "bfd":
                blocks.append(command)
        return ""


class FakeUnits:
    """`crash_on` and `deaf_to` reach every daemon that is started from then on; `broken` never becomes ready."""

    def __init__(self) -> None:
        self.crash_on = self.deaf_to = self.broken = ""
        self.daemons: dict[str, FakeDaemon] = {}
        self._specs: dict[str, UnitSpec] = {}

    async def define(self, spec: UnitSpec) -> None:
        self._specs[spec.name] = spec

    async def remove(self, name: str) -> None:
        await self.stop(name)
        self._specs.pop(name, None)

    async def start(self, name: str) -> UnitStatus:
        daemon = self.daemons.get(name)
        if daemon is None or daemon.dead:
            await self.stop(name)
            if name == self.broken:
                raise DriverError(f"{name} did not become ready: bad configuration", where=f"unit {name}")
            spec = self._specs[name]
            self.daemons[name] = FakeDaemon(spec, _configured(spec), self.crash_on, self.deaf_to)
            await self.daemons[name].start()
        return self._status(name)

    async def stop(self, name: str) -> UnitStatus:
        daemon = self.daemons.pop(name, None)
        if daemon is not None:
            await daemon.stop()
        return self._status(name)

    async def restart(self, name: str) -> UnitStatus:
        await self.stop(name)
        return await self.start(name)

    def _status(self, name: str) -> UnitStatus:
        daemon = self.daemons.get(name)
        state = UnitState.STOPPED if daemon is None else UnitState.BACKOFF if daemon.dead else UnitState.READY
        return UnitStatus(name, state, None, 0.0, 0, "signal SIGSEGV" if daemon is not None and daemon.dead else "")

    async def status(self, name: str) -> UnitStatus | None:
        return self._status(name) if name in self._specs else None

    async def list(self) -> tuple[UnitStatus, ...]:
        return tuple(self._status(name) for name in self._specs)

    async def log(self, name: str, lines: int = 50) -> tuple[str, ...]:
        return (f"{name}: assertion failed",)

    async def watch(self) -> AsyncIterator[UnitStatus]:
        return
        yield
