"""Programs for UEFI: PE32+ files, their sections, their Authenticode signature.

Microsoft PE format; Authenticode by "Windows Authenticode Portable Executable Signature Format" and, where that leaves
room, as EDK2 does it (SecurityPkg DxeImageVerificationLib, HashPeImage): firmware is the judge.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from cryptography import x509

from images.supply import cms, der
from nf.errors import IntegrityError

LARGEST: Final = 256 << 20
_PE32_PLUS: Final = 0x20B
_CHECKSUM_AT: Final = 64
_CERTIFICATES_AT: Final = 112 + 4 * 8
_SECTION: Final = struct.Struct("<8sIIII16x")
_MOST_SECTIONS: Final = 96
_PKCS_SIGNED_DATA: Final = 0x0002
_SPC_PE_IMAGE_DATA: Final = "1.3.6.1.4.1.311.2.1.15"
_SHA256: Final = "2.16.840.1.101.3.4.2.1"


@dataclass(frozen=True, slots=True)
class Section:
    """`size` octets of the file from `start` on; `used` of them are the content."""

    name: str
    start: int
    size: int
    used: int


@dataclass(frozen=True, slots=True)
class Program:
    """A PE32+ file taken apart. `signature`: the PKCS#7 of its one certificate, empty when it is not signed."""

    data: bytes
    name: str
    header: int
    header_size: int
    sections: tuple[Section, ...]
    table_start: int
    table_size: int
    signature: bytes

    def section(self, name: str) -> bytes:
        """Content of the one section of this name. Raises IntegrityError when there is none, or more."""
        found = [one for one in self.sections if one.name == name]
        if len(found) != 1:
            raise IntegrityError(f"it has {len(found)} sections {name}, not one", where=self.name)
        return self.data[found[0].start : found[0].start + min(found[0].used, found[0].size)]


def parse(data: bytes, name: str) -> Program:
    """Raises IntegrityError."""
    try:
        return _parse(data, name)
    except (struct.error, IndexError):
        raise IntegrityError("it is no program for UEFI, or is cut off", where=name) from None


def _parse(data: bytes, name: str) -> Program:
    start = struct.unpack_from("<I", data, 60)[0]
    if data[:2] != b"MZ" or data[start : start + 4] != b"PE\0\0":
        raise IntegrityError("it is no program for UEFI", where=name)
    count, optional_size = struct.unpack_from("<H12xH", data, start + 6)
    header = start + 24
    magic = struct.unpack_from("<H", data, header)[0]
    header_size, directories = struct.unpack_from("<I44xI", data, header + 60)
    if magic != _PE32_PLUS or count > _MOST_SECTIONS or directories < 5 or optional_size < _CERTIFICATES_AT + 8:
        raise IntegrityError("it is no 64-bit program for UEFI", where=name)
    table_start, table_size = struct.unpack_from("<II", data, header + _CERTIFICATES_AT)
    sections: list[Section] = []
    for number in range(count):
        raw, used, _address, size, at = _SECTION.unpack_from(data, header + optional_size + number * _SECTION.size)
        if size and not header_size <= at <= at + size <= len(data):
            raise IntegrityError("one of its sections lies outside of it", where=name)
        sections.append(Section(raw.rstrip(b"\0").decode("ascii", "replace"), at, size, used))
    if header + optional_size + count * _SECTION.size > header_size or header_size > len(data):
        raise IntegrityError("its headers are longer than they say", where=name)
    signature = _certificate(data, table_start, table_size, name) if table_size or table_start else b""
    return Program(data, name, header, header_size, tuple(sections), table_start, table_size, signature)


def _certificate(data: bytes, start: int, size: int, name: str) -> bytes:
    """The one WIN_CERTIFICATE, which ends the file."""
    length, revision, kind = struct.unpack_from("<IHH", data, start)
    if start % 8 or start + size != len(data) or not 8 < length <= size or size - length > 7:
        raise IntegrityError("its signature is not where it belongs", where=name)
    if revision != 0x0200 or kind != _PKCS_SIGNED_DATA or any(data[start + length :]):
        raise IntegrityError("its signature is of a kind that firmware does not take", where=name)
    body = data[start + 8 : start + length]
    # sbsign counts the padding into the length: PKCS#7 itself says where it ends.
    used = _der_size(body)
    if used > len(body) or len(body) - used > 7 or any(body[used:]):
        raise IntegrityError("octets follow its signature", where=name)
    return body[:used]


