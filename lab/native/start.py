"""Starting a node's PID 1 and talking to it until the node runs by itself."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.native.processes import Process
from nf.errors import DriverError

_INIT = Path(__file__).with_name("init.py")
_START_TIMEOUT_S = 30.0
_EXEC_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class MountedBind:
    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What PID 1 needs to know. `folder` is the node's own, for its logs; `keep` stays reachable inside."""

    node: str
    folder: str
    hosts: str
    binds: tuple[MountedBind, ...]
    environment: Mapping[str, str]
    cmd: tuple[str, ...] = ()
    startup_delay_s: int = 0
    restart_policy: str = "no"
    keep: tuple[str, ...] = ()


class NodeStarter:
    """PID 1 of one node while the lab is made. Closing it before `start` ends the node. Methods raise DriverError."""

    def __init__(self, spec: NodeSpec, label: str) -> None:
        self._node = spec.node
        ours, theirs = socket.socketpair()
        with theirs:
            # Isolated and without site-packages: the interpreter is up in 10 ms.
            argv = [sys.executable, "-I", "-S", str(_INIT), label]
            self._process = subprocess.Popen(
                argv, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env={}, cwd="/", start_new_session=True
            )
        self._socket = ours
        self._socket.settimeout(_START_TIMEOUT_S)
        self._lines = ours.makefile("rb")
        self._send(asdict(spec))

    def pid(self) -> Process:
        """PID 1's identity as the host counts, as soon as its namespaces stand."""
        number = int(self._receive()["pid"])
        self._process.wait()
        process = Process.of(number)
        if process is None:
            raise DriverError("PID 1 of the node ended at once", where=self._node, remedy="see the kernel's log")
        return process

    def await_mounts(self) -> None:
        self._receive()

    def set_sysctls(self, sysctls: Mapping[str, str]) -> None:
        if sysctls:
            self._send({"do": "sysctls", "sysctls": dict(sysctls)})
            self._receive()

    def run(self, argv: Sequence[str]) -> None:
        """Run one command to its end inside the node; a code other than 0 is an error."""
        self._socket.settimeout(_EXEC_TIMEOUT_S)
        self._send({"do": "exec", "argv": list(argv)})
        answer = self._receive()
        if answer["code"] != 0:
            shown = " ".join(argv)
            output = f": {answer['output']}" if answer["output"] else ""
            raise DriverError(
                f"exec `{shown}` ended with {answer['code']}{output}",
                where=self._node,
                remedy="correct the command in the topology file",
            )

    def start(self) -> None:
        """Start the main process; from here on the node lives by itself."""
        self._send({"do": "start"})
        self._receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()
        self._process.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise self._gone(str(error)) from None

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise self._gone(str(error)) from None
        if not line.endswith(b"\n"):
            raise self._gone("it ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise DriverError(
                f"the node cannot be made: {answer['error']}",
                where=self._node,
                remedy="the lab needs root, namespaces and overlayfs (`grep overlay /proc/filesystems`)",
            )
        return answer

    def _gone(self, why: str) -> DriverError:
        return DriverError(
            f"PID 1 of the node does not answer: {why}", where=self._node, remedy="try `nf lab up` again"
        )
