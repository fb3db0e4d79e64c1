"""MODEL of a gNB's user plane with its UEs, on N3. Sessions are those of a `Core`; `lab.mobile.ran` runs it."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from lab.mobile import MODEL, gtpu
from lab.mobile.config import ConfigError, Endpoint
from lab.mobile.core import Core, CoreError
from lab.mobile.gtpu import Encapsulation
from lab.mobile.icmp import echo_reply
from lab.mobile.plane import BATCH, open_tun, udp

_FIRST_TEID = 0x10000
_MTU = 1400
_LIMIT_S = 60


@dataclass
class Ue:
    """`teid`: of its tunnel at us. `upf`, `uplink`: of its session. `markers`: tunnels that ended."""

    supi: str
    teid: int
    id: str = ""
    addresses: tuple[str, ...] = ()
    upf: tuple[str, int] | None = None
    uplink: Encapsulation | None = None
    tun: int | None = None
    received: int = 0
    sent: int = 0
    markers: int = 0
    active: bool = True
    packed: frozenset[bytes] = field(default_factory=frozenset)


class Ran:
    """A gNB at one N3 address. `core`: set before UEs come. `asked`: of it, for each. `malformed`: datagrams on N3 that
    are no GTP-U version 1. Raises ConfigError."""

    core: Core

    def __init__(self, address: str, asked: dict[str, Any], routes: Sequence[str] = ()) -> None:
        self.address, self.asked, self.routes = address, asked, routes
        self.ues: dict[str, Ue] = {}
        self.by_teid: dict[int, Ue] = {}
        self._next_teid = _FIRST_TEID
        self.malformed = 0
        self.socket = udp(Endpoint(ip_address(address), gtpu.PORT))
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.socket, selectors.EVENT_READ, self._tunnelled)

    def attach(self, supi: str, tun: str | None = None) -> Ue:
        """A UE with its session. Raises CoreError, ConfigError."""
        return self.attached(self.core.create(self.asking(supi)), tun)

    def asking(self, supi: str) -> dict[str, Any]:
        """What is asked of the core for a new session."""
        return {**self.asked, "supi": supi, "gnb": {"address": self.address, "teid": self._new_teid()}}

    def attached(self, made: dict[str, Any], tun: str | None = None) -> Ue:
        """The UE of a session that the core has made; its last one is forgotten. Raises ConfigError."""
        supi = str(made["supi"])
        if supi in self.ues:
            self._forget(self.ues[supi])
        ue = Ue(supi, int(made["gnb"]["teid"]))
        ue.id, ue.addresses = made["id"], tuple(made["ue_ips"])
        ue.packed = frozenset(ip_address(text).packed for text in ue.addresses)
        ue.upf = (made["upf"]["address"], gtpu.PORT)
        ue.uplink = Encapsulation(made["upf"]["teid"], made["qfi"], uplink=True)
        self.ues[supi] = self.by_teid[ue.teid] = ue
        if tun is not None:
            ue.tun = _device(tun, ue.addresses, self.routes)
            self.selector.register(ue.tun, selectors.EVENT_READ, lambda: self._from_device(ue))
        return ue

    def _new_teid(self) -> int:
        self._next_teid += 1
        return self._next_teid

    def _end(self, ue: Ue) -> dict[str, Any]:
        return {"address": self.address, "teid": ue.teid}

    def act(self, supi: str, act: str) -> dict[str, Any]:
        """One of idle, active, handover (to another tunnel of ours), detach, stats. Raises CoreError, LookupError."""
        ue = self.ues[supi]
        if act == "idle":
            self.core.idle(ue.id)
            ue.active = False
        elif act in ("active", "handover"):
            if act == "handover":
                # The old tunnel stays known here until its end marker has come.
                ue.teid = self._new_teid()
                self.by_teid[ue.teid] = ue
            self.core.gnb(ue.id, act, self._end(ue))
            ue.active = True
        elif act == "detach":
            self.core.delete(ue.id)
            self._forget(ue)
        elif act != "stats":
            raise LookupError(act)
        told = {"supi": ue.supi, "ue_ips": ue.addresses, "teid": ue.teid, "active": ue.active, "model": MODEL}
        counted = {"received": ue.received, "sent": ue.sent, "end_markers": ue.markers, "malformed": self.malformed}
        return {**told, **counted}

    def _forget(self, ue: Ue) -> None:
        self.ues.pop(ue.supi, None)
        for teid in [teid for teid, own in self.by_teid.items() if own is ue]:
            del self.by_teid[teid]
        if ue.tun is not None:
            self.selector.unregister(ue.tun)
            os.close(ue.tun)
            ue.tun = None

    def send(self, ue: Ue, packet: bytes) -> None:
        if ue.uplink is None or ue.upf is None:
            return
        ue.sent += 1
        with contextlib.suppress(OSError):  # lost, as on any wire
            self.socket.sendto(ue.uplink.around(packet), ue.upf)

    def _from_device(self, ue: Ue) -> None:
        for _ in range(BATCH):
            try:
                packet = os.read(ue.tun if ue.tun is not None else -1, 65536)
            except OSError:
                return
            source = packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]
            if source in ue.packed and (ue.active or self._woken(ue)):
                self.send(ue, packet)

    def _woken(self, ue: Ue) -> bool:
        """Whether an idle UE is back; a core that refuses is told, and the packet is lost."""
        try:
            self.act(ue.supi, "active")
        except CoreError as error:
            sys.stderr.write(f"WARNING: {ue.supi}: {error}\n")
            return False
        return True

    def _tunnelled(self) -> None:
        for _ in range(BATCH):
            try:
                data, sender = self.socket.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError:
                continue
            found = gtpu.header(data)
            if found is None:
                self.malformed += 1
                continue
            if found.type == gtpu.ECHO_REQUEST:
                self._reply(gtpu.echo_response(data), sender)
            elif found.type in (gtpu.G_PDU, gtpu.END_MARKER):
                self._downlink(found, data[found.offset :], sender)

    def _downlink(self, found: gtpu.Header, packet: bytes, sender: tuple[str, int]) -> None:
        ue = self.by_teid.get(found.teid)
        if ue is None:
            if found.type == gtpu.G_PDU:
                self._reply(gtpu.error_indication(found.teid, found.qfi, ip_address(self.address)), sender)
        elif found.type == gtpu.END_MARKER:
            ue.markers += 1
            if found.teid != ue.teid:
                del self.by_teid[found.teid]
        else:
            ue.received += 1
            if ue.tun is not None:
                with contextlib.suppress(OSError):
                    os.write(ue.tun, packet)
            elif (reply := echo_reply(packet)) is not None:
                self.send(ue, reply)

    def _reply(self, data: bytes, peer: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            self.socket.sendto(data, peer)

    def page(self) -> None:
        """UEs whose downlink waits come back, as after paging."""
        for told in self.core.sessions():
            ue = self.ues.get(told["supi"])
            if ue is not None and not ue.active and told["paged"]:
                self.act(ue.supi, "active")


def _device(name: str, addresses: Sequence[str], routes: Sequence[str]) -> int:
    """A TUN with the UE's addresses, by which `routes` leave."""
    descriptor = open_tun(name)
    commands: list[tuple[str, ...]] = [("ip", "link", "set", name, "mtu", str(_MTU), "up")]
    for text in addresses:
        version = ip_address(text).version
        more = ("nodad",) if version == 6 else ()
        commands.append(("ip", "address", "replace", f"{text}/{32 if version == 4 else 128}", "dev", name, *more))
        own = [route for route in routes or ("0.0.0.0/0", "::/0") if ip_network(route).version == version]
        commands += [("ip", f"-{version}", "route", "replace", route, "dev", name, "src", text) for route in own]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        if done.returncode:
            os.close(descriptor)
            raise ConfigError(f"{' '.join(command)}: {done.stderr.strip()}")
    return descriptor
