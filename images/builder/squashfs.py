"""The root as a read-only file system: squashfs with zstd, the same octets from the same tree."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from images.builder.tools import PATH, program
from images.report import Report, silent
from nf.errors import DriverError

EXCLUDED = ("boot/*", "dev/*", "proc/*", "run/*", "sys/*", "tmp/*")
"""What a running system fills itself, and the kernel, which is in the signed image beside the root."""

Compression = Literal["small", "fast"]
LEVELS: Final[Mapping[Compression, int]] = {"fast": 9, "small": 15}
"""Levels of zstd. Of the core role's root (700 MiB): 247 MiB for 14 s of processor time, 231 MiB for 118 s."""

_PERCENT = re.compile(r"\d+/\d+\s+(\d{1,3})%$")


def make_squashfs(
    tree: Path,
    out: Path,
    *,
    epoch: int,
    level: int = LEVELS["fast"],
    exclude: Sequence[str] = EXCLUDED,
    options: Sequence[str] = (),
    report: Report = silent,
) -> int:
    """Octets written. `epoch`: seconds, no file is newer; `level` of zstd; `exclude`: wildcards below `tree`;
    `options`: further ones of mksquashfs.

    Raises UnavailableError when mksquashfs is missing, DriverError when it fails.
    """
    out.unlink(missing_ok=True)
    command = [
        program("mksquashfs", package="squashfs-tools"), str(tree), str(out), "-comp", "zstd", "-Xcompression-level",
        str(level), "-noappend", "-quiet", "-progress", *options, "-wildcards", *(("-e", *exclude) if exclude else ()),
    ]  # fmt: skip
    settings = {"PATH": PATH, "LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(epoch)}
    last: list[str] = []
    with subprocess.Popen(
        command, env=settings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101  # a pipe was asked for
        for line in process.stdout:
            percent = _PERCENT.search(line.strip())  # lines end with a carriage return: the bar is drawn in place
            if percent:
                report(min(int(percent[1]), 100) / 100, "compressing the root")
            elif line.strip():
                last = [*last[-4:], line.strip()]
    if process.returncode != 0:
        raise DriverError(f"mksquashfs failed ({process.returncode}): " + " | ".join(last), where=str(tree))
    os.utime(out, (epoch, epoch))
    return out.stat().st_size
