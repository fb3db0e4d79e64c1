"""What operators ask of and do to a proxy of the driver's, with a real relay and a call that goes through both."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.errors import NotFoundError, RefusedError
from sip.calling.digest import Account
from sip.calling.documents import TestCallPlan
from sip.calling.outcome import Outcome
from sip.calling.placing import place
from sip.kamailio import pushing
from sip.operations import CALLS, DRAIN, HANGUP, HOLD_RELAYS, NODES, RECORDS, REGISTRATIONS
from tests.headend.multicast.tree.network import Node, nodes
from tests.sip.kamailio.proxy import ADDRESS, DOMAIN, PASSWORD, Bench, account, bench, section

pytestmark = [pytest.mark.root, pytest.mark.daemon]
RELAY = "10.77.0.2"
PROBES = ("probe1", "probe2")


@pytest.fixture(scope="module")
def machine(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[Node]:
    require_root()
    require_programs("ip", "nsenter", "kamailio", "rtpengine")
    with nodes("k") as made:
        for address in (ADDRESS, RELAY, "10.77.0.3", "10.77.0.11", "10.77.0.12", "10.77.0.21"):
            made["k"].shell("ip", "address", "add", f"{address}/32", "dev", "lo")
        made["k"].supervise()
        yield made["k"]


@pytest.fixture(scope="module")
def proxy(machine: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    relay = machine.call(
        _spawn,
        "rtpengine", "-f", "-E", "-L", "3", "--table=-1", f"--interface={RELAY}", f"--listen-ng={RELAY}:2223",
        "--port-min=30000", "--port-max=30999", "--delete-delay=0",
    )  # fmt: skip
    try:
        with bench(machine, tmp_path_factory.mktemp("proxy")) as made:
            made.keep("voice-accounts", "\n".join(map(account, PROBES)) + "\n")
            machine.call(made.commit, section())
            yield made
    finally:
        relay.terminate()
        relay.wait(20)


async def _spawn(*argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - a test's


def ask(proxy: Bench, name: str, **arguments: Any) -> Mapping[str, Any]:
    async def run() -> JsonObject:
        context = Context(RealClock(), deadline=float("inf"))
        return await proxy.driver.operations[name].run(arguments, Checkpoint({}, lambda _: None), context)

    return proxy.node.call(run)


def _secret(_: str) -> str:
    made = (Account.of(user, DOMAIN, PASSWORD) for user in PROBES)
    return "\n".join(f"{one.user}:{DOMAIN}:{one.ha1['MD5']}" for one in made)


async def _place(seconds: int) -> Outcome:
    plan = TestCallPlan.model_validate(
        {
            "id": "edge", "proxy": ADDRESS, "port": 5060, "domain": DOMAIN, "caller": "probe1", "called": "probe2",
            "credentials": "secret:p", "answered": "here", "seconds": seconds,
        }
    )  # fmt: skip
    return await place(plan, _secret, RealClock())


def test_a_call_through_it_is_measured_and_has_its_record(proxy: Bench) -> None:
    made = proxy.node.call(_place, 2)
    assert made.up, made.text
    assert made.mos is not None
    assert made.mos > 3.6

    async def records() -> list[Any]:
        async with asyncio.timeout(60):  # its keeper hands them on
            while True:
                found = await _ask(proxy, RECORDS, user="probe1")
                if found["rows"]:
                    return list(found["rows"])
                await asyncio.sleep(0.2)

    (row,) = proxy.node.call(records)
    assert row["call_id"] == made.call_id
    assert ask(proxy, CALLS)["rows"] == []
    assert ask(proxy, REGISTRATIONS)["rows"] == []


async def _ask(proxy: Bench, name: str, **arguments: Any) -> Mapping[str, Any]:
    context = Context(RealClock(), deadline=float("inf"))
    return await proxy.driver.operations[name].run(arguments, Checkpoint({}, lambda _: None), context)


def test_a_call_is_listed_counted_and_hung_up(proxy: Bench) -> None:
    async def run() -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], Outcome]:
        calling = asyncio.create_task(_place(40))
        async with asyncio.timeout(30):
            while not (found := await _ask(proxy, CALLS, state="talking"))["rows"]:  # noqa: ASYNC110 - a daemon is asked
                await asyncio.sleep(0.05)
        registered, seen = await _ask(proxy, REGISTRATIONS), await _ask(proxy, NODES)
        await _ask(proxy, HANGUP, call=found["rows"][0]["call"])
        return found, registered, seen, await calling

    found, registered, seen, outcome = proxy.node.call(run)
    assert found["rows"][0]["from"].startswith("sip:probe1@")
    assert [row["account"] for row in registered["rows"]] in ([f"probe2@{DOMAIN}"], ["probe2"])
    states = {row["id"]: (row["state"], row["calls"]) for row in seen["rows"]}
    assert states["p1"] == ("open", 1)
    assert states["r1"] == ("active", None)
    assert outcome.text.startswith("the far end hung up after")


def test_a_held_relay_gets_no_call_also_after_its_proxy_was_killed(proxy: Bench) -> None:
    async def drained() -> set[str]:
        return {str(one["url"]) for one in await pushing.read_relays(proxy.driver.rpc()) if pushing.is_drained(one)}

    with pytest.raises(NotFoundError):
        ask(proxy, HOLD_RELAYS, relays=["r9"], held=True)
    assert ask(proxy, HOLD_RELAYS, relays=["r1"], held=True)["held"] == ["r1"]
    assert proxy.node.call(drained) == {f"udp:{RELAY}:2223"}
    with pytest.raises(RefusedError, match="no relay would be left"):
        ask(proxy, HOLD_RELAYS, relays=["r2"], held=True)
    # It is no drift, and stays so over a restart: the driver would not take it back.
    assert proxy.driver.plan(proxy.node.call(proxy.driver.observe), section()) == ()
    proxy.node.call(proxy.driver._units.restart, "kamailio")

    async def again() -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    if (
                        await drained() == {f"udp:{RELAY}:2223"}
                        and (await _ask(proxy, NODES))["rows"][0]["state"] == "open"
                    ):
                        return
                except Exception:  # noqa: BLE001, S110 - it is just being started
                    pass
                await asyncio.sleep(0.1)

    proxy.node.call(again)
    states = {row["id"]: row["state"] for row in ask(proxy, NODES)["rows"]}
    assert states["r1"] == "drained"
    refused = proxy.node.call(_place, 1)
    assert not refused.up, refused  # the other relay runs nowhere
    assert ask(proxy, HOLD_RELAYS, relays=["r1"], held=False)["held"] == []
    assert proxy.node.call(drained) == set()


def test_a_drained_proxy_says_so_and_refuses_a_test_call(proxy: Bench) -> None:
    # The call that found no relay may still be held by transactions of its own.
    assert ask(proxy, DRAIN, wait_s=90)["calls"] == 0, ask(proxy, CALLS)["rows"]
    assert ask(proxy, NODES)["rows"][0]["state"] == "drained"
    made = proxy.node.call(_place, 1)
    assert (made.up, made.status) == (False, 503)
    ask(proxy, DRAIN, end=True)
    assert ask(proxy, NODES)["rows"][0]["state"] == "open"
    assert proxy.node.call(_place, 1).up
