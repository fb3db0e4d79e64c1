"""STAND-IN for an AMF, no AMF: `python -m lab.mobile.amf_daemon --address 10.50.0.5 --smf URL --subscribers FILE`.

It listens for gNBs on SCTP in UDP, as `lab.mobile.ran --amf` speaks it, and makes sessions of the SMF model. It prints
a line once gNBs can come. What a real AMF does beyond that is not here: see `lab.mobile.amf`.
"""

from __future__ import annotations

import argparse
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from lab.mobile import identities, ngap
from lab.mobile.amf import Amf, Sent
from lab.mobile.amf_security import Subscription
from lab.mobile.amf_ue import Profile
from lab.mobile.config import ConfigError
from lab.mobile.sctp import ENCAPSULATION_PORT, Association, Listener, SctpError, Stack
from lab.mobile.smf_client import SmfClient
from lab.mobile.usim import usims

_PAGE_S = 0.5
_Event = tuple[int, Association | bytes | None]
"""gNB, and that it has come, what it has sent, or that it has gone."""


class AmfDaemon:
    """One thread for each gNB that waits for its messages; all is done in the caller's."""

    def __init__(self, amf: Amf, listener: Listener) -> None:
        self._amf, self._listener = amf, listener
        self._events: queue.SimpleQueue[_Event | None] = queue.SimpleQueue()
        self._gnbs: dict[int, Association] = {}

    def stop(self) -> None:
        self._events.put(None)

    def run(self) -> None:
        """Until it is stopped."""
        threading.Thread(target=self._accept, name="accept", daemon=True).start()
        while True:
            try:
                event = self._events.get(timeout=_PAGE_S)
            except queue.Empty:
                self._send(self._amf.page())
                continue
            if event is None:
                break
            self._handle(*event)
        self._listener.close()
        for association in self._gnbs.values():
            association.shutdown()

    def _handle(self, gnb: int, what: Association | bytes | None) -> None:
        if isinstance(what, Association):
            self._gnbs[gnb] = what
        elif what is not None:
            self._send(self._amf.received(gnb, what))
        else:
            self._amf.lost(gnb)
            self._gnbs.pop(gnb).close()

    def _send(self, sent: Sent) -> None:
        for gnb, data in sent:
            try:
                self._gnbs[gnb].send(data, ngap.PPID)
            except (SctpError, KeyError):
                # Its reader tells that it has gone.
                continue

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                association = self._listener.accept()
            except SctpError:
                return
            number += 1
            self._events.put((number, association))
            threading.Thread(target=self._read, args=(number, association), daemon=True).start()

    def _read(self, number: int, association: Association) -> None:
        while True:
            try:
                data: bytes | None = association.receive()
            except SctpError:
                data = None
            self._events.put((number, data))
            if data is None:
                return


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.mobile.amf_daemon", description="STAND-IN for an AMF, no AMF.")
    parser.add_argument("--address", required=True, help="of N2")
    parser.add_argument("--smf", required=True, help="URL of the SMF model's metrics port")
    parser.add_argument("--subscribers", type=Path, required=True, help="CSV or JSON with imsi, k, opc or op, sqn")
    parser.add_argument("--plmn", default="999-70", help="MCC-MNC")
    parser.add_argument("--tac", type=int, default=1)
    parser.add_argument("--sst", type=int, default=1)
    parser.add_argument("--ciphering", choices=("nea0", "nea2"), default="nea2", help="of NAS")
    parser.add_argument("--udp-port", type=int, default=ENCAPSULATION_PORT)
    return parser.parse_args(arguments)


def _subscriptions(file: Path) -> dict[str, Subscription]:
    """Raises ConfigError. `sqn` of the file is the last that the home network has used."""
    return {usim.imsi: Subscription(usim.k, int.from_bytes(usim.opc), usim.highest) for usim in usims(file).values()}


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    mcc, _, mnc = options.plmn.partition("-")
    network = f"5G:mnc{mnc.rjust(3, '0')}.mcc{mcc}.3gppnetwork.org".encode()
    ciphering = int(options.ciphering.removeprefix("nea"))
    profile = Profile(network, identities.plmn(mcc, mnc), options.tac, ciphering, options.sst)
    # pycrate takes seconds to load: that is no time for the first gNB to wait.
    ngap.elements({})
    try:
        smf = SmfClient(options.smf)
        amf = Amf(profile, _subscriptions(options.subscribers), smf, _say)
        daemon = AmfDaemon(amf, Stack(options.udp_port).listen(options.address, ngap.PORT))
    except (ConfigError, SctpError) as error:
        sys.stderr.write(f"ERROR: {error}\n")
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: daemon.stop())
    sys.stdout.write("STAND-IN for an AMF, no AMF: listening\n")
    sys.stdout.flush()
    daemon.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
