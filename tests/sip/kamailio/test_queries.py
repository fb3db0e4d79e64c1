"""What a proxy tells operators: filtered, paged, and without anything that is not named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.clock import RealClock, VirtualClock
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import Json, JsonObject
from nf.errors import DeadlineError, InputError, NotFoundError, RefusedError
from sip.kamailio.dialogs import call_row
from sip.kamailio.documents import KamailioSection
from sip.kamailio.jsonrpc import RpcRefused
from sip.kamailio.queries import backwards, operations, registrations
from sip.operations import CALLS, HANGUP, NODES, RECORDS, REGISTRATIONS


def dialog(number: int, **more: Any) -> dict[str, Any]:
    return {
        "h_entry": 1, "h_id": number, "call-id": f"c{number}", "from_uri": f"sip:u{number}@d.test",
        "to_uri": "sip:bob@d.test", "state": 4, "start_ts": 1000 + number, "init_ts": 999, "duration": 5,
        "caller": {"tag": f"a{number}", "contact": f"sip:u{number}@10.0.0.1", "cseq": "2"},
        "callee": {"tag": "b", "contact": "sip:bob@10.0.0.2", "cseq": "0"},
        "profiles": [{"secret": 1}], "variables": [{"xid": "HIDDEN"}, {"target": "HIDDEN"}],
        **more,
    }  # fmt: skip


class Kamailio:
    """Answers as a real one did."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {"dlg.list": [], **answers}
        self.asked: list[tuple[Any, ...]] = []

    async def call(self, method: str, *parameters: str | float) -> Json:
        self.asked.append((method, *parameters))
        found = self.answers.get(method, RpcRefused(method, 500, "Method Not Found"))
        found = found(*parameters) if callable(found) else found
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]


def section(**more: Any) -> KamailioSection:
    return KamailioSection.model_validate(
        {
            "proxy": {"id": "proxy1", "appliance": "pop1", "address": "10.0.0.9", "region": "north"},
            "domains": ["d.test"],
            "accounts": "secret:accounts",
            "relays": [
                {"id": "relay1", "appliance": "pop1", "address": "10.0.0.8"},
                {"id": "relay2", "appliance": "pop2", "address": "10.0.0.7"},
            ],
            "media_servers": [{"id": "ms1", "appliance": "pop1", "address": "10.0.0.6", "password": "secret:ms"}],
            "emergency": {"numbers": ["112"], "trunks": ["t1"]},
            **more,
        }
    )


def ask(kamailio: Kamailio, name: str, arguments: JsonObject, folder: Path = Path("/nowhere")) -> Mapping[str, Any]:
    found = operations(lambda: kamailio, section, folder)[name]
    context = Context(RealClock(), deadline=float("inf"))
    return asyncio.run(found.run(arguments, Checkpoint({}, lambda _: None), context))


def test_calls_are_filtered_and_paged_and_newest_first() -> None:
    kamailio = Kamailio(**{"dlg.list": [dialog(n, state=4 if n % 2 else 2) for n in range(10)] + [dialog(99, state=5)]})
    found = ask(kamailio, CALLS, {"limit": 3, "offset": 1})
    assert [row["call"] for row in found["rows"]] == ["c8", "c7", "c6"]
    assert (found["total"], found["calls"], found["proxy"]) == (10, 10, "proxy1")
    found = ask(kamailio, CALLS, {"state": "ringing", "user": "U4@"})
    assert [row["call"] for row in found["rows"]] == ["c4"]
    assert ask(kamailio, CALLS, {"user": "bob"})["total"] == 10


def test_nothing_that_is_not_named_leaves_the_appliance() -> None:
    found = ask(Kamailio(**{"dlg.list": [dialog(1)]}), CALLS, {})
    assert "HIDDEN" not in json.dumps(found)
    assert "secret" not in json.dumps(found)
    assert found["rows"] == [
        {
            "call": "c1", "from": "sip:u1@d.test", "to": "sip:bob@d.test", "state": "talking", "since": 1001,
            "seconds": 5, "caller": "sip:u1@10.0.0.1", "called": "sip:bob@10.0.0.2",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"limit": 1001}, {"offset": -1}, {"state": "x"}, {"user": 5}, {"limit": True}]
)
def test_a_question_that_makes_no_sense_is_an_error(wrong: JsonObject) -> None:
    with pytest.raises(InputError):
        ask(Kamailio(), CALLS, wrong)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*dialog(1)]), json_values), json_values)
def test_whatever_kamailio_lists_is_a_row_or_none(found: dict[str, Any], dump: Any) -> None:
    call_row(found)
    call_row({**dialog(1), **found})
    list(registrations(dump))
    list(registrations({"Domains": [{"Domain": dump}, {"Domain": {"AoRs": [{"Info": {"Contacts": dump}}]}}]}))


def test_registrations() -> None:
    contact = {
        "Address": "sip:a@10.0.0.1:5066",
        "Expires": 55,
        "Received": "[not set]",
        "User-Agent": "x\ny",
        "Socket": "udp:10.0.0.9:5060",
    }
    dump = {"Domains": [{"Domain": {"Domain": "location", "AoRs": [
        {"Info": {"AoR": name, "Contacts": [{"Contact": contact}]}} for name in ("bob@d.test", "alice@d.test")
    ]}}]}  # fmt: skip
    found = ask(Kamailio(**{"ul.dump": dump}), REGISTRATIONS, {"user": "ALICE"})
    assert found["rows"] == [
        {
            "account": "alice@d.test", "contact": "sip:a@10.0.0.1:5066", "received": "", "expires_s": 55,
            "agent": "x?y", "socket": "udp:10.0.0.9:5060",
        }
    ]  # fmt: skip
    assert (found["total"], found["records"]) == (1, 2)


