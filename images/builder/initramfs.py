"""The initial file system: made by the tree's own initramfs-tools with our hook, so that kernel and modules match."""

from __future__ import annotations

import shutil
from pathlib import Path

from images.builder.tools import run
from nf.errors import InputError

_PLACE = "run/nf-initramfs.img"


def kernel_version(tree: Path) -> str:
    """Of the one kernel in `tree`. Raises InputError when there is none, or more than one."""
    found = sorted(path.name.removeprefix("vmlinuz-") for path in (tree / "boot").glob("vmlinuz-*"))
    if len(found) != 1:
        raise InputError(
            f"one kernel is needed, found {len(found)}: {' '.join(found)}".rstrip(": "),
            where=str(tree / "boot"),
            remedy="name exactly one linux-image package in the recipe",
        )
    return found[0]


def kernel_path(tree: Path) -> Path:
    """The kernel's image. Raises InputError as `kernel_version`."""
    return tree / "boot" / f"vmlinuz-{kernel_version(tree)}"


def make_initramfs(tree: Path, out: Path, *, epoch: int) -> None:
    """Writes the initial file system for the kernel in `tree`; `epoch`: seconds, nothing in it is newer.

    Root is needed (chroot). Raises InputError when the tree lacks a kernel or our hook, UnavailableError, DriverError.
    """
    version = kernel_version(tree)
    if not (tree / "etc/initramfs-tools/scripts/nf").is_file():
        raise InputError("the boot script scripts/nf is not there", where=str(tree / "etc/initramfs-tools"))
    made = tree / _PLACE
    made.parent.mkdir(exist_ok=True)
    try:
        run(
            "chroot", str(tree), "/usr/sbin/mkinitramfs", "-o", f"/{_PLACE}", version,
            package="coreutils", epoch=epoch, environment={"TMPDIR": "/tmp"},  # noqa: S108  # of the tree
        )  # fmt: skip
        shutil.copyfile(made, out)
    finally:
        made.unlink(missing_ok=True)
