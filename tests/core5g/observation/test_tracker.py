"""Who is told what: begun, standing, changed and ended sessions of targets; of others nothing at all."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.observation.sessions import Fteid, Registration, comparable, matchable, ue_addresses
from core5g.observation.tracker import Addressed, Tracker, told_here
from nf.contracts.interception import Direction, EventKind, Identity, IdentityKind, Order
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


ADDRESS = IdentityKind.UE_ADDRESS
SECOND_IP = "10.45.0.9"
TARGET_IP6 = "2001:db8:cafe:1::/64"


def told(found: list[Addressed]) -> list[tuple[str, str, str]]:
    """To which order what was told, and of whom."""
    return [(token[1], event.kind.value, str(event.details["supi"])) for token, event in found]


def at(address: str, reference: str = "x1", **given: object) -> Order:
    return order(address, ADDRESS, reference=reference, **given)


def test_an_address_is_its_session_and_nothing_else_of_its_subscriber() -> None:
    tracker = Tracker(HERE)
    tracker.registration(Registration(TARGET, gpsi=("msisdn-491700000001",), connected=True), 1.0)
    tracker.session(("smf-local:a", "1"), session(), 1.0)
    tracker.session(("smf-local:a", "2"), session(ue=SECOND_IP, teid=0x12), 1.5)
    ((_, standing),) = tracker.activate(TOKEN, at(TARGET_IP, content="n6"), 2.0)
    assert (standing.kind, standing.at, standing.details["since"]) == (EventKind.SESSION_STANDING, 2.0, 1.0)
    assert standing.details["ue_ip"] == [TARGET_IP]
    assert [(one.kind, one.value) for one in standing.identities] == [
        (IdentityKind.SUPI, TARGET),
        (IdentityKind.GPSI, "msisdn-491700000001"),
        (ADDRESS, TARGET_IP),
    ]
    assert [*tracker.wanted().n6] == [*ue_addresses([TARGET_IP])]
    assert tracker.registration(Registration(TARGET, connected=False, location={"gnb_id": 101}), 3.0) == []
    assert tracker.session(("smf-local:a", "2"), session(ue=SECOND_IP, teid=0x12, gnb=None), 3.0) == []
    assert tracker.session_gone(("smf-local:a", "2"), 3.0) == []
    ((_, end),) = tracker.session_gone(("smf-local:a", "1"), 4.0)
    assert (end.kind, end.session, end.sequence) == (EventKind.SESSION_END, standing.session, 1)
    assert tracker.deregistered(TARGET, 5.0) == []
    assert tracker.wanted() == Tracker(HERE).wanted()


def test_at_n3_an_address_is_the_tunnel_of_its_session() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, at(TARGET_IP, content="n3"), 1.0)
    tracker.session(("n4", "1"), session(), 1.0)
    tracker.session(("n4", "2"), session(ue=SECOND_IP, teid=0x12), 1.0)
    assert {*tracker.wanted().n3} == {Fteid(UPF, 0x11), Fteid(GNB, 0x1011)}


def test_a_session_begins_when_it_takes_the_address_and_ends_when_it_gives_it_up() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, at(TARGET_IP, content="n6"), 1.0)
    assert tracker.session(("n4", "1"), session(ue=SECOND_IP), 2.0) == []
    ((_, begin),) = tracker.session(("n4", "1"), session(), 3.0)
    assert (begin.kind, begin.at, begin.details["ue_ip"]) == (EventKind.SESSION_BEGIN, 3.0, [TARGET_IP])
    ((_, change),) = tracker.session(("n4", "1"), session(gnb=None), 4.0)
    ((_, end),) = tracker.session(("n4", "1"), session(ue=SECOND_IP, gnb=None), 5.0)
    assert (change.kind, end.kind) == (EventKind.SESSION_CHANGE, EventKind.SESSION_END)
    assert end.details["ue_ip"] == [TARGET_IP]
    assert not tracker.wanted().n6
    assert tracker.session_gone(("n4", "1"), 6.0) == []


@pytest.mark.parametrize("source", ["n4", "smf-local:a"])
def test_an_address_that_goes_to_another_subscriber_ends_one_session_and_begins_the_other(source: str) -> None:
    """Also where the first is not known to have ended, as an SMF's answers may leave it for a while."""
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, at(TARGET_IP, content="n6"), 1.0)
    tracker.activate((1, "x2"), order(TARGET, reference="x2", content="n6"), 1.0)
    tracker.session((source, "1"), session(), 2.0)
    found = tracker.session((source, "2"), session(OTHER, TARGET_IP, 0x22), 3.0)
    assert told(found) == [("x1", "session-end", TARGET), ("x1", "session-begin", OTHER)]
    ((only, _),) = tracker.wanted().n6[ue_addresses([TARGET_IP])[0]]
    assert only == TOKEN, "the packets are no longer of who had the address"
    assert told(tracker.session_gone((source, "1"), 4.0)) == [("x2", "session-end", TARGET)]
    assert told(tracker.session_gone((source, "2"), 5.0)) == [("x1", "session-end", OTHER)]
    assert not tracker.wanted().n6


