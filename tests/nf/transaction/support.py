"""Drivers whose live thing is files, a clock, and an engine around them; children that can be killed for real."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from nf.clock import Clock, VirtualClock
from nf.contracts.driver import (
    Checkpoint,
    Context,
    Drift,
    Event,
    Operation,
    Ownership,
    State,
    Step,
    Undo,
)
from nf.contracts.json import JsonObject
from nf.documents.appliance import ApplianceConfig, ProbeTarget
from nf.documents.model import DocumentModel
from nf.transaction.engine import Engine
from nf.transaction.journal import Journal
from nf.transaction.killpoints import NO_KILL_POINTS, KillPoints
from nf.transaction.model import EngineEvent, Timings

START = 1_700_000_000.0


class Values(DocumentModel):
    """A section of the tests: the files that shall be there, by name.

    A name that begins with `bucket` can only be deleted for good; one with `costly` drops viewers when it changes.
    """

    values: Mapping[str, str] = {}


def config(sections: Mapping[str, Mapping[str, str]], probes: tuple[ProbeTarget, ...] = ()) -> ApplianceConfig:
    return ApplianceConfig.model_validate(
        {
            "apiVersion": "streamverse.nf/v1",
            "kind": "ApplianceConfig",
            "metadata": {"name": "box"},
            "appliance": "box",
            "site": "site",
            "sections": {name: Values(values=values) for name, values in sections.items()},
            "probes": probes,
        }
    )


def load_config(data: JsonObject) -> ApplianceConfig:
    sections = data["sections"]
    assert isinstance(sections, dict)
    return ApplianceConfig.model_validate(
        {**data, "sections": {name: Values.model_validate(value) for name, value in sections.items()}}
    )


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _write(path: Path, value: str | None) -> None:
    if value is None:
        path.unlink(missing_ok=True)
        return
    path.write_text(value)


class Count:
    """An operation: counts in a file up to `to`, from its checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = asyncio.Event()

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        self.started.set()
        at = int(str(checkpoint.data.get("at", 0)))
        to = int(str(arguments["to"]))
        while at < to and not context.cancel.is_set():
            at += 1
            self.path.write_text(str(at))
            checkpoint.save({"at": at})
            context.progress(at / to, f"{at} of {to}")
            await asyncio.sleep(0)
        if arguments.get("forever"):
            await context.cancel.wait()
        return {"counted": at}


