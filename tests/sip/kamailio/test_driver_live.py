"""The proxy under a real supervisor: what was told is read back from the daemon, and what a restart costs is seen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nf.contracts.driver import Checkpoint
from nf.errors import CancelledError, DeadlineError, InputError, NfError, NotFoundError, RefusedError
from sip.kamailio import records, render
from tests.headend.multicast.tree.network import Node, nodes
from tests.sip.kamailio.phone import Phone
from tests.sip.kamailio.proxy import DOMAIN, Bench, account, bench, section

pytestmark = [pytest.mark.root, pytest.mark.daemon]


@pytest.fixture(scope="module")
def machine(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[Node]:
    require_root()
    require_programs("ip", "nsenter", "kamailio")
    with nodes("k") as made:
        for address in ("10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.11", "10.77.0.12", "10.77.0.21", "10.77.0.31"):
            made["k"].shell("ip", "address", "add", f"{address}/32", "dev", "lo")
        made["k"].supervise()
        yield made["k"]


@pytest.fixture(scope="module")
def running(machine: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One proxy for all tests of this file: each leaves it as `section()`."""
    with bench(machine, tmp_path_factory.mktemp("proxy")) as made:
        yield made


@pytest.fixture
def proxy(running: Bench) -> Iterator[Bench]:
    running.node.call(running.commit, section())
    yield running
    drain = running.driver.operations["voice-drain"]
    running.node.call(drain.run, {"end": True}, Checkpoint({}, lambda _: None), running.context())
    running.keep("voice-accounts", "\n".join(map(account, ("alice", "bob"))) + "\n")
    running.node.call(running.commit, section())


def call(proxy: Bench, function: Callable[..., Any], *arguments: Any) -> Any:
    return proxy.node.call(function, *arguments)


def test_it_comes_up_with_its_tables_and_opens(proxy: Bench) -> None:
    state = call(proxy, proxy.driver.observe)
    assert state.facts == {"k.voice.proxy"}
    assert {key: value for key, value in state.value.items() if key != "calls"} == section().to_json()
    accounts = call(proxy, proxy.hash, "sub")
    assert accounts.keys() == {f"alice@{DOMAIN}", f"bob@{DOMAIN}"}
    assert call(proxy, proxy.hash, "ctl")["drain"] == 0
    peers = json.dumps(call(proxy, proxy.call, "dispatcher.list"))
    assert peers.count("sip:10.77.0.11:5080") == 1
    assert peers.count("sip:10.77.0.21:5060") == 1
    relays = {one["url"] for one in call(proxy, proxy.call, "rtpengine.show", "all")}
    assert relays == {"udp:10.77.0.2:2223", "udp:10.77.0.3:2223"}
    assert call(proxy, proxy.call, "mtree.match", "plan", "0049", 0)["TVALUE"].startswith("2|+|")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"limits": {"calls_per_subscriber": 2}}, "limits"),
        ({"limits": {"registration": [120, 600]}}, "registrations (cfg.set)"),
        ({"services": [{"number": "9002", "kind": "echo"}]}, "numbers"),
        ({"plan": [{"prefix": "0", "trunks": ["carrier"]}]}, "number plan (mtree.reload)"),
    ],
)
def test_hot_changes_leave_the_process(proxy: Bench, changed: dict[str, Any], told: str) -> None:
    before = call(proxy, proxy.pid)
    (step,), undos = call(proxy, proxy.commit, section(**changed))
    assert (step.kind, step.disruption) == ("kamailio.tell", "")
    assert told in step.summary
    assert call(proxy, proxy.pid) == before
    for undo in undos:
        call(proxy, proxy.driver.undo, undo, proxy.context())
    assert proxy.driver.plan(call(proxy, proxy.driver.observe), section()) == ()
    assert call(proxy, proxy.pid) == before


def test_a_drained_media_server_and_relay_are_told_at_once(proxy: Bench) -> None:
    data: dict[str, Any] = section().to_json()
    data["media_servers"][0]["drained"] = True
    data["relays"][0]["drained"] = True
    before = call(proxy, proxy.pid)
    (step,), _ = call(proxy, proxy.commit, section(**data))
    assert step.kind == "kamailio.tell"
    assert call(proxy, proxy.pid) == before
    flags = {one.uri: one.flags for one in call(proxy, _peers, proxy)}
    assert flags["sip:10.77.0.11:5080"].startswith("D")
    assert not flags["sip:10.77.0.12:5080"].startswith("D")
    relays = call(proxy, proxy.call, "rtpengine.show", "all")
    assert {str(one["disabled"]) for one in relays if one["url"] == "udp:10.77.0.2:2223"} == {"1(permanent)"}


