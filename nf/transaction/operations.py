"""Operations: long work of drivers. Started durably, resumed from their checkpoint after a crash, cancellable."""

from __future__ import annotations

import asyncio
import math
import uuid
from dataclasses import replace

from nf.contracts.driver import Checkpoint, Context, Driver, Operation
from nf.contracts.json import JsonObject
from nf.errors import NotFoundError, RefusedError
from nf.transaction.core import Core
from nf.transaction.model import OperationRecord, OperationState, StepProgress

CANCEL_GRACE_S = 10.0
_OPEN = frozenset({OperationState.RUNNING, OperationState.CANCELLING})


class Operations:
    """`run` hosts them; what it is cancelled under goes on at the next start."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancels: dict[str, asyncio.Event] = {}
        self._progress: dict[str, tuple[float, str]] = {}
        self._news = asyncio.Condition()

    def list(self) -> tuple[OperationRecord, ...]:
        """Oldest first; the last 64 that ended are kept."""
        return tuple(self._with_progress(record) for record in self._core.journal.operations())

    def _with_progress(self, record: OperationRecord) -> OperationRecord:
        fraction, text = self._progress.get(record.id, (1.0 if record.state is OperationState.DONE else 0.0, ""))
        return replace(record, fraction=fraction, text=text)

    def get(self, operation: str) -> OperationRecord:
        """Raises NotFoundError."""
        for record in self.list():
            if record.id == operation:
                return record
        raise NotFoundError(f"there is no operation {operation}", where=self._core.appliance)

    async def start(self, driver: str, name: str, arguments: JsonObject) -> str:
        """The id of the operation, which is durable then. Raises NotFoundError."""
        self._operation(driver, name)
        record = OperationRecord(
            id=uuid.uuid4().hex[:12],
            driver=driver,
            name=name,
            arguments=arguments,
            state=OperationState.RUNNING,
            checkpoint={},
            result={},
            error="",
            created_at=self._core.clock.now(),
            ended_at=0.0,
        )
        self._core.journal.start_operation(record)
        await self._tell()
        return record.id

    async def cancel(self, operation: str) -> None:
        """Ask it to end; a crash does not forget that. Raises NotFoundError, RefusedError when it has ended."""
        record = self.get(operation)
        if record.state not in _OPEN:
            raise RefusedError(f"operation {operation} has ended: {record.state.value}", where=self._core.appliance)
        self._core.journal.cancel_operation(operation)
        self._cancels.setdefault(operation, asyncio.Event()).set()
        await self._tell()

    async def wait(self, operation: str) -> OperationRecord:
        """Return when it has ended."""
        async with self._news:
            while (record := self.get(operation)).state in _OPEN:
                await self._news.wait()
        return record

    async def run(self) -> None:
        """Run every open operation, those of an earlier life included; until cancelled."""
        try:
            async with self._news:
                while True:
                    self._launch()
                    await self._news.wait()
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _launch(self) -> None:
        for record in self._core.journal.operations():
            if record.state in _OPEN and record.id not in self._tasks:
                self._tasks[record.id] = asyncio.create_task(self._host(record), name=f"operation {record.id}")

    async def _host(self, record: OperationRecord) -> None:
        cancel = self._cancels.setdefault(record.id, asyncio.Event())
        if record.state is OperationState.CANCELLING:
            cancel.set()
        state, result, error = await self._outcome(record, cancel)
        self._core.faults.reach("effect:operation")
        self._core.journal.end_operation(record.id, state, result, error, self._core.clock.now())
        self._tasks.pop(record.id, None)
        self._cancels.pop(record.id, None)
        self._progress.pop(record.id, None)
        await self._tell()

    async def _outcome(self, record: OperationRecord, cancel: asyncio.Event) -> tuple[OperationState, JsonObject, str]:
        task = asyncio.create_task(self._work(record, cancel))
        watch = asyncio.create_task(self._enforce(cancel, task))
        try:
            result = await task
        except asyncio.CancelledError:
            if not cancel.is_set():
                task.cancel()
                raise  # the engine stops; the operation goes on at its next start
            return OperationState.CANCELLED, {}, ""
        except Exception as error:  # noqa: BLE001 - a driver may raise anything; here it becomes the outcome
            state = OperationState.CANCELLED if cancel.is_set() else OperationState.FAILED
            return state, {}, f"{type(error).__name__}: {error}"
        finally:
            watch.cancel()
        return OperationState.CANCELLED if cancel.is_set() else OperationState.DONE, result, ""

    async def _enforce(self, cancel: asyncio.Event, task: asyncio.Task[JsonObject]) -> None:
        await cancel.wait()
        await self._core.clock.sleep(CANCEL_GRACE_S)
        task.cancel()

    async def _work(self, record: OperationRecord, cancel: asyncio.Event) -> JsonObject:
        core = self._core

        def progress(fraction: float, text: str) -> None:
            self._progress[record.id] = (fraction, text)
            core.emit(StepProgress(record.id, record.name, fraction, text))

        checkpoint = Checkpoint(record.checkpoint, lambda data: core.journal.checkpoint_operation(record.id, data))
        context = Context(core.clock, math.inf, cancel, progress, core.executor.resolve_secret)
        return await self._operation(record.driver, record.name).run(record.arguments, checkpoint, context)

    def _operation(self, driver: str, name: str) -> Operation:
        found: Driver | None = next((one for one in self._core.executor.drivers.values() if one.name == driver), None)
        if found is None:
            known = sorted(one.name for one in self._core.executor.drivers.values())
            raise NotFoundError(
                f"there is no driver {driver}", where=self._core.appliance, remedy=f"one of: {', '.join(known)}"
            )
        if name not in found.operations:
            known = sorted(found.operations)
            raise NotFoundError(
                f"{driver} has no operation {name}", where=self._core.appliance, remedy=f"one of: {', '.join(known)}"
            )
        return found.operations[name]

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()
