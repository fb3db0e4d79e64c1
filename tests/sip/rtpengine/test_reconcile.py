"""Dialogs against calls. Pure but for what is asked of a relay, which is a dictionary here; live: test_driver.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import DriverError, InputError, NfError, UnavailableError
from sip.rtpengine.messages import Members, UnknownCallError
from sip.rtpengine.reconcile import LEAST_S, Dialog, compare, read_call, reconcile

NOW = 1_000_000.0
ids = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 1000).map(float))


@given(ids, ids, st.integers(30, 900).map(float))
def test_every_call_is_in_one_place_and_nothing_with_a_dialog_is_alone(
    dialogs: dict[str, float], calls: dict[str, float], older: float
) -> None:
    found = compare(dialogs, calls, older)
    assert sorted((*found.both, *found.only_at_relay)) == sorted(calls)
    assert sorted((*found.both, *found.only_at_proxy)) == sorted(dialogs)
    assert set(found.young) == {one for one in found.only_at_relay if calls[one] < older}
    assert not set(found.only_at_relay) & dialogs.keys()


class Relay:
    def __init__(self, calls: dict[str, float], stubborn: frozenset[str] = frozenset()) -> None:
        self.calls, self.stubborn = dict(calls), stubborn

    async def ask(self, members: Members) -> Members:
        call_id = str(members.get("call-id", ""))
        if members["command"] == "list":
            return {"calls": [*self.calls], "result": "ok"}
        if call_id not in self.calls:
            raise UnknownCallError("Unknown call-id")
        if members["command"] == "query":
            return {"created": int(NOW - self.calls[call_id]), "result": "ok"}
        if call_id in self.stubborn:
            raise DriverError("no")
        del self.calls[call_id]
        return {"result": "ok"}


class Proxy:
    def __init__(self, dialogs: dict[str, float] | NfError) -> None:
        self.known = dialogs

    async def dialogs(self) -> tuple[Dialog, ...]:
        if isinstance(self.known, NfError):
            raise self.known
        return tuple(Dialog(*one) for one in self.known.items())


@given(ids, ids, st.integers(30, 900).map(float), st.frozensets(st.sampled_from("abcdefgh")))
async def test_exactly_old_calls_without_a_dialog_are_deleted(
    dialogs: dict[str, float], calls: dict[str, float], older: float, stubborn: frozenset[str]
) -> None:
    relay = Relay(calls, stubborn)
    found = await reconcile(Proxy(dialogs), relay, NOW, older_than_s=older)
    due = {one for one, age in calls.items() if one not in dialogs and age >= older}
    assert set(found.deleted) == due - stubborn
    assert set(found.failed or ()) == due & stubborn
    assert relay.calls.keys() == calls.keys() - set(found.deleted)


async def test_nothing_is_deleted_when_dialogs_cannot_be_read_or_nobody_asked_for_it() -> None:
    relay = Relay({"a": 5000.0})
    with pytest.raises(UnavailableError):
        await reconcile(Proxy(UnavailableError("no proxy")), relay, NOW)
    assert (await reconcile(Proxy({}), relay, NOW, remove=False)).deleted == ()
    assert relay.calls == {"a": 5000.0}
    with pytest.raises(InputError):
        await reconcile(Proxy({}), relay, NOW, older_than_s=LEAST_S - 1)


def test_a_call_that_does_not_tell_its_age_stays() -> None:
    assert read_call("a", {}, NOW).age_s == 0.0
    streams = [{"last packet": int(NOW) - 7}, {"last packet": int(NOW) - 9}]
    answer = {"created": int(NOW) - 50, "last signal": int(NOW) - 40, "tags": {"x": {"medias": [{"streams": streams}]}}}
    call = read_call("a", answer, NOW)
    assert (call.age_s, call.silent_s) == (50.0, 7.0)
