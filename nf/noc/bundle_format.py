"""What a RAUC bundle says of itself, read from its signature without unpacking it: pure.

Layout of format verity (RAUC reference manual, "Bundle Formats"): SquashFS, dm-verity hash tree, CMS SignedData (RFC
5652) that holds the manifest, and in the last 8 octets the signature's length, big-endian. Format plain has a detached
signature and its manifest inside the SquashFS: it is refused, since nothing of it can be read before it is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nf.errors import InputError

TRAILER_BYTES: Final = 8
MAX_SIGNATURE_BYTES: Final = 64 * 1024
"""As RAUC limits it."""
_SIGNED_DATA: Final = bytes.fromhex("06092a864886f70d010702")  # 1.2.840.113549.1.7.2
_DATA: Final = bytes.fromhex("06092a864886f70d010701")  # 1.2.840.113549.1.7.1
_ROLES: Final = ("headend", "core", "pop")
SEQUENCE, SET, INTEGER, OCTETS, CONTEXT_0 = 0x30, 0x31, 0x02, 0x04, 0xA0


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """`role`: from `compatible` (streamverse-nf-ROLE-ARCHITECTURE)."""

    compatible: str
    version: str
    format: str
    role: str
    images: tuple[str, ...] = ()


def signature_length(trailer: bytes, size: int) -> int:
    """From the last 8 octets of a file of `size` octets. Raises InputError."""
    length = int.from_bytes(trailer, "big")
    if len(trailer) != TRAILER_BYTES or not 0 < length <= min(MAX_SIGNATURE_BYTES, max(0, size - TRAILER_BYTES)):
        raise _bad("it ends in no signature")
    return length


def read_manifest(cms: bytes) -> BundleManifest:
    """The manifest in a signature. Who signed it is not looked at here. Raises InputError."""
    content = enclosed(cms)
    if content is None:
        raise _bad("its signature encloses no manifest: it is of format plain", "build it in format verity")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _bad("its manifest is no text") from error
    sections = parse_manifest(text)
    update, bundle = sections.get("update", {}), sections.get("bundle", {})
    compatible, version = update.get("compatible", ""), update.get("version", "")
    if not compatible or not version:
        raise _bad("its manifest names no compatible or no version")
    if (form := bundle.get("format", "plain")) != "verity":
        raise _bad(f"it is of format {form[:20]!r}", "build it in format verity")
    if len(compatible) > 200 or len(version) > 100 or not (compatible + version).isprintable():
        raise _bad("its manifest names a strange compatible or version")
    return BundleManifest(
        compatible=compatible,
        version=version,
        format=form,
        role=role_of(compatible),
        images=tuple(sorted(name.removeprefix("image.") for name in sections if name.startswith("image."))),
    )


def role_of(compatible: str) -> str:
    """Raises InputError for what is none of our images."""
    parts = compatible.split("-")
    if len(parts) != 4 or parts[:2] != ["streamverse", "nf"] or parts[2] not in _ROLES:
        raise _bad(f"it is for {compatible!r}, which is no appliance of ours", "see `nf image verify FILE`")
    return parts[2]


def parse_manifest(text: str) -> dict[str, dict[str, str]]:
    """GLib key file: section -> key -> value. Lines of another form are left out."""
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1], {})
        elif line and not line.startswith("#") and "=" in line:
            key, _, value = line.partition("=")
            current[key.strip()] = value.strip()
    return sections


def enclosed(cms: bytes) -> bytes | None:
    """eContent of a SignedData (RFC 5652, 5.1 and 5.2), DER; None when it is detached. Raises InputError."""
    content_info, rest = _take(cms, SEQUENCE)
    if rest:
        raise _bad("something follows its signature")
    if not content_info.startswith(_SIGNED_DATA):
        raise _bad("its signature is no CMS SignedData")
    explicit, _ = _take(content_info[len(_SIGNED_DATA) :], CONTEXT_0)
    signed, _ = _take(explicit, SEQUENCE)
    _, signed = _take(signed, INTEGER)  # version
    _, signed = _take(signed, SET)  # digestAlgorithms
    encapsulated, _ = _take(signed, SEQUENCE)
    if not encapsulated.startswith(_DATA):
        raise _bad("its signature is not over data")
    rest = encapsulated[len(_DATA) :]
    if not rest:
        return None
    explicit, _ = _take(rest, CONTEXT_0)
    content, _ = _take(explicit, OCTETS)
    return content


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The value of the first element, which must have `tag`, and what follows it (X.690, 8.1; definite lengths)."""
    if len(data) < 2 or data[0] != tag:
        raise _bad("its signature is not DER as CMS has it")
    length, start = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or len(data) < 2 + count:
            raise _bad("its signature is not DER as CMS has it")
        length, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if len(data) < start + length:
        raise _bad("its signature is cut off")
    return data[start : start + length], data[start + length :]


def _bad(what: str, remedy: str = "see that the file is a whole RAUC bundle: `nf image verify FILE`") -> InputError:
    return InputError(what, where="bundle", remedy=remedy)
