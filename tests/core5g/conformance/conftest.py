"""One network with two UPFs for the tests of this folder. Each result is labelled with whose behaviour was seen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.core5g.conformance.network import UPF_YAML, Network, daemon, until
from tests.core5g.conformance.radio import Gnb, echo
from tests.core5g.conformance.replay import Caller, Translation
from tests.core5g.daemons import LIMIT_S

UPF = "10.50.0.7"
UPFS = {UPF: "upf", "10.50.0.8": "edge"}


@dataclass
class Lab:
    """`caller("10.50.0.1")`: a peer of the UPF's; another UPF by its address."""

    network: Network
    gnb: Gnb
    caller: Callable[..., Caller]


@pytest.fixture(scope="module")
def network(require_root: Callable[[], None]) -> Iterator[Network]:
    require_root()
    with Network() as made:
        for address, name in UPFS.items():
            made.upf_namespace(name, address)
        yield made


@contextlib.contextmanager
def _running(network: Network, folder: Path) -> Iterator[Lab]:
    """A fresh UPF, and the edge as soon as somebody calls it; ready when they refuse a tunnel that is not there."""
    callers: list[Caller] = []
    started: set[str] = set()
    with contextlib.ExitStack() as stack:
        gnb = Gnb("10.50.0.2", UPF)
        stack.callback(gnb.close)

        def start(address: str) -> None:
            name = UPFS[address]
            text = UPF_YAML.format(address=address, log=folder / f"{name}.log")
            stack.enter_context(daemon(network.namespaces[name], "upf", text, folder))
            started.add(address)
            _ready(gnb, address)

        def caller(address: str, upf: str = UPF) -> Caller:
            if upf not in started:
                start(upf)
            found = next((c for c in callers if c.address == address and c.upf[0] == upf), None)
            if found is None:
                found = Caller(address, upf)
                callers.append(found)
                stack.callback(found.close)
            return found

        start(UPF)
        yield Lab(network, gnb, caller)


def _ready(gnb: Gnb, address: str) -> None:
    gnb.upf = (address, 2152)
    deadline = time.monotonic() + LIMIT_S
    answered = False
    while not answered:
        until(deadline)
        gnb.send(0xDEAD, echo("10.45.0.2", "203.0.113.10"))
        with contextlib.suppress(TimeoutError):
            answered = gnb.receive(0.3)[0].type == 26
    gnb.pending()
    gnb.upf = (UPF, 2152)


@pytest.fixture
def lab(network: Network, tmp_path: Path, labelled: None) -> Iterator[Lab]:
    """UPFs that no test before has touched."""
    with _running(network, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared_lab(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """UPFs that rows of a table share; the peer 10.50.0.1 is associated."""
    with _running(network, tmp_path_factory.mktemp("upf")) as made:
        made.caller("10.50.0.1").associate()
        yield made


@pytest.fixture
def rows(shared_lab: Lab, labelled: None) -> Lab:
    return shared_lab


@pytest.fixture
def translation() -> Translation:
    return Translation()
