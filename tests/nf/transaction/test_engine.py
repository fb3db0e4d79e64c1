"""The phases of a commit, driven as a coordinator drives them."""

from __future__ import annotations

from pathlib import Path

from nf.transaction.states import TransactionState
from tests.nf.transaction.support import commit, config, make_box

OLD = config({"alpha": {"a": "1", "b": "1"}, "beta": {"c": "1"}})
NEW = config({"alpha": {"a": "2", "d": "2"}, "beta": {"c": "2"}})


async def test_a_commit_makes_the_new_configuration_true(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    await box.engine.recover()
    await commit(box, "t1", 1, OLD)
    await commit(box, "t2", 2, NEW)
    assert box.live() == {"alpha": {"a": "2", "d": "2"}, "beta": {"c": "2"}}
    standing = box.engine.standing
    assert (standing.confirmed_revision, standing.in_flight) == (2, None)
    assert (standing.last_transaction, standing.last_outcome) == ("t2", TransactionState.CONFIRMED)
