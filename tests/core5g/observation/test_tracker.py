"""Who is told what: begun, standing, changed and ended sessions of targets; of others nothing at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.observation.sessions import Fteid, Registration, ue_addresses
from core5g.observation.tracker import Addressed, Tracker, told_here
from nf.contracts.interception import Direction, EventKind, IdentityKind
from tests.core5g.observation.world import GNB, OTHER, OTHER_IP, TARGET, TARGET_IP, UPF, order, session

HERE = told_here([UPF], [])
TOKEN = (1, "x1")


def kinds(found: list[Addressed]) -> list[str]:
    return [event.kind.value for _, event in found]


def test_a_session_of_a_target_is_told_from_its_begin_to_its_end() -> None:
    tracker = Tracker(HERE)
    assert tracker.activate(TOKEN, order(), 1.0) == []
    ((token, begin),) = tracker.session(("n4", "7"), session(), 2.0)
    assert (token, begin.kind, begin.at, begin.sequence) == (TOKEN, EventKind.SESSION_BEGIN, 2.0, 0)
    assert begin.details == {
        "supi": TARGET,
        "dnn": "internet",
        "s_nssai": {"sst": 1, "sd": "ffffff"},
        "ue_ip": [TARGET_IP],
        "fteids": [
            {"address": "10.70.0.1", "teid": 0x11, "end": "upf"},
            {"address": "10.70.0.2", "teid": 0x1011, "end": "gnb"},
        ],
        "source": "n4",
    }
    assert tracker.session(("n4", "7"), session(), 3.0) == []
    ((_, change),) = tracker.session(("n4", "7"), session(gnb=Fteid(GNB, 9)), 4.0)
    ((_, end),) = tracker.session_gone(("n4", "7"), 5.0)
    assert [(one.kind.value, one.sequence) for one in (change, end)] == [("session-change", 1), ("session-end", 2)]
    assert begin.session == change.session == end.session != 0


def test_what_stands_is_told_at_once_when_an_order_comes() -> None:
    tracker = Tracker(HERE)
    tracker.session(("n4", "7"), session(), 2.0)
    tracker.registration(Registration(TARGET, connected=True, location={"gnb_id": 100}), 1.0)
    found = tracker.activate(TOKEN, order(), 9.0)
    assert kinds(found) == ["registration-standing", "session-standing"]
    assert [event.details["since"] for _, event in found] == [1.0, 2.0]
    assert {event.at for _, event in found} == {9.0}


def test_of_who_is_no_target_nothing_is_made() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, order(content="n6"), 1.0)
    before = tracker.version
    assert tracker.session(("n4", "8"), session(OTHER, OTHER_IP, 0x22), 2.0) == []
    assert tracker.registration(Registration(OTHER), 2.0) == []
    assert tracker.session_gone(("n4", "8"), 3.0) == []
    assert tracker.deregistered(OTHER, 3.0) == []
    assert tracker.version == before
    assert not tracker.wanted().n6


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (IdentityKind.GPSI, "msisdn-491700000001"),
        (IdentityKind.PEI, "imeisv-3535938300494715"),
        (IdentityKind.PEI, "imei-353593830049477"),
    ],
)
def test_an_identity_that_is_learnt_later_makes_a_target_of_what_stands(kind: IdentityKind, value: str) -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, order(value, kind), 1.0)
    assert tracker.session(("smf:a", "k"), session(), 2.0) == []
    known = Registration(TARGET, gpsi=("msisdn-491700000001",), pei="imeisv-3535938300494715")
    found = tracker.registration(known, 3.0)
    assert kinds(found) == ["session-standing", "registration"]
    assert {one.value for one in found[0][1].identities} == {TARGET, "msisdn-491700000001", "imeisv-3535938300494715"}


def test_another_device_under_the_same_supi_is_no_longer_the_targets() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, order("imeisv-3535938300494715", IdentityKind.PEI, content="n6"), 1.0)
    tracker.session(("n4", "7"), session(pei="imeisv-3535938300494715"), 2.0)
    assert tracker.wanted().n6
    assert tracker.registration(Registration(TARGET, pei="imeisv-1111111111111111"), 3.0) == []
    assert not tracker.wanted().n6


def test_an_address_that_changes_is_followed() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, order(content="n6"), 1.0)
    ((_, begin),) = tracker.session(("n4", "7"), session(), 2.0)
    assert list(tracker.wanted().n6) == [*ue_addresses([TARGET_IP])]
    ((_, change),) = tracker.session(("n4", "7"), session(ue="2001:db8:cafe:1::5"), 3.0)
    assert list(tracker.wanted().n6) == [*ue_addresses(["2001:db8:cafe:1::/64"])]
    assert change.session == begin.session
    tracker.session_gone(("n4", "7"), 4.0)
    assert not tracker.wanted().n6


def test_n3_is_wanted_by_both_ends_of_the_tunnel() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, order(content="n3"), 1.0)
    tracker.session(("n4", "7"), session(), 2.0)
    found = {end: direction for end, ((_, _, direction),) in tracker.wanted().n3.items()}
    assert found == {Fteid(UPF, 0x11): Direction.FROM_TARGET, Fteid(GNB, 0x1011): Direction.TO_TARGET}
    assert not tracker.wanted().n6


def test_one_session_that_n4_and_the_smf_tell_of_is_told_once() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, order(), 1.0)
    assert kinds(tracker.session(("n4", "7"), session(), 2.0)) == ["session-begin"]
    ((_, learnt),) = tracker.session(("smf-local:a", "k"), session(psi=5, active=True), 3.0)
    assert (learnt.kind, learnt.details["pdu_session_id"]) == (EventKind.SESSION_CHANGE, 5)
    assert tracker.session(("n4", "7"), session(), 4.0) == []
    assert tracker.sessions_of("smf-local:a") == set()
    assert kinds(tracker.session_gone(("n4", "7"), 5.0)) == ["session-end"]


def test_a_session_that_the_smf_told_first_becomes_that_of_n4() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, order(), 1.0)
    assert kinds(tracker.session(("smf:a", "k"), session(psi=5), 2.0)) == ["session-begin"]
    assert kinds(tracker.session(("n4", "7"), session(gnb=None), 3.0)) == ["session-change"]
    assert tracker.sessions_of("smf:a") == set()
    assert kinds(tracker.session_gone(("n4", "7"), 4.0)) == ["session-end"]


def test_a_session_of_another_appliances_upf_is_copied_but_not_told() -> None:
    tracker = Tracker(told_here([], [UPF]))
    tracker.activate(TOKEN, order(content="n6"), 1.0)
    assert tracker.session(("smf-local:a", "k"), session(), 2.0) == []
    assert tracker.wanted().n6
    away = Fteid(GNB, 1)
    tracker = Tracker(told_here([UPF], []))
    tracker.activate(TOKEN, order(), 1.0)
    assert tracker.session(("smf:a", "k"), session(upf=(away,)), 2.0) == []
    assert kinds(tracker.session(("smf:a", "k"), session(), 3.0)) == ["session-begin"]
    assert kinds(tracker.session(("smf:a", "k"), session(upf=(away,)), 4.0)) == ["session-end"]


def test_registration_location_and_deregistration() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, order(), 1.0)
    known = Registration(TARGET, connected=True, location={"gnb_id": 100})
    assert kinds(tracker.registration(known, 2.0)) == ["registration"]
    assert tracker.registration(replace(known, guti="another"), 3.0) == []
    assert kinds(tracker.registration(replace(known, location={"gnb_id": 101}), 4.0)) == ["location"]
    assert kinds(tracker.deregistered(TARGET, 5.0)) == ["deregistration"]
    assert tracker.registered() == set()


def test_an_order_without_events_is_told_none_and_one_that_ends_nothing_more() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, order(events=False, content="n6"), 1.0)
    tracker.activate((2, "x1"), order(), 1.0)
    assert [token for token, _ in tracker.session(("n4", "7"), session(), 2.0)] == [(2, "x1")]
    tracker.deactivate((2, "x1"))
    tracker.deactivate((2, "x1"))
    assert tracker.session_gone(("n4", "7"), 3.0) == []


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["begin", "gone", "activate", "deactivate", "register", "deregister"]),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=60,
)


@given(CHANGES)
def test_wanted_is_always_what_targets_have(changes: list[tuple[str, int, int]]) -> None:
    """Against a plain count of who has which address."""
    tracker = Tracker(HERE)
    have: dict[int, tuple[str, str]] = {}
    targets: set[str] = set()
    for what, number, who in changes:
        supi = f"imsi-00101000000000{who}"
        match what:
            case "begin":
                have[number] = (supi, f"10.45.{who}.{number}")
                tracker.session(("smf:a", str(number)), session(supi, have[number][1], 1 + number * 8 + who), 1.0)
            case "gone":
                have.pop(number, None)
                tracker.session_gone(("smf:a", str(number)), 1.0)
            case "activate":
                targets.add(supi)
                tracker.activate((1, supi), order(supi, reference=supi, content="n6"), 1.0)
            case "deactivate":
                targets.discard(supi)
                tracker.deactivate((1, supi))
            case "register":
                tracker.registration(Registration(supi, connected=bool(number)), 1.0)
            case _:
                tracker.deregistered(supi, 1.0)
    expected = {address for supi, address in have.values() if supi in targets}
    assert {str(address) for address in tracker.wanted().n6} == expected
