"""Two proxies on one segment that share a virtual address, and a third machine with phones on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sip.kamailio import alive
from sip.kamailio.address.driver import VoiceAddressDriver, create
from sip.kamailio.documents import KamailioSection, VoiceAddressSection
from tests.headend.multicast.tree.network import Node, ip, nodes
from tests.sip.kamailio.proxy import Bench, section

VIP, PHONES, RELAY = "10.78.0.9", "10.78.0.100", "10.78.0.101"
ADDRESS = {"a": "10.78.0.1", "b": "10.78.0.2"}


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


def proxy_section(name: str, **changed: Any) -> KamailioSection:
    other = {"address": ADDRESS["b" if name == "a" else "a"], "port": 5060}
    base: dict[str, Any] = {
        "proxy": {"id": f"p-{name}", "appliance": name, "address": ADDRESS[name], "workers": 2},
        "virtual": [VIP],
        "peers": [other],
        "siblings": [other],
        "provides": [f"{name}.voice.proxy"],
    }
    return section(**{**base, **changed})


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


@contextmanager
def pair_of_proxies(folder: Path, **changed: Any) -> Iterator[tuple[Side, Side, Node]]:
    """`changed`: keys of both sections."""
    with nodes("a", "b", "c") as made:
        caller = made["c"]
        caller.shell("ip", "link", "add", "br0", "type", "bridge")
        for name in ("a", "b"):
            peer = ("peer", f"to-{name}", "netns", caller.namespace)
            ip("-n", made[name].namespace, "link", "add", "eth1", "type", "veth", *peer)
            made[name].shell("ip", "address", "add", f"{ADDRESS[name]}/24", "dev", "eth1")
            made[name].shell("ip", "link", "set", "eth1", "up")
            caller.shell("ip", "link", "set", f"to-{name}", "up", "master", "br0")
            made[name].supervise()
        caller.shell("ip", "link", "set", "br0", "up")
        for address in (PHONES, RELAY):
            caller.shell("ip", "address", "add", f"{address}/24", "dev", "br0")
        sides = []
        for name in ("a", "b"):
            (folder / name).mkdir()
            sides.append(Side(Bench(made[name], folder / name)))
        try:
            for side in sides:
                side.node.call(side.bench.commit, proxy_section(side.node.name, **changed))
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
