"""The NOC's own disk fails it: what appliances and operators notice of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nf.control.v1 import noc_pb2 as pb
from nf.errors import NfError, StorageError
from nf.noc.records import TRANSACTIONS
from nf.store.contract import Put
from tests.support.fleet import InProcessFleet


def fails(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch, when: Callable[[tuple[Any, ...]], bool] = lambda _: True
) -> None:
    """From now on writes for which `when(changes)` holds find the disk full."""
    store = fleet.node.book.store
    before = store.write

    async def write(changes: Any, audit: Any = None) -> Any:
        if when(tuple(changes)):
            raise StorageError("no space left, nothing was written", where="noc.db")
        return await before(changes, audit)

    monkeypatch.setattr(store, "write", write)


def decides(changes: tuple[Any, ...]) -> bool:
    return any(
        isinstance(change, Put) and change.bucket == TRANSACTIONS and b'"decision":"confirm"' in change.value
        for change in changes
    )


async def test_a_decision_that_cannot_be_written_is_an_undo_stage_by_stage(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(fleet, monkeypatch, decides)
    events = await fleet.commit_events({"ch1": 101})
    assert events[-1].outcome == pb.OUTCOME_UNDONE
    assert "no space left" in events[-1].text
    assert "undo" in {event.phase for event in events}
    assert all(fleet.rows(name) == {} for name in fleet.daemons)
    await fleet.settled()


async def test_a_full_disk_is_told_and_ends_no_session(fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    await fleet.operator()
    sessions = {session.appliance: session for session in fleet.node.sessions.all()}
    with monkeypatch.context() as patch:
        fails(fleet, patch)
        events = await fleet.commit_events({"ch1": 101})
        assert events[-1].outcome == pb.OUTCOME_REFUSED
        assert "no space left" in events[-1].text
        session = fleet.node.sessions.get("pop")
        session.hello.software_version = "other"
        await fleet.node.heard(session)
        assert [cause for cause, _ in fleet.alarms("store-unwritable")] == ["store-unwritable"]
        assert all(not session.closed.is_set() for session in sessions.values())
    await fleet.node.heard(session)
    assert not fleet.alarms("store-unwritable")
    assert (await fleet.node.book.appliances())["pop"].software_version == "other"
    assert (await fleet.commit({"ch1": 101})).outcome == pb.OUTCOME_CONFIRMED


async def test_what_follows_a_written_decision_does_not_unsay_it(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def confirmed(*_: Any) -> None:
        raise StorageError("no space left", where="noc.db")

    monkeypatch.setattr(fleet.node.settlement, "confirmed", confirmed)
    event = await fleet.commit({"ch1": 101})
    assert event.outcome == pb.OUTCOME_CONFIRMED
    assert "no space left" in event.text
    await fleet.current()


async def test_a_draft_that_is_refused_says_why_when_the_refusal_cannot_be_written(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fleet.kill_agent("pop")
    await fleet.until(lambda: "pop" not in fleet.node.sessions.online())
    await fleet.operator()
    fails(fleet, monkeypatch)
    with pytest.raises(NfError, match="offline: pop"):
        await fleet.commit({"ch1": 101})
