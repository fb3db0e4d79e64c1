"""A running lab in the hands of a command or a test: commands inside nodes, files, processes."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lab.native import state
from lab.native.processes import NodeProcess, Process, processes_of
from lab.native.state import FABRIC, LabState, Phase, require_root
from nf.errors import DriverError, InputError, NotFoundError, RefusedError, UnavailableError

# The log comes as standard input, kept as 3: the shell gives a background command /dev/null in its place.
_SPAWN = 'exec 3>&0; setsid "$@" >&3 2>&3 3>&- </dev/null & echo $!'

_HEARS_CTRL_C = ("env", "--default-signal=INT,QUIT")


@dataclass(frozen=True, slots=True)
class Lab:
    state: LabState

    @classmethod
    def find(cls, name: str | None = None) -> Lab:
        """The lab of this name, or of $NF_LAB, or the only one there is.

        Raises NotFoundError when there is none, InputError when several are up and none is named.
        """
        require_root()
        wanted = name or os.environ.get("NF_LAB")
        if wanted is None:
            known = state.names()
            if len(known) > 1:
                raise InputError(
                    f"several labs are up: {', '.join(known)}", where="nf lab", remedy="choose one with --lab NAME"
                )
            wanted = known[0] if known else ""
        found = state.load(wanted) if wanted else None
        if found is None:
            there = ", ".join(state.names())
            raise NotFoundError(
                f"no lab {wanted} is up" if wanted else "no lab is up",
                where="nf lab",
                remedy=f"up now: {there}" if there else "`nf lab up` makes one",
            )
        return cls(found)

    def native(self) -> Lab:
        """This lab, if it runs natively and is whole. Raises RefusedError."""
        if self.state.runner != "native":
            raise RefusedError(
                "this lab runs under containerlab", where=self.state.name, remedy="use docker for what it holds"
            )
        if self.state.phase is not Phase.UP:
            raise RefusedError(
                "this lab is half made", where=self.state.name, remedy=f"`nf lab down {self.state.name}`, then up again"
            )
        return self

    def nodes(self) -> tuple[str, ...]:
        return tuple(name for name in self.state.nodes if name != FABRIC)

    def init(self, node: str) -> Process:
        """PID 1 of the node. Raises NotFoundError, or UnavailableError when it does not run."""
        if node not in self.state.nodes:
            remedy = f"nodes are {', '.join(self.nodes())}"
            raise NotFoundError(f"no node {node}", where=self.state.name, remedy=remedy)
        init = self.native().state.alive(node)
        if init is None:
            remedy = f"`nf lab down {self.state.name}`, then up again"
            raise UnavailableError(f"node {node} does not run", where=self.state.name, remedy=remedy)
        return init

    def root(self, node: str) -> Path:
        """The node's file system as this process can reach it."""
        return Path(f"/proc/{self.init(node).pid}/root")

    def folder(self, node: str) -> Path:
        """The node's directory on the host: `__clabNodeDir__`, its logs."""
        return self.state.directory / node

    def processes(self, node: str) -> tuple[NodeProcess, ...]:
        return processes_of(self.init(node))

    def command(self, node: str, argv: Sequence[str]) -> list[str]:
        """What to run on the host so that `argv` runs in the node; it ends with the process that runs it."""
        inner = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
        return [*self._enter(node), *inner]

    def environment(self, node: str) -> dict[str, str]:
        """The environment of commands in the node, with this terminal's type."""
        self.init(node)
        term = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
        return term | dict(self.state.nodes[node].environment)

    def run(self, node: str, *argv: str, check: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run in the node to its end, text captured. With `check`, DriverError when its code is not 0."""
        options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL} | options
        done = subprocess.run(self.command(node, argv), env=self.environment(node), check=False, **options)
        if check and done.returncode != 0:
            text = f"`{' '.join(argv)}` ended with {done.returncode}: {(done.stderr or done.stdout or '').strip()}"
            raise DriverError(text, where=node)
        return done

    def popen(self, node: str, *argv: str, **options: Any) -> subprocess.Popen[Any]:
        """Start in the node; the process ends when the one returned ends."""
        return subprocess.Popen(self.command(node, argv), env=self.environment(node), **options)

    def execute(self, node: str, argv: Sequence[str]) -> NoReturn:
        """Become the command: standard streams, terminal, working directory and exit code are its own."""
        here = [*_HEARS_CTRL_C, "sh", "-c", 'cd -- "$0" 2>/dev/null || cd /; exec "$@"', str(Path.cwd())]
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)  # nsenter stays, and so the command may end in its own way
        os.execve(_nsenter(), self.command(node, [*here, *argv]), self.environment(node))  # noqa: S606  # no shell is wanted

    def spawn(self, node: str, argv: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> int:
        """Start in the node a process that outlives this one; output to `log`. Its number inside the node."""
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [*self._enter(node), "sh", "-c", _SPAWN, "sh", *argv]
        with log.open("ab") as output:
            done = subprocess.run(
                command,
                env=self.environment(node) | dict(environment or {}),
                stdin=output,  # the script hands it on as the output of the process
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            raise DriverError(f"cannot be started: {done.stderr.strip()}", where=node)
        return int(done.stdout)

    def _enter(self, node: str) -> list[str]:
        flags = ["--mount", "--uts", "--net", "--pid"]
        return [_nsenter(), "--target", str(self.init(node).pid), *flags, "--"]


def log_name(argv: Sequence[str]) -> str:
    """`nf noc run --x` as nf-noc-run.log: the program and the plain words behind it."""
    words = [Path(argv[0]).name, *itertools.takewhile(str.isalnum, argv[1:4])]
    return f"{'-'.join(words)}.log"


def _nsenter() -> str:
    found = shutil.which("nsenter")
    if found is None:
        raise UnavailableError("nsenter is missing", where="nf lab", remedy="install the package util-linux")
    return found
