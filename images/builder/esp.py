"""The EFI system partition: GRUB where firmware looks for it, the boot selector's state, and what is ours beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from images.builder.fat import make_fat
from images.builder.grub import SIGNING_TIME, grubenv
from images.signing.keys import CERTIFICATES, Keys
from nf.errors import InputError

ESP_OCTETS = 64 << 20
BOOT_OCTETS = 128 << 20

_ESP_ID = 0x4E460001
_BOOT_ID = 0x4E460002


def make_esp(
    out: Path,
    *,
    grub: Path,
    keys: Keys,
    extra: Mapping[str, bytes] | None = None,
    environment: bytes | None = None,
    epoch: int = SIGNING_TIME,
    label: str = "ESP",
) -> None:
    """Writes the file system: GRUB, `grubenv`, the public certificates of Secure Boot, and `extra` (path -> content).

    `environment`: another state of the slots than "A, then B, both good". Raises InputError for a path that leaves the
    file system, UnavailableError, DriverError.
    """
    files: dict[str, Path | bytes] = {
        "EFI/BOOT/BOOTX64.EFI": grub,
        "grub/grubenv": environment if environment is not None else grubenv(),
        **{f"nf/keys/{name}.crt": keys.certificate(name) for name in CERTIFICATES if not name.startswith("bundle")},
        **{_inside(path): content for path, content in (extra or {}).items()},
    }
    make_fat(out, files, octets=ESP_OCTETS, label=label, volume_id=_ESP_ID, epoch=epoch)


def make_boot(out: Path, *, uki: Path, epoch: int = SIGNING_TIME) -> None:
    """A slot's boot partition: the signed kernel image as `/nf.efi`. Raises InputError when it does not fit."""
    make_fat(out, {"nf.efi": uki}, octets=BOOT_OCTETS, label="NFBOOT", volume_id=_BOOT_ID, epoch=epoch)


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise InputError("not a path inside the ESP", where=path)
    return "/".join(parts)
