"""MODEL of a gNB with its UEs, on N3: `python -m lab.mobile.ran --smf http://10.50.0.4:9090 --address 10.50.0.2 ...`.

Each UE gets a session of the SMF model's control interface. Uplink packets carry the PDU session container with the
QFI, as gNBs send them (TS 38.415). Without a TUN a UE answers echo requests and counts; with `--tun NAME` it is a
device of the namespace this runs in, so that any program has the UE's address, and `--route PREFIX` (all, by default)
leaves by it. `--control SOCKET`: JSON lines,
`{"ue": "imsi-...", "act": "idle" | "active" | "handover" | "detach" | "stats"}`; `--ready FILE` is written once all UEs
have their sessions. A UE whose downlink waits at the UPF is paged: `--page` asks the SMF for it. `--keep`: the gNB is
there before the SMF is, and UEs whose sessions an SMF has lost, or given to another UPF than `--home`, get new ones.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from lab.mobile import MODEL, gtpu, n2
from lab.mobile.config import ConfigError, Endpoint
from lab.mobile.control import Control
from lab.mobile.gtpu import Encapsulation
from lab.mobile.icmp import echo_reply
from lab.mobile.keeping import Keeper
from lab.mobile.ngap import Gnb, NgapError
from lab.mobile.plane import BATCH, open_tun, udp
from lab.mobile.sctp import Association, SctpError
from lab.mobile.smf_client import SmfClient, SmfError

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
    """A gNB at one N3 address. `asked`: of the SMF for each UE. Raises ConfigError when it cannot be here."""

    def __init__(self, address: str, smf: SmfClient, asked: dict[str, Any], routes: Sequence[str] = ()) -> None:
        self.address, self.smf, self.asked, self.routes = address, smf, asked, routes
        self.ues: dict[str, Ue] = {}
        self.by_teid: dict[int, Ue] = {}
        self._next_teid = _FIRST_TEID
        self.socket = udp(Endpoint(ip_address(address), gtpu.PORT))
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.socket, selectors.EVENT_READ, self._tunnelled)

    def attach(self, supi: str, tun: str | None = None) -> Ue:
        """A UE with its session. Raises SmfError, ConfigError."""
        return self.attached(self.smf.create(self.asking(supi)), tun)

    def asking(self, supi: str) -> dict[str, Any]:
        """What is asked of the SMF for a new session."""
        return {**self.asked, "supi": supi, "gnb": {"address": self.address, "teid": self._new_teid()}}

    def attached(self, made: dict[str, Any], tun: str | None = None) -> Ue:
        """The UE of a session that the SMF has made; its last one is forgotten. Raises ConfigError."""
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
        """One of idle, active, handover (to another tunnel of ours), detach, stats. Raises SmfError, LookupError."""
        ue = self.ues[supi]
        if act == "idle":
            self.smf.idle(ue.id)
            ue.active = False
        elif act in ("active", "handover"):
            if act == "handover":
                # The old tunnel stays known here until its end marker has come.
                ue.teid = self._new_teid()
                self.by_teid[ue.teid] = ue
            self.smf.gnb(ue.id, act, self._end(ue))
            ue.active = True
        elif act == "detach":
            self.smf.delete(ue.id)
            self._forget(ue)
        elif act != "stats":
            raise LookupError(act)
        told = {"supi": ue.supi, "ue_ips": ue.addresses, "teid": ue.teid, "active": ue.active, "model": MODEL}
        return {**told, "received": ue.received, "sent": ue.sent, "end_markers": ue.markers}

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
            if source in ue.packed:
                if not ue.active:
                    self.act(ue.supi, "active")
                self.send(ue, packet)

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
        for told in self.smf.sessions():
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


def supis(first: str, count: int) -> Iterator[str]:
    """`count` of them from `first` on."""
    digits = first.removeprefix("imsi-")
    for number in range(int(digits), int(digits) + count):
        yield f"imsi-{number:0{len(digits)}d}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.mobile.ran", description=f"{MODEL} of a gNB with its UEs.")
    parser.add_argument("--smf", required=True, help="URL of the SMF model's metrics port")
    parser.add_argument("--address", required=True, help="of the gNB on N3")
    parser.add_argument("--dnn", default="internet")
    parser.add_argument("--supi", default="imsi-999700000000001", help="of the first UE")
    parser.add_argument("--ues", type=int, default=1)
    parser.add_argument("--tac", type=int)
    parser.add_argument("--amf", help="address of an AMF upon usrsctp, where the gNB sets itself up first")
    parser.add_argument("--plmn", default="999-70", help="MCC-MNC, for the AMF")
    parser.add_argument("--pdn-type", choices=("ipv4", "ipv6", "ipv4v6"), default="ipv4")
    parser.add_argument("--tun", help="device of the first UE; of further ones with their number behind")
    parser.add_argument("--route", action="append", default=[], help="prefix that leaves by the device; all by default")
    parser.add_argument("--control", type=Path, help="Unix socket")
    parser.add_argument("--ready", type=Path, help="file written once all UEs have their sessions: JSON")
    parser.add_argument(
        "--keep", action="store_true", help="never give up: attach, and attach again, as the SMF is there"
    )
    parser.add_argument("--home", help="N3 address of the UPF that UEs belong to; with --keep")
    parser.add_argument("--page", action="store_true", help="idle UEs come back when their downlink waits")
    return parser.parse_args(arguments)


def _names(options: argparse.Namespace) -> dict[str, str | None]:
    """SUPI -> its TUN, in the order of the UEs."""
    return {
        supi: None if options.tun is None else options.tun + (str(number) if number else "")
        for number, supi in enumerate(supis(options.supi, options.ues))
    }


def _attached(ran: Ran, options: argparse.Namespace) -> list[dict[str, Any]]:
    told = []
    for supi, name in _names(options).items():
        ue = ran.attach(supi, name)
        told.append({"supi": supi, "id": ue.id, "ue_ips": ue.addresses, "tun": name, "teid": ue.teid})
    return told


def _set_up(options: argparse.Namespace) -> Association:
    """N2, held as long as the gNB is; its UEs do not register by it. Raises SctpError, NgapError."""
    mcc, _, mnc = options.plmn.partition("-")
    name, association = n2.set_up(Gnb(mcc, mnc, tac=options.tac or 1), options.amf)
    sys.stderr.write(f"AMF {name} has accepted the gNB\n")
    return association


def _signals() -> Callable[[], bool]:
    """Whether SIGTERM or SIGINT has come, from now on."""
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return lambda: stopping


def _keeper(ran: Ran, options: argparse.Namespace) -> Callable[[], None]:
    """What is done in the loop: UEs with new sessions take them. Raises ConfigError."""
    names = _names(options)
    keeper = Keeper(options.smf, tuple(names), ran.asking, options.home)
    keeper.start()

    def keep() -> None:
        for made in keeper.found():
            ue = ran.attached(made, names[str(made["supi"])])
            sys.stderr.write(f"{ue.supi} has {', '.join(ue.addresses)} at the UPF {made['upf']['address']}\n")

    return keep


def _serve(ran: Ran, stopping: Callable[[], bool], keep: Callable[[], None] | None, *, page: bool) -> None:
    """Its UEs leave at the end. Raises ConfigError."""
    page_at = time.monotonic()
    while not stopping():
        for key, _ in ran.selector.select(0.2):
            key.data()
        if keep is not None:
            keep()
        if page and time.monotonic() >= page_at:
            page_at = time.monotonic() + 0.5
            with contextlib.suppress(SmfError):
                ran.page()
    for supi in list(ran.ues):
        with contextlib.suppress(SmfError):
            ran.act(supi, "detach")


def main(arguments: Sequence[str] | None = None) -> int:
    options, stopping = _options(arguments), _signals()
    sys.stderr.write(f"{MODEL} of a gNB\n")
    try:
        association = None if options.amf is None else _set_up(options)
        asked = {"dnn": options.dnn, "pdn_type": options.pdn_type, "tac": options.tac}
        ran = Ran(options.address, SmfClient(options.smf), asked, options.route)
        keep = _keeper(ran, options) if options.keep else None
        told = _attached(ran, options) if keep is None else []
        if options.control is not None:
            Control(options.control, ran.selector, ran.act)
        if options.ready is not None and keep is None:
            made = options.ready.with_suffix(".new")
            made.write_text(json.dumps(told), encoding="utf-8")
            made.rename(options.ready)
        _serve(ran, stopping, keep, page=options.page)
    except (ConfigError, SmfError, NgapError, SctpError) as error:
        sys.stderr.write(f"ERROR: {error}\n")
        return 1
    if association is not None:
        association.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