class FileDriver:
    """Each value stands in two files, written one after the other: a kill between them leaves a torn value."""

    def __init__(self, root: Path, section: str = "alpha", faults: KillPoints = NO_KILL_POINTS) -> None:
        self.directory = root / section
        self.directory.mkdir(parents=True, exist_ok=True)
        self.section = section
        self.name = f"driver-{section}"
        self.owns = Ownership(paths=frozenset({self.directory}))
        self.operations: Mapping[str, Operation] = {"count": Count(root / f"{section}.count")}
        self.faults = faults
        self.calls: list[str] = []

    def _value(self, key: str) -> str | None:
        first, second = _read(self.directory / key), _read(self.directory / f"{key}.copy")
        return first if first == second else f"torn {first} {second}"

    def _set(self, key: str, value: str | None) -> None:
        _write(self.directory / key, value)
        self.faults.reach("effect:half")
        _write(self.directory / f"{key}.copy", value)

    def live(self) -> dict[str, str]:
        names = {path.name.removesuffix(".copy") for path in self.directory.iterdir()}
        return {name: str(self._value(name)) for name in sorted(names)}

    def break_next(self, method: str, error: BaseException, *, times: int = 1) -> Callable[[], int]:
        """The next `times` calls of `method` raise. What is returned tells how many of them are still to come."""
        left, original = times, getattr(self, method)

        def fails() -> None:
            nonlocal left
            if left > 0:
                left -= 1
                raise error

        async def called(*arguments: object) -> object:
            fails()
            return await original(*arguments)

        def planned(*arguments: object) -> object:
            fails()
            return original(*arguments)

        setattr(self, method, planned if method == "plan" else called)
        return lambda: left

    def hang_next(self, method: str, *, stubborn: bool = False) -> asyncio.Event:
        """The next call of `method` never returns, `stubborn`: not even when cancelled, until the event is set."""
        original, release = getattr(self, method), asyncio.Event()

        async def hangs(*arguments: object) -> object:
            setattr(self, method, original)
            while True:
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    if not stubborn:
                        raise
                else:
                    return None

        setattr(self, method, hangs)
        return release

    async def observe(self) -> State:
        self.calls.append("observe")
        return State({"values": dict(self.live())}, frozenset({f"{self.section}.{key}" for key in self.live()}))

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        assert have.value is not None
        old = have.value["values"]
        assert isinstance(old, dict)
        new = want.values if isinstance(want, Values) else {}
        steps: list[Step] = []
        for key in sorted({*old, *new}):
            if old.get(key) == new.get(key):
                continue
            steps.append(self.step(key, new.get(key)))
        return tuple(steps)

    def step(self, key: str, value: str | None) -> Step:
        return Step(
            id=f"{self.section}-{key}",
            kind="set",
            arguments={"key": key, "value": value},
            requires=frozenset({"headend.emits"} if key.startswith("fed") and value is not None else ()),
            provides=frozenset({f"{self.section}.{key}={value}"}),
            reversible=not (key.startswith("bucket") and value is None),
            disruption="drops viewers" if key.startswith("costly") else "",
            summary=f"{key} becomes {value}",
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        self.calls.append("check")

    async def prepare(self, step: Step) -> Undo:
        self.calls.append(f"prepare {step.id}")
        key = str(step.arguments["key"])
        value = self._value(key)
        assert value is None or not value.startswith("torn"), "prepared on top of a half change"
        return Undo("set", {"key": key, "value": value})

    async def apply(self, step: Step, context: Context) -> None:
        self.calls.append(f"apply {step.id}")
        value = step.arguments["value"]
        self._set(str(step.arguments["key"]), None if value is None else str(value))

    async def undo(self, undo: Undo, context: Context) -> None:
        self.calls.append(f"undo {undo.data['key']}")
        value = undo.data["value"]
        self._set(str(undo.data["key"]), None if value is None else str(value))

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        self.calls.append("verify")
        wanted = dict(want.values) if isinstance(want, Values) else {}
        live = {key: value for key, value in self.live().items() if key in wanted or not key.startswith("bucket")}
        return Drift(tuple(f"{key}: {live.get(key)}" for key in {*live, *wanted} if live.get(key) != wanted.get(key)))

    async def events(self) -> AsyncIterator[Event]:
        nothing: tuple[Event, ...] = ()
        for event in nothing:
            yield event


class Probes:
    """Every path is up, unless `differences` says otherwise."""

    def __init__(self) -> None:
        self.differences: tuple[str, ...] = ()
        self.asked = 0

    async def verify(self, targets: Sequence[ProbeTarget], context: Context) -> Drift:
        self.asked += 1
        return Drift(self.differences)

    def budget_s(self, targets: Sequence[ProbeTarget]) -> float:
        return max((target.budget_ms for target in targets), default=0) / 1000


@dataclass
class Box:
    """An engine over file drivers in one directory."""

    engine: Engine
    journal: Journal
    clock: Clock
    drivers: dict[str, FileDriver]
    probes: Probes
    events: list[EngineEvent] = field(default_factory=list)
    wanted: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def live(self) -> dict[str, dict[str, str]]:
        return {name: driver.live() for name, driver in self.drivers.items()}


def make_box(
    root: Path,
    *,
    clock: Clock | None = None,
    faults: KillPoints | None = None,
    sections: Sequence[str] = ("alpha", "beta"),
    drivers: Sequence[FileDriver] | None = None,
    timings: Timings | None = None,
    journal_dir: Path | None = None,
    reserve_bytes: int = 64 * 1024,
) -> Box:
    root.mkdir(parents=True, exist_ok=True)
    faults = faults or KillPoints(root)
    journal = Journal((journal_dir or root) / "journal.db", faults, reserve_bytes=reserve_bytes)
    drivers = drivers if drivers is not None else [FileDriver(root, name, faults) for name in sections]
    probes = Probes()
    clock = clock or VirtualClock(START)
    engine = Engine(
        appliance="box",
        journal=journal,
        drivers=drivers,
        probes=probes,
        clock=clock,
        load_config=load_config,
        faults=faults,
        timings=timings,
        jitter=lambda: 0.5,
    )
    box = Box(engine, journal, clock, {driver.section: driver for driver in drivers}, probes)
    engine.subscribe(box.events.append)
    return box


async def commit(
    box: Box,
    transaction: str,
    revision: int,
    wanted: ApplianceConfig,
    *,
    until: str = "confirm",
    accept: bool = False,
    lasts_s: float = 120.0,
) -> None:
    """Drive a commit as a coordinator would, each section being a stage, up to and with the phase `until`."""
    engine = box.engine
    validated = await engine.validate(transaction, revision, wanted, accept_irreversible=accept)
    if until == "validate":
        return
    names = sorted({planned.section for planned in validated.steps})
    stages = [
        [planned.step.id for planned in validated.steps if planned.section == name and planned.step.reversible]
        for name in names
    ]
    await engine.prepare(transaction, stages, box.clock.now() + lasts_s)
    if until == "prepare":
        return
    for stage in range(len(stages)):
        await engine.apply(transaction, stage)
    if until == "apply":
        return
    await engine.verify(transaction)
    if until == "verify":
        return
    await engine.confirm(transaction)


@asynccontextmanager
async def running(box: Box) -> AsyncIterator[None]:
    """The engine's own timers run meanwhile."""
    task = asyncio.create_task(box.engine.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class ChildFailedError(AssertionError):
    """A child ended with an error of its own."""


def in_child(work: Callable[[], Awaitable[None]], log: Path) -> bool:
    """Run `work` in a forked child. True when it finished, False when it was SIGKILLed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(_awaited(work))
            code = 0
        except BaseException:  # noqa: BLE001 - a forked child never returns into the test runner
            log.write_text(traceback.format_exc())
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    if os.WEXITSTATUS(status):
        raise ChildFailedError(log.read_text())
    return True


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()
