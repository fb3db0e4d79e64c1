"""A RAUC bundle of format `verity` (RAUC reference, "Bundle Format"): squashfs, hash tree, CMS, length of the CMS."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509

from images.supply import cms, dmverity
from images.supply.region import Region, Tick, no_tick
from nf.errors import IntegrityError

_LARGEST_CMS: Final = 0x10000
_HEX_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SQUASHFS: Final = b"hsqs"


@dataclass(frozen=True, slots=True)
class Image:
    """One file of a bundle as its signed manifest names it."""

    filename: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """What the signature covers. `images` by slot class."""

    compatible: str
    version: str
    verity_hash: str
    verity_salt: bytes
    verity_size: int
    images: Mapping[str, Image]


@dataclass(frozen=True, slots=True)
class Bundle:
    """Taken apart, not yet verified: `payload` is squashfs and hash tree."""

    payload: Region
    signature: bytes


def split(file: Region) -> Bundle:
    """Find the parts by the trailer. Raises IntegrityError."""
    if file.size < 8:
        raise IntegrityError("this is no RAUC bundle: it is too short", where=file.name)
    length = int.from_bytes(file.read(file.size - 8, 8), "big")
    payload = file.size - 8 - length
    if not 0 < length <= _LARGEST_CMS or payload <= 0:
        raise IntegrityError("this is no RAUC bundle, or its end is missing", where=file.name)
    if file.read(0, 4) != _SQUASHFS:
        raise IntegrityError("its payload is no squashfs", where=file.name)
    return Bundle(file.part(0, payload), file.read(payload, length))


def verify_signature(
    bundle: Bundle, authority: x509.Certificate, *, valid_at: datetime | None = None
) -> BundleManifest:
    """The manifest, once its signature was found good. Raises IntegrityError."""
    signed = cms.verify(bundle.signature, authority, where=bundle.payload.name, valid_at=valid_at)
    if signed.content_type != cms.DATA:
        raise IntegrityError("its signature holds no manifest", where=bundle.payload.name)
    return parse_manifest(signed.content, bundle.payload.name)


def check_payload(bundle: Bundle, manifest: BundleManifest, tick: Tick = no_tick) -> None:
    """That the payload has the hash tree that the manifest binds. Raises IntegrityError."""
    data_size = bundle.payload.size - manifest.verity_size
    if data_size <= 0 or manifest.verity_size != dmverity.tree_size(data_size):
        raise IntegrityError(
            "its size does not fit what was signed: it is cut off or longer", where=bundle.payload.name
        )
    tree = dmverity.hash_tree(bundle.payload.part(0, data_size), manifest.verity_salt, tick)
    if tree.root_hash != manifest.verity_hash:
        raise IntegrityError(
            f"the hash of its payload is {tree.root_hash}, signed was {manifest.verity_hash}",
            where=bundle.payload.name,
            remedy="it was altered after it was signed: fetch it again, do not install it",
        )
    if bundle.payload.read(data_size, manifest.verity_size) != tree.octets:
        raise IntegrityError("its stored hash tree is not that of its payload", where=bundle.payload.name)


def parse_manifest(content: bytes, where: str) -> BundleManifest:
    """Raises IntegrityError."""
    parser = configparser.RawConfigParser(strict=True, interpolation=None, default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(content.decode())
        update, bundle = parser["update"], parser["bundle"]
        if bundle["format"] != "verity":
            raise IntegrityError(f"it is of format {bundle['format']}, not verity", where=where)
        images = {
            section.removeprefix("image."): Image(
                parser[section]["filename"], _digest(parser[section]["sha256"]), _count(parser[section]["size"])
            )
            for section in parser.sections()
            if section.startswith("image.")
        }
        return BundleManifest(
            update["compatible"],
            update.get("version", ""),
            _digest(bundle["verity-hash"]),
            bytes.fromhex(bundle["verity-salt"]),
            _count(bundle["verity-size"]),
            images,
        )
    except KeyError as error:
        raise IntegrityError(f"its manifest has no {error.args[0]}", where=where) from None
    except (ValueError, configparser.Error):
        raise IntegrityError("its manifest cannot be read", where=where) from None


def _digest(text: str) -> str:
    if not _HEX_DIGEST.fullmatch(text):
        raise ValueError(text)
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ValueError(text)
    return int(text)
