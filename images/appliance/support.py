"""The support bundle as the box can make it alone: bounded, scrubbed of secrets, onto a stick."""

from __future__ import annotations

import io
import json
import re
import tarfile
from datetime import datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from images.appliance.facts import BoxFacts
from images.appliance.fat import Fat, Volume
from images.appliance.places import Places
from images.appliance.reset import serial_of
from images.appliance.system import Executor
from nf.errors import RefusedError
from nf.trust.redaction import Scrubber

_LONGEST: Final = 4 * 1024 * 1024
_LOCAL: Final = 4
"""Column of `ss` with the socket's own address."""
_MEDIA: Final = 16384
"""First UDP port that media may have."""
_LOOKS: Final = {
    "journal.txt": ("journalctl", "--boot", "--no-pager", "--lines=20000", "--output=short-iso"),
    "kernel.txt": ("journalctl", "--dmesg", "--boot", "--no-pager", "--lines=5000"),
    "journal-before.txt": ("journalctl", "--boot=-1", "--no-pager", "--lines=5000", "--output=short-iso"),
    "boots.txt": ("journalctl", "--list-boots", "--no-pager"),
    "units.txt": ("systemctl", "list-units", "--all", "--no-pager", "--plain"),
    "failed.txt": ("systemctl", "status", "--failed", "--no-pager", "--full"),
    "addresses.txt": ("ip", "-details", "address"),
    "routes.txt": ("ip", "route", "show", "table", "all"),
    "neighbours.txt": ("ip", "neighbour"),
    "rules.txt": ("nft", "list", "ruleset"),
    "sockets.txt": ("ss", "-tulpn"),
    "disks.txt": ("lsblk", "--output", "NAME,SIZE,TYPE,FSTYPE,LABEL,PARTLABEL,MOUNTPOINTS"),
    "space.txt": ("df", "-h"),
    "memory.txt": ("free", "-m"),
    "time.txt": ("timedatectl", "--no-pager"),
    "slots.txt": ("rauc", "status"),
}


def collect(places: Places, executor: Executor, *, now: datetime) -> bytes:
    """A tar.gz. No key, no environment, no command line is read; the rest is scrubbed."""
    facts, scrubber = BoxFacts(places, executor), Scrubber()
    files = {name: facts.text_of(*argv)[-_LONGEST:] for name, argv in _LOOKS.items()}
    rows = [*facts.state(), ("gateway", facts.gateway()), *facts.noc(), *facts.interfaces(), *facts.units()]
    files["sockets.txt"] = _services(files["sockets.txt"])
    files["summary.txt"] = "".join("  ".join(row) + "\n" for row in rows)
    packages = {str(found.metadata["Name"]): found.version for found in distributions()}
    files["versions.json"] = json.dumps(packages, indent=2, sort_keys=True)
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, text in sorted(files.items()):
            data = scrubber.text(text).encode()
            entry = tarfile.TarInfo(f"support/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(now.timestamp()), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return held.getvalue()


def _services(listing: str) -> str:
    """Without what waits in each socket, and without ports of media: both tell of the calls of the moment."""
    rows = [re.split(r"\s+", line.strip(), maxsplit=6) for line in listing.splitlines()]
    kept = (row for row in rows if len(row) > _LOCAL and not (row[0] == "udp" and _port(row[_LOCAL]) >= _MEDIA))
    return "".join("  ".join((*row[:2], *row[_LOCAL:])) + "\n" for row in kept)


def _port(address: str) -> int:
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def write(volume: Volume, places: Places, executor: Executor, *, now: datetime) -> tuple[str, int]:
    """Onto the stick. Its name there and its octets. Raises RefusedError, StorageError."""
    data = collect(places, executor, now=now)
    if volume.size and len(data) > volume.size:
        raise RefusedError("the bundle does not fit", where=str(volume.node), remedy="use a larger stick")
    name = f"nf-support-{_plain(serial_of(places))}-{now:%Y%m%dT%H%M%S}.tar.gz"
    Fat(volume, executor).write(name, data)
    return name, len(data)


def _plain(text: str) -> str:
    return "".join(character if character.isalnum() and character.isascii() else "-" for character in text)[:32]


def boot_volumes(places: Places) -> tuple[Path, ...]:
    """The machine's own FAT partitions, which are no sticks."""
    from images.appliance.disk import own_disk
    from nf.errors import NotFoundError

    try:
        return tuple(partition.node for partition in own_disk(places.root).partitions)
    except (NotFoundError, OSError):
        return ()
