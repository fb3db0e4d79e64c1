"""Labs for tests: small, under a name of their own, gone afterwards whatever happened."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.native import runner
from lab.native.handle import Lab
from lab.native.processes import in_network_of
from lab.topology import parse_topology

_numbers = itertools.count(1)

CHAIN = """\
name: chain
topology:
  defaults: {kind: linux}
  nodes:
    a: {exec: ["ip route add 10.0.2.0/24 via 10.0.1.254"]}
    router: {sysctls: {net.ipv4.ip_forward: 1}}
    b: {exec: ["ip route add 10.0.1.0/24 via 10.0.2.254"]}
    lan: {kind: bridge}
  links:
    - endpoints: [{node: a, interface: eth1, ipv4: 10.0.1.1/24}, "lan:a1"]
    - endpoints: [{node: router, interface: eth1, ipv4: 10.0.1.254/24}, "lan:router1"]
    - endpoints: [{node: router, interface: eth2, ipv4: 10.0.2.254/24}, {node: b, interface: eth1, ipv4: 10.0.2.1/24}]
"""

MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab(tmp_path: Path, require_programs: Callable[..., None]) -> Iterator[MakeLab]:
    """`make_lab(text)`: the topology, up under a unique name."""
    require_programs("nsenter", "setpriv", "ip")
    names = []

    def make(text: str = CHAIN) -> Lab:
        name = f"t{os.getpid()}-{next(_numbers)}"
        names.append(name)
        file = tmp_path / "test.clab.yml"
        file.write_text(text)
        return Lab(runner.up(parse_topology(text, file=file), name=name, directory=tmp_path / name))

    yield make
    for name in names:
        runner.down(name)


def reaches(lab: Lab, node: str, address: str) -> bool:
    """Whether `address` answers a TCP SYN from `node`: any answer will do, a refusal too."""

    def knock() -> bool:
        try:
            socket.create_connection((address, 9), timeout=0.6).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return True

    return in_network_of(lab.init(node), knock)


@pytest.fixture
def chain() -> str:
    return CHAIN


@pytest.fixture(name="reaches")
def _reaches() -> Callable[[Lab, str, str], bool]:
    return reaches