async def _peers(proxy: Bench) -> Any:
    from sip.kamailio.live import read_peers

    return await read_peers(proxy.driver.rpc())


def test_what_only_a_start_reads_is_a_restart_that_says_its_cost(proxy: Bench) -> None:
    want = section(protection={"density": 300})
    before = call(proxy, proxy.pid)
    (step,), undos = call(proxy, proxy.commit, want)
    assert step.kind == "kamailio.run"
    assert step.disruption == "restarting the proxy: 0 calls go on, signalling is away for ~1 s"
    assert "other protection" in step.summary
    assert call(proxy, proxy.pid) != before
    assert call(proxy, proxy.hash, "sub").keys() == {f"alice@{DOMAIN}", f"bob@{DOMAIN}"}
    assert call(proxy, proxy.hash, "ctl")["drain"] == 0
    for undo in undos:
        call(proxy, proxy.driver.undo, undo, proxy.context())
    assert proxy.driver.plan(call(proxy, proxy.driver.observe), section()) == ()


def test_a_killed_proxy_gets_its_tables_from_its_keeper(proxy: Bench) -> None:
    """Nobody applies anything."""
    before = call(proxy, proxy.pid)
    os.kill(before, signal.SIGKILL)
    limit = time.monotonic() + 60.0
    while True:
        try:
            if call(proxy, proxy.pid) != before and call(proxy, proxy.hash, "ctl").get("drain") == 0:
                break
        except Exception:  # noqa: BLE001 - it is just being started
            assert time.monotonic() < limit
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert call(proxy, proxy.hash, "sub").keys() == {f"alice@{DOMAIN}", f"bob@{DOMAIN}"}
    assert proxy.driver.plan(call(proxy, proxy.driver.observe), section()) == ()


def test_what_somebody_changed_in_the_daemon_is_drift_and_taken_back(proxy: Bench) -> None:
    call(proxy, proxy.call, "htable.sets", "sub", f"mallory@{DOMAIN}", "0" * 32)
    call(proxy, proxy.call, "htable.delete", "sub", f"bob@{DOMAIN}")
    state = call(proxy, proxy.driver.observe)
    assert state.value["tables"] == ["sub"]
    assert state.facts == frozenset()
    assert "mallory" not in json.dumps(state.value)
    (step,), _ = call(proxy, proxy.commit, section())
    assert "accounts" in step.summary
    assert call(proxy, proxy.hash, "sub").keys() == {f"alice@{DOMAIN}", f"bob@{DOMAIN}"}


def test_a_file_that_was_changed_by_hand(proxy: Bench) -> None:
    file = proxy.driver.places.file("dispatcher.list")
    file.write_text(file.read_text().replace("10.77.0.11", "10.77.0.99"))
    (step,), _ = call(proxy, proxy.commit, section())
    assert step.kind == "kamailio.tell"
    assert "10.77.0.99" not in file.read_text()


def test_new_accounts_are_told_without_a_restart_and_stand_nowhere(proxy: Bench) -> None:
    lines = [account("alice"), account("carol", "a new one")]
    proxy.keep("voice-accounts", "\n".join(lines))
    before = call(proxy, proxy.pid)
    (step,), undos = call(proxy, proxy.commit, section())
    assert "accounts" in step.summary
    assert call(proxy, proxy.pid) == before
    assert call(proxy, proxy.hash, "sub").keys() == {f"alice@{DOMAIN}", f"carol@{DOMAIN}"}
    shown = json.dumps([step.to_json(), *(undo.data for undo in undos), call(proxy, proxy.driver.observe).value])
    for line in lines:
        assert line.rpartition(":")[2] not in shown
        assert line.rpartition(":")[2] not in "\n".join(call(proxy, _logs, proxy))


async def _logs(proxy: Bench) -> tuple[str, ...]:
    units = proxy.driver._units
    return (*await units.log("kamailio", 500), *await units.log("kamailio-keeper", 500))


