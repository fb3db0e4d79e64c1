"""A machine of its own for each file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.headend.multicast.tree.network import Node, nodes
from tests.sip.webrtc.bench import ADDRESS, ELSEWHERE, GATEWAY, RELAY


@pytest.fixture(scope="module")
def machine(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[Node]:
    require_root()
    require_programs("ip", "nsenter")
    with nodes("w") as made:
        for address in (ADDRESS, RELAY, ELSEWHERE):
            made["w"].shell("ip", "address", "add", f"{address}/32", "dev", "lo")
        # Janus listens at the first address of an interface: it has one of its own.
        made["w"].shell("ip", "link", "add", "face", "type", "veth", "peer", "name", "back")
        made["w"].shell("ip", "address", "add", f"{GATEWAY}/24", "dev", "face")
        for name in ("face", "back"):
            made["w"].shell("ip", "link", "set", name, "up")
        made["w"].supervise()
        yield made["w"]
