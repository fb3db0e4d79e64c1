"""What is ordered of a build, and what came of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from images.builder.manifest import Manifest, SourceEntry
from images.builder.programs import run
from images.builder.squashfs import Compression
from images.recipe import KernelFlavour
from nf.errors import DriverError, InputError

SOURCE = Path(__file__).parents[2]
FILES = SOURCE / "images" / "files"


@dataclass(frozen=True, slots=True)
class Options:
    """What to build. `keys`: None with `root_only`, which ends at the root and signs nothing. `epoch`: seconds; None:
    SOURCE_DATE_EPOCH, else the time of the last commit.
    """

    role: str
    version: str
    kernel: KernelFlavour = "production"
    compression: Compression = "fast"
    keys: Path | None = None
    output: Path = Path("build/images")
    cache: Path = Path("build/cache")
    overlays: tuple[Path, ...] = ()
    repositories: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    mirror: str = ""
    epoch: int | None = None
    root_only: bool = False
    keep_tree: bool = False
    offline: bool = False
    source: Path = SOURCE


@dataclass(frozen=True, slots=True)
class Built:
    """`seconds`: of each step. `cached`: whether the packages' tree came from the cache."""

    directory: Path
    manifest: Manifest
    seconds: dict[str, float]
    cached: bool
    notes: tuple[str, ...] = ()


def source_epoch(source: Path, given: int | None = None) -> int:
    """Seconds: `given`, else SOURCE_DATE_EPOCH, else the time of the last commit. Raises InputError."""
    if given is not None:
        return given
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    if told:
        if not told.isdecimal():
            raise InputError("is no number of seconds", where=f"SOURCE_DATE_EPOCH={told}")
        return int(told)
    try:
        return int(
            run(["git", "-c", "safe.directory=*", "-C", str(source), "log", "-1", "--format=%ct"], where=str(source))
        )
    except DriverError:
        raise InputError(
            "no time to build for", where=str(source), remedy="set SOURCE_DATE_EPOCH, or build from a git checkout"
        ) from None


def source_commit(source: Path) -> SourceEntry:
    """What the product is made of; `unknown` outside a git checkout."""
    try:
        commit = run(
            ["git", "-c", "safe.directory=*", "-C", str(source), "rev-parse", "HEAD"], where=str(source)
        ).strip()
        changed = run(
            ["git", "-c", "safe.directory=*", "-C", str(source), "status", "--porcelain"], where=str(source)
        ).strip()
    except DriverError:
        return SourceEntry(commit="unknown", modified=False)
    return SourceEntry(commit=commit, modified=bool(changed))
