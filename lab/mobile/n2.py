"""A gNB's setup with an AMF: `python -m lab.mobile.n2 --amf 10.50.0.5` prints the name of the AMF that took it.

Only with an AMF upon usrsctp (`lab.mobile.sctp`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.mobile import ngap
from lab.mobile.n2_link import Carrier, N2Error, N2Link, Trace
from lab.mobile.ngap import Gnb, NgapError
from lab.mobile.sctp import ENCAPSULATION_PORT, Association, SctpError, Stack
from lab.mobile.sctp_kernel import KernelAssociation

_UNKNOWN = "0.0.0.0"  # noqa: S104 - shown in traces for our side, where no socket tells it


def set_up(gnb: Gnb, amf: str, udp_port: int = ENCAPSULATION_PORT) -> tuple[str, Association]:
    """The AMF's name, and the association, which is the gNB's as long as it lasts. Raises SctpError, NgapError."""
    association = Stack(udp_port).connect(amf, ngap.PORT)
    association.send(ngap.setup_request(gnb), ngap.PPID)
    return ngap.amf_name(association.receive()), association


def associating(amf: str, sctp: str, udp_port: int, trace: Path | None) -> Callable[[], N2Link]:
    """Makes an association each time that it is called, which raises N2Error. `sctp`: udp or kernel."""
    stacks: list[Stack] = []

    def carrier() -> Carrier:
        if sctp == "kernel":
            return KernelAssociation(amf, ngap.PORT, ngap.PPID)
        if not stacks:
            stacks.append(Stack(udp_port))
        return stacks[0].connect(amf, ngap.PORT)

    written = None if trace is None else Trace(trace, _UNKNOWN, amf)

    def associate() -> N2Link:
        try:
            return N2Link(carrier(), written)
        except SctpError as error:
            raise N2Error(f"N2: {error}") from error

    return associate


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lab.mobile.n2", description="NG setup of a gNB with an AMF upon usrsctp.")
    parser.add_argument("--amf", required=True, help="its address")
    parser.add_argument("--mcc", default="999")
    parser.add_argument("--mnc", default="70")
    parser.add_argument("--tac", type=int, default=1)
    parser.add_argument("--udp-port", type=int, default=ENCAPSULATION_PORT, help="ours")
    options = parser.parse_args(arguments)
    try:
        name, association = set_up(Gnb(options.mcc, options.mnc, tac=options.tac), options.amf, options.udp_port)
    except (SctpError, NgapError) as error:
        sys.stderr.write(f"ERROR: {error}\n")
        return 1
    sys.stdout.write(f"{name}\n")
    association.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
