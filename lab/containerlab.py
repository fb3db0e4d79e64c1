"""The same topology file under containerlab, where it and a container engine are installed.

containerlab makes, and takes away; the lab's state file says only which file it was.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lab.native import state
from lab.native.state import LabState, NodeState, Phase, require_root
from lab.topology import Topology, load_topology
from nf.errors import DriverError, RefusedError, UnavailableError


def up(topology: Topology, *, name: str | None = None) -> LabState:
    """Raises UnavailableError without containerlab and docker, DriverError when it fails."""
    require_root()
    program = _containerlab()
    lab = name or topology.name
    with state.locked(lab):
        if state.load(lab) is not None:
            raise RefusedError("a lab of this name is up", where=lab, remedy=f"`nf lab down {lab}`, or --name another")
        made = LabState(
            name=lab,
            topology=str(topology.file.resolve()),
            directory=topology.file.resolve().parent / f"clab-{lab}",
            runner="containerlab",
            boot_id=state.boot_id(),
            created_at=time.time(),
            nodes={node.name: NodeState(node.kind) for node in topology.linux()},
        )
        state.save(made)
        _run([program, "deploy", "--topo", made.topology, "--name", lab])
        made.phase = Phase.UP
        state.save(made)
    return made


def down(name: str, *, keep: bool = False) -> None:
    """Raises UnavailableError without containerlab, DriverError when it fails."""
    with state.locked(name):
        made = state.load(name)
        if made is None:
            return
        cleanup = [] if keep else ["--cleanup"]
        _run([_containerlab(), "destroy", "--topo", made.topology, "--name", name, *cleanup])
        (state.folder_of(name) / "state.json").unlink(missing_ok=True)


def execute(made: LabState, node: str, argv: Sequence[str], *, detach: bool) -> NoReturn:
    """Become `docker exec` in the node's container. Raises UnavailableError without docker."""
    docker = shutil.which("docker")
    if docker is None:
        raise UnavailableError("docker is not installed", where="nf lab", remedy="install it")
    container = load_topology(Path(made.topology)).long_name(node, made.name)
    terminal = ["--tty"] if sys.stdin.isatty() else []
    flags = ["--detach"] if detach else ["--interactive", *terminal]
    os.execv(docker, [docker, "exec", *flags, container, *argv])  # noqa: S606  # no shell is wanted


def _containerlab() -> str:
    found = shutil.which("containerlab")
    if found is None or shutil.which("docker") is None:
        raise UnavailableError(
            "containerlab and docker are not both installed",
            where="nf lab",
            remedy="leave out --runner: the native runner needs neither",
        )
    return found


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise DriverError(f"`{' '.join(command[:2])}` ended with {done.returncode}: {last[0]}", where="nf lab")