def test_accounts_that_are_none_are_refused_with_their_line(proxy: Bench) -> None:
    bad = "alice:elsewhere.test:0123"
    proxy.keep("voice-accounts", f"{account('alice')}\n# a remark\n{bad}\n")
    steps = proxy.driver.plan(call(proxy, proxy.driver.observe), section(limits={"calls": 7}))
    with pytest.raises(RefusedError) as refused:
        call(proxy, proxy.driver.check, steps, section(limits={"calls": 7}))
    (problem,) = refused.value.problems
    assert "line 3" in problem.rule
    assert bad not in str(problem)


def test_accounts_that_are_not_there_are_refused(proxy: Bench) -> None:
    want = section(accounts="secret:no-such-accounts")
    steps = proxy.driver.plan(call(proxy, proxy.driver.observe), want)
    with pytest.raises(NotFoundError):
        call(proxy, proxy.driver.check, steps, want)


def test_what_kamailio_does_not_read_is_refused_and_changes_nothing(
    proxy: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, files = call(proxy, proxy.pid), _files(proxy)
    fragment = render._fragment

    def broken(name: str) -> str:
        return fragment(name) + ("route[BROKEN] { no_such_function(; }\n" if name == "call.cfg" else "")

    monkeypatch.setattr(render, "_fragment", broken)
    steps = proxy.driver.plan(call(proxy, proxy.driver.observe), section(nat=False))
    with pytest.raises(RefusedError, match="Kamailio refuses the configuration"):
        call(proxy, proxy.driver.check, steps, section(nat=False))
    monkeypatch.undo()
    assert call(proxy, proxy.pid) == before
    assert _files(proxy) == files
    assert proxy.driver.plan(call(proxy, proxy.driver.observe), section()) == ()


def _files(proxy: Bench) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in proxy.driver.places.config.iterdir() if path.is_file()}


def test_tls_with_a_certificate_of_its_own_then_another(proxy: Bench) -> None:
    from sip.kamailio.certificate import self_signed

    listeners = [{"transport": "udp", "port": 5060}, {"transport": "tls", "port": 5061}]
    base: Any = section().to_json()["proxy"]
    own = section(proxy={**base, "listeners": listeners})
    call(proxy, proxy.commit, own)
    proxy.keep("proxy-cert", self_signed([DOMAIN]))
    named = section(proxy={**base, "listeners": listeners, "certificate": "secret:proxy-cert"})
    before = call(proxy, proxy.pid)
    (step,), _ = call(proxy, proxy.commit, named)
    assert (step.kind, step.disruption) == ("kamailio.tell", "")
    assert "tls.reload" in step.summary
    proxy.keep("proxy-cert", self_signed([DOMAIN, "other.test"]))
    (step,), _ = call(proxy, proxy.commit, named)
    assert "tls.reload" in step.summary
    assert call(proxy, proxy.pid) == before


def test_a_proxy_that_hangs_is_told_as_such(proxy: Bench) -> None:
    pids = _processes(call(proxy, proxy.pid))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        state = call(proxy, proxy.driver.observe)
        assert "does not answer" in state.value["live"]
        (step,) = proxy.driver.plan(state, section())
        assert step.kind == "kamailio.run"
        assert step.disruption.endswith("it does not answer now")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _processes(main: int) -> list[int]:
    return [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]


def test_it_can_go_and_come_back(proxy: Bench) -> None:
    call(proxy, proxy.commit, None)
    assert call(proxy, proxy.driver.observe).value is None
    call(proxy, proxy.commit, section())


def test_events_tell_who_does_not_answer(proxy: Bench) -> None:
    async def some() -> list[Any]:
        found: list[Any] = []
        events = proxy.driver.events()
        async with asyncio.timeout(90.0):
            async for event in events:
                found.append(event)
                causes = {getattr(one, "cause", "") for one in found}
                if {"voice-relay-down", "voice-peer-down"} <= causes:
                    break
        await events.aclose()  # type: ignore[attr-defined]
        return found

    found = proxy.node.call(some)
    samples = [one for one in found if getattr(one, "kind", "") == "sip.proxy"]
    assert samples[-1].values["calls"] == 0.0
    assert samples[-1].values["memory_free"] > 0