def _der_size(body: bytes) -> int:
    count = body[1] & 0x7F if body[1] & 0x80 else 0
    return 2 + count + (int.from_bytes(body[2 : 2 + count], "big") if count else body[1])


def authenticode_digest(program: Program) -> bytes:
    """SHA-256 over what firmware hashes. Raises IntegrityError when that leaves out octets that are not zero."""
    data, header = program.data, program.header
    end = program.table_start or len(data)
    hasher = hashlib.sha256(data[: header + _CHECKSUM_AT])
    hasher.update(data[header + _CHECKSUM_AT + 4 : header + _CERTIFICATES_AT])
    hasher.update(data[header + _CERTIFICATES_AT + 8 : program.header_size])
    hashed = at = program.header_size
    for section in sorted((one for one in program.sections if one.size), key=lambda one: one.start):
        if section.start < at or section.start + section.size > end:
            raise IntegrityError("its sections overlap", where=program.name)
        if any(data[at : section.start]):
            raise IntegrityError("octets between its sections are covered by no signature", where=program.name)
        hasher.update(data[section.start : section.start + section.size])
        hashed += section.size
        at = section.start + section.size
    # What firmware hashes at the end begins where the sum of the sizes says, gaps or not.
    if hashed < at and any(data[at:hashed]):
        raise IntegrityError("octets behind its sections are covered by no signature", where=program.name)
    hasher.update(data[hashed:end])
    return hasher.digest()


def verify(program: Program, authority: x509.Certificate) -> x509.Certificate:
    """Who signed it; the certificate must be `authority` or be issued by it, as firmware with it in `db` judges.

    The times of certificates do not count, as they do not for firmware. Raises IntegrityError.
    """
    if not program.signature:
        raise IntegrityError("it is not signed", where=program.name, remedy="build the image with its Secure Boot keys")
    signed = cms.verify(program.signature, authority, where=program.name)
    if signed.content_type != cms.SPC_INDIRECT_DATA:
        raise IntegrityError("its signature is not one of a program", where=program.name)
    content = der.Reader(signed.content, where=program.name)
    kind = content.enter(der.SEQUENCE)
    if kind.oid() != _SPC_PE_IMAGE_DATA:
        raise IntegrityError("its signature is not one of a program", where=program.name)
    info = content.enter(der.SEQUENCE)
    content.end()
    if info.algorithm() != _SHA256:
        raise IntegrityError("its digest is not SHA-256", where=program.name)
    digest = info.take(der.OCTET_STRING).value
    info.end()
    if not hmac.compare_digest(digest, authenticode_digest(program)):
        raise IntegrityError(
            "it was altered after it was signed", where=program.name, remedy="firmware refuses it: build it again"
        )
    stated = struct.unpack_from("<I", program.data, program.header + _CHECKSUM_AT)[0]
    if stated not in (0, checksum(program)):
        raise IntegrityError("its checksum does not fit", where=program.name)
    return signed.signer


def checksum(program: Program) -> int:
    """The checksum of the optional header (IMAGEHLP CheckSumMappedFile): the one part that no signature covers."""
    at = program.header + _CHECKSUM_AT
    data = program.data[:at] + bytes(4) + program.data[at + 4 :]
    total = int(np.frombuffer(data + bytes(len(data) % 2), dtype="<u2").sum(dtype=np.uint64))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total + len(program.data)


def command_line(program: Program) -> Mapping[str, str]:
    """`name=value` words of a unified kernel image's `.cmdline`; a word without value stands for itself.

    Raises IntegrityError when one of ours (`nf.`) stands there twice.
    """
    try:
        words = program.section(".cmdline").rstrip(b"\0").decode("ascii").split()
    except UnicodeDecodeError:
        raise IntegrityError("its command line cannot be read", where=program.name) from None
    found: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name in found and name.startswith("nf."):
            raise IntegrityError(f"{name} stands twice in its command line", where=program.name)
        found[name] = value
    return found
