"""A gNB's setup with an AMF: `python -m lab.mobile.n2 --amf 10.50.0.5` prints the name of the AMF that took it.

Only with an AMF upon usrsctp (`lab.mobile.sctp`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lab.mobile import ngap
from lab.mobile.ngap import Gnb, NgapError
from lab.mobile.sctp import ENCAPSULATION_PORT, Association, SctpError, Stack


def set_up(gnb: Gnb, amf: str, udp_port: int = ENCAPSULATION_PORT) -> tuple[str, Association]:
    """The AMF's name, and the association, which is the gNB's as long as it lasts. Raises SctpError, NgapError."""
    association = Stack(udp_port).connect(amf, ngap.PORT)
    association.send(ngap.setup_request(gnb), ngap.PPID)
    return ngap.amf_name(association.receive()), association


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
