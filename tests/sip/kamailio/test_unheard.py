"""Calls that are up and that their relay does not know: which are ended, and which are left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.clock import VirtualClock
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import Json
from nf.errors import NfError, UnavailableError
from sip.findings import ENDED, LEFT, NO_RELAY, NOT_TOLD, WAITING, Findings, Report
from sip.kamailio import unheard
from sip.kamailio.unheard import REASON, Unheard, relay_of
from sip.rtpengine.messages import Members, UnknownCallError
from tests.sip.kamailio.proxy import section

NOW = 1_000_000


def dialog(call: str, number: int = 1, **changed: Any) -> dict[str, Any]:
    return {
        "call-id": call,
        "h_entry": number,
        "h_id": number,
        "state": 4,
        "start_ts": NOW - 100,
        "to_uri": "sip:bob@d.test",
        "variables": [{"relay": "842756159|r1"}],
        **changed,
    }


class Proxy:
    """Its RPC."""

    def __init__(self, *dialogs: dict[str, Any]) -> None:
        self.dialogs = list(dialogs)
        self.ended: list[tuple[Any, ...]] = []

    async def call(self, method: str, *parameters: str | float) -> Json:
        if method == "dlg.list":
            return list(self.dialogs)
        if method == "dlg.dlg_list":
            return [one for one in self.dialogs if one["call-id"] == parameters[0]]
        assert method == "dlg.end_dlg"
        self.ended.append(parameters)
        return {}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool | None]:
    """Call-ID -> whether its relay has it; None: it does not answer."""
    calls: dict[str, bool | None] = {}

    def told(has: bool | None) -> Members | NfError:
        if has is None:
            return UnavailableError("it does not answer")
        return {"result": "ok"} if has else UnknownCallError("Unknown call-id")

    class Relay:
        def __init__(self, address: str, port: int) -> None:
            self.place = (address, port)

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None: ...

        async def ask_many(self, asked: Iterable[Members]) -> list[Members | NfError]:
            return [told(calls[str(members["call-id"])]) for members in asked]

    monkeypatch.setattr(unheard, "NgClient", Relay)
    return calls


async def look(proxy: Proxy, findings: Findings, between: Any = None) -> Unheard:
    clock = VirtualClock(float(NOW))
    made = Unheard(clock, lambda: proxy, findings)
    made.turn(section())
    task = made._task
    assert task is not None
    while not task.done():
        await asyncio.sleep(0)
        if findings.checked is not None and between is not None:
            between()
            between = None
        await clock.advance(1.0)
    task.result()
    return made


def rows(findings: Findings) -> set[tuple[object, object, object]]:
    return {(one["call"], one["found"], one["done"]) for one in findings.rows(100)}


async def test_only_what_its_relay_does_not_know_twice_is_ended(known: dict[str, bool | None]) -> None:
    known |= {"gone": False, "well": True, "silent": None, "back": False, "over": False}
    proxy = Proxy(*(dialog(call, number) for number, call in enumerate(known)))
    findings = Findings()

    def between() -> None:
        known["back"] = True
        proxy.dialogs = [one for one in proxy.dialogs if one["call-id"] != "over"]

    made = await look(proxy, findings, between)
    assert proxy.ended == [(0, 0, REASON)]
    assert rows(findings) == {("gone", NO_RELAY, ENDED), ("silent", NOT_TOLD, WAITING)}
    assert (made.heard.unheard, made.heard.untold, made.heard.ended) == (0, 1, 1)


async def test_an_emergency_call_is_told_and_left(known: dict[str, bool | None]) -> None:
    known |= {"urgent": False, "marked": False}
    marked = [{"relay": "842756159|r1"}, {"sos": "110"}]
    proxy = Proxy(dialog("urgent", 1, to_uri="sip:112@d.test"), dialog("marked", 2, variables=marked))
    findings = Findings()
    made = await look(proxy, findings)
    assert proxy.ended == []
    assert rows(findings) == {("urgent", NO_RELAY, LEFT), ("marked", NO_RELAY, LEFT)}
    assert made.heard.unheard == 2


async def test_what_is_told_is_told_newest_first_and_no_more_than_asked_for(known: dict[str, bool | None]) -> None:
    known |= {"a": False, "b": False}
    findings = Findings()
    await look(Proxy(dialog("a", 1), dialog("b", 2)), findings)
    report = Report(findings, lambda: "p1")
    context = Context(VirtualClock(float(NOW)), float("inf"))
    told = await report.run({"limit": 1}, Checkpoint({}, lambda _: None), context)
    assert told["node"] == "p1"
    assert told["checked"] == NOW
    assert isinstance(told["rows"], list)
    assert len(told["rows"]) == 1


@given(st.integers(0, 6), st.integers(0, 100), st.booleans())
def test_a_call_that_is_not_up_or_has_no_relay_is_nobodys_matter(state: int, age: int, related: bool) -> None:
    one = dialog("x", state=state, start_ts=NOW - age, variables=[{"relay": "1|r1"}] if related else [])
    assert (relay_of(one, NOW) == "r1") == (state == 4 and age >= unheard.YOUNG_S and related)