def test_n4_is_believed_before_an_old_answer_of_an_smf() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, at(TARGET_IP, content="n6"), 1.0)
    tracker.session(("n4", "1"), session(), 2.0)
    assert tracker.session(("smf-local:a", "k"), session(OTHER, TARGET_IP, 0x22), 3.0) == []
    assert told(tracker.session_gone(("n4", "1"), 4.0)) == [
        ("x1", "session-end", TARGET),
        ("x1", "session-begin", OTHER),
    ]


def test_two_that_change_their_addresses_are_followed() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, at(TARGET_IP), 1.0)
    tracker.activate((1, "x2"), at(OTHER_IP, "x2"), 1.0)
    tracker.session(("smf-local:a", "1"), session(), 2.0)
    tracker.session(("smf-local:a", "2"), session(OTHER, OTHER_IP, 0x22), 2.0)
    found = tracker.session(("smf-local:a", "1"), session(ue=OTHER_IP), 3.0)
    assert told(found) == [
        ("x1", "session-end", TARGET),
        ("x2", "session-end", OTHER),
        ("x2", "session-begin", TARGET),
    ]
    found = tracker.session(("smf-local:a", "2"), session(OTHER, TARGET_IP, 0x22), 3.0)
    assert told(found) == [("x1", "session-begin", OTHER)]


def test_a_session_of_both_versions_is_found_by_either_and_copied_whole() -> None:
    tracker = Tracker(HERE)
    both = session(ue=TARGET_IP, upf=(Fteid(UPF, 0x11),))
    both = replace(both, ue=ue_addresses([TARGET_IP, TARGET_IP6]))
    tracker.session(("n4", "1"), both, 1.0)
    for target in ("2001:db8:cafe:1::5", TARGET_IP6, "2001:0db8:cafe:0001:0000:0000:0000:0005", TARGET_IP):
        assert kinds(tracker.activate(TOKEN, at(target, content="n6"), 2.0)) == ["session-standing"]
        assert {*tracker.wanted().n6} == {*ue_addresses([TARGET_IP, TARGET_IP6])}
    assert tracker.activate(TOKEN, at("2001:db8:cafe:2::5", content="n6"), 2.0) == []
    assert not tracker.wanted().n6


def test_an_order_for_an_address_ends_without_a_trace() -> None:
    tracker = Tracker(HERE)
    tracker.session(("n4", "1"), session(), 1.0)
    tracker.activate(TOKEN, at(TARGET_IP, content="n6"), 2.0)
    tracker.deactivate(TOKEN)
    assert not tracker.wanted().n6
    assert tracker.session_gone(("n4", "1"), 3.0) == []
    before = tracker.version
    tracker.session(("n4", "1"), session(), 4.0)
    assert tracker.version == before


def test_a_session_that_is_told_elsewhere_is_copied_by_its_address_and_not_told() -> None:
    tracker = Tracker(told_here([], [UPF]))
    tracker.session(("smf-local:a", "k"), session(), 1.0)
    assert tracker.activate(TOKEN, at(TARGET_IP, content="n6"), 1.0) == []
    assert tracker.wanted().n6


def test_one_that_becomes_that_of_n4_keeps_its_address() -> None:
    tracker = Tracker(HERE)
    tracker.activate(TOKEN, at(TARGET_IP, content="n6"), 1.0)
    assert kinds(tracker.session(("smf-local:a", "k"), session(psi=5), 2.0)) == ["session-begin"]
    assert kinds(tracker.session(("n4", "7"), session(gnb=None), 3.0)) == ["session-change"]
    assert tracker.wanted().n6
    assert kinds(tracker.session_gone(("n4", "7"), 4.0)) == ["session-end"]


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("10.45.0.2", True),
        ("10.45.0.2/32", True),
        ("10.45.0.0/24", False),
        ("2001:db8:cafe:1::5", True),
        ("2001:db8:cafe:1::/64", True),
        ("2001:db8:cafe:1::/96", True),
        ("2001:db8:cafe::/48", False),
        ("0.0.0.0", False),
        ("::", False),
        ("fe80::1", False),
        ("2001:db8::1%eth0", False),
        ("224.0.0.1", False),
        ("127.0.0.1", False),
        ("somebody", False),
        ("", False),
    ],
)
def test_an_address_of_several_or_of_nobody_is_no_target(value: str, taken: bool) -> None:
    assert matchable(Identity(ADDRESS, value)) is taken


