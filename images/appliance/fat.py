"""FAT volumes by mtools: sticks of strangers never reach the kernel's file system code, and images need no mount."""

from __future__ import annotations

import json
import os
import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from images.appliance.system import Executor, System, program
from nf.errors import DriverError, InputError, NotFoundError, StorageError

_LEAST_CLUSTERS_OCTETS: Final = 1440 * 1024


@dataclass(frozen=True, slots=True)
class Volume:
    """A FAT file system in `node` (a device or an image file), `offset` octets from its beginning."""

    node: Path
    offset: int = 0
    label: str = ""
    size: int = 0

    @property
    def name(self) -> str:
        return f"{self.node}@@{self.offset}" if self.offset else str(self.node)


class Fat:
    """Files of a volume; names are relative, with slashes."""

    def __init__(self, volume: Volume, executor: Executor | None = None) -> None:
        self._volume = volume
        self._executor = executor or System()

    def read(self, name: str, limit: int) -> bytes:
        """Raises NotFoundError; InputError when it has more than `limit` octets."""
        if not self.exists(name):
            raise NotFoundError(f"there is no {name}", where=str(self._volume.node), remedy="put it there")
        data = self._executor.run(program("mtype", "-i", self._volume.name, f"::/{name}", why=f"read {name}"))
        if len(data) > limit:
            raise InputError(f"is larger than {limit} octets", where=name, remedy="check that it is the right file")
        return data

    def exists(self, name: str) -> bool:
        try:
            self._executor.run(program("mdir", "-b", "-i", self._volume.name, f"::/{name}", why=f"look for {name}"))
        except DriverError:
            return False
        return True

    def names(self, pattern: str) -> list[str]:
        """Of the files in its root that match, such as *.json."""
        try:
            listed = self._executor.run(
                program("mdir", "-b", "-i", self._volume.name, f"::/{pattern}", why="list the volume")
            )
        except DriverError:
            return []
        lines = listed.decode(errors="replace").splitlines()
        return sorted(line.removeprefix("::/") for line in lines if line.startswith("::/") and not line.endswith("/"))

    def write(self, name: str, data: bytes) -> None:
        """Put it there, in place of what has the name; directories are made. On the medium when this returns.

        Raises StorageError when it does not fit.
        """
        parts = name.split("/")
        with tempfile.TemporaryDirectory(prefix="nf-fat-") as place:
            source = Path(place) / "file"
            descriptor = os.open(source, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            self.put(source, "/".join(parts))

    def put(self, source: Path, name: str) -> None:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            directory = "/".join(parts[:depth])
            if not self.exists(f"{directory}/."):
                self._executor.run(
                    program("mmd", "-D", "s", "-i", self._volume.name, f"::/{directory}", why=f"make {directory}")
                )
        try:
            self._executor.run(
                program("mcopy", "-D", "o", "-o", "-i", self._volume.name, source, f"::/{name}", why=f"write {name}")
            )
        except DriverError as error:
            raise StorageError(
                f"{name} cannot be written: {error.message}", where=str(self._volume.node), remedy="use an empty volume"
            ) from error
        self._sync()

    def remove(self, name: str) -> None:
        if self.exists(name):
            self._executor.run(program("mdel", "-i", self._volume.name, f"::/{name}", why=f"remove {name}"))
            self._sync()

    def shred(self, name: str) -> None:
        """Remove a file that held a secret; its blocks are written over first."""
        if not self.exists(name):
            return
        shown = self._executor.run(
            program("mshowfat", "-i", self._volume.name, f"::/{name}", why=f"find the blocks of {name}")
        )
        runs = [(int(first), int(last or first)) for first, last in re.findall(rb"<(\d+)(?:-(\d+))?>", shown)]
        try:
            with self._volume.node.open("r+b") as file:
                file.seek(self._volume.offset)
                start, cluster = geometry(file.read(512))
                for first, last in runs:
                    file.seek(self._volume.offset + start + (first - 2) * cluster)
                    file.write(bytes((last - first + 1) * cluster))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"{name} cannot be overwritten: {error.strerror}",
                where=str(self._volume.node),
                remedy="destroy the medium",
            ) from error
        self.remove(name)

    def _sync(self) -> None:
        with self._volume.node.open("rb") as file:
            os.fsync(file.fileno())


def geometry(boot_sector: bytes) -> tuple[int, int]:
    """Octets before cluster 2, and octets of a cluster (Microsoft FAT specification 1.03, BPB). Raises InputError."""
    if len(boot_sector) < 512 or boot_sector[510:512] != b"\x55\xaa":
        raise InputError("is no FAT volume", where="boot sector")
    sector, per_cluster, reserved, fats, entries = struct.unpack_from("<HBHBH", boot_sector, 11)
    small, large = struct.unpack_from("<H", boot_sector, 22)[0], struct.unpack_from("<I", boot_sector, 36)[0]
    if sector == 0 or per_cluster == 0:
        raise InputError("is no FAT volume", where="boot sector")
    tables = reserved + fats * (small or large)
    return (tables + -(-entries * 32 // sector)) * sector, per_cluster * sector


def make_volume(
    path: Path, label: str, *, octets: int = _LEAST_CLUSTERS_OCTETS, executor: Executor | None = None
) -> Fat:
    """A new image file of one FAT volume, readable by its owner only. Raises StorageError, NotFoundError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.truncate(octets)
        path.chmod(0o600)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(path)) from error
    (executor or System()).run(program("mkfs.fat", "-n", label, path, why="make a FAT volume"))
    return Fat(Volume(path, label=label), executor)


def esp_of(disk: Path, executor: Executor | None = None, *, label: str = "ESP") -> Volume:
    """The EFI system partition in a disk or the image of one. Raises InputError when there is none."""
    remedy = "name a disk image of `nf image build`"
    try:
        told = (executor or System()).run(program("sfdisk", "--json", disk, why="read the partition table"))
        table: Any = json.loads(told)["partitiontable"]
        sector = int(table.get("sectorsize", 512))
        for one in table["partitions"]:
            if one.get("name") == label:
                return Volume(disk, int(one["start"]) * sector, label, int(one["size"]) * sector)
    except (DriverError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is no disk image: {error}", where=str(disk), remedy=remedy) from None
    raise InputError(f"has no partition {label}", where=str(disk), remedy=remedy)


def sticks(executor: Executor | None = None, *, label: str = "", besides: tuple[Path, ...] = ()) -> list[Volume]:
    """FAT volumes of this machine that are not mounted, by node. `label`: only those; `besides`: nodes to leave out."""
    command = program(
        "lsblk", "--json", "--bytes", "--output", "PATH,FSTYPE,LABEL,MOUNTPOINTS,SIZE", why="list volumes"
    )
    try:
        listed: Any = json.loads((executor or System()).run(command))
        found = [
            Volume(Path(one["path"]), 0, str(one.get("label") or ""), int(one.get("size") or 0))
            for one in _flat(listed["blockdevices"])
            if one.get("fstype") == "vfat" and not any(one.get("mountpoints") or ())
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DriverError(f"its answer is not understood: {error}", where="lsblk") from error
    return [one for one in found if one.node not in besides and (not label or one.label == label)]


def _flat(devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in devices:
        found += [one, *_flat(one.get("children", []))]
    return found