@contextmanager
def call_up(proxy: Bench) -> Iterator[tuple[Phone, Phone]]:
    async def begin() -> tuple[Phone, Phone]:
        for phone in phones:
            await phone.open()
            assert await phone.register() == 200
        assert await phones[0].invite("bob") == 200
        return phones[0], phones[1]

    async def end() -> None:
        for phone in phones:
            phone.close()

    phones = [Phone(name, "10.77.0.31", port, "10.77.0.1") for name, port in (("alice", 15061), ("bob", 15062))]
    try:
        yield proxy.node.call(begin)
    finally:
        proxy.node.call(end)


def recorded(proxy: Bench, call_id: str) -> list[dict[str, Any]]:
    files = sorted(proxy.driver.places.cdr.glob("cdr-*.jsonl"))
    return [one for file in files for one in records.read(file) if one["call_id"] == call_id]


def until(what: Callable[[], Any], limit_s: float = 60.0) -> Any:
    limit = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    return found


def test_a_call_goes_on_over_a_restart_and_is_one_record(proxy: Bench) -> None:
    with call_up(proxy) as (alice, bob):
        state = call(proxy, proxy.driver.observe)
        assert state.value["calls"] == 1
        (step,) = proxy.driver.plan(state, section(protection={"density": 400}))
        assert step.disruption == "restarting the proxy: 1 call goes on, signalling is away for ~1 s"
        call(proxy, proxy.commit, section(protection={"density": 400}))
        assert call(proxy, proxy.call, "dlg.stats_active")["ongoing"] == 1
        assert call(proxy, alice.within, "BYE") == 200
        assert bob.requests[-1] == "BYE"
        (record,) = until(lambda: recorded(proxy, alice.call_id))
        assert (record["result"], record["code"], record["proxy"]) == ("answered", 200, "p1")
        assert record["seconds"] >= 0
        # Kamailio keeps an ended dialog for some seconds: a start in between does not bring it back.
        before = call(proxy, proxy.pid)
        os.kill(before, signal.SIGKILL)
        until(lambda: opened(proxy, before))
        assert call(proxy, proxy.call, "dlg.stats_active")["all"] == 0


def test_a_restart_waits_for_the_call_that_rings_and_refuses_new_ones(proxy: Bench) -> None:
    async def ring() -> None:
        for phone in phones:
            await phone.open()
        for phone in (alice, bob):
            assert await phone.register() == 200

    async def close() -> None:
        for phone in phones:
            phone.close()

    alice, bob, late = phones = [
        Phone(name, "10.77.0.31", port, "10.77.0.1")
        for name, port in (("alice", 15061), ("bob", 15062), ("alice", 15063))
    ]
    bob.holds = True
    proxy.node.call(ring)
    try:
        before = call(proxy, proxy.pid)
        ringing = proxy.node.start(alice.invite, "bob")
        until(lambda: bob.held)
        restart = proxy.node.start(proxy.commit, section(protection={"density": 400}))
        until(lambda: call(proxy, proxy.hash, "ctl")["drain"] == 1)
        assert call(proxy, late.invite, "bob") == 503
        assert not restart.done()
        assert call(proxy, proxy.pid) == before
        call(proxy, bob.answer)
        assert ringing.result(60) == 200
        restart.result(120)
        assert call(proxy, proxy.pid) != before
        assert call(proxy, proxy.call, "dlg.stats_active")["ongoing"] == 1
        assert call(proxy, proxy.hash, "ctl")["drain"] == 0
        assert call(proxy, alice.within, "BYE") == 200
        assert bob.requests[-1] == "BYE"
        (record,) = until(lambda: recorded(proxy, alice.call_id))
        assert record["result"] == "answered"
    finally:
        proxy.node.call(close)


def test_a_call_goes_on_over_kill_9_of_proxy_and_keeper(proxy: Bench) -> None:
    with call_up(proxy) as (alice, bob):
        keeper = proxy.node.call(proxy.driver._units.status, "kamailio-keeper")
        assert keeper is not None
        assert keeper.pid is not None
        os.kill(keeper.pid, signal.SIGKILL)
        before = call(proxy, proxy.pid)
        os.kill(before, signal.SIGKILL)
        until(lambda: opened(proxy, before))
        assert call(proxy, alice.within, "BYE") == 200
        assert bob.requests[-1] == "BYE"
        (record,) = until(lambda: recorded(proxy, alice.call_id))
        assert record["result"] == "answered"