def test_nodes_as_the_proxy_sees_them() -> None:
    answers = {
        "dlg.stats_active": {"starting": 1, "connecting": 0, "answering": 0, "ongoing": 2, "all": 3},
        "core.uptime": {"uptime": 60},
        "htable.get": {"item": {"name": "drain", "value": 1}},
        "rtpengine.show": [
            {"url": "udp:10.0.0.8:2223", "set": 1, "weight": 50, "disabled": 0},
            {"url": "udp:10.0.0.7:2223", "set": 1, "weight": 50, "disabled": 1},
            {"url": "udp:10.0.0.7:2223", "set": 7, "weight": 50, "disabled": 0},
        ],
        "dispatcher.list": {
            "RECORDS": [{"SET": {"ID": 1, "TARGETS": [{"DEST": {"URI": "sip:10.0.0.6:5080", "FLAGS": "IP"}}]}}]
        },
    }
    rows = ask(Kamailio(**answers), NODES, {})["rows"]
    assert [(row["kind"], row["id"], row["state"], row["calls"]) for row in rows] == [
        ("proxy", "proxy1", "drained", 3),
        ("relay", "relay1", "active", None),
        ("relay", "relay2", "down", None),
        ("media-server", "ms1", "inactive", None),
    ]
    del answers["rtpengine.show"], answers["dispatcher.list"], answers["htable.get"]
    rows = ask(Kamailio(**answers), NODES, {})["rows"]
    assert [row["state"] for row in rows] == ["open", "unknown", "unknown", "unknown"]


def test_a_call_is_ended_when_the_proxy_has_it_no_more() -> None:
    left = [dialog(1)]
    kamailio = Kamailio(
        **{"dlg.dlg_list": lambda call: left[0] if left else RpcRefused("dlg.dlg_list", 404, "Dialog not found")}
    )
    kamailio.answers["dlg.terminate_dlg"] = lambda *_: left.clear() or {}
    assert ask(kamailio, HANGUP, {"call": "c1"})["ended"] == 1
    assert ("dlg.terminate_dlg", "c1", "a1", "b") in kamailio.asked
    with pytest.raises(NotFoundError):
        ask(kamailio, HANGUP, {"call": "c1"})


def test_one_that_rings_is_cancelled() -> None:
    left = [dialog(1, state=2)]
    kamailio = Kamailio(**{"dlg.dlg_list": lambda call: [*left], "tm.cancel": lambda *_: left.clear() or {}})
    ask(kamailio, HANGUP, {"call": "c1"})
    assert ("tm.cancel", "c1", "2") in kamailio.asked


def test_an_emergency_call_is_never_ended() -> None:
    kamailio = Kamailio(**{"dlg.dlg_list": dialog(1, to_uri="sip:112@d.test"), "dlg.terminate_dlg": {}})
    with pytest.raises(RefusedError, match="emergency"):
        ask(kamailio, HANGUP, {"call": "c1"})
    assert not any(one[0] == "dlg.terminate_dlg" for one in kamailio.asked)


async def test_one_that_does_not_end_is_an_error() -> None:
    clock = VirtualClock()
    kamailio = Kamailio(**{"dlg.dlg_list": dialog(1), "dlg.terminate_dlg": {}})
    found = operations(lambda: kamailio, section, Path("/nowhere"))[HANGUP]
    task = asyncio.create_task(
        found.run({"call": "c1"}, Checkpoint({}, lambda _: None), Context(clock, deadline=float("inf")))
    )
    for _ in range(120):
        await clock.advance(0.1)
    with pytest.raises(DeadlineError):
        await task


def test_the_last_records_are_told_newest_first(tmp_path: Path) -> None:
    for day, numbers in (("2026-01-01", range(3)), ("2026-01-02", range(3, 6))):
        lines = [
            json.dumps(
                {
                    "proxy": "proxy1",
                    "call_id": f"c{n}",
                    "caller": f"u{n}",
                    "answered": None if n == 4 else 5.0,
                    "began": n,
                    "other": "HIDDEN",
                }
            )
            for n in numbers
        ]
        (tmp_path / f"cdr-{day}.jsonl").write_text("\n".join(lines) + "\nnonsense\n")
    found = ask(Kamailio(), RECORDS, {"limit": 4}, tmp_path)
    assert [row["call_id"] for row in found["rows"]] == ["c5", "c4", "c3", "c2"]
    assert "HIDDEN" not in json.dumps(found)
    assert [row["call_id"] for row in ask(Kamailio(), RECORDS, {"failed": True}, tmp_path)["rows"]] == ["c4"]
    assert [row["call_id"] for row in ask(Kamailio(), RECORDS, {"user": "U1"}, tmp_path)["rows"]] == ["c1"]
    assert ask(Kamailio(), RECORDS, {}, tmp_path / "none")["rows"] == []


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=20), st.integers(1, 64))
def test_a_file_is_read_backwards(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], chunk: int) -> None:
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(b"\n".join(lines))
    assert [*backwards(path, chunk)] == [line for line in reversed(lines) if line]
