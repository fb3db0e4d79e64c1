"""Two proxies on one segment, one address: it goes to the other when the first dies or rests, and comes back."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nf.contracts.driver import Checkpoint
from sip.kamailio import alive
from sip.kamailio.address.driver import VoiceAddressDriver, create
from sip.kamailio.documents import KamailioSection, VoiceAddressSection
from tests.headend.multicast.tree.network import Node, ip, nodes
from tests.sip.kamailio.phone import Phone
from tests.sip.kamailio.proxy import Bench, section

pytestmark = [pytest.mark.root, pytest.mark.daemon]

VIP = "10.78.0.9"
MOVES_S = 3.0


def addresses(name: str) -> VoiceAddressSection:
    return VoiceAddressSection.model_validate(
        {
            "instances": [
                {
                    "id": "vip",
                    "address": f"{VIP}/24",
                    "interface": "eth1",
                    "vrid": 9,
                    "first": name == "a",
                    "peer": "b" if name == "a" else "a",
                }
            ],
            "proxy": ADDRESS[name],
            "port": 5060,
            "provides": [f"{name}.voice.address"],
        }
    )


ADDRESS = {"a": "10.78.0.1", "b": "10.78.0.2"}


def proxy_section(name: str) -> KamailioSection:
    return section(
        proxy={"id": f"p-{name}", "appliance": name, "address": ADDRESS[name], "workers": 2},
        virtual=[VIP],
        siblings=[{"address": ADDRESS["b" if name == "a" else "a"], "port": 5060}],
        provides=[f"{name}.voice.proxy"],
    )


class Side:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.node = bench.node
        self.address: VoiceAddressDriver = create(bench.node.context())

    async def commit(self, want: VoiceAddressSection | None) -> None:
        for step in self.address.plan(await self.address.observe(), want):
            await self.address.check((step,), want)
            await self.address.prepare(step)
            await self.address.apply(step, self.bench.context())
        assert (await self.address.verify(want, self.bench.context())).differences == ()
        assert self.address.plan(await self.address.observe(), want) == ()

    @property
    def holds(self) -> bool:
        listed = json.loads(self.node.shell("ip", "-json", "address", "show", "dev", "eth1"))
        return any(one["local"] == VIP for link in listed for one in link["addr_info"])


@pytest.fixture(scope="module")
def pair(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Side, Side, Node]]:
    require_root()
    require_programs("ip", "nsenter", "kamailio", "keepalived")
    folder = tmp_path_factory.mktemp("pair")
    with nodes("a", "b", "c") as made:
        caller = made["c"]
        caller.shell("ip", "link", "add", "br0", "type", "bridge")
        for name in ("a", "b"):
            ip(
                "-n",
                made[name].namespace,
                "link",
                "add",
                "eth1",
                "type",
                "veth",
                "peer",
                f"to-{name}",
                "netns",
                caller.namespace,
            )
            made[name].shell("ip", "address", "add", f"{ADDRESS[name]}/24", "dev", "eth1")
            made[name].shell("ip", "link", "set", "eth1", "up")
            caller.shell("ip", "link", "set", f"to-{name}", "up", "master", "br0")
            made[name].supervise()
        caller.shell("ip", "link", "set", "br0", "up")
        caller.shell("ip", "address", "add", "10.78.0.100/24", "dev", "br0")
        sides = []
        for name in ("a", "b"):
            (folder / name).mkdir()
            sides.append(Side(Bench(made[name], folder / name)))
        try:
            for side in sides:
                side.node.call(side.bench.commit, proxy_section(side.node.name))
                side.node.call(side.commit, addresses(side.node.name))
            yield sides[0], sides[1], caller
        finally:
            for side in sides:
                side.node.call(side.commit, None)
                side.node.call(side.bench.commit, None)


def until(what: Callable[[], Any], limit_s: float = 60.0) -> float:
    """How long it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < limit_s, what
        time.sleep(0.02)
    return time.monotonic() - began


def answers(caller: Node) -> bool:
    return caller.call(alive.ask, VIP, 5060, "udp", 0.3)


