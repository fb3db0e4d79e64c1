"""MODEL of a gNB with its UEs: `python -m lab.mobile.ran --smf http://10.50.0.4:9090 --address 10.50.0.2 ...`.

With `--smf` each UE gets a session of the SMF model's control interface. With `--amf ADDRESS` it registers over N2 and
asks for its session by NAS, as a UE does; its keys are in `--subscribers FILE` (what `nf subscriber import` takes, keys
open), or `--k` and `--opc` are those of all UEs. `--trace FILE` then has every NGAP message, for Wireshark.

Uplink packets carry the PDU session container with the QFI, as gNBs send them (TS 38.415). Without a TUN a UE answers
echo requests and counts; with `--tun NAME` it is a device of the namespace this runs in, so that any program has the
UE's address, and `--route PREFIX` (all, by default) leaves by it. `--control SOCKET`: JSON lines,
`{"ue": "imsi-...", "act": "idle" | "active" | "handover" | "detach" | "stats"}`; `--ready FILE` is written once all UEs
have their sessions. A UE whose downlink waits at the UPF is paged: `--page` asks the SMF for it; an AMF pages itself.
`--keep`: the gNB is there before the core is, and UEs whose sessions a core has lost, or an SMF has given to another
UPF than `--home`, get new ones.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.mobile import MODEL, n2, n2_client
from lab.mobile.config import ConfigError
from lab.mobile.control import Control
from lab.mobile.core import CoreError
from lab.mobile.keeping import Keeper
from lab.mobile.n2_client import N2Client
from lab.mobile.ngap import Gnb
from lab.mobile.radio import Ran
from lab.mobile.sctp import ENCAPSULATION_PORT
from lab.mobile.smf_client import SmfClient
from lab.mobile.usim import Usim, usim_of, usims


def supis(first: str, count: int) -> Iterator[str]:
    """`count` of them from `first` on."""
    digits = first.removeprefix("imsi-")
    for number in range(int(digits), int(digits) + count):
        yield f"imsi-{number:0{len(digits)}d}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.mobile.ran", description=f"{MODEL} of a gNB with its UEs.")
    core = parser.add_mutually_exclusive_group(required=True)
    core.add_argument("--smf", help="URL of the SMF model's metrics port")
    core.add_argument("--amf", help="address of an AMF: UEs register over N2")
    parser.add_argument("--address", required=True, help="of the gNB on N3")
    parser.add_argument("--dnn", default="internet")
    parser.add_argument("--supi", default="imsi-999700000000001", help="of the first UE")
    parser.add_argument("--ues", type=int, default=1)
    parser.add_argument("--tac", type=int)
    parser.add_argument("--pdn-type", choices=("ipv4", "ipv6", "ipv4v6"), default="ipv4", help="over N2: ipv4")
    parser.add_argument("--tun", help="device of the first UE; of further ones with their number behind")
    parser.add_argument("--route", action="append", default=[], help="prefix that leaves by the device; all by default")
    parser.add_argument("--control", type=Path, help="Unix socket")
    parser.add_argument("--ready", type=Path, help="file written once all UEs have their sessions: JSON")
    parser.add_argument(
        "--keep", action="store_true", help="never give up: attach, and attach again, as the core is there"
    )
    parser.add_argument("--home", help="N3 address of the UPF that UEs belong to; with --keep")
    parser.add_argument("--page", action="store_true", help="idle UEs come back when their downlink waits")
    over_n2 = parser.add_argument_group("with --amf")
    over_n2.add_argument("--plmn", default="999-70", help="MCC-MNC")
    over_n2.add_argument("--sst", type=int, default=1, help="of the slice that UEs ask for")
    over_n2.add_argument("--sd", help="of the slice, 6 hex digits; none by default")
    over_n2.add_argument("--subscribers", type=Path, help="keys of UEs: CSV or JSON with imsi, k, opc or op, sqn")
    over_n2.add_argument("--k", help="of all UEs, hex")
    over_n2.add_argument("--opc", help="of all UEs, hex")
    over_n2.add_argument("--sctp", choices=("udp", "kernel"), default="udp", help="in UDP (RFC 6951), or the kernel's")
    over_n2.add_argument("--udp-port", type=int, default=ENCAPSULATION_PORT, help="ours, of SCTP in UDP")
    over_n2.add_argument("--trace", type=Path, help="file of every NGAP message, for Wireshark")
    return parser.parse_args(arguments)


def _names(options: argparse.Namespace) -> dict[str, str | None]:
    """SUPI -> its TUN, in the order of the UEs."""
    return {
        supi: None if options.tun is None else options.tun + (str(number) if number else "")
        for number, supi in enumerate(supis(options.supi, options.ues))
    }


def _keys(options: argparse.Namespace) -> dict[str, Usim]:
    """By SUPI. Raises ConfigError."""
    if options.subscribers is not None:
        return usims(options.subscribers)
    if options.k is None or options.opc is None:
        raise ConfigError("keys of the UEs are missing: --subscribers, or --k and --opc")
    found = {}
    for supi in supis(options.supi, options.ues):
        try:
            found[supi] = usim_of({"imsi": supi.removeprefix("imsi-"), "k": options.k, "opc": options.opc})
        except ValueError as error:
            raise ConfigError(f"--k, --opc, --supi: {error}") from error
    return found


def _client(ran: Ran, options: argparse.Namespace) -> N2Client:
    """Raises ConfigError."""
    mcc, _, mnc = options.plmn.partition("-")
    if not (len(mcc) == 3 and len(mnc) in (2, 3) and (mcc + mnc).isdecimal()):
        raise ConfigError(f"--plmn {options.plmn}: MCC-MNC, as 999-70")
    if options.pdn_type != "ipv4":
        raise ConfigError("over N2 a session has IPv4: router advertisements are not modelled")
    gnb = Gnb(mcc, mnc, tac=options.tac or 1, slices=((options.sst, options.sd),))
    associate = n2.associating(options.amf, options.sctp, options.udp_port, options.trace)
    return N2Client(gnb, _keys(options), associate, ran.selector)


def _attached(ran: Ran, options: argparse.Namespace) -> list[dict[str, Any]]:
    told = []
    for supi, name in _names(options).items():
        ue = ran.attach(supi, name)
        told.append({"supi": supi, "id": ue.id, "ue_ips": ue.addresses, "tun": name, "teid": ue.teid})
    return told


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
            with contextlib.suppress(CoreError):
                ran.page()
    for supi in list(ran.ues):
        with contextlib.suppress(CoreError):
            ran.act(supi, "detach")


def _run(options: argparse.Namespace, stopping: Callable[[], bool]) -> None:
    """Raises ConfigError, CoreError."""
    asked = {"dnn": options.dnn, "pdn_type": options.pdn_type, "tac": options.tac}
    ran = Ran(options.address, asked, options.route)
    client, keep = None, None
    if options.amf is not None:
        ran.core = client = _client(ran, options)
        if options.keep:
            keep = n2_client.keeper(client, _names(options), ran)
        else:
            client.connect()
    else:
        ran.core = SmfClient(options.smf)
        keep = _keeper(ran, options) if options.keep else None
    told = _attached(ran, options) if keep is None else []
    if options.control is not None:
        Control(options.control, ran.selector, ran.act)
    if options.ready is not None and keep is None:
        made = options.ready.with_suffix(".new")
        made.write_text(json.dumps(told), encoding="utf-8")
        made.rename(options.ready)
    _serve(ran, stopping, keep, page=options.page or client is not None)
    if client is not None:
        client.close()


def main(arguments: Sequence[str] | None = None) -> int:
    options, stopping = _options(arguments), _signals()
    sys.stderr.write(f"{MODEL} of a gNB\n")
    try:
        _run(options, stopping)
    except (ConfigError, CoreError) as error:
        sys.stderr.write(f"ERROR: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
