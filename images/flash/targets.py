"""The disks of this machine, and whether one may be overwritten."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images.appliance.disk import own_disk
from images.appliance.system import Executor, System, program
from nf.errors import DriverError, NotFoundError, RefusedError

_COLUMNS = "PATH,TYPE,SIZE,MODEL,SERIAL,TRAN,RM,RO,MOUNTPOINTS,LABEL,PARTLABEL,FSTYPE"
_PARTS = frozenset({"part", "disk", "loop"})


@dataclass(frozen=True, slots=True)
class Target:
    """A whole disk. `size` in octets; `used`: why it must not be touched, else empty; `holds`: what is on it."""

    node: Path
    size: int
    model: str = ""
    serial: str = ""
    bus: str = ""
    removable: bool = False
    used: str = ""
    holds: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        parts = (str(self.node), f"{self.size / 1e9:.1f} GB", self.model, self.serial, self.bus)
        return "  ".join(part for part in parts if part)


def disks(executor: Executor | None = None, system: Path | None = None) -> list[Target]:
    """Every disk, by node. `system`: the one that this system runs from; found when it is not given."""
    own = _system_disk() if system is None else system
    listed = (executor or System()).run(program("lsblk", "--json", "--bytes", "--output", _COLUMNS, why="list disks"))
    try:
        devices: list[dict[str, Any]] = json.loads(listed)["blockdevices"]
        found = [_target(one, own) for one in devices if one["type"] == "disk" and int(one.get("size") or 0) > 0]
    except (ValueError, KeyError, TypeError) as error:
        raise DriverError(f"its answer is not understood: {error}", where="lsblk") from error
    return sorted(found, key=lambda target: str(target.node))


def find(node: Path, executor: Executor | None = None, system: Path | None = None) -> Target:
    """The target at a path: a disk, or an ordinary file of the size of one. Raises NotFoundError, RefusedError."""
    try:
        status = node.stat()
    except OSError as error:
        raise NotFoundError(f"cannot be used: {error.strerror}", where=str(node), remedy="see `lsblk`") from None
    if stat.S_ISREG(status.st_mode):
        return Target(node, status.st_size, model="file")
    if not stat.S_ISBLK(status.st_mode):
        raise RefusedError("is neither a disk nor a file", where=str(node), remedy="name a disk such as /dev/sda")
    real = node.resolve()
    for target in disks(executor, system):
        if target.node.resolve() == real:
            return target
    raise RefusedError("is no whole disk", where=str(node), remedy="name the disk, not a partition of it: see `lsblk`")


def check(target: Target, octets: int) -> None:
    """Raises RefusedError when the disk is in use, or too small for `octets`."""
    if target.used:
        raise RefusedError(f"is in use: {target.used}", where=str(target.node), remedy="choose another disk")
    if target.size < octets:
        raise RefusedError(
            f"has {target.size} octets, the image {octets}", where=str(target.node), remedy="choose a larger disk"
        )


def _system_disk() -> Path | None:
    try:
        return own_disk().node
    except NotFoundError:
        return None


def _target(device: dict[str, Any], system: Path | None) -> Target:
    node = Path(device["path"])
    below = list(_tree(device))
    return Target(
        node=node,
        size=int(device["size"]),
        model=str(device.get("model") or "").strip(),
        serial=str(device.get("serial") or "").strip(),
        bus=str(device.get("tran") or ""),
        removable=bool(device.get("rm")),
        used=_used(device, below, runs=node == system),
        holds=tuple(_held(one) for one in below if one is not device),
    )


def _used(device: dict[str, Any], below: list[dict[str, Any]], *, runs: bool) -> str:
    if runs:
        return "this system runs from it"
    if device.get("ro"):
        return "it is write-protected"
    for one in below:
        mounted = [str(place) for place in one.get("mountpoints") or () if place]
        if mounted:
            return f"{one['path']} is mounted at {', '.join(mounted)}"
        if one["type"] not in _PARTS:
            return f"{one['path']} ({one['type']}) stands on it"
    return ""


def _held(device: dict[str, Any]) -> str:
    names = (str(device.get(key) or "") for key in ("partlabel", "label", "fstype"))
    return f"{device['path']} {' '.join(name for name in names if name)}".strip()


def _tree(device: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield device
    for child in device.get("children") or ():
        yield from _tree(child)
