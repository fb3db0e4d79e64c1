"""What of a manifest (manifest.json) supply needs, read for itself: a judge does not import what it judges.

Further keys are allowed: they are the builder's, and covered by the same signature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from images.supply import strict_json
from nf.errors import IntegrityError

ROLES: Final = ("base", "headend", "core", "pop")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")
_LARGEST: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class File:
    """One shipped file; `size` in octets, `sha256` hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Shipped:
    """`source_date_epoch` in seconds since 1970; `hash_offset` in octets from the start of the root image."""

    role: str
    version: str
    compatible: str
    architecture: str
    source_date_epoch: int
    root_hash: str
    hash_offset: int
    files: Mapping[str, File]

    def file(self, name: str) -> File:
        """Raises IntegrityError when it is not listed."""
        if name not in self.files:
            raise IntegrityError("the manifest does not list it: nobody vouches for it", where=name)
        return self.files[name]


def compatible(role: str, architecture: str) -> str:
    """What RAUC compares, so that no role gets another's image."""
    return f"streamverse-nf-{role}-{architecture}"


def parse(data: bytes, *, where: str = "manifest.json") -> Shipped:
    """Raises IntegrityError."""
    raw = strict_json.loads(data, where=where)
    try:
        found = Shipped(
            role=_text(raw["role"]),
            version=_text(raw["version"]),
            compatible=_text(raw["compatible"]),
            architecture=_text(raw["architecture"]),
            source_date_epoch=_count(raw["source_date_epoch"]),
            root_hash=_digest(raw["root_hash"]),
            hash_offset=_count(raw["hash_offset"]),
            files={_name(name): _file(value) for name, value in raw["files"].items()},
        )
    except KeyError as error:
        raise IntegrityError(f"it has no {error.args[0]}", where=where) from None
    except (TypeError, ValueError, AttributeError):
        raise IntegrityError("one of its values is not of its kind", where=where) from None
    if found.role not in ROLES:
        raise IntegrityError(f"there is no role {found.role}", where=where)
    return found


def _file(value: Any) -> File:
    return File(_count(value["size"]), _digest(value["sha256"]))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 128 or not value.isprintable():
        raise ValueError(value)
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(value)
    return value


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(value)
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError(value)
    return value
