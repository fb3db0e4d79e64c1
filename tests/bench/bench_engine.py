"""What the engine adds to the journal commits that a transaction cannot do without."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from nf.clock import RealClock
from nf.contracts.driver import Context, Drift, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.documents.appliance import ApplianceConfig, ProbeTarget
from nf.documents.model import DocumentModel
from nf.transaction.engine import Engine
from nf.transaction.journal import Journal
from tests.bench.harness import Benchmark

STEPS = 100
STAGES = 10
ROW = "x" * 256  # about what a state change and its undo record write
DIRECTORY = Path(__file__).parents[2] / "build"  # a real disk: on one in memory a commit costs nothing


class Section(DocumentModel):
    pass


class NoOperation:
    """A hundred steps that do nothing, then none."""

    name = section = "nothing"
    owns = Ownership()
    operations: Mapping[str, Operation] = {}

    def __init__(self) -> None:
        self._left = STEPS

    async def observe(self) -> State:
        return State({})

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        return tuple(
            Step(f"step-{number}", "nothing", {"number": number}, budget_s=0.5) for number in range(self._left)
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        return None

    async def prepare(self, step: Step) -> Undo:
        return Undo("nothing", {})

    async def apply(self, step: Step, context: Context) -> None:
        self._left -= 1

    async def undo(self, undo: Undo, context: Context) -> None:
        return None

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        return Drift()

    async def events(self) -> AsyncIterator[Event]:
        nothing: tuple[Event, ...] = ()
        for event in nothing:
            yield event


class NoProbes:
    async def verify(self, targets: Sequence[ProbeTarget], context: Context) -> Drift:
        return Drift()

    def budget_s(self, targets: Sequence[ProbeTarget]) -> float:
        return 0.0


def _load(data: JsonObject) -> ApplianceConfig:
    return ApplianceConfig.model_validate({**data, "sections": {"nothing": Section()}})


CONFIG = ApplianceConfig.model_validate(
    {
        "apiVersion": "streamverse.nf/v1",
        "metadata": {"name": "bench"},
        "appliance": "box",
        "site": "site",
        "sections": {"nothing": Section()},
    }
)


class Stopwatches:
    """Each piece of the engine's work is followed by as many bare commits as it made."""

    def __init__(self, journal: Journal, bare: sqlite3.Connection) -> None:
        self._journal = journal
        self._bare = bare
        self.ours_s = 0.0
        self.bare_s = 0.0

    async def time(self, work: asyncio.Future[None]) -> None:
        commits, start = self._journal.commits, time.perf_counter()
        await work
        self.ours_s += time.perf_counter() - start
        start = time.perf_counter()
        for _ in range(self._journal.commits - commits):
            self._bare.execute("BEGIN IMMEDIATE")
            self._bare.execute("INSERT INTO rows(text) VALUES (?)", (ROW,))
            self._bare.execute("COMMIT")
        self.bare_s += time.perf_counter() - start


def _bare(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 256"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE rows(number INTEGER PRIMARY KEY, text TEXT)")
    return connection


async def _commit(directory: Path) -> float:
    clock = RealClock()
    with closing(Journal(directory / "journal.db")) as journal, closing(_bare(directory / "bare.db")) as bare:
        journal.ensure_room()
        engine = Engine(
            appliance="box",
            journal=journal,
            drivers=[NoOperation()],
            probes=NoProbes(),
            clock=clock,
            load_config=_load,
        )
        await engine.recover()
        watch = Stopwatches(journal, bare)

        async def prepare() -> None:
            validated = await engine.validate("bench", 1, CONFIG)
            steps = [planned.step.id for planned in validated.steps]
            size = STEPS // STAGES
            stages = [steps[number * size : (number + 1) * size] for number in range(STAGES)]
            await engine.prepare("bench", stages, clock.now() + 3600)

        await watch.time(asyncio.ensure_future(prepare()))
        for stage in range(STAGES):
            await watch.time(asyncio.ensure_future(engine.apply("bench", stage)))
        await watch.time(asyncio.ensure_future(engine.verify("bench")))
        await watch.time(asyncio.ensure_future(engine.confirm("bench")))
    return watch.ours_s / watch.bare_s


def overhead() -> float:
    """Seconds of a transaction of 100 no-op steps over seconds of as many bare commits."""
    DIRECTORY.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=DIRECTORY) as name:
        return asyncio.run(_commit(Path(name)))


BENCHMARKS = [
    Benchmark(
        name="engine.overhead",
        peer="bare SQLite commits (WAL, synchronous FULL), as many as the journal makes for 100 no-op steps",
        sense="<=",
        target=3.0,
        run=overhead,
    )
]
