"""How functions become units of the supervisor, which program they run, and which libcurl it would load."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from core5g.open5gs.documents import ManagedFunction
from core5g.open5gs.lint import BROKEN_CURL, curl_is_broken
from core5g.open5gs.naming import METRICS_PORTS, SBI_PORTS, unit_name
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.errors import Problem

BIN_VARIABLE: Final = "NF_OPEN5GS_BIN"
_DEFAULT_BIN: Final = "/usr/bin"
_TIMEOUT_S: Final = 20.0
_LIBCURL: Final = re.compile(r"libcurl\S*\.so\S* => (\S+)")
_VERSION: Final = re.compile(r"libcurl/(\d+)\.(\d+)\.(\d+)")
_ASK_VERSION: Final = (
    "import ctypes, sys; lib = ctypes.CDLL(sys.argv[1]); lib.curl_version.restype = ctypes.c_char_p; "
    "print(lib.curl_version().decode())"
)


def programs() -> Path:
    """The folder of the daemons: that of the agent's environment, or where Debian's packages put them."""
    return Path(os.environ.get(BIN_VARIABLE) or _DEFAULT_BIN).absolute()


def program(kind: str) -> Path:
    return programs() / f"open5gs-{kind}d"


def libraries() -> dict[str, str]:
    """An overlay may bring libraries of its own, such as a libcurl that works, in `lib` beside the daemons."""
    folder = programs() / "lib"
    return {"LD_LIBRARY_PATH": str(folder)} if folder.is_dir() else {}


def config_path(state_dir: Path, kind: str) -> Path:
    return state_dir / "open5gs" / f"{kind}.yaml"


def unit_spec(function: ManagedFunction, state_dir: Path, appliance: str) -> UnitSpec:
    """Ready when it takes connections for its metrics or, without such, on its SBI port; SGW-C and SGW-U have neither.

    It starts after what it requires of this appliance's own functions.
    """
    kind = function.kind
    file = config_path(state_dir, kind)
    prefix = f"{appliance}.open5gs."
    after = tuple(unit_name(fact.removeprefix(prefix)) for fact in function.requires if fact.startswith(prefix))
    target = listens(function)
    sandbox = Sandbox(
        families=("AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"),
        readable=(file.parent,),
        kernel_files=True,
    )
    if kind == "upf":
        sandbox = replace(sandbox, capabilities=("CAP_NET_ADMIN",), devices=("/dev/net/tun rw",))
    return UnitSpec(
        name=unit_name(kind),
        argv=(str(program(kind)), "-c", str(file)),
        environment=tuple(libraries().items()),
        after=after,
        ready=Readiness(ReadyKind.TCP, target, 20.0) if target else Readiness(),
        backoff_first_s=1.0,
        sandbox=sandbox,
    )


def listens(function: ManagedFunction) -> str:
    """Where it takes TCP connections; empty = nowhere."""
    kind = function.kind
    for part, ports in (("metrics", METRICS_PORTS), ("sbi", SBI_PORTS)):
        server = server_of(function.config, kind, part)
        if kind in ports and server is not None:
            return f"{server['address']}:{server.get('port', ports[kind])}"
    return ""


def info_address(function: ManagedFunction) -> str:
    """Host and port of its metrics and info API; empty = it has none."""
    server = server_of(function.config, function.kind, "metrics")
    return f"{server['address']}:{server.get('port', 9090)}" if server is not None else ""


def server_of(config: Mapping[str, Any], kind: str, part: str) -> Mapping[str, Any] | None:
    """The first server of a part of a function's file: `sbi`, `pfcp`, `metrics`."""
    try:
        found = config[kind][part]["server"][0]
    except (KeyError, IndexError, TypeError):
        return None
    return found if isinstance(found, Mapping) and "address" in found else None


def program_problem(kind: str) -> Problem | None:
    path = program(kind)
    if path.is_file() and os.access(path, os.X_OK):
        return None
    remedy = (
        "update to an image with the overlay that carries Open5GS, or name a folder with its daemons in "
        f"{BIN_VARIABLE} in the agent's environment"
    )
    return Problem("there is no such program", remedy, key=str(path))


async def curl_problem(kind: str) -> Problem | None:
    """Whether the libcurl that the daemon would load answers more than one request on a connection. It is loaded and
    asked, in a process of its own. None too for what loads none."""
    environment = {**os.environ, **libraries()}
    linked = _LIBCURL.search(await _output(("ldd", str(program(kind))), environment))
    if linked is None:
        return None
    told = _VERSION.search(await _output((sys.executable, "-c", _ASK_VERSION, linked[1]), environment))
    if told is None:
        return None
    version = (int(told[1]), int(told[2]), int(told[3]))
    if not curl_is_broken(version):
        return None
    text = ".".join(map(str, version))
    return Problem(
        f"{unit_name(kind)} would load libcurl {text}, with which every request on a reused HTTP/2 connection fails "
        "(curl #10634)",
        f"put libcurl {'.'.join(map(str, BROKEN_CURL[1]))} or later into {programs() / 'lib'}, or use an image that "
        "has it",
        key=linked[1],
    )


async def _output(argv: tuple[str, ...], environment: Mapping[str, str]) -> str:
    """What a program writes; empty when it cannot run or does not end."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return ""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(errors="replace")
