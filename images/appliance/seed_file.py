"""The seed's text without its model: what early boot needs of it, at no more cost than reading JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SEED: str = "seed.json"
MAX_OCTETS: int = 256 * 1024


def strip_token(data: bytes) -> bytes:
    """The same seed without the enrolment: its token must not lie about once it is used. Text that is no seed: `{}`."""
    try:
        seed: Any = json.loads(data)
    except ValueError:
        return b"{}\n"
    if not isinstance(seed, dict):
        return b"{}\n"
    return to_bytes({key: value for key, value in seed.items() if key != "enrolment"})


def has_token(data: bytes) -> bool:
    return strip_token(data) != to_bytes_or_same(data)


def to_bytes(seed: dict[str, Any]) -> bytes:
    return (json.dumps(seed, indent=2, ensure_ascii=False) + "\n").encode()


def to_bytes_or_same(data: bytes) -> bytes:
    try:
        seed: Any = json.loads(data)
    except ValueError:
        return data
    return to_bytes(seed) if isinstance(seed, dict) else data


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
