"""The boot chain, link by link: firmware -> GRUB -> kernel image -> command line -> root hash -> root image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from images.supply import dmverity, fat, pe
from images.supply.checks import Checks
from images.supply.keyring import Keyring
from images.supply.region import Region
from nf.errors import IntegrityError

GRUB: Final = "EFI/BOOT/BOOTX64.EFI"
KERNEL: Final = "nf.efi"
_ROOT_HASH: Final = re.compile(r"[0-9a-f]{64}")
_LARGEST_OFFSET: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Root:
    """What a kernel image's command line binds: hexadecimal, and octets from the start of the root image."""

    root_hash: str
    hash_offset: int


def read_program(volume: Region, path: str) -> bytes:
    """Of a FAT volume. Raises IntegrityError, NotFoundError."""
    return fat.Volume(volume).read_file(path, limit=pe.LARGEST)


def check_program(checks: Checks, keyring: Keyring, subject: str, data: bytes) -> pe.Program | None:
    """Signature of Secure Boot."""
    what = "Secure Boot signature"
    authority = keyring.secure_boot
    if authority is None:
        checks.skip(subject, what, "the keyring has no db.crt")
        return None

    def question() -> pe.Program:
        program = pe.parse(data, subject)
        pe.verify(program, authority)
        return program

    return checks.run(subject, what, question, good=f"by {authority.subject.rfc4514_string()}")


def check_grub(checks: Checks, keyring: Keyring, subject: str, esp: Region) -> None:
    data = checks.run(subject, "holds GRUB", lambda: read_program(esp, GRUB))
    if data is not None:
        check_program(checks, keyring, subject, data)


def check_kernel(checks: Checks, keyring: Keyring, subject: str, data: bytes, expected: Root | None) -> Root | None:
    """Its signature, and that its command line binds a root: `expected` where the manifest names one."""
    program = check_program(checks, keyring, subject, data)

    def question() -> Root:
        found = bound_root(program or pe.parse(data, subject))
        if expected is not None and found != expected:
            raise IntegrityError(
                f"it binds root hash {found.root_hash} at {found.hash_offset}, the manifest says "
                f"{expected.root_hash} at {expected.hash_offset}",
                where=subject,
                remedy="kernel and root are not of one build",
            )
        return found

    against = "as the manifest says" if expected else "found in .cmdline"
    return checks.run(subject, "command line binds the root", question, good=against)


def bound_root(program: pe.Program) -> Root:
    """Raises IntegrityError when its command line binds none."""
    words = pe.command_line(program)
    root_hash, offset = words.get("nf.roothash", ""), words.get("nf.hashoff", "")
    if not _ROOT_HASH.fullmatch(root_hash) or not offset.isdecimal() or int(offset) > _LARGEST_OFFSET:
        raise IntegrityError("its command line names no root hash", where=program.name)
    return Root(root_hash, int(offset))


def check_root(checks: Checks, subject: str, image: Region, root: Root, *, by: str) -> int | None:
    """Recomputes the hash tree; the size of the image in octets where it is good."""
    return checks.run(
        subject,
        "dm-verity root hash",
        lambda: dmverity.check_image(image, root.hash_offset, root.root_hash, checks.tick),
        good=f"{root.root_hash[:16]}..., as {by} binds it",
    )
