"""The data partition as plans: what to do from what is there. Pure; `storage` looks, and carries them out.

The first boot is one transaction. Its marker is written on the ESP while the partition holds nothing, and removed when
the file system is complete; as long as it is there nothing of value can be on the partition, so whatever a power cut
left is made anew from the start. Without the marker nothing is ever formatted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias

from images.appliance.disk import SECTOR, Disk, Partition
from images.appliance.places import DATA_LABEL, MAPPED, Places
from images.appliance.system import Program, program
from nf.errors import IntegrityError, NfError

MIB: Final = 1024 * 1024
KEY_OCTETS: Final = 64
HEAD_OCTETS: Final = 16 * MIB
"""LUKS2 keeps both its headers and all key slots in the first 16 MiB."""
LEAST_OCTETS: Final = 64 * MIB
"""Of a data partition that is worth formatting."""
_TABLE: Final = MIB  # room for the second partition table at the end of a disk, whatever its sectors
_MAGIC, _SECOND_MAGIC = b"LUKS\xba\xbe", b"SKUL\xba\xbe"
_SECOND_AT: Final = tuple(0x4000 << shift for shift in range(9))
"""LUKS2 On-Disk Format 1.1.3, chapter 2.2: where the second header may stand."""


class Content(Enum):
    BLANK = "blank"  # zeros only
    LUKS = "luks"
    OTHER = "other"


class Course(Enum):
    MAKE = "make"
    OPEN = "open"
    MOUNT = "mount"  # it is open already


@dataclass(frozen=True, slots=True)
class Facts:
    """`making`: the first boot's marker is there. `tpm`: a TPM 2.0 answers. `opened`: it is mapped already."""

    disk: Disk
    content: Content
    making: bool = False
    key_file: bool = False
    tpm: bool = False
    opened: bool = False

    @property
    def data(self) -> Partition:
        return self.disk.named(DATA_LABEL)

    @property
    def free(self) -> int:
        """Octets behind the data partition that it could have."""
        left = self.disk.size - _TABLE - (self.data.start + self.data.size)
        return left if left >= MIB else 0


@dataclass(frozen=True, slots=True)
class Write:
    path: Path
    data: bytes = field(repr=False)
    why: str


@dataclass(frozen=True, slots=True)
class Remove:
    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class Shred:
    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class Zero:
    """The first `length` octets, or all there are."""

    path: Path
    length: int
    why: str


@dataclass(frozen=True, slots=True)
class Fill:
    """The image's own /var into `target`."""

    target: Path
    why: str = "fill the data partition"


Action: TypeAlias = "Program | Write | Remove | Shred | Zero | Fill"


def classify(head: bytes) -> Content:
    """What the first octets of a partition say."""
    if head.startswith(_MAGIC) or any(head[at : at + 6] == _SECOND_MAGIC for at in _SECOND_AT):
        return Content.LUKS
    return Content.OTHER if head.strip(b"\0") else Content.BLANK


def course(facts: Facts) -> Course:
    """Raises IntegrityError when the partition holds what must not be touched."""
    if facts.opened and not facts.making:
        return Course.MOUNT
    if facts.making or facts.content is Content.BLANK:
        return Course.MAKE
    if facts.content is Content.LUKS:
        return Course.OPEN
    raise IntegrityError(
        "the data partition holds something that this system did not make; it is left as it is",
        where=str(facts.data.node),
        remedy="save what is on it, then erase it: factory reset at the console",
    )


