"""The section of test calls: a file; and the operation that places one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context, DriverContext, Undo
from nf.contracts.units import Units
from nf.errors import InputError, NotFoundError, RefusedError
from sip.calling.documents import VoiceCallsSection
from sip.calling.driver import VoiceCallsDriver, create
from sip.operations import TEST_CALL

CALL = {
    "id": "edge",
    "proxy": "127.0.0.1",
    "port": 5999,
    "domain": "d.test",
    "caller": "a",
    "called": "b",
    "credentials": "secret:x",
    "answered": "other",
    "emergency": ["112"],
}


def section(**more: Any) -> VoiceCallsSection:
    return VoiceCallsSection.model_validate({"calls": [{**CALL, **more}]})


@pytest.fixture
def driver(tmp_path: Path) -> VoiceCallsDriver:
    return create(DriverContext("r1", tmp_path / "run", tmp_path / "state", create_autospec(Units), RealClock()))


def context() -> Context:
    return Context(RealClock(), deadline=float("inf"), resolve_secret=lambda _: f"a:d.test:{'0' * 32}")


async def commit(driver: VoiceCallsDriver, want: VoiceCallsSection | None) -> list[Undo]:
    undos = []
    for step in driver.plan(await driver.observe(), want):
        undos.append(await driver.prepare(step))
        await driver.apply(step, context())
    assert not await driver.verify(want, context())
    assert driver.plan(await driver.observe(), want) == ()
    return undos


async def test_it_is_set_changed_undone_and_taken_away(driver: VoiceCallsDriver) -> None:
    assert (await driver.observe()).value is None
    (first,) = await commit(driver, section())
    (second,) = await commit(driver, section(seconds=9))
    await driver.undo(second, context())
    await driver.undo(second, context())
    assert driver.current() == section()
    await commit(driver, None)
    assert (await driver.observe()).value is None
    await driver.undo(first, context())
    assert (await driver.observe()).value is None


async def test_what_a_hand_has_changed_is_set_again(driver: VoiceCallsDriver, tmp_path: Path) -> None:
    await commit(driver, section())
    (file,) = (tmp_path / "state").rglob("section.json")
    file.write_text("{")
    assert driver.current() == VoiceCallsSection()
    assert await driver.verify(section(), context())
    await commit(driver, section())


def place(driver: VoiceCallsDriver, **arguments: Any) -> Any:
    return asyncio.run(driver.operations[TEST_CALL].run(arguments, Checkpoint({}, lambda _: None), context()))


def test_which_calls_cannot_be_placed(driver: VoiceCallsDriver) -> None:
    asyncio.run(commit(driver, section()))
    with pytest.raises(NotFoundError) as error:
        place(driver, call="other")
    assert error.value.remedy == "one of: edge"
    with pytest.raises(InputError):
        place(driver, call="edge", to="no number at all !")
    with pytest.raises(InputError):
        place(driver, call="edge", seconds=1000)
    assert "emergency number" in place(driver, call="edge", to="112")["text"]
    with pytest.raises(RefusedError):
        asyncio.run(
            driver.operations[TEST_CALL].run(
                {"call": "edge"}, Checkpoint({}, lambda _: None), Context(RealClock(), deadline=float("inf"))
            )
        )


def test_a_secret_without_the_account_is_told_and_not_quoted(driver: VoiceCallsDriver) -> None:
    asyncio.run(commit(driver, section(caller="nobody")))
    found = place(driver, call="edge")
    assert found["up"] is False
    assert "no HA1 of nobody@d.test" in found["text"]
    assert "000" not in found["text"]
