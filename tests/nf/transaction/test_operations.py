"""Long work of drivers."""

from __future__ import annotations

from pathlib import Path

import pytest

from nf.clock import VirtualClock
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import NotFoundError, RefusedError
from nf.transaction.model import OperationState, StepProgress
from tests.nf.transaction.support import Box, Count, make_box, running


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return make_box(tmp_path)


def count(box: Box) -> Count:
    operation = box.drivers["alpha"].operations["count"]
    assert isinstance(operation, Count)
    return operation


async def test_it_runs_tells_and_keeps_its_result(box: Box) -> None:
    async with running(box):
        name = await box.engine.start_operation("driver-alpha", "count", {"to": 3})
        record = await box.engine.wait_operation(name)
    assert (record.state, record.result, record.fraction) == (OperationState.DONE, {"counted": 3}, 1.0)
    assert [event.text for event in box.events if isinstance(event, StepProgress)] == ["1 of 3", "2 of 3", "3 of 3"]
    assert box.engine.list_operations() == (record,)
    with pytest.raises(RefusedError, match="has ended: done"):
        await box.engine.cancel_operation(name)


async def test_it_is_cancelled(box: Box) -> None:
    async with running(box):
        name = await box.engine.start_operation("driver-alpha", "count", {"to": 1, "forever": True})
        await count(box).started.wait()
        await box.engine.cancel_operation(name)
        assert (await box.engine.wait_operation(name)).state is OperationState.CANCELLED


class Deaf:
    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        await context.clock.sleep(1e9)
        return {}


class Broken:
    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
        raise ValueError("no such thing")


async def test_one_that_does_not_heed_its_cancellation_is_ended(box: Box) -> None:
    assert isinstance(box.clock, VirtualClock)
    box.drivers["alpha"].operations = {"deaf": Deaf()}
    async with running(box):
        name = await box.engine.start_operation("driver-alpha", "deaf", {})
        await box.clock.advance(1)
        await box.engine.cancel_operation(name)
        await box.clock.advance(9)
        assert box.engine.list_operations()[0].state is OperationState.CANCELLING
        await box.clock.advance(1)
        assert box.engine.list_operations()[0].state is OperationState.CANCELLED


async def test_one_that_raises_has_failed(box: Box) -> None:
    box.drivers["alpha"].operations = {"broken": Broken()}
    async with running(box):
        name = await box.engine.start_operation("driver-alpha", "broken", {})
        record = await box.engine.wait_operation(name)
    assert (record.state, record.error) == (OperationState.FAILED, "ValueError: no such thing")


async def test_one_that_a_stop_interrupts_goes_on_at_the_next_start(tmp_path: Path, box: Box) -> None:
    async with running(box):
        name = await box.engine.start_operation("driver-alpha", "count", {"to": 2, "forever": True})
        await count(box).started.wait()
    box.journal.close()
    again = make_box(tmp_path)
    async with running(again):
        await count(again).started.wait()
        await again.engine.cancel_operation(name)
        record = await again.engine.wait_operation(name)
    assert (record.state, record.checkpoint) == (OperationState.CANCELLED, {"at": 2})


async def test_what_does_not_exist_is_not_found(box: Box) -> None:
    with pytest.raises(NotFoundError, match="no driver nobody"):
        await box.engine.start_operation("nobody", "count", {})
    with pytest.raises(NotFoundError, match="no operation fly"):
        await box.engine.start_operation("driver-alpha", "fly", {})
    with pytest.raises(NotFoundError, match="no operation x"):
        await box.engine.cancel_operation("x")
