"""UEs behind a UPF's N6, in namespaces: u - r - i (the internet, with the CDN's origin), and c, a cache of its own.

`ogstun` of r is one end of a veth pair, a stand-in for the UPF's TUN device: for the kernel's hooks and routes it is
an interface like the other. The CDN's addresses are at i and at c, so what answers tells by which exit a UE went.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core5g.steering.n6.documents import N6Section
from tests.core5g.steering.n6.tls import NAME
from tests.headend.multicast.tree.network import Node, connect, ip, nodes

WEB = Path(__file__).with_name("web.py")
CDN, CDN6, OTHER = "203.0.113.10", "2001:db8:cd::10", "198.51.100.10"
UE, UE6 = "10.45.0.2", "2001:db8:45::2"
HERE, HERE6, THERE, THERE6 = "10.9.0.1", "2001:db8:9::1", "10.9.0.2", "2001:db8:9::2"
_LINKS = (
    (("u", "tun0", "10.45.0.2/24", f"{UE6}/64"), ("r", "ogstun", "10.45.0.1/24", "2001:db8:45::1/64")),
    (("r", "eth1", "192.0.2.1/24", "2001:db8:1::1/64"), ("i", "eth0", "192.0.2.2/24", "2001:db8:1::2/64")),
    (("r", "cache0", f"{HERE}/24", f"{HERE6}/64"), ("c", "eth0", f"{THERE}/24", f"{THERE6}/64")),
)
_GATEWAYS = {
    "u": ("10.45.0.1", "2001:db8:45::1"),
    "r": ("192.0.2.2", "2001:db8:1::2"),
    "i": ("192.0.2.1", "2001:db8:1::1"),
    "c": (HERE, HERE6),
}


@contextmanager
def network() -> Iterator[dict[str, Node]]:
    with nodes("u", "r", "i", "c") as made:
        for left, right in _LINKS:
            connect(made[left[0]], left[1], made[right[0]], right[1])
            for name, face, *addresses in (left, right):
                for address in addresses:
                    nodad = ("nodad",) if ":" in address else ()
                    ip("-n", made[name].namespace, "address", "add", address, "dev", face, *nodad)
                ip("-n", made[name].namespace, "link", "set", face, "up")
        for name in _GATEWAYS:
            gateways(made[name])
        for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            made["r"].shell("sh", "-c", f"echo 1 > /proc/sys/net/{switch}")
        for name, addresses in (("i", (CDN, CDN6, OTHER)), ("c", (CDN, CDN6))):
            for address in addresses:
                ip("-n", made[name].namespace, "address", "add", address, "dev", "lo")
        # A thousand UEs, all of them at u.
        ip("-n", made["u"].namespace, "route", "add", "local", "10.45.4.0/22", "dev", "lo")
        ip("-n", made["r"].namespace, "route", "add", "10.45.4.0/22", "via", UE)
        made["r"].supervise()
        yield made


def gateways(node: Node) -> None:
    for gateway in _GATEWAYS[node.name]:
        ip("-n", node.namespace, "route", "replace", "default", "via", gateway)


def changed_by_drivers(node: Node) -> list[str]:
    """What the driver may change, as a person sees it."""
    views = (("nft", "list", "ruleset"), ("ip", "rule"), ("ip", "-6", "rule"))
    routes = (
        ("ip", "-4", "route", "show", "table", "all"),
        ("ip", "-6", "route", "show", "table", "all", "proto", "77"),
    )
    return [node.shell(*view) for view in (*views, *routes)]


class Web:
    """web.py in a node."""

    def __init__(self, node: Node, name: str, port: int, pem: Path | None = None) -> None:
        tls = [str(pem)] if pem is not None else []
        self._argv = ["nsenter", f"--net=/run/netns/{node.namespace}", sys.executable, str(WEB), name, str(port), *tls]
        self._process = subprocess.Popen(self._argv)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(90)

    def again(self) -> None:
        self.close()
        self._process = subprocess.Popen(self._argv)


def section(*, local: bool, **given: Any) -> N6Section:
    health = {"host": "cdn.example.test", "port": 8080 if local else 80, "timeout_ms": 400, "hold_ms": 300}
    cache: dict[str, Any] = {"address": HERE if local else THERE, "address6": HERE6 if local else THERE6}
    cache |= {"local": True, "forwards": [{"port": 80, "to": 8080}]} if local else {"interface": "cache0"}
    prefixes = ["203.0.113.0/24", "2001:db8:cd::/48"]
    data = {"upf": "upf1", "tuns": ["ogstun"], "cache": {**cache, "health": health}, "prefixes": prefixes, **given}
    return N6Section.model_validate({"provides": ["pop1.steering"], **data})


async def get(address: str, path: str = "/", source: str | None = None, *, trusted: Path | None = None) -> str:
    """What a web server says there, or why it says nothing; by https where its certificate is `trusted`. In the UE."""
    tls, name = (ssl.create_default_context(cafile=str(trusted)), NAME) if trusted is not None else (None, None)
    port = 80 if trusted is None else 443
    reader, writer = None, None
    try:
        async with asyncio.timeout(90):
            local = (source, 0) if source is not None else None
            reader, writer = await asyncio.open_connection(
                address, port, local_addr=local, ssl=tls, server_hostname=name
            )
            writer.write(f"GET {path} HTTP/1.1\r\nHost: cdn.example.test\r\n\r\n".encode())
            return (await reader.read()).partition(b"\r\n\r\n")[2].decode().strip()
    except OSError as error:
        return type(error).__name__
    finally:
        if writer is not None:
            writer.transport.abort()