def test_the_realm_of_an_nai_has_no_case() -> None:
    one, other = (Identity(IdentityKind.SUPI, f"nai-user@{realm}") for realm in ("Example.NET", "example.net"))
    assert comparable(one) == comparable(other)
    assert comparable(Identity(IdentityKind.SUPI, "nai-User@example.net")) != comparable(other)


WHO = st.integers(0, 2)
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("has"), st.integers(0, 3), WHO, st.lists(st.integers(0, 3), max_size=2, unique=True)),
        st.tuples(st.just("gone"), st.integers(0, 3), WHO, st.just([])),
        st.tuples(st.sampled_from(["order", "end"]), st.integers(0, 3), WHO, st.just([])),
        st.tuples(st.just("register"), st.integers(0, 3), WHO, st.just([])),
    ),
    max_size=60,
)


class Table:
    """Which sessions say that they have which address: who said it last has it, whoever had it before."""

    def __init__(self) -> None:
        self.said: dict[int, tuple[str, list[int]]] = {}
        self._claims: dict[int, list[int]] = {number: [] for number in range(4)}

    def has(self, session_: int, supi: str, numbers: list[int]) -> None:
        before = self.said.get(session_, ("", []))
        if before[0] != supi:
            self.gone(session_)
        kept = [one for one in before[1] if before[0] == supi]
        for one in {*kept} - {*numbers}:
            self._claims[one].remove(session_)
        for one in numbers:
            if one not in kept:
                self._claims[one].append(session_)
        self.said[session_] = (supi, numbers)

    def gone(self, session_: int) -> None:
        for one in self.said.pop(session_, ("", []))[1]:
            self._claims[one].remove(session_)

    def having(self, number: int) -> set[int]:
        claims = self._claims[number]
        return {one for one in claims if self.said[one][0] == self.said[claims[-1]][0]}

    def copied(self, asked: int) -> set[tuple[str, str]]:
        """What is copied for an order for this address: all addresses of its sessions that these really have."""
        mine = [(one, other) for one in self.having(asked) for other in self.said[one][1]]
        return {(str(asked), f"10.45.0.{other}") for one, other in mine if one in self.having(other)}


class Following:
    """Sessions that each order was told of and not of their end, by its number."""

    def __init__(self) -> None:
        self.by_order: dict[int, set[int]] = {}

    def told(self, found: list[Addressed]) -> None:
        for (_, reference), event in found:
            mine = self.by_order.setdefault(int(reference), set())
            (end, *_) = cast("list[dict[str, int]]", event.details["fteids"])
            one = end["teid"] - 1
            if event.kind in {EventKind.SESSION_BEGIN, EventKind.SESSION_STANDING}:
                assert one not in mine
                mine.add(one)
            else:
                assert event.kind in {EventKind.SESSION_END, EventKind.SESSION_CHANGE}
                assert one in mine
                mine -= {one} if event.kind is EventKind.SESSION_END else set()


@given(MOVES)
def test_orders_for_addresses_follow_who_has_them_and_no_others(moves: list[tuple[str, int, int, list[int]]]) -> None:
    tracker, table, following, asked = Tracker(HERE), Table(), Following(), set[int]()
    for now, (what, number, who, numbers) in enumerate(moves):
        supi, key = f"imsi-00101000000000{who}", ("smf:a", str(number))
        match what:
            case "has":
                table.has(number, supi, numbers)
                addresses = ue_addresses([f"10.45.0.{one}" for one in numbers])
                made = replace(session(supi, teid=1 + number), ue=addresses)
                following.told(tracker.session(key, made, float(now)))
            case "gone":
                table.gone(number)
                following.told(tracker.session_gone(key, float(now)))
            case "order":
                asked.add(number)
                following.by_order.pop(number, None)
                wanted = at(f"10.45.0.{number}", str(number), content="n6")
                following.told(tracker.activate((1, str(number)), wanted, float(now)))
            case "end":
                asked.discard(number)
                following.by_order.pop(number, None)
                tracker.deactivate((1, str(number)))
            case _:
                assert tracker.registration(Registration(supi, connected=bool(number)), float(now)) == []
        expected = {one: table.having(one) for one in asked if table.having(one)}
        assert {one: sessions for one, sessions in following.by_order.items() if sessions} == expected
        copied = {(token[1], str(one)) for one, tokens in tracker.wanted().n6.items() for token, _ in tokens}
        assert copied == {pair for one in asked for pair in table.copied(one)}
