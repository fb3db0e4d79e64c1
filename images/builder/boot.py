"""What is made of a finished root: its verified file system, what boots it, disk and bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from images.builder.bundle import make_bundle
from images.builder.disk import make_disk
from images.builder.esp import make_boot, make_esp
from images.builder.grub import make_grub
from images.builder.initramfs import kernel_path, make_initramfs
from images.builder.squashfs import LEVELS, make_squashfs
from images.builder.uki import command_line, make_uki
from images.builder.verity import Verity, add_verity, salt
from images.report import Report, silent
from images.signing.keys import Keys


@dataclass(frozen=True)
class Images:
    """What was made; all files are in one directory."""

    verity: Verity
    command_line: str
    files: tuple[Path, ...]


def make_images(
    tree: Path,
    out: Path,
    *,
    role: str,
    version: str,
    keys: Keys,
    slot_bytes: int,
    epoch: int,
    kernel: str = "production",
    level: int = LEVELS["fast"],
    report: Report = silent,
) -> Images:
    """Writes rootfs.img, nf.efi, boot.vfat, esp.vfat, disk.img and the bundle into `out`, which must be there.

    `tree` is finished: nothing in it changes. `epoch`: seconds, the image's own time; `kernel`: its
    flavour; `level` of zstd for the root. Root is needed (the tree's own mkinitramfs runs in it).
    Raises InputError when something does not fit, UnavailableError, DriverError.
    """

    def step(begin: float, end: float) -> Report:
        return lambda fraction, text: report(begin + (end - begin) * fraction, text)

    root, uki, boot, grub, esp = (out / name for name in ("rootfs.img", "nf.efi", "boot.vfat", ".grub.efi", "esp.vfat"))
    disk, bundle, initramfs = out / "disk.img", out / f"streamverse-nf-{role}-{version}.raucb", out / ".initramfs"
    try:
        report(0.0, "making the initial file system")
        make_initramfs(tree, initramfs, epoch=epoch)
        make_squashfs(tree, root, epoch=epoch, level=level, report=step(0.15, 0.6))
        report(0.6, "hashing the root")
        verity = add_verity(root, salt=salt(f"{role} {version}"))
        words = command_line(verity, kernel=kernel)
        report(0.65, "signing what boots")
        make_uki(
            kernel=kernel_path(tree),
            initramfs=initramfs,
            command_line=words,
            os_release=(tree / "usr/lib/os-release").read_bytes(),
            out=uki,
            keys=keys,
            epoch=epoch,
        )
        make_boot(boot, uki=uki, epoch=epoch)
        make_grub(grub, keys, epoch=epoch)
        make_esp(esp, grub=grub, keys=keys, epoch=epoch)
        make_disk(disk, esp=esp, boot=boot, root=root, slot_bytes=slot_bytes, report=step(0.7, 0.85))
        make_bundle(
            bundle, role=role, version=version, root=root, boot=boot, keys=keys, epoch=epoch, report=step(0.85, 1.0)
        )
    finally:
        initramfs.unlink(missing_ok=True)
        grub.unlink(missing_ok=True)
    return Images(verity, words, (root, uki, boot, esp, disk, bundle))
