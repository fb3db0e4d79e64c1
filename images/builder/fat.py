"""FAT file systems in files, without mounting: the same octets from the same content (mkfs.vfat, mtools)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from images.builder.tools import run
from nf.errors import InputError

_SPARE = 1 << 20  # tables and directories


def make_fat(
    out: Path, files: Mapping[str, Path | bytes], *, octets: int, label: str, volume_id: int, epoch: int
) -> None:
    """Writes a FAT of `octets` with `files` (path in it -> content); `epoch`: seconds, the time of every file.

    Raises InputError when they do not fit, UnavailableError, DriverError.
    """
    needed = sum(len(one) if isinstance(one, bytes) else one.stat().st_size for one in files.values())
    if needed > octets - _SPARE:
        raise InputError(
            f"{needed >> 20} MiB do not fit into {octets >> 20} MiB",
            where=label,
            remedy="make what goes into it smaller",
        )
    out.unlink(missing_ok=True)
    with out.open("wb") as file:
        file.truncate(octets)
    run("mkfs.vfat", "--invariant", "-F", "32", "-i", f"{volume_id:08x}", "-n", label, str(out), package="dosfstools")
    with tempfile.TemporaryDirectory(prefix="nf-fat-") as scratch:
        for number, path in enumerate(sorted(files)):
            content = files[path]
            source = Path(scratch, str(number))
            if isinstance(content, bytes):
                source.write_bytes(content)
            else:
                source.symlink_to(content.resolve())
        made: set[str] = set()
        for number, path in enumerate(sorted(files)):
            for parent in reversed(PurePosixPath(path).parents[:-1]):
                if str(parent) not in made:
                    run("mmd", "-i", str(out), f"::/{parent}", package="mtools", epoch=epoch)
                    made.add(str(parent))
            run("mcopy", "-i", str(out), str(Path(scratch, str(number))), f"::/{path}", package="mtools", epoch=epoch)
    os.utime(out, (epoch, epoch))