def make(facts: Facts, places: Places, key: bytes) -> tuple[Action, ...]:
    """From nothing, or from what a power cut left, to an opened partition with an empty file system."""
    node, disk = facts.data.node, facts.disk.node
    actions: list[Action] = []
    if facts.opened:
        actions.append(program("cryptsetup", "close", MAPPED, why="close what the last attempt left open"))
    if not facts.making:
        actions.append(Write(places.formatting, b"the first boot makes the data partition\n", "mark the beginning"))
    if facts.free:
        number, size = facts.data.number, (facts.data.size + facts.free) // MIB * MIB
        grow = ("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "-N", str(number), str(disk))
        actions.append(Program(grow, "grow the data partition", stdin=f", {size // 1024}KiB\n".encode()))
        # Not `partx`: it takes the partition away and adds it, and the kernel forgets its name.
        actions.append(program("resizepart", disk, number, size // SECTOR, why="tell the kernel about it"))
    actions += [
        Zero(node, HEAD_OCTETS, "clear what an attempt before left"),
        Write(places.key_file, key, "keep the key before anything depends on it"),
        # The key is random and long: nothing is gained by making guesses expensive.
        program(
            *("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--label", MAPPED),
            *("--cipher", "aes-xts-plain64", "--key-size", 512, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", 1000),
            *("--key-file", places.key_file, node),
            why="encrypt the data partition",
        ),
        open_by_key(facts, places),
        program("mkfs.ext4", "-q", "-F", "-L", "data", "-m", 1, f"/dev/mapper/{MAPPED}", why="make a file system"),
    ]
    return tuple(actions)


def seal(facts: Facts, places: Places) -> tuple[Action, ...]:
    """The key into the TPM, proved, and then nowhere else. PCR 7: firmware policy and keys of Secure Boot."""
    node, key = facts.data.node, places.key_file
    return (
        program(
            *("systemd-cryptenroll", f"--unlock-key-file={key}", "--tpm2-device=auto", "--tpm2-pcrs=7", node),
            why="seal the key in the TPM",
        ),
        program(
            *("cryptsetup", "open", "--test-passphrase", "--token-only", "--token-type", "systemd-tpm2", node),
            why="open the data partition by the TPM",
        ),
        program("cryptsetup", "luksRemoveKey", "--batch-mode", node, key, why="take the key file's slot away"),
        Shred(key, "leave the key in the TPM only"),
    )


def open_by_key(facts: Facts, places: Places) -> Program:
    return program(
        *("cryptsetup", "open", "--type", "luks2", "--allow-discards", "--key-file", places.key_file),
        *(facts.data.node, MAPPED),
        why="open the data partition by its key file",
    )


def open_by_tpm(facts: Facts) -> Program:
    return program(
        *("cryptsetup", "open", "--type", "luks2", "--allow-discards", "--token-only", "--token-type", "systemd-tpm2"),
        *(facts.data.node, MAPPED),
        why="open the data partition by the TPM",
    )


def openings(facts: Facts, places: Places) -> tuple[Program, ...]:
    """Each way to open it, the likeliest first. Empty: there is none."""
    ways = [open_by_key(facts, places)] if facts.key_file else []
    return (*ways, open_by_tpm(facts)) if facts.tpm else tuple(ways)


def cannot_open(facts: Facts, errors: tuple[NfError, ...]) -> IntegrityError:
    tried = "; ".join(map(str, errors)) or "there is neither a TPM nor a key file"
    return IntegrityError(
        f"the data partition cannot be opened: {tried}",
        where=str(facts.data.node),
        remedy="undo what changed in the firmware (Secure Boot keys, TPM); else a factory reset, which loses the data",
    )


def erase(facts: Facts, places: Places) -> tuple[Action, ...]:
    """Crypto-erase first: after key file and slots are gone nobody can read the data again, this system included."""
    node = facts.data.node
    shut = (program("cryptsetup", "close", MAPPED, why="close the data partition"),) if facts.opened else ()
    return (
        *shut,
        Shred(places.key_file, "destroy the key file"),
        # The TPM's blob stands in the same header as the slots. A header that is broken already has no slot to destroy.
        program("cryptsetup", "erase", "--batch-mode", node, why="destroy the key slots", accepted=(0, 1, 2, 4)),
        Zero(node, 2 * HEAD_OCTETS, "destroy the header"),
        program("blkdiscard", "--force", node, why="tell the disk that nothing is needed", accepted=(0, 1)),
        Zero(node, 2 * HEAD_OCTETS, "leave it blank, whatever discarded blocks read as"),
        Remove(places.formatting, "a new first boot"),
    )
