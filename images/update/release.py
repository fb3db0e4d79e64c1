"""What a running image says of itself: /etc/nf-release, written by the builder, and what its initramfs left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nf.errors import IntegrityError

RELEASE: Final = "etc/nf-release"
"""Lines KEY=value as in os-release(5): NF_ROLE, NF_VERSION, NF_COMPATIBLE."""
SLOT: Final = "run/nf/slot"
"""A or B: the slot that the initramfs mounted."""
BOOT_ID: Final = "proc/sys/kernel/random/boot_id"
SLOTS: Final = ("A", "B")


@dataclass(frozen=True, slots=True)
class Release:
    """`slot`: where it runs from. `boot_id` changes with every start of the kernel."""

    role: str
    version: str
    compatible: str
    slot: str
    boot_id: str

    @property
    def other_slot(self) -> str:
        return SLOTS[1 - SLOTS.index(self.slot)]


def parse_release(text: str) -> dict[str, str]:
    """KEY -> value without its quotes; the prefix NF_ is not part of a key here. Lines of another form are left out."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, mark, value = line.strip().partition("=")
        if mark and key.isidentifier():
            found[key.removeprefix("NF_").upper()] = value.strip().strip("\"'")
    return found


def read_release(root: Path = Path("/")) -> Release | None:
    """None on a machine that runs from no image. Raises IntegrityError for an image that does not say which."""
    try:
        fields = parse_release((root / RELEASE).read_text(errors="replace"))
    except FileNotFoundError:
        return None
    try:
        slot = (root / SLOT).read_text(errors="replace").strip()
        boot_id = (root / BOOT_ID).read_text(errors="replace").strip()
    except OSError as error:
        raise IntegrityError(f"cannot be read: {error.strerror}", where=str(error.filename)) from error
    role, version = fields.get("ROLE", ""), fields.get("VERSION", "")
    if not role or not version:
        raise IntegrityError("names no role or no version", where=str(root / RELEASE), remedy="build the image anew")
    if slot not in SLOTS:
        raise IntegrityError(f"says {slot!r}, which is no slot", where=str(root / SLOT), remedy="see the initramfs")
    return Release(role, version, fields.get("COMPATIBLE") or f"streamverse-nf-{role}-amd64", slot, boot_id)