def test_the_first_has_it_and_answers_there(pair: tuple[Side, Side, Node]) -> None:
    first, second, caller = pair
    until(lambda: first.holds and not second.holds)
    until(lambda: answers(caller))
    state = first.node.call(first.address.observe)
    assert state.value == addresses("a").to_json()
    assert state.facts == {"a.voice.address"}


def test_a_dead_proxy_loses_it_within_three_seconds(pair: tuple[Side, Side, Node]) -> None:
    first, second, caller = pair
    until(lambda: first.holds and answers(caller))
    units = first.bench.driver._units
    pid = first.node.call(first.bench.pid)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    first.node.call(units.stop, "kamailio")  # its supervisor would have it back sooner than the address moves
    until(lambda: second.holds and answers(caller), 20.0)
    took = time.monotonic() - began
    print(f"moved within {took:.2f} s")
    assert took < MOVES_S
    assert not first.holds
    first.node.call(first.bench.commit, proxy_section("a"))
    until(lambda: first.holds and not second.holds and answers(caller))


def test_a_drained_one_gives_it_up_until_it_is_opened(pair: tuple[Side, Side, Node]) -> None:
    first, second, caller = pair
    until(lambda: first.holds and answers(caller))
    drain = first.bench.driver.operations["voice-drain"]
    checkpoint = Checkpoint({}, lambda _: None)
    result = first.node.call(drain.run, {}, checkpoint, first.bench.context())
    assert result["calls"] == 0
    until(lambda: second.holds and not first.holds and answers(caller))
    assert first.bench.driver.plan(first.node.call(first.bench.driver.observe), proxy_section("a")) == ()
    first.node.call(drain.run, {"end": True}, checkpoint, first.bench.context())
    until(lambda: first.holds and not second.holds and answers(caller))


def test_without_its_watcher_nobody_claims_to_be_well(pair: tuple[Side, Side, Node]) -> None:
    first, second, _ = pair
    until(lambda: first.holds)
    units = first.bench.driver._units
    first.node.call(units.stop, "voice-alive")
    until(lambda: second.holds and not first.holds)
    assert "voice-alive" in str((first.node.call(first.address.observe).value or {})["amiss"])
    first.node.call(first.commit, addresses("a"))
    until(lambda: first.holds)


def test_a_call_goes_on_at_the_other(pair: tuple[Side, Side, Node]) -> None:
    """Its requests go by the address into which both were written. Who shows no mark of a call gets nothing."""
    first, second, caller = pair
    until(lambda: first.holds and answers(caller))
    units = first.bench.driver._units

    async def begin() -> tuple[Phone, Phone]:
        phones = [Phone(name, "10.78.0.100", port, VIP) for name, port in (("alice", 15061), ("bob", 15062))]
        for phone in phones:
            await phone.open()
            assert await phone.register() == 200
        assert await phones[0].invite("bob") == 200
        return phones[0], phones[1]

    alice, bob = caller.call(begin)
    assert all(f"sip:{VIP}" in one for one in [*alice.routes, alice.target])
    until(lambda: first.node.call(first.bench.call, "dlg.stats_active")["ongoing"] == 1)  # the ACK is on its way
    os.kill(first.node.call(first.bench.pid), signal.SIGKILL)
    first.node.call(units.stop, "kamailio")
    until(lambda: second.holds and answers(caller), 20.0)
    own, alice.call_id = alice.call_id, "another-call@10.78.0.100"  # with a mark that was given for another one
    assert caller.call(alice.within, "INFO") == 481
    alice.call_id = own
    assert bob.requests.count("INFO") == 0
    assert caller.call(alice.within, "INFO") == 200
    assert caller.call(alice.within, "BYE") == 200
    assert bob.requests[-2:] == ["INFO", "BYE"]

    async def end() -> None:
        alice.close()
        bob.close()

    caller.call(end)
    first.node.call(first.bench.commit, proxy_section("a"))
    until(lambda: first.holds and answers(caller))
