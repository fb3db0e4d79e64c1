"""The gate before a UPF that is drained: which PFCP messages come through, and for how long."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from core5g.open5gs import gate
from tests.headend.multicast.tree.network import Node, nodes, until

pytestmark = pytest.mark.root

UPF = IPv4Address("127.0.0.7")
HEARTBEAT, ESTABLISHMENT, MODIFICATION = 1, 50, 52


@pytest.fixture
def node(require_programs: Callable[..., None]) -> Iterator[Node]:
    require_programs("ip", "nft", "nsenter")
    with nodes("g") as made:
        yield made["g"]


async def passed(*kinds: int, address: str = str(UPF)) -> list[int]:
    """Types of the PFCP messages that arrive of those that are sent; the last one is known to pass."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upf,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as smf,
    ):
        upf.bind((address, 8805))
        upf.settimeout(30)
        for kind in (*kinds, 0xFE):
            smf.sendto(bytes((0x21, kind, 0, 4, 0, 0, 1, 0)), (address, 8805))
        found: list[int] = []
        while True:
            kind = upf.recv(100)[1]
            if kind == 0xFE:
                return found
            found.append(kind)


def test_only_new_sessions_are_kept_off(node: Node) -> None:
    sent = (HEARTBEAT, ESTABLISHMENT, MODIFICATION)
    assert node.call(passed, *sent) == [*sent]
    node.call(gate.close, UPF, 600.0)
    assert node.call(gate.closed)
    assert node.call(passed, *sent) == [HEARTBEAT, MODIFICATION]

    async def other() -> list[int]:
        return await passed(*sent, address="127.0.0.8")

    assert node.call(other) == [*sent]
    node.call(gate.open_again)
    assert not node.call(gate.closed)
    assert node.call(passed, *sent) == [*sent]
    assert "nf_open5gs" not in node.shell("nft", "list", "ruleset")


def test_it_opens_by_itself(node: Node) -> None:
    node.call(gate.close, UPF, 1.0)

    async def opened() -> bool:
        return not await gate.closed()

    node.call(until, opened)
    assert node.call(passed, ESTABLISHMENT) == [ESTABLISHMENT]
