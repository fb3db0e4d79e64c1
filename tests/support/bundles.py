"""Bundles as far as a NOC looks into them: something, a CMS around a manifest (encoded here by hand), its length."""

from __future__ import annotations

import os

MANIFEST = "[update]\ncompatible={0}\nversion={1}\n\n[bundle]\nformat={2}\n\n[image.rootfs]\nfilename=rootfs.img\n"


def der(tag: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    if len(value) < 128:
        return bytes([tag, len(value)]) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value


def cms(content: bytes | None) -> bytes:
    """SignedData without a signer; None: detached."""
    signed_data = bytes.fromhex("06092a864886f70d010702")
    data = bytes.fromhex("06092a864886f70d010701")
    inner = der(0x30, data) if content is None else der(0x30, data, der(0xA0, der(0x04, content)))
    return der(0x30, signed_data, der(0xA0, der(0x30, der(0x02, b"\1"), der(0x31), inner, der(0x31))))


def manifest(version: str = "0.2.0", compatible: str = "streamverse-nf-pop-amd64", form: str = "verity") -> bytes:
    return MANIFEST.format(compatible, version, form).encode()


def bundle(version: str = "0.2.0", compatible: str = "streamverse-nf-pop-amd64", *, size: int = 600_000) -> bytes:
    return enclose(cms(manifest(version, compatible)), size)


def enclose(signature: bytes, size: int = 600_000) -> bytes:
    return os.urandom(size) + signature + len(signature).to_bytes(8, "big")
