"""Names of the CDN on a real kernel: a UE asks the resolver, and what it is told is steered when it hears of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import dns.message
import pytest

from core5g.steering.n6 import units
from core5g.steering.n6.driver import create
from nf.contracts.units import UnitState
from tests.core5g.steering.n6.network import OTHER, Web, get, network, section
from tests.headend.multicast.tree.network import Node, commit, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]
NAME = "cdn.example.test"
_UPSTREAM = f"""
import socket, dns.message, dns.rrset
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("192.0.2.2", 53))
while True:
    data, addr = sock.recvfrom(4096)
    answer = dns.message.make_response(dns.message.from_wire(data))
    answer.answer = [dns.rrset.from_text(answer.question[0].name, 60, "IN", "A", "{OTHER}")]
    sock.sendto(answer.to_wire(), addr)
"""


@pytest.fixture
def net(require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    require_programs("ip", "nft", "nsenter")
    with network() as made:
        webs = [Web(made["i"], "origin", 80), Web(made["r"], "cache", 8080)]
        inside = ["nsenter", f"--net=/run/netns/{made['i'].namespace}", sys.executable, "-c", _UPSTREAM]
        upstream = subprocess.Popen(inside)
        try:
            yield made
        finally:
            upstream.kill()
            upstream.wait(90)
            for web in webs:
                web.close()


async def asked(server: str, seconds: float) -> str:
    """The address that the server tells for the CDN's name; empty when it says nothing. UDP is asked again."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(TimeoutError):
        sock.setblocking(False)
        async with asyncio.timeout(seconds):
            while True:
                await loop.sock_sendto(sock, dns.message.make_query(NAME, "A").to_wire(), (server, 53))
                with suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        data = await loop.sock_recv(sock, 4096)
                        return str(dns.message.from_wire(data).answer[0][0])
    return ""


def test_a_name_is_steered_for_who_asked_and_nobody_else_is_served(net: dict[str, Node]) -> None:
    node, driver = net["r"], create(net["r"].context())
    resolver = {"listen": ["10.45.0.1", "192.0.2.1"], "upstreams": ["192.0.2.2"]}
    node.call(commit, driver, section(local=True, names=[NAME], resolver=resolver))

    async def opened() -> bool:
        answer = await units.ask_gate(node.run_dir)
        return answer is not None and answer["open"] is True

    node.call(until, opened)
    assert net["u"].call(get, OTHER) == "origin"
    assert net["u"].call(asked, "10.45.0.1", 90.0) == OTHER
    assert net["u"].call(get, OTHER) == "cache"
    # It listens on this address as well, and what does not come by a TUN device is not even seen.
    assert net["i"].call(asked, "192.0.2.1", 0.5) == ""

    status = node.call(node.context().units.status, units.RESOLVER)
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)

    async def again() -> bool:
        now = await node.context().units.status(units.RESOLVER)
        return now is not None and now.state is UnitState.READY and now.pid != status.pid

    node.call(until, again)
    assert net["u"].call(asked, "10.45.0.1", 90.0) == OTHER
    node.call(commit, driver, None)
    assert node.shell("nft", "list", "ruleset") == ""
