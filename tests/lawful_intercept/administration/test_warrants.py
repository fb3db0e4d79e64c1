"""A warrant's life: what may happen in which state, and what never can, whatever officers and clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.administration import warrants
from lawful_intercept.administration.warrants import (
    CONTENT,
    ENDED,
    TRANSITIONS,
    WARRANT,
    Act,
    Content,
    Scope,
    Service,
    State,
    Warrant,
)
from lawful_intercept.identifiers import TargetIdentifier
from nf.errors import DeniedError, InputError, NfError, RefusedError

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def content(**other: object) -> Content:
    fields: dict[str, object] = {
        "liid": "NZ-0001",
        "reference": "HC 2026/4711",
        "agency": "police",
        "targets": (TargetIdentifier("sipUri", "sip:alice@voice.example"),),
        "services": frozenset({Service.VOICE}),
        "scope": Scope.IRI_AND_CC,
        "start": NOON,
        "stop": NOON + HOUR,
    }
    return Content(**{**fields, **other})  # type: ignore[arg-type]


def drafted(at: datetime = NOON - HOUR, clerk: str = "anna") -> Warrant:
    return warrants.create(UUID(int=1), UUID(int=2), content(), clerk, at)


def approved() -> Warrant:
    return warrants.approve(warrants.submit(drafted(), "anna", NOON - HOUR), "bob", NOON - HOUR)


def test_the_usual_life() -> None:
    warrant = approved()
    assert warrant.approver == "bob"
    assert warrants.due(warrant, NOON - timedelta(seconds=1)) is None
    assert warrants.next_change(warrant) == NOON
    assert warrants.due(warrant, NOON) is Act.ACTIVATE
    active = warrants.activate(warrant, NOON)
    assert active.state is State.ACTIVE
    assert warrants.next_change(active) == NOON + HOUR
    assert warrants.due(active, NOON + HOUR) is Act.EXPIRE
    over = warrants.expire(active, NOON + HOUR)
    assert over.state is State.EXPIRED
    assert over.was_active
    assert over.stopped_at == NOON + HOUR
    assert warrants.due(over, NOON + 2 * HOUR) is None


def test_a_revocation_ends_it_at_once() -> None:
    active = warrants.activate(approved(), NOON)
    revoked = warrants.revoke(active, "anna", NOON + HOUR / 2)
    assert (revoked.state, revoked.stopped_at) == (State.REVOKED, NOON + HOUR / 2)


@pytest.mark.parametrize("officer", ["anna", "carl"])
def test_nobody_approves_what_they_wrote_or_submitted(officer: str) -> None:
    submitted = warrants.submit(drafted(clerk="anna"), "carl", NOON)
    with pytest.raises(DeniedError, match="does not approve"):
        warrants.approve(submitted, officer, NOON)


def test_nothing_is_approved_when_its_time_is_over() -> None:
    submitted = warrants.submit(drafted(), "anna", NOON)
    with pytest.raises(RefusedError, match="time is over"):
        warrants.approve(submitted, "bob", NOON + HOUR)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"stop": NOON}, "stops after it starts"),
        ({"start": NOON.replace(tzinfo=None)}, "UTC"),
        ({"stop": NOON + timedelta(days=400)}, "longer than a year"),
        ({"targets": ()}, "names its targets"),
        ({"services": frozenset()}, "what is intercepted"),
        ({"reference": ""}, "reference"),
        ({"liid": "with space"}, "LIID"),
    ],
)
def test_what_no_warrant_says(other: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        content(**other)


def test_nothing_shows_a_target() -> None:
    for shown in (repr(approved()), repr(content()), str(warrants.create)):
        assert "alice" not in shown


def test_json_and_back() -> None:
    warrant = warrants.activate(approved(), NOON)
    assert WARRANT.read(WARRANT.json(warrant)) == warrant
    assert CONTENT.read(CONTENT.json(content())) == content()


@pytest.mark.parametrize("broken", [{}, {"liid": 5}, None, [], {"content": {}}])
def test_json_that_is_none(broken: object) -> None:
    with pytest.raises(InputError):
        CONTENT.read(broken)  # type: ignore[arg-type]


def test_unknown_keys_and_values_stay_out_of_errors() -> None:
    data = CONTENT.json(content())
    data["targets"] = [{"form": "imsi", "value": "31337secret"}]
    with pytest.raises(InputError) as caught:
        CONTENT.read({**data, "surprise": 1})
    assert "31337" not in str(caught.value) + str(caught.value.problems)


OFFICERS = st.sampled_from(["anna", "bob", "carl"])
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["submit", "approve", "reject", "revoke", "activate", "expire"]), OFFICERS, st.integers(0, 40)
    ),
    max_size=30,
)


@given(MOVES, OFFICERS)
def test_whatever_is_tried_in_whatever_order(moves: list[tuple[str, str, int]], clerk: str) -> None:
    """Never active without two distinct officers, never outside its time, never again after its end."""
    now = NOON - HOUR
    warrant = drafted(clerk=clerk)
    for act, officer, minutes in moves:
        now += timedelta(minutes=minutes)
        before = warrant
        try:
            if act in ("activate", "expire"):
                warrant = getattr(warrants, act)(warrant, now)
            else:
                warrant = getattr(warrants, act)(warrant, officer, now)
        except NfError:
            assert warrant is before
            continue
        assert (before.state, Act(act)) in TRANSITIONS
        assert before.state not in ENDED
        if warrant.state is State.ACTIVE:
            assert NOON <= now < NOON + HOUR
        if warrant.was_active:
            assert warrant.approver
            assert warrant.approver not in warrant.authors
        if act == "expire":
            assert now >= NOON + HOUR
        assert [step.at for step in warrant.history] == sorted(step.at for step in warrant.history)
        assert warrant.content == before.content
        assert WARRANT.read(WARRANT.json(warrant)) == warrant


@given(st.integers(-7200, 7200))
def test_what_the_clock_asks_for_is_allowed(seconds: int) -> None:
    now = NOON + timedelta(seconds=seconds)
    for warrant in (approved(), drafted(), warrants.activate(approved(), NOON)):
        act = warrants.due(warrant, now)
        if act is Act.ACTIVATE:
            warrants.activate(warrant, now)
        if act is Act.EXPIRE:
            warrants.expire(warrant, now)
