"""The seat of a user: every step of a scenario is an `nf` command, run as a person would run it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.native.handle import Lab, log_name
from nf.errors import NfError

NF = str(Path(sys.executable).with_name("nf"))
_PATIENCE = 4


class ScenarioError(Exception):
    """A scenario cannot go on: what was run, what came back."""


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise ScenarioError(f"no JSON came back: {self.stdout[:400]!r} {self.stderr[:800]!r}") from error

    def text(self) -> str:
        return (self.stdout + self.stderr).strip()


@dataclass(frozen=True, slots=True)
class Console:
    """A running lab, commanded through `nf lab`. `lab` is its name."""

    lab: str

    def host(self, *arguments: str, timeout_s: float = 300.0) -> Answer:
        """`nf ARGUMENTS` on the host."""
        return _run([NF, *arguments], timeout_s, b"")

    def sh(self, node: str, *command: str, stdin: bytes = b"", timeout_s: float = 120.0) -> Answer:
        """A command inside a node, as `nf lab exec NODE` runs it, without a process of its own for that."""
        try:
            lab = Lab.find(self.lab)
            argv, environment = lab.command(node, command), lab.environment(node)
        except NfError as error:
            return Answer(1, "", str(error))
        return _run(argv, timeout_s, stdin, environment)

    def detach(self, node: str, *command: str) -> None:
        """A command inside a node that goes on by itself."""
        try:
            lab = Lab.find(self.lab)
            lab.spawn(node, command, log=lab.folder(node) / "log" / log_name(command))
        except NfError as error:
            raise ScenarioError(str(error)) from error

    def nf(self, *arguments: str, timeout_s: float = 300.0) -> Answer:
        """`nf ARGUMENTS` at the NOC, as the operator that the scenario made."""
        return self.sh("noc", "nf", *arguments, timeout_s=timeout_s)

    def fault(self, *arguments: str) -> Answer:
        return self.must(self.host("lab", "fault", arguments[0], "--lab", self.lab, *arguments[1:]))

    @staticmethod
    def must(answer: Answer) -> Answer:
        """The answer, or ScenarioError when the command failed."""
        if answer.code != 0:
            raise ScenarioError(f"exit {answer.code}: {answer.text()[-2000:]}")
        return answer

    def wait(self, what: str, ready: Callable[[], bool], timeout_s: float = 60.0) -> float:
        """Poll until `ready()`; the seconds it took. Raises ScenarioError after `timeout_s` of a machine that has
        nothing else to do, and several times that of any: what is loaded is slow, not broken."""
        start = time.monotonic()
        while time.monotonic() - start < timeout_s * _PATIENCE:
            if ready():
                return time.monotonic() - start
            time.sleep(0.25)
        raise ScenarioError(f"not seen within {timeout_s * _PATIENCE:.0f} s: {what}")


def _run(argv: list[str], timeout_s: float, stdin: bytes, environment: Mapping[str, str] | None = None) -> Answer:
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout_s, env=environment, check=False)
    except subprocess.TimeoutExpired as error:
        raise ScenarioError(f"no end after {timeout_s:.0f} s: {' '.join(argv[1:])}") from error
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
