"""Effective want = intent + overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from nf.clock import VirtualClock
from nf.errors import CommitRefused, DriverError, InputError, NfError, NotFoundError, RefusedError
from nf.transaction.model import OverrideState
from tests.nf.transaction.support import START, Box, commit, config, make_box, running
from tests.nf.transaction.test_engine import NEW, OLD, alarms, is_new, is_old


@pytest.fixture
async def box(tmp_path: Path) -> Box:
    box = make_box(tmp_path)
    await box.engine.recover()
    await commit(box, "t1", 1, OLD)
    return box


async def add(box: Box, values: dict[str, object], ttl_s: float = 100.0, section: str = "alpha") -> str:
    override = await box.engine.add_override(section, {"values": values}, "fade", "spiffe://x/operator/me", ttl_s)  # type: ignore[dict-item]
    return override.id


async def pass_time(box: Box, seconds: float) -> None:
    assert isinstance(box.clock, VirtualClock)
    await box.clock.advance(seconds)


def states(box: Box) -> list[OverrideState]:
    return [override.state for override in box.engine.list_overrides()]


async def test_an_override_is_in_effect_until_it_expires(box: Box) -> None:
    async with running(box):
        await add(box, {"a": "9", "b": None})
        assert box.live()["alpha"] == {"a": "9"}
        assert states(box) == [OverrideState.ACTIVE]
        await pass_time(box, 99)
        assert box.live()["alpha"] == {"a": "9"}
        await pass_time(box, 1)
        assert is_old(box)
        assert states(box) == []
    assert box.engine.confirmed_config() == OLD


async def test_an_override_ends_on_request_also_when_that_costs_something(box: Box) -> None:
    name = await add(box, {"costly": "1"})
    assert box.live()["alpha"]["costly"] == "1"
    await box.engine.end_override(name)
    assert is_old(box)
    with pytest.raises(NotFoundError):
        await box.engine.end_override(name)


async def test_an_override_ends_also_where_another_appliance_provides_what_comes_back(box: Box) -> None:
    await commit(box, "t2", 2, config({"alpha": {"fed": "1"}, "beta": {}}))
    async with running(box):
        name = await add(box, {"fed": None})
        assert box.live()["alpha"] == {}
        await box.engine.end_override(name)
        assert box.live()["alpha"] == {"fed": "1"}
        await add(box, {"fed": None}, ttl_s=5)
        await pass_time(box, 6)
        assert box.live()["alpha"] == {"fed": "1"}
    assert alarms(box) == set()


async def test_overrides_lie_on_one_another_oldest_first(box: Box) -> None:
    first = await add(box, {"a": "8", "x": "8"})
    await add(box, {"a": "9"})
    assert box.live()["alpha"] == {"a": "9", "b": "1", "x": "8"}
    await box.engine.end_override(first)
    assert box.live()["alpha"] == {"a": "9", "b": "1"}


async def test_what_no_override_may_be(box: Box) -> None:
    with pytest.raises(InputError, match="no section gamma"):
        await add(box, {}, section="gamma")
    for ttl_s in (0, -1, 86_401):
        with pytest.raises(RefusedError, match="at most 86400 s"):
            await add(box, {}, ttl_s=ttl_s)
    with pytest.raises(ValueError, match="a\n"):
        await add(box, {"a": ["no text"]})
    assert states(box) == []


async def test_no_override_without_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no configuration yet"):
        await add(make_box(tmp_path), {"a": "1"})


async def test_one_that_cannot_be_made_true_is_taken_back_and_forgotten(box: Box) -> None:
    box.drivers["alpha"].break_next("verify", DriverError("does not come up"))
    with pytest.raises(DriverError, match="does not come up"):
        await add(box, {"a": "9", "x": "9"})
    assert is_old(box)
    assert states(box) == []
    assert alarms(box) == set()


@pytest.mark.parametrize("until", ["validate", "prepare", "apply", "verify"])
@pytest.mark.parametrize("end", ["confirm", "abort"])
async def test_one_that_comes_during_a_commit_waits_for_its_end(box: Box, until: str, end: str) -> None:
    async with running(box):
        await commit(box, "t2", 2, NEW, until=until)
        before = box.live()
        await add(box, {"a": "9"})
        await pass_time(box, 1)
        assert box.live() == before
        assert states(box) == [OverrideState.PENDING]
        assert box.engine.effective_config() is not None
        if end == "confirm" and until == "verify":
            await box.engine.confirm("t2")
            expected = {"a": "9", "d": "2"}
        else:
            await box.engine.abort("t2", "test")
            expected = {"a": "9", "b": "1"}
        await pass_time(box, 0)
        assert box.live()["alpha"] == expected
        assert states(box) == [OverrideState.ACTIVE]


async def test_one_that_comes_while_a_commit_is_held_acts_at_once_and_survives_its_undo(box: Box) -> None:
    async with running(box):
        await commit(box, "t2", 2, NEW, until="verify")
        await box.engine.hold("t2", START + 50)
        await add(box, {"a": "9", "costly": "1"})
        assert box.live()["alpha"] == {"a": "9", "costly": "1", "d": "2"}
        await box.engine.verify("t2")
        await pass_time(box, 50)
        assert box.live() == {"alpha": {"a": "9", "b": "1", "costly": "1"}, "beta": {"c": "1"}}
        await pass_time(box, 60)
        assert is_old(box)


async def test_one_that_ends_while_a_commit_is_held_stays_out_after_its_undo(box: Box) -> None:
    name = await add(box, {"costly": "1"})
    async with running(box):
        await commit(box, "t2", 2, NEW, until="verify")
        await box.engine.hold("t2", START + 50)
        assert box.live()["alpha"]["costly"] == "1"
        await box.engine.end_override(name)
        assert "costly" not in box.live()["alpha"]
        await pass_time(box, 50)
        assert is_old(box)


async def test_a_commit_keeps_the_override_and_one_that_contradicts_it_is_refused(box: Box) -> None:
    await add(box, {"a": "9"})
    await commit(box, "t2", 2, NEW)
    assert box.live()["alpha"] == {"a": "9", "d": "2"}
    assert box.engine.confirmed_config() == NEW
    box.engine._core.journal.end_overrides([override.id for override in box.engine.list_overrides()])
    await box.engine._overrides.settle()
    assert is_new(box)


async def test_an_expiry_that_fails_is_tried_again_under_an_alarm(box: Box) -> None:
    async with running(box):
        await add(box, {"a": "9"}, ttl_s=10)
        box.drivers["alpha"].break_next("apply", DriverError("away"), times=2)
        await pass_time(box, 10)
        assert box.live()["alpha"]["a"] == "9"
        assert "override-failed" in alarms(box)
        await pass_time(box, 15)
        assert is_old(box)
        assert "override-failed" not in alarms(box)


async def test_after_a_restart_overrides_are_in_force_still(tmp_path: Path, box: Box) -> None:
    await add(box, {"a": "9"})
    box.journal.close()
    again = make_box(tmp_path)
    await again.engine.recover()
    effective = again.engine.effective_config()
    assert effective is not None
    assert effective.sections["alpha"].to_json() == {"values": {"a": "9", "b": "1"}}
    with pytest.raises(NfError):
        await again.engine.add_override("nowhere", {}, "", "", 1)
    assert issubclass(CommitRefused, NfError)
