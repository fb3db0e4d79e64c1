"""How FreeSWITCH becomes a unit of the supervisor, and which program it runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.errors import Problem
from sip.freeswitch.documents import FreeswitchSection
from sip.freeswitch.places import Places
from sip.naming import CONTROL_LOOPBACK, MEDIA_SERVER_UNIT

BIN_VARIABLE: Final = "NF_FREESWITCH_BIN"
_NAME: Final = "freeswitch"
_ELSEWHERE: Final = ("/usr/bin", "/usr/local/freeswitch/bin", "/opt/freeswitch/bin")
_READY_S: Final = 30.0
_STOP_S: Final = 10.0
START_S: Final = _READY_S + _STOP_S + 5.0


def program() -> Path:
    """In the folder that the agent's environment names, else where PATH finds it, or where it is commonly installed."""
    folder = os.environ.get(BIN_VARIABLE)
    if folder:
        return Path(folder).absolute() / _NAME
    path = os.pathsep.join((os.environ.get("PATH", ""), *_ELSEWHERE))
    return Path(shutil.which(_NAME, path=path) or f"{_ELSEWHERE[0]}/{_NAME}")


def program_problem() -> Problem | None:
    path = program()
    if path.is_file() and os.access(path, os.X_OK):
        return None
    remedy = (
        "update to an image with the overlay that carries FreeSWITCH, or name a folder with the program in "
        f"{BIN_VARIABLE} in the agent's environment"
    )
    return Problem("there is no such program", remedy, key=str(path))


def unit_spec(section: FreeswitchSection, places: Places) -> UnitSpec:
    """Ready when its event socket takes connections; its SIP profile comes a moment later, which the driver awaits."""
    words = ("-nonat", "-nf", "-conf", str(places.config), "-log", str(places.run), "-db", str(places.data))
    return UnitSpec(
        name=MEDIA_SERVER_UNIT,
        argv=(str(program()), *words, "-run", str(places.run), "-storage", str(places.boxes)),
        ready=Readiness(ReadyKind.TCP, f"{CONTROL_LOOPBACK}:{section.server.control}", _READY_S),
        backoff_first_s=1.0,
        stop_timeout_s=_STOP_S,
        sandbox=Sandbox(
            # Media threads run in real time, so that a busy machine is not heard.
            capabilities=("CAP_SYS_NICE",),
            families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"),
            readable=(places.config,),
            writable=(places.data, places.run),
            real_time=True,
            kernel_files=True,
        ),
    )
