"""What a lab has made, written before it is made: `down` needs nothing else, also after a crash at any point."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from lab.native.processes import Process
from nf.contracts.json import JsonObject
from nf.errors import BusyError, DeniedError, IntegrityError

STATE_ROOT = Path("/run/nf-lab")
DIRECTORY_ROOT = Path("/var/lib/nf-lab")
NAMES = Path("/run/netns")
MARKER = ".nf-lab"
FABRIC = "fabric"
_LOCK_WAIT_S = 10.0


class Phase(Enum):
    STARTING = "starting"  # being made, or its maker died over it
    UP = "up"


@dataclass(slots=True)
class NodeState:
    """A node (or the fabric, which holds the bridges): its PID 1 as soon as there is one."""

    kind: str
    init: Process | None = None
    management: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class LabState:
    name: str
    topology: str
    directory: Path
    runner: str = "native"
    phase: Phase = Phase.STARTING
    boot_id: str = ""
    created_at: float = 0.0  # seconds since the epoch
    nodes: dict[str, NodeState] = field(default_factory=dict)

    def namespace_name(self, node: str) -> Path:
        """The name that `ip netns exec` takes for the node."""
        return NAMES / f"nf-{self.name}-{node}"

    def alive(self, node: str) -> Process | None:
        """PID 1 of the node, if it runs."""
        init = self.nodes[node].init
        return init if init is not None and self.boot_id == boot_id() and init.alive() else None

    def to_json(self) -> JsonObject:
        return {
            "version": 1,
            "name": self.name,
            "topology": self.topology,
            "directory": str(self.directory),
            "runner": self.runner,
            "phase": self.phase.value,
            "boot_id": self.boot_id,
            "created_at": self.created_at,
            "nodes": {
                name: {
                    "kind": node.kind,
                    "pid": node.init.pid if node.init else None,
                    "start": node.init.start if node.init else None,
                    "management": node.management,
                    "environment": dict(node.environment),
                }
                for name, node in self.nodes.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabState:
        """Raises KeyError, ValueError or TypeError when `data` is not the state of a lab."""
        nodes = {}
        for name, node in data["nodes"].items():
            init = None if node["pid"] is None else Process(int(node["pid"]), int(node["start"]))
            nodes[name] = NodeState(node["kind"], init, node["management"], node["environment"])
        return cls(
            name=data["name"],
            topology=data["topology"],
            directory=Path(data["directory"]),
            runner=data["runner"],
            phase=Phase(data["phase"]),
            boot_id=data["boot_id"],
            created_at=float(data["created_at"]),
            nodes=nodes,
        )


def require_root() -> None:
    """Raises DeniedError."""
    if os.geteuid() != 0:
        raise DeniedError("the lab makes network namespaces and needs root", where="nf lab", remedy="run it with sudo")


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def folder_of(name: str) -> Path:
    return STATE_ROOT / name


def load(name: str) -> LabState | None:
    """None when there is no such lab. Raises IntegrityError when its state file cannot be understood."""
    path = folder_of(name) / "state.json"
    try:
        return LabState.from_json(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"the state of this lab cannot be read: {error!r}", where=str(path), remedy="remove the file"
        ) from None


def save(state: LabState) -> None:
    """Replace the state as a whole: a reader, or a crash, sees the old one or the new one."""
    path = folder_of(state.name) / "state.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(state.to_json(), indent=1), encoding="utf-8")
    fresh.replace(path)


def names() -> tuple[str, ...]:
    """Every lab that has a state file, sorted."""
    return tuple(sorted(path.parent.name for path in STATE_ROOT.glob("*/state.json")))


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lab's lock: one `up` or `down` at a time. Raises BusyError after ten seconds of waiting."""
    folder = folder_of(name)
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # its last holder removed it just now
        try:
            if _try_lock(descriptor) and _is_still(folder, descriptor):
                try:
                    yield
                finally:
                    _remove_if_empty(folder, STATE_ROOT)
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > deadline:
            raise BusyError(
                "another `nf lab up` or `down` works on this lab", where=name, remedy="try again when it has ended"
            )
        time.sleep(0.02)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _is_still(folder: Path, descriptor: int) -> bool:
    """Whether the locked directory is the one of that name, not one that was removed in between."""
    try:
        return folder.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
