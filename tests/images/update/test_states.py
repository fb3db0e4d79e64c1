"""The table of an update, the judge of health, the record: pure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.update.health import ENDED, Health, Judge, SignsFile, in_words, load_signs, problems
from images.update.record import Journal, Record, dump, load
from images.update.release import parse_release, read_release
from images.update.states import BEFORE_ACTIVATION, TABLE, Effect, Input, State, follow
from nf.contracts.image import Signs
from nf.errors import IntegrityError, RefusedError

WELL, ILL = Signs(True), Signs(True, problems={"driver frr": "not converged: it is down"})


def test_a_start_is_defined_in_every_state() -> None:
    for state in State:
        assert (state, Input.BOOTED_HOME) in TABLE
        if state is State.NONE:
            continue  # there is no target yet
        other = (
            Input.BOOTED_OTHER if state in {State.TRANSFER, State.FETCHED, State.INSTALLING} else Input.BOOTED_TARGET
        )
        assert (state, other) in TABLE, state


def test_only_a_judged_system_becomes_good() -> None:
    assert [key for key, (_, after) in TABLE.items() if after is State.HEALTHY and key[0] is not State.HEALTHY] == [
        (State.TRIAL, Input.HELD)
    ]
    for (state, given_), (effects, after) in TABLE.items():
        if after is State.TRIAL:
            assert Effect.MARK_SELF_GOOD not in effects, (state, given_)


def test_what_cannot_come_next_is_refused_with_what_can() -> None:
    with pytest.raises(RefusedError, match="update 7: the update is installing: cancel is not possible then"):
        follow(State.INSTALLING, Input.CANCEL, "7")
    with pytest.raises(RefusedError, match="stays, or falls back"):
        follow(State.TRIAL, Input.CANCEL)
    with pytest.raises(RefusedError, match="cancel it"):
        follow(State.TRIAL, Input.ORDER)


@given(st.lists(st.sampled_from(Input), max_size=60))
def test_before_activation_nothing_is_marked_active_and_nothing_restarts(inputs: list[Input]) -> None:
    state, activated = State.NONE, False
    for one in inputs:
        try:
            effects, after = follow(state, one)
        except RefusedError:
            continue
        if one is Input.ACTIVATE:
            activated = True
        if Effect.MARK_ACTIVE in effects or Effect.REBOOT in effects:
            assert activated or state is State.TRIAL
        if after in BEFORE_ACTIVATION:
            activated = False
        state = after


# ---- health ----


def judge(hold_s: float = 10.0, patience_s: float = 60.0, **baseline: str) -> Judge:
    return Judge(hold_s=hold_s, patience_s=patience_s, baseline=baseline, now=0.0)


def test_it_is_good_when_health_has_held_without_a_break() -> None:
    one = judge()
    assert one.look(None, 1.0) is Health.UNWELL
    assert one.look(WELL, 2.0) is Health.HOLDING
    assert one.look(ILL, 8.0) is Health.UNWELL
    assert one.look(WELL, 9.0) is Health.HOLDING
    assert one.look(WELL, 18.9) is Health.HOLDING
    assert one.look(WELL, 19.0) is Health.GOOD
    assert one.look(None, 500.0) is Health.GOOD


def test_it_is_given_up_when_its_patience_is_over_and_one_lapse_is_enough_then() -> None:
    one = judge()
    assert one.look(ILL, 60.0) is Health.GIVEN_UP
    assert in_words(one.problems) == "driver frr: not converged: it is down"
    late = judge()
    assert late.look(WELL, 59.0) is Health.HOLDING
    assert late.look(WELL, 61.0) is Health.LATE
    assert replace(ILL) == ILL
    assert late.look(ILL, 62.0) is Health.GIVEN_UP


def test_what_was_wrong_before_is_not_blamed_on_it_and_no_session_is() -> None:
    assert judge(hold_s=0.0, **{"driver frr": "was down"}).look(ILL, 1.0) is Health.GOOD
    assert problems(Signs(False), {}) == {"session": "the agent has no session with the NOC"}
    assert problems(Signs(True, "transaction t is applying"), {}) == {"transaction": "transaction t is applying"}
    assert "nf-agent.service" in problems(None, {})["agent"]


@given(st.lists(st.tuples(st.sampled_from([None, WELL, ILL]), st.floats(0.1, 20.0)), max_size=60))
def test_the_judge_ends_for_good_and_never_says_good_without_its_time(looks: list[tuple[Signs | None, float]]) -> None:
    one, now, well_since, ended = judge(), 0.0, None, None
    for signs, step in looks:
        now += step
        health = one.look(signs, now)
        if ended is not None:
            assert health is ended
            continue
        well_since = (now if well_since is None else well_since) if signs is WELL else None
        if health is Health.GOOD:
            assert well_since is not None
            assert now - well_since >= 10.0
        if health is Health.GIVEN_UP:
            assert now >= 60.0
            assert signs is not WELL
        ended = health if health in ENDED else None
        assert ended is not None or now < 60.0 or signs is WELL


def test_signs_are_read_back_until_they_are_stale() -> None:
    data = SignsFile(100.0, ILL).dump()
    assert load_signs(data, 110.0) == ILL
    assert load_signs(data, 116.0) is None
    assert load_signs(data, 99.0) is None


@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_no_signs_file_and_no_record_ends_the_service(data: bytes) -> None:
    load_signs(data, 1.0)
    assert load(data) is None


# ---- the record ----

TEXTS = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)
RECORDS = st.builds(
    Record,
    state=st.sampled_from(State),
    id=st.text(max_size=8),
    size=st.integers(0, 1 << 40),
    hold_s=st.floats(0, 1e6),
    baseline=TEXTS,
    problems=TEXTS,
    gave_up=st.integers(0, 9),
    steps=st.lists(st.tuples(st.sampled_from([one.value for one in State]), st.floats(0, 1e10)), max_size=4).map(tuple),
)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert load(dump(record)) == record


@given(RECORDS, st.sampled_from([None, 7, -1, "x", [], {}, [[1]], True]), st.data())
def test_a_record_of_other_types_is_no_record(record: Record, value: object, data: st.DataObject) -> None:
    plain = json.loads(dump(record))
    plain[data.draw(st.sampled_from(sorted(plain)))] = value
    loaded = load(json.dumps(plain).encode())
    assert loaded is None or isinstance(loaded, Record)


def test_the_journal_keeps_each_step_and_an_unreadable_one_is_no_update(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "update")
    assert journal.read() == Record()
    journal.take(Input.ORDER, 1.0, id="u.1", target="B")
    record, effects = journal.take(Input.WHOLE, 2.0)
    assert effects == ()
    assert record.steps == (("transfer", 1.0), ("fetched", 2.0))
    assert Journal(tmp_path / "update").read() == record
    with pytest.raises(RefusedError):
        journal.take(Input.MARKED, 3.0)
    assert journal.read() == record
    (tmp_path / "update/record.json").write_bytes(b"\0" * 100)
    assert journal.read() == Record()


def test_what_the_image_says_of_itself(tmp_path: Path) -> None:
    assert read_release(tmp_path) is None
    for name, text in (
        ("etc/nf-release", 'NF_ROLE=pop\nNF_VERSION="0.2.0"\n# a comment\n'),
        ("run/nf/slot", "B\n"),
        ("proc/sys/kernel/random/boot_id", "id\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    found = read_release(tmp_path)
    assert found is not None
    assert (found.role, found.version, found.slot, found.other_slot) == ("pop", "0.2.0", "B", "A")
    assert found.compatible == "streamverse-nf-pop-amd64"
    (tmp_path / "run/nf/slot").write_text("C")
    with pytest.raises(IntegrityError, match="no slot"):
        read_release(tmp_path)


@given(st.text(max_size=200))
def test_any_release_file_is_read(text: str) -> None:
    parse_release(text)
