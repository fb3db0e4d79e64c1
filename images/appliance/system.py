"""What the appliance asks of its operating system: programs as data, so that a plan can be looked at and tested."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from nf.errors import DeadlineError, DriverError, NotFoundError

_TOLD: Final = 300  # characters of what a program said that an error repeats


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run. `stdin` may hold a secret and is never shown; `accepted`: exit codes that mean success."""

    argv: tuple[str, ...]
    why: str
    stdin: bytes = field(default=b"", repr=False)
    accepted: frozenset[int] = frozenset({0})
    timeout_s: float = 300.0

    def __str__(self) -> str:
        return " ".join(self.argv)


class Executor(Protocol):
    def run(self, program: Program) -> bytes:
        """What it wrote to stdout. Raises DriverError, NotFoundError (no such program), DeadlineError."""


class System:
    """The real one."""

    def run(self, program: Program) -> bytes:
        try:
            done = subprocess.run(
                program.argv, input=program.stdin, capture_output=True, timeout=program.timeout_s, check=False
            )
        except FileNotFoundError:
            raise NotFoundError(
                f"cannot {program.why}: the program is not installed", where=program.argv[0], remedy="install it"
            ) from None
        except subprocess.TimeoutExpired:
            raise DeadlineError(
                f"cannot {program.why}: no end after {program.timeout_s:.0f} s", where=program.argv[0]
            ) from None
        if done.returncode not in program.accepted:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()[-_TOLD:]
            raise DriverError(
                f"cannot {program.why}: {said or 'it says nothing'} (exit {done.returncode})", where=program.argv[0]
            )
        return done.stdout


def program(*argv: object, why: str, accepted: Sequence[int] = (0,)) -> Program:
    """Shorter to write: arguments of any kind as text."""
    return Program(tuple(map(str, argv)), why, accepted=frozenset(accepted))
