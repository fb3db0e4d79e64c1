"""A network for a UPF under test: who speaks N4 and N3 stands in the test's own namespace, each UPF in one of its own.

Addresses are those of the recordings: SMF-like peers 10.50.0.1, .3 and .4, a gNB 10.50.0.2, UPFs 10.50.0.7 and .8.
Both addresses that a UE may ask for lie behind either UPF; who answers a ping is seen on the wire.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.core5g.daemons import LIMIT_S, program

PEERS = ("10.50.0.1", "10.50.0.2", "10.50.0.3", "10.50.0.4")
SERVERS = ("203.0.113.10", "198.51.100.10")
SERVER6 = "2001:db8:cd::10"

UPF_YAML = """
logger: {{file: {{path: {log}}}, level: info}}
global: {{max: {{ue: 1024}}}}
upf:
  pfcp: {{server: [{{address: {address}}}]}}
  gtpu: {{server: [{{address: {address}}}]}}
  session:
    - {{subnet: 10.45.0.0/16, gateway: 10.45.0.1, dnn: internet, dev: ogstun}}
    - {{subnet: "2001:db8:45::/48", gateway: "2001:db8:45::1", dnn: internet, dev: ogstun}}
    - {{subnet: 10.46.0.0/16, gateway: 10.46.0.1, dnn: cdn, dev: ogstun2}}
  metrics: {{server: [{{address: {address}, port: 9090}}]}}
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=LIMIT_S)


class Network:
    """A bridge here, and namespaces behind it."""

    def __init__(self) -> None:
        self._suffix = f"{os.getpid() % 10000:04d}"
        self.bridge = f"n4br{self._suffix}"
        self.namespaces: dict[str, str] = {}

    def __enter__(self) -> Self:
        ip("link", "add", self.bridge, "type", "bridge")
        for peer in PEERS:
            ip("address", "add", f"{peer}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in self.namespaces.values():
            subprocess.run(["ip", "netns", "delete", name], check=False, timeout=LIMIT_S)
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, timeout=LIMIT_S)

    def upf_namespace(self, name: str, address: str) -> str:
        """With the TUNs that an appliance prepares, and the servers behind them."""
        namespace, outside = f"{name}{self._suffix}", f"v{name}{self._suffix}"
        ip("netns", "add", namespace)
        self.namespaces[name] = namespace
        ip("link", "add", outside, "type", "veth", "peer", "name", "n3", "netns", namespace)
        ip("link", "set", outside, "master", self.bridge, "up")
        inside = ("-n", namespace)
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "address", "add", f"{address}/24", "dev", "n3")
        ip(*inside, "link", "set", "n3", "up")
        pools = {"ogstun": ("10.45.0.1/16", "2001:db8:45::1/48"), "ogstun2": ("10.46.0.1/16",)}
        for tun, gateways in pools.items():
            ip(*inside, "tuntap", "add", "name", tun, "mode", "tun")
            for gateway in gateways:
                ip(*inside, "address", "add", gateway, "dev", tun, *(("nodad",) if ":" in gateway else ()))
            ip(*inside, "link", "set", tun, "up")
        for server in (*SERVERS, SERVER6):
            ip(*inside, "address", "add", server, "dev", "lo", *(("nodad",) if ":" in server else ()))
        return namespace


def holds(judge: Callable[[], bool]) -> None:
    """Asked until it is so; raises TimeoutError."""
    deadline = time.monotonic() + LIMIT_S
    while not judge():
        time.sleep(min(0.1, until(deadline)))


@contextlib.contextmanager
def daemon(namespace: str, kind: str, text: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon of this kind in the namespace, started as a unit starts it."""
    file = folder / f"{kind}-{namespace}.yaml"
    file.write_text(text, encoding="utf-8")
    errors = folder / f"{kind}-{namespace}.err"
    command = ["ip", "netns", "exec", namespace, str(program(kind)), "-c", str(file)]
    environment = {**os.environ, "NF_MODEL_GRACE_S": "0"}
    with errors.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=environment)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(LIMIT_S)


def until(deadline: float) -> float:
    """Seconds left; raises TimeoutError when none are."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"nothing within {LIMIT_S:.0f} s")
    return left
