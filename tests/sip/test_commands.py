"""`nf sip`: what it asks the fleet for, and what it says of the answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import CLIENT, CommittedDocuments, NodeOutcome, OperationOutcome
from nf.errors import DriverError, InputError, NotFoundError
from sip import action_commands, commands
from sip.commands import app

Answer = Callable[[str, JsonObject], list[NodeOutcome]]


def node(result: JsonObject, *, at: str = "pop1", state: str = "done", text: str = "") -> NodeOutcome:
    return NodeOutcome(at, "kamailio", 0, state, text, result)


@dataclass
class Noc:
    answers: dict[str, list[NodeOutcome] | Answer] = field(default_factory=dict)
    objects: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: list[tuple[str, str, JsonObject]] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    tables: list[tuple[tuple[str, ...], ...]] = field(default_factory=list)
    fleet: bytes = b""

    def run_operation(
        self,
        name: str,
        target: str,
        arguments: JsonObject,
        *,
        past_failures: bool,
        profile: Path | None,
        watch: bool = True,
    ) -> OperationOutcome:
        self.asked.append((name, target, arguments))
        found = self.answers.get(name, [node({})])
        nodes = tuple(found(target, arguments) if callable(found) else found)
        return OperationOutcome(all(one.state == "done" for one in nodes), nodes, 1.0, {"data": True})

    def operation_objects(self, name: str) -> tuple[str, ...]:
        return self.objects.get(name, ())

    def committed(self, *, profile: Path | None, timeout_s: float = 15.0) -> CommittedDocuments:
        return CommittedDocuments(1, ("lineup", b""), ("fleet.yaml", self.fleet))

    def print_json(self, value: Json) -> None:
        self.said.append(value)

    def print_table(self, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> None:
        assert all(len(row) == len(columns) for row in rows)
        self.tables.append(rows)

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def noc() -> Iterator[Noc]:
    made = Noc()
    token = CLIENT.set(made)
    yield made
    CLIENT.reset(token)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments])


def call(number: int, since: float) -> JsonObject:
    return {
        "call": f"c{number}", "from": f"sip:u{number}@d", "to": "sip:bob@d", "state": "talking", "since": since,
        "seconds": 5, "caller": "", "called": "",
    }  # fmt: skip


def test_it_is_imported_without_what_takes_long() -> None:
    code = (
        "import sys, sip.commands; print([m for m in sys.modules if m.split('.')[0] in ('pydantic', 'grpc', 'rich')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pydantic" not in done.stdout
    assert "grpc" not in done.stdout


def test_calls_of_all_proxies_are_one_list(noc: Noc) -> None:
    noc.answers["voice-calls"] = [
        node({"proxy": "p1", "rows": [call(1, 30), call(2, 10)], "total": 7}),
        node({"proxy": "p2", "rows": [call(3, 20)], "total": 1}, at="pop2"),
    ]
    assert run("calls", "--limit", "2", "--offset", "1", "--user", "u", "--state", "talking").exit_code == 0
    assert noc.asked == [("voice-calls", "*", {"user": "u", "state": "talking", "limit": 3, "offset": 0})]
    assert [(row[0], row[-1]) for row in noc.tables[0]] == [("c3", "p2"), ("c2", "p1")]
    assert noc.said == ["2 to 3 of 8 calls"]


def test_calls_of_one_proxy_are_paged_there(noc: Noc) -> None:
    noc.answers["voice-calls"] = [node({"proxy": "p1", "rows": [call(1, 30)], "total": 2001})]
    assert run("calls", "--proxy", "p1", "--limit", "1", "--offset", "2000", "--json").exit_code == 0
    assert noc.asked == [("voice-calls", "p1", {"user": "", "state": "", "limit": 1, "offset": 2000})]
    assert noc.said == [{"rows": [{**call(1, 30), "proxy": "p1"}], "total": 2001}]
    assert isinstance(run("calls", "--offset", "2000").exception, InputError)


def test_who_tells_nothing_is_an_error_after_what_the_others_told(noc: Noc) -> None:
    noc.answers["voice-registrations"] = [
        node({"proxy": "p1", "rows": [{"account": "a@d", "contact": "sip:a@1", "expires_s": 5}], "total": 1}),
        node({}, at="pop2", state="offline", text="is offline"),
    ]
    error = run("registrations").exception
    assert isinstance(error, DriverError)
    assert error.message == "not told by all: pop2 is offline: is offline"
    assert noc.tables[0][0][0] == "a@d"


def test_nodes_are_told_once_with_their_own_counts(noc: Noc) -> None:
    def relay(state: str) -> JsonObject:
        return {
            "kind": "relay",
            "id": "r1",
            "appliance": "pop9",
            "state": state,
            "region": "x",
            "calls": None,
            "detail": "",
        }

    proxy: JsonObject = {
        "kind": "proxy",
        "id": "p1",
        "appliance": "pop1",
        "state": "open",
        "region": "x",
        "calls": 3,
        "detail": "up 5 s",
    }
    noc.answers["voice-nodes"] = [node({"rows": [proxy, relay("active")]}), node({"rows": [relay("down")]}, at="pop2")]
    noc.answers["wait-empty"] = [node({"sessions": 4}, at="pop9")]
    assert run("nodes").exit_code == 0
    assert noc.tables[0] == (
        ("p1", "proxy", "open", "3", "x", "up 5 s", "pop1"),
        ("r1", "relay", "active at pop1, down at pop2", "4", "x", "", "pop1, pop2"),
    )


def test_records(noc: Noc) -> None:
    row: JsonObject = {
        "began": 1_700_000_000.5,
        "caller": "alice@d",
        "dialled": "112",
        "seconds": 4.2,
        "code": 200,
        "result": "answered",
        "emergency": 1,
        "relay": "r1",
        "call_id": "c",
    }
    noc.answers["voice-records"] = [node({"proxy": "p1", "rows": [row]})]
    assert run("cdr", "--failed").exit_code == 0
    assert noc.asked[0][2] == {"user": "", "failed": True, "limit": 20, "offset": 0}
    assert noc.tables[0] == (
        ("2023-11-14 22:13:20Z", "alice@d", "112", "4", "200", "answered (emergency)", "r1", "p1"),
    )


# -- hangup, trace ----------------------------------------------------------------------------------------------------


def test_a_call_is_ended_where_it_is(noc: Noc) -> None:
    noc.answers["voice-calls"] = [node({"proxy": "p1", "rows": []}), node({"proxy": "p2", "rows": [call(1, 5)]})]
    noc.answers["voice-hangup"] = [node({}, text="c1 has ended")]
    assert run("hangup", "c1").exit_code == 0
    assert noc.asked[1] == ("voice-hangup", "p2", {"call": "c1"})
    assert noc.said == ["c1 has ended"]
    noc.answers["voice-calls"] = [node({"proxy": "p1", "rows": []})]
    assert isinstance(run("hangup", "c9").exception, NotFoundError)


def message(at: float, source: str, to: str, short: str) -> JsonObject:
    return {
        "at": at,
        "from": source,
        "to": to,
        "short": short,
        "sdp": "",
        "text": f"{short} sip:x",
        "line": short,
        "cseq": "",
    }


def test_a_trace_is_a_ladder(noc: Noc) -> None:
    rows: list[Json] = [
        message(1.0, "10.0.0.1:5060", "10.0.0.9:5060", "INVITE"),
        message(1.1, "10.0.0.9:5060", "10.0.0.1:5060", "486 Busy Here"),
    ]
    noc.answers["voice-trace"] = [node({"rows": rows, "names": {"10.0.0.9": "p1"}, "call": "c1"}, text="2 messages")]
    assert run("trace", "--user", "alice", "--seconds", "5", "--raw").exit_code == 0
    assert noc.asked == [("voice-trace", "*", {"call": "", "user": "alice", "seconds": 5})]
    assert noc.said[0].split() == ["10.0.0.1:5060", "p1"]
    assert "INVITE" in noc.said[1]
    assert "486 Busy Here" in noc.said[2]
    assert "INVITE sip:x" in noc.said[3]
    assert noc.said[-1] == "2 messages"


def test_a_trace_of_a_call_looks_at_its_proxy_and_nothing_seen_is_an_error(noc: Noc) -> None:
    noc.answers["voice-calls"] = [node({"proxy": "p2", "rows": [call(1, 5)]})]
    noc.answers["voice-trace"] = [node({"rows": [], "names": {}}, text="nothing of it was seen within 30 s")]
    error = run("trace", "c1", "--json").exception
    assert isinstance(error, NotFoundError)
    assert "begin before the call" in error.remedy
    assert noc.asked[1][:2] == ("voice-trace", "p2")
    assert isinstance(run("trace").exception, InputError)
    assert isinstance(run("trace", "c1", "--user", "x").exception, InputError)


# -- drain ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def core(noc: Noc) -> Noc:
    noc.objects = {
        "voice-drain": ("p1", "m1", "pop:east", "pop:east:undrain"),
        "wait-empty": ("r1", "r2", "*", "pop:east"),
    }
    return noc


def test_a_proxy_is_drained_with_its_deadline(core: Noc) -> None:
    core.answers["voice-drain"] = [node({"calls": 0}, text="p1 is drained: 0 calls left")]
    assert run("drain", "p1", "--wait", "60", "--limit", "2").exit_code == 0
    assert core.asked == [("voice-drain", "p1", {"wait_s": 60, "limit": 2, "keep": False})]
    assert core.said == ["pop1: p1 is drained: 0 calls left"]
    assert run("drain", "p1", "--wait", "281").exit_code == 2
    assert run("undrain", "p1").exit_code == 0
    assert core.asked[-1] == ("voice-drain", "p1", {"end": True})


def test_a_relay_gets_no_new_call_from_any_proxy_and_is_waited_for(core: Noc) -> None:
    assert run("drain", "r1").exit_code == 0
    assert [(name, target) for name, target, _ in core.asked] == [("voice-hold-relays", "*"), ("wait-empty", "r1")]
    assert core.asked[0][2] == {"relays": ["r1"], "held": True, "last": False}
    assert run("undrain", "r1").exit_code == 0
    assert core.asked[2] == ("voice-hold-relays", "*", {"relays": ["r1"], "held": False, "last": False})


def test_in_vain_it_takes_calls_again_unless_it_is_kept(core: Noc) -> None:
    core.answers["wait-empty"] = [node({}, state="failed", text="3 of 9 calls are left")]
    error = run("drain", "r1", "--json").exception
    assert isinstance(error, DriverError)
    assert error.message == "pop1 is failed: 3 of 9 calls are left"
    assert "it takes calls again" in error.remedy
    assert core.asked[-1] == ("voice-hold-relays", "*", {"relays": ["r1"], "held": False, "last": False})
    assert core.said[-1]["complete"] is False
    core.asked.clear()
    error = run("drain", "r1", "--keep").exception
    assert isinstance(error, DriverError)
    assert "nf sip undrain r1" in error.remedy
    assert [name for name, _, _ in core.asked] == ["voice-hold-relays", "wait-empty"]


FLEET = """\
apiVersion: streamverse.nf/v1
kind: Fleet
metadata: {name: f}
spec:
  sites: [{id: east}, {id: west}]
  appliances:
    - {id: pop1, site: east, role: pop, serial: a, management: 172.16.0.1, loopback: 10.0.0.1}
    - {id: pop2, site: west, role: pop, serial: b, management: 172.16.0.2, loopback: 10.0.0.2}
  equipment:
    voice:
      domains: [d.test]
      accounts: secret:a
      proxies: [{id: p1, appliance: pop1, address: 10.0.0.1}]
      relays: [{id: r1, appliance: pop1, address: 10.0.0.1}, {id: r2, appliance: pop2, address: 10.0.0.2}]
