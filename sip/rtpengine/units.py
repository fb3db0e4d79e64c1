"""A relay's units: rtpengine, and of a pair its store and what moves its addresses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.errors import Problem
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.naming import (
    HTTP_PORT,
    MOVER_UNIT,
    STORE_PORT,
    STORE_UNIT,
    UNIT,
    config_path,
    mover_path,
    pid_folder,
    store_path,
)

_PACKAGES: Final = {"rtpengine": "rtpengine-daemon", "redis-server": "redis-server", "keepalived": "keepalived"}
_PATH: Final = f"{os.defpath}:/usr/sbin:/usr/local/sbin"


def program(name: str) -> str:
    """As PATH finds it; its name alone when it does not."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}") or name


def program_problems(section: RtpengineSection) -> Iterator[Problem]:
    needed = ("rtpengine", *(("keepalived",) if section.pair else ()))
    needed += ("redis-server",) if section.pair and section.pair.first else ()
    for name in needed:
        if not Path(program(name)).is_absolute():
            yield Problem("there is no such program", f"install Debian's {_PACKAGES[name]}", key=name)


def units_of(section: RtpengineSection, state_dir: Path, run_dir: Path) -> tuple[UnitSpec, ...]:
    """In the order in which they start."""
    pair = section.pair
    found = [relay_unit(state_dir, after=(STORE_UNIT,) if pair and pair.first else ())]
    if pair is not None:
        found += [mover_unit(state_dir, run_dir)]
        found = [*([store_unit(state_dir, str(pair.own.ip))] if pair.first else []), *found]
    return tuple(found)


def relay_unit(state_dir: Path, after: tuple[str, ...] = ()) -> UnitSpec:
    """Ready when it answers HTTP: then it has restored what the store had. It is back quickly, since calls wait."""
    file = config_path(state_dir)
    return UnitSpec(
        name=UNIT,
        argv=(program("rtpengine"), f"--config-file={file}"),
        after=after,
        ready=Readiness(ReadyKind.TCP, f"127.0.0.1:{HTTP_PORT}", 30.0),
        backoff_first_s=0.1,
        backoff_last_s=2.0,
        stop_timeout_s=10.0,
        sandbox=Sandbox(
            families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"),
            readable=(file.parent,),
            kernel_files=True,
            nice=-5,
        ),
    )


def store_unit(state_dir: Path, address: str) -> UnitSpec:
    """Nothing of it is on a disk: SDES keys are in it, and calls do not outlive both relays."""
    file = store_path(state_dir)
    return UnitSpec(
        name=STORE_UNIT,
        argv=(program("redis-server"), str(file)),
        ready=Readiness(ReadyKind.TCP, f"{address}:{STORE_PORT}", 20.0),
        backoff_first_s=0.2,
        sandbox=Sandbox(families=("AF_INET", "AF_INET6", "AF_UNIX"), readable=(file.parent,), kernel_files=True),
    )


def mover_unit(state_dir: Path, run_dir: Path) -> UnitSpec:
    file, folder = mover_path(state_dir), pid_folder(run_dir)
    pids = ("-p", str(folder / "vrrp.pid"), "-r", str(folder / "vrrp-child.pid"))
    return UnitSpec(
        name=MOVER_UNIT,
        argv=(program("keepalived"), "-n", "-l", "-P", "-f", str(file), *pids),
        backoff_first_s=0.2,
        sandbox=Sandbox(
            capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW"),
            families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_UNIX"),
            readable=(file.parent,),
            writable=(folder,),
            kernel_files=True,
        ),
    )
