"""Dialogs against calls. Pure, but for what is asked of a relay, which is a dictionary here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import DriverError, UnavailableError
from sip.rtpengine.messages import Members, UnknownCallError
from sip.rtpengine.reconcile import Call, Reconciler, Verdict, judge, read_call
from sip.rtpengine.takeover import Lost

NOW = 1_000_000.0
HERE, THERE = "10.77.0.11", "10.77.0.12"
ids = st.sampled_from("abcdefgh")
ages = st.dictionaries(ids, st.integers(0, 1000).map(float))
told = st.dictionaries(ids, st.sampled_from([True, False, None]))
older = st.integers(0, 900).map(float)
names = st.frozensets(ids)


@given(ages, told, names, older)
def test_every_call_is_in_one_place(
    ages: dict[str, float], dialogs: dict[str, bool | None], before: frozenset[str], older: float
) -> None:
    found = judge(ages, dialogs, before, older)
    places = [getattr(found, name) for name in Verdict.__slots__]
    assert sorted(one for place in places for one in place) == sorted(ages)


@given(ages, told, names, older)
def test_an_orphan_is_old_unknown_to_all_and_was_so_before(
    ages: dict[str, float], dialogs: dict[str, bool | None], before: frozenset[str], older: float
) -> None:
    found = judge(ages, dialogs, before, older)
    unknown = {one for one, age in ages.items() if age >= older and dialogs.get(one) is False}
    assert {*found.orphans} == unknown & before
    assert {*found.suspects} == unknown - before
    assert {*found.known} == {one for one in ages if dialogs.get(one)}
    assert {*found.untold} == {one for one, age in ages.items() if age >= older and dialogs.get(one) is None}


def answer(age: float, address: str = HERE, protocol: str = "RTP/AVP", kind: str = "offer/answer") -> Members:
    medias = [{"protocol": protocol, "streams": [{"local address": address}]}]
    party = {"subscriptions": [{"tag": "b", "type": kind}], "medias": medias}
    return {"created": int(NOW - 5000), "last signal": int(NOW - age), "tags": {"a": party, "b": {}}, "result": "ok"}


class Relay:
    def __init__(self, calls: dict[str, Members], stubborn: frozenset[str] = frozenset()) -> None:
        self.calls, self.stubborn = dict(calls), stubborn

    async def ask(self, members: Members) -> Members:
        call_id = str(members.get("call-id", ""))
        if members["command"] == "list":
            return {"calls": [*self.calls], "result": "ok"}
        if call_id not in self.calls:
            raise UnknownCallError("Unknown call-id")
        if members["command"] == "query":
            return self.calls[call_id]
        assert members["from-tag"] == "a"
        if call_id in self.stubborn:
            raise DriverError("no")
        del self.calls[call_id]
        return {"result": "ok"}


class Proxies:
    def __init__(self, dialogs: dict[str, bool | None]) -> None:
        self.dialogs = dialogs
        self.asked: list[str] = []

    async def know(self, call: Call) -> bool:
        self.asked.append(call.call_id)
        known = self.dialogs.get(call.call_id)
        if known is None:
            raise UnavailableError("a proxy does not answer")
        return known


@given(ages, told, names)
async def test_exactly_what_is_an_orphan_twice_is_deleted(
    ages: dict[str, float], dialogs: dict[str, bool | None], stubborn: frozenset[str]
) -> None:
    relay, proxies = Relay({one: answer(age) for one, age in ages.items()}, stubborn), Proxies(dialogs)
    reconciler = Reconciler(relay, proxies)
    due = {one for one, age in ages.items() if age >= 300.0 and dialogs.get(one) is False}
    first = await reconciler.look(NOW, Lost(0.0))
    assert {*first.verdict.suspects} == due
    assert first.deleted == ()
    assert {*proxies.asked} == {one for one, age in ages.items() if age >= 300.0}
    second = await reconciler.look(NOW, Lost(0.0))
    assert {*second.deleted} == due - stubborn
    assert {*(second.failed or ())} == due & stubborn
    assert relay.calls.keys() == ages.keys() - {*second.deleted}


async def test_a_dialog_that_is_there_again_clears_the_suspicion() -> None:
    relay, proxies = Relay({"x": answer(1000.0)}), Proxies({"x": False})
    reconciler = Reconciler(relay, proxies)
    await reconciler.look(NOW, Lost(0.0))
    proxies.dialogs["x"] = True
    assert (await reconciler.look(NOW, Lost(0.0))).verdict.known == ("x",)
    proxies.dialogs["x"] = False
    assert (await reconciler.look(NOW, Lost(0.0))).deleted == ()
    assert relay.calls


def test_what_is_left_of_a_call_for_others_is_no_call() -> None:
    assert read_call("x", answer(1000.0, kind="pub/sub"), NOW) is None
    assert read_call("x", {"tags": {}}, NOW) is None
    call = read_call("x", answer(40.0), NOW)
    assert call == Call("x", ("a", "b"), 40.0, frozenset({HERE}))


def test_a_call_that_does_not_tell_its_age_stays() -> None:
    found = answer(400.0)
    del found["last signal"], found["created"]
    call = read_call("x", found, NOW)
    assert call is not None
    assert call.age_s == 0.0


async def test_calls_without_their_keys_are_let_go_at_once_and_those_of_the_partner_left_alone() -> None:
    dtls = "UDP/TLS/RTP/SAVPF"
    calls = {
        "plain": answer(100.0),
        "browser": answer(100.0, protocol=dtls),
        "after": answer(10.0, protocol=dtls),
        "held": answer(900.0, THERE, dtls),
    }
    relay = Relay(calls)
    lost = Lost(NOW - 50.0, own=HERE, paired=True)
    found = await Reconciler(relay, Proxies({})).look(NOW, lost)
    assert found.lost == found.deleted == ("browser",)
    assert relay.calls.keys() == {"plain", "after", "held"}


async def test_of_what_was_taken_over_the_keys_are_lost_since_its_address_is_here() -> None:
    dtls = "UDP/TLS/RTP/SAVPF"
    relay = Relay(
        {"before": answer(100.0, THERE, dtls), "anew": answer(10.0, THERE, dtls), "own": answer(90.0, HERE, dtls)}
    )
    lost = Lost(NOW - 9000.0, own=HERE, moved=THERE, since=NOW - 50.0, paired=True)
    assert (await Reconciler(relay, Proxies({})).look(NOW, lost)).lost == ("before",)


async def test_nothing_is_deleted_when_the_relay_does_not_tell() -> None:
    class Silent:
        async def ask(self, members: Members) -> Members:
            raise UnavailableError("it does not answer")

    with pytest.raises(UnavailableError):
        await Reconciler(Silent(), Proxies({})).look(NOW, Lost(0.0))