def opened(proxy: Bench, before: int) -> bool:
    try:
        return bool(call(proxy, proxy.pid) != before and call(proxy, proxy.hash, "ctl").get("drain") == 0)
    except (NfError, AssertionError):
        return False  # it is just being started


def test_a_drain_waits_for_the_call_and_refuses_new_ones(proxy: Bench) -> None:
    drain = proxy.driver.operations["voice-drain"]
    told: list[tuple[float, str]] = []
    context = replace(proxy.context(), progress=lambda fraction, text: told.append((fraction, text)))
    with call_up(proxy) as (alice, bob):
        running = proxy.node.start(drain.run, {"wait_s": 60}, Checkpoint({}, lambda _: None), context)
        until(lambda: told)
        assert told[0] == (0.0, "1 calls left on p1")
        bob.call_id = "another-call@10.77.0.31"
        assert call(proxy, bob.invite, "alice") == 503
        assert not running.done()
        # It stays drained over a kill, and that is no drift.
        before = call(proxy, proxy.pid)
        os.kill(before, signal.SIGKILL)
        until(lambda: _drain_of(proxy, before) == 1)
        assert call(proxy, alice.within, "BYE") == 200
        result = running.result(60)
        assert (result["before"], result["calls"]) == (1, 0)
        assert told[-1][0] == 1.0
    assert proxy.driver.plan(call(proxy, proxy.driver.observe), section()) == ()
    call(proxy, drain.run, {"end": True}, Checkpoint({}, lambda _: None), context)
    assert call(proxy, proxy.hash, "ctl")["drain"] == 0


def _drain_of(proxy: Bench, before: int) -> object:
    try:
        return call(proxy, proxy.hash, "ctl").get("drain") if call(proxy, proxy.pid) != before else None
    except (NfError, AssertionError):
        return None


def test_a_drain_that_is_late_or_cancelled_opens_it_again(proxy: Bench) -> None:
    drain = proxy.driver.operations["voice-drain"]
    with call_up(proxy) as (alice, _):
        with pytest.raises(DeadlineError, match="1 of 1 calls are left"):
            call(proxy, drain.run, {"wait_s": 1}, Checkpoint({}, lambda _: None), proxy.context())
        assert call(proxy, proxy.hash, "ctl")["drain"] == 0
        context = proxy.context()
        context.cancel.set()
        with pytest.raises(CancelledError):
            call(proxy, drain.run, {}, Checkpoint({}, lambda _: None), context)
        assert call(proxy, proxy.hash, "ctl")["drain"] == 0
        assert call(proxy, alice.within, "BYE") == 200
    with pytest.raises(InputError, match="wait_s"):
        call(proxy, drain.run, {"wait_s": "soon"}, Checkpoint({}, lambda _: None), proxy.context())


def test_kamcli_looks_into_it(proxy: Bench, tmp_path: Path, require_programs: Callable[..., None]) -> None:
    """With the file of the image, but for its folders."""
    require_programs("kamcli")
    text = (Path(__file__).parents[3] / "images/files/core/etc/kamcli/kamcli.ini").read_text()
    file = tmp_path / "kamcli.ini"
    file.write_text(text.replace("/run/nf", str(proxy.node.run_dir)).replace("/var/lib/nf", str(proxy.node.state_dir)))
    told = proxy.node.shell("kamcli", "-c", str(file), "rpc", "core.uptime")
    assert "uptime" in told


def test_some_thousand_accounts(proxy: Bench) -> None:
    names = ["alice", "bob", *(f"user{number}" for number in range(3000))]
    proxy.keep("voice-accounts", "\n".join(map(account, names)))
    (step,), _ = call(proxy, proxy.commit, section())
    assert step.kind == "kamailio.tell"
    assert len(call(proxy, proxy.hash, "sub")) == len(names)
    looked = proxy.driver._looked.found
    assert looked.keys() == {"sub"}
    before = looked["sub"]
    assert proxy.driver.plan(call(proxy, proxy.driver.observe), section()) == ()
    assert looked["sub"] == before  # it was counted, and some were asked for
    call(proxy, proxy.call, "htable.sets", "sub", f"mallory@{DOMAIN}", "0" * 32)
    assert call(proxy, proxy.driver.observe).value["tables"] == ["sub"]
