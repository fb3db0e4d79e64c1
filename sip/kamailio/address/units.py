"""keepalived and what tells it whether the proxy is well, as units of the supervisor."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from nf.contracts.units import Sandbox, UnitSpec
from nf.errors import DriverError, Problem
from sip.kamailio.documents import VoiceAddressSection
from sip.kamailio.places import USER, give
from sip.naming import ALIVE_UNIT, VRRP_UNIT, rpc_socket

PROGRAM: Final = "/usr/sbin/keepalived"
_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class AddressPlaces:
    """config  keepalived's file and the section that it was made of, below the state's folder
    run     what the proxy's watcher writes, and its socket
    """

    run_dir: Path
    state_dir: Path

    @property
    def config(self) -> Path:
        return self.state_dir / "voice-address"

    @property
    def run(self) -> Path:
        return self.run_dir / "voice-address"

    @property
    def health(self) -> Path:
        return self.run / "health"

    @property
    def pids(self) -> Path:
        return self.run_dir / "keepalived"

    @property
    def section(self) -> Path:
        return self.config / "section.json"

    def file(self, text: str) -> Path:
        """Its name tells what is in it, so that the command line of a process tells what it runs with."""
        return self.config / f"keepalived-{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}.conf"

    def make(self) -> None:
        """Raises DriverError."""
        try:
            for place, user in ((self.config, None), (self.run, USER), (self.pids, None)):
                place.mkdir(mode=0o750, parents=True, exist_ok=True)
                if user is not None:
                    give(place, user)
        except OSError as error:
            text = f"cannot prepare {error.filename}: {error.strerror}"
            raise DriverError(text, remedy="run the agent as root") from error

    def remove(self) -> None:
        for place in (self.config, self.run, self.pids):
            shutil.rmtree(place, ignore_errors=True)


def program() -> Path:
    return Path(shutil.which("keepalived") or PROGRAM)


def program_problem() -> Problem | None:
    path = program()
    if path.is_file() and os.access(path, os.X_OK):
        return None
    remedy = "use an image that has keepalived (roles core and pop), or install Debian's package"
    return Problem("there is no such program", remedy, key=str(path))


def vrrp_spec(text: str, places: AddressPlaces) -> UnitSpec:
    pids = ("--pid", str(places.pids / "keepalived.pid"), "--vrrp_pid", str(places.pids / "vrrp.pid"))
    return UnitSpec(
        name=VRRP_UNIT,
        argv=(
            *(str(program()), "--dont-fork", "--vrrp", "--log-console", "--dump-conf"),
            *("--use-file", str(places.file(text)), *pids),
        ),
        after=(ALIVE_UNIT,),
        stop_timeout_s=5.0,
        sandbox=Sandbox(
            capabilities=("CAP_NET_ADMIN", "CAP_NET_BROADCAST", "CAP_NET_RAW"),
            families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_UNIX"),
            writable=(places.pids,),
            readable=(places.config,),
            kernel_files=True,
        ),
    )


def alive_spec(section: VoiceAddressSection, places: AddressPlaces) -> UnitSpec:
    asked = ("--address", str(section.proxy), "--port", str(section.port), "--transport", section.transport)
    return UnitSpec(
        name=ALIVE_UNIT,
        argv=(
            *(sys.executable, "-m", "sip.kamailio.alive", *asked),
            *("--rpc", str(rpc_socket(places.run_dir)), "--clients", str(places.run), "--file", str(places.health)),
        ),
        backoff_last_s=1.0,
        stop_timeout_s=3.0,
        sandbox=Sandbox(user=USER, group=USER, families=("AF_INET", "AF_UNIX"), writable=(places.run,)),
    )


def running_file(pid: int | None) -> str:
    """Of keepalived; empty: it cannot be told."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return next((word for before, word in pairwise(words) if before == "--use-file"), "")
