"""The kernel image of a slot: stub, kernel, initial file system and command line in one signed EFI program.

Sections are those of systemd-stub(7): .osrel, .cmdline, .initrd, .linux. The file is laid out here, octet by octet
(Microsoft PE/COFF, sections 2 to 4), because each section must begin behind the one before it, in the file
and in memory: tools that only add sections take addresses on trust and make images that overlap.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from images.builder.grub import SIGNING_TIME
from images.builder.tools import sign_efi
from images.builder.verity import Verity
from images.signing.keys import Keys
from nf.errors import InputError

STUB = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")

PARAMETERS = "ro quiet panic=5 oops=panic systemd.gpt_auto=no"
"""What every image boots with: an appliance that is stuck resets itself, and mounts no partition by its type."""

FLAVOURS = {"cloud": "no_timer_check"}
"""Further parameters by kernel flavour. Under emulation on a busy host timer interrupts come too late for the kernel's
check of the timer, which would stop it for ever."""

_PAGE = 4096
_INITIALISED_DATA_READ = 0x40000040  # IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ
_SECTION = struct.Struct("<8sIIIIIIHHI")
_PE32_PLUS = 0x020B


@dataclass(frozen=True)
class Section:
    """Of a PE file: where it is in memory and in the file, in octets."""

    name: str
    virtual_size: int
    virtual_address: int
    raw_size: int
    raw_offset: int


def command_line(
    verity: Verity,
    *,
    kernel: str = "production",
    consoles: Sequence[str] = ("tty0", "ttyS0,115200"),
    further: str = "",
) -> str:
    """The kernel's command line of an image; it names no slot. The last console is the one that the system writes to.

    `kernel`: the flavour; `further`: parameters of an integrator.
    """
    words = [f"nf.roothash={verity.root_hash}", f"nf.hashoff={verity.hash_offset}", PARAMETERS]
    words += [f"console={console}" for console in consoles]
    return " ".join([*words, *FLAVOURS.get(kernel, "").split(), *further.split()])


def make_uki(
    *,
    kernel: Path,
    initramfs: Path,
    command_line: str,
    os_release: bytes,
    stub: Path = STUB,
    out: Path,
    keys: Keys,
    epoch: int = SIGNING_TIME,
) -> None:
    """Writes the signed program; `epoch`: seconds, the signing time in it.

    Raises InputError for a stub that is no EFI program or a command line that is not ASCII, UnavailableError,
    DriverError.
    """
    if not command_line.isascii() or not command_line.isprintable():
        raise InputError("only printable ASCII can stand in it", where="the kernel's command line")
    try:
        parts = [
            (".osrel", os_release),
            (".cmdline", command_line.encode("ascii") + b"\0"),
            (".initrd", initramfs.read_bytes()),
            (".linux", kernel.read_bytes()),
        ]
        whole = add_sections(stub.read_bytes(), parts, where=str(stub))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(error.filename)) from error
    with tempfile.TemporaryDirectory(prefix="nf-uki-") as scratch:
        plain = Path(scratch, "nf.efi")
        plain.write_bytes(whole)
        sign_efi(plain, out, keys, epoch=epoch)


def sections(image: bytes, *, where: str = "") -> list[Section]:
    """The section table of a PE file. Raises InputError when it is none."""
    try:
        table, count, _ = _table(image)
        found = []
        for index in range(count):
            name, size, address, raw, offset, *_ = _SECTION.unpack_from(image, table + index * _SECTION.size)
            found.append(Section(name.rstrip(b"\0").decode("ascii"), size, address, raw, offset))
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise InputError("not an EFI program for x86-64", where=where) from error
    return found


def add_sections(image: bytes, parts: Sequence[tuple[str, bytes]], *, where: str = "") -> bytes:
    """`image` with further sections behind its own.

    Raises InputError when it is no EFI program, signed already, or has no room for them in its header.
    """
    present = sections(image, where=where)
    table, count, optional = _table(image)
    alignment = struct.unpack_from("<I", image, optional + 36)[0]
    headers = struct.unpack_from("<I", image, optional + 60)[0]
    if table + (count + len(parts)) * _SECTION.size > headers or any(one.raw_offset < headers for one in present):
        raise InputError("its header has no room for further sections", where=where)
    if struct.unpack_from("<II", image, optional + 112 + 4 * 8) != (0, 0):
        raise InputError("is signed already", where=where)
    body = bytearray(image[: max(one.raw_offset + one.raw_size for one in present)])
    address = max(one.virtual_address + max(one.virtual_size, one.raw_size) for one in present)
    initialised = struct.unpack_from("<I", body, optional + 8)[0]
    for index, (name, content) in enumerate(parts):
        address = -(-address // _PAGE) * _PAGE
        body += bytes(-len(body) % alignment)
        raw = -(-len(content) // alignment) * alignment
        entry = _SECTION.pack(
            name.encode("ascii"), len(content), address, raw, len(body), 0, 0, 0, 0, _INITIALISED_DATA_READ
        )
        start = table + (count + index) * _SECTION.size
        body[start : start + _SECTION.size] = entry
        body += content + bytes(raw - len(content))
        address += len(content)
        initialised += raw
    struct.pack_into("<H", body, optional - 18, count + len(parts))  # NumberOfSections
    struct.pack_into("<I", body, optional + 8, initialised)  # SizeOfInitializedData
    struct.pack_into("<I", body, optional + 56, -(-address // _PAGE) * _PAGE)  # SizeOfImage
    struct.pack_into("<I", body, optional + 64, 0)  # CheckSum: the signer writes it
    return bytes(body)


def _table(image: bytes) -> tuple[int, int, int]:
    """Where the section table is, its entries, where the optional header is. Raises struct.error, ValueError."""
    if image[:2] != b"MZ":
        raise ValueError
    (start,) = struct.unpack_from("<I", image, 0x3C)
    signature, machine, count = struct.unpack_from("<4sHH", image, start)
    (length,) = struct.unpack_from("<H", image, start + 20)
    optional = start + 24
    (magic,) = struct.unpack_from("<H", image, optional)
    if signature != b"PE\0\0" or machine != 0x8664 or magic != _PE32_PLUS:
        raise ValueError
    return optional + length, count, optional