"""


def test_a_pop_is_drained_in_order_and_comes_back_the_other_way_round(core: Noc) -> None:
    core.fleet = FLEET.encode()
    assert run("drain", "--pop", "east").exit_code == 0
    assert [(name, target) for name, target, _ in core.asked] == [
        ("voice-drain", "pop:east"),
        ("voice-hold-relays", "*"),
        ("wait-empty", "pop:east"),
    ]
    assert core.asked[1][2] == {"relays": ["r1"], "held": True, "last": True}
    core.asked.clear()
    assert run("undrain", "--pop", "east").exit_code == 0
    assert [(name, target) for name, target, _ in core.asked] == [
        ("voice-hold-relays", "*"),
        ("voice-drain", "pop:east:undrain"),
    ]
    core.asked.clear()
    assert run("drain", "--pop", "west").exit_code == 0
    assert [name for name, _, _ in core.asked] == ["voice-hold-relays", "wait-empty"]
    error = run("drain", "--pop", "north").exception
    assert isinstance(error, NotFoundError)
    assert error.remedy == "one of: east, west"


def test_a_site_that_has_nothing_but_a_turn_server_is_drained_too(core: Noc) -> None:
    turn = "      turns: [{id: t1, appliance: pop2, address: 10.0.0.2, secret: secret:t}]\n"
    alone = FLEET.replace(", {id: r2, appliance: pop2, address: 10.0.0.2}", "") + turn
    core.fleet = alone.encode()
    core.answers["voice-drain"] = [node({"left": 0, "before": 3}, at="pop2", text="t1 is drained")]
    assert run("drain", "--pop", "west", "--json").exit_code == 0
    assert [(name, target) for name, target, _ in core.asked] == [("voice-drain", "pop:west")]
    assert core.said[-1]["nodes"][0]["calls"] == 0
    assert run("undrain", "--pop", "west").exit_code == 0
    assert core.asked[-1][:2] == ("voice-drain", "pop:west:undrain")


def test_when_the_proxies_keep_calls_the_relays_are_left_alone(core: Noc) -> None:
    core.fleet = FLEET.encode()
    core.answers["voice-drain"] = [node({}, state="failed", text="9 calls left")]
    assert isinstance(run("drain", "--pop", "east").exception, DriverError)
    names = [(name, target) for name, target, _ in core.asked]
    assert ("wait-empty", "pop:east") not in names
    assert names[-1] == ("voice-drain", "pop:east:undrain")


def test_what_is_not_there_is_told_with_what_is(core: Noc) -> None:
    error = run("drain", "p9").exception
    assert isinstance(error, NotFoundError)
    assert error.remedy == "one of: m1, p1, r1, r2"
    assert isinstance(run("drain").exception, InputError)
    assert isinstance(run("drain", "p1", "--pop", "east").exception, InputError)


# -- test calls, completion -------------------------------------------------------------------------------------------

WAY: JsonObject = {
    "measured": "receiver",
    "sent": 250,
    "received": 245,
    "loss": 0.02,
    "late": 0.0,
    "jitter_ms": 1.25,
    "delay_ms": None,
    "r": 84.2,
    "mos": 4.18,
}


def test_a_test_call_tells_both_ways_and_whether_it_is_good(noc: Noc) -> None:
    result: JsonObject = {
        "caller": "a@d",
        "called": "b@d",
        "up": True,
        "text": "answered in 12 ms",
        "to_called": WAY,
        "to_caller": None,
    }
    noc.answers["voice-test-call"] = [node(result, at="r1")]
    assert run("test-call", "edge", "--seconds", "3").exit_code == 0
    assert noc.asked == [("voice-test-call", "edge", {"call": "edge", "to": "", "seconds": 3})]
    assert noc.tables == [(("to the called", "receiver", "250", "2.00", "0.00", "1.25", "-", "84.2", "4.18"),)]
    assert noc.said == ["a@d calls b@d from r1", "up: answered in 12 ms"]
    noc.answers["voice-test-call"] = [node({**result, "up": False}, at="r1")]
    done = run("test-call", "edge", "--json")
    assert done.exit_code == 9
    assert json.loads(json.dumps(noc.said[-1]))["up"] is False
    noc.answers["voice-test-call"] = [node({}, state="offline", text="is offline")]
    assert isinstance(run("test-call", "edge").exception, DriverError)


def test_completion(core: Noc) -> None:
    core.objects |= {"voice-calls": ("*", "p1", "p2"), "voice-test-call": ("edge", "far")}
    assert commands.proxy_names("p") == ["p1", "p2"]
    assert commands.state_names("t") == ["talking"]
    assert action_commands.node_names("") == ["m1", "p1", "r1", "r2"]
    assert action_commands.site_names("e") == ["east"]
    assert action_commands.names_of_tests("e") == ["edge"]


def test_what_relays_and_proxies_found_is_one_list_newest_first(noc: Noc) -> None:
    relay: JsonObject = {"call": "c1", "found": "no dialog", "done": "deleted", "at": 1_796_054_772.0}
    proxy: JsonObject = {"call": "c2", "found": "no relay", "done": "ended", "at": 1_796_054_780.0}
    noc.answers["voice-relay-report"] = [
        node({"node": "r1", "checked": 1_796_054_790.0, "rows": [relay]}),
        node({"node": "p1", "checked": None, "rows": [proxy]}),
    ]
    assert run("relay-report", "--limit", "5").exit_code == 0
    assert noc.asked == [("voice-relay-report", "*", {"limit": 5})]
    assert noc.tables == [
        (
            ("2026-11-30 16:06:20Z", "c2", "no relay", "ended", "p1"),
            ("2026-11-30 16:06:12Z", "c1", "no dialog", "deleted", "r1"),
        )
    ]
    assert noc.said == ["p1: calls compared not yet", "r1: calls compared 2026-11-30 16:06:30Z"]
    assert run("relay-report", "r1", "--json").exit_code == 0
    assert noc.asked[-1] == ("voice-relay-report", "r1", {"limit": 200})
    assert noc.said[-1] == {
        "rows": [{**proxy, "by": "p1"}, {**relay, "by": "r1"}],
        "checked": {"r1": 1_796_054_790.0, "p1": None},
    }


def test_credentials_of_a_turn_server_are_made_where_its_secret_is(noc: Noc) -> None:
    server: JsonObject = {"urls": ["turn:10.0.1.1:3478"], "username": "1:nf", "credential": "c="}
    noc.answers["voice-turn-credentials"] = [node({"iceServers": [server], "until": 1_796_054_772, "text": "good"})]
    assert run("turn-credentials", "t1", "--ttl", "600", "--user", "web").exit_code == 0
    assert noc.asked == [("voice-turn-credentials", "t1", {"user": "web", "ttl_s": 600})]
    assert noc.said == [
        "urls        turn:10.0.1.1:3478",
        "username    1:nf",
        "credential  c=",
        "good until  2026-11-30 16:06:12Z",
    ]
    assert run("turn-credentials", "t1", "--json").exit_code == 0
    assert noc.said[-1] == {"iceServers": [server], "until": 1_796_054_772}
    assert run("turn-credentials", "t1", "--ttl", "0").exit_code == 2
    noc.answers["voice-turn-credentials"] = [node({}, state="failed", text="no secret")]
    assert isinstance(run("turn-credentials", "t1").exception, DriverError)
