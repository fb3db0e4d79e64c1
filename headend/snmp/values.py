"""What an agent's variable bindings are here: plain values with their wire type, quality and age."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from nf.errors import InputError

_OID: Final = re.compile(r"(?:[01]\.[0-3]?[0-9]|2\.[0-9]{1,9})(?:\.[0-9]{1,10})*", re.ASCII)

Wire = int | str | bytes | None
"""A value as it came: int for every number, str for OBJECT IDENTIFIER ("1.3.6.1") and IpAddress ("10.1.1.31"), bytes
for OCTET STRING and Opaque, None for NULL and for what is not there. Floating point comes as the octets of its text."""


class Syntax(Enum):
    """Wire types of SMIv2 (RFC 2578 clause 7.1). INTEGER is Integer32 too, GAUGE32 is Unsigned32 too."""

    INTEGER = "integer"
    GAUGE32 = "gauge32"
    COUNTER32 = "counter32"
    COUNTER64 = "counter64"
    TIMETICKS = "timeticks"
    OCTETS = "octets"
    OID = "oid"
    IPADDRESS = "ipaddress"
    NULL = "null"
    OPAQUE = "opaque"


class Quality(Enum):
    """How far a value may be believed."""

    GOOD = "good"
    STALE = "stale"  # it was good; it is older than its polls should let it be
    MISSING = "missing"  # noSuchObject, noSuchInstance: this agent does not have it
    UNREADABLE = "unreadable"  # there is a value, and it has the wrong form
    UNREACHABLE = "unreachable"  # the agent did not answer, or does not accept us


@dataclass(frozen=True, slots=True)
class Varbind:
    """One variable binding; `oid` without a leading dot."""

    oid: str
    value: Wire
    syntax: Syntax


class Reading(NamedTuple):
    """A value, whether it may be believed, and when it was read (monotonic seconds of the clock in use)."""

    value: Wire
    quality: Quality
    at: float

    def age(self, now: float) -> float:
        """Seconds since it was read."""
        return max(0.0, now - self.at)

    @property
    def good(self) -> bool:
        return self.quality is Quality.GOOD


@lru_cache(maxsize=16_384)
def plain_oid(oid: str) -> str:
    """An OID without a leading dot. Raises InputError for what is none (RFC 2578 clause 3.5)."""
    text = oid.removeprefix(".")
    if _OID.fullmatch(text) is None or len(text.split(".")) > 128 or any(map(_too_large, text.split("."))):
        raise InputError("not an OID", where=oid, remedy="numbers with dots between them, such as 1.3.6.1.2.1.1.3.0")
    return text


def _too_large(arc: str) -> bool:
    return int(arc) > 2**32 - 1


def oid_key(oid: str) -> tuple[int, ...]:
    """An OID as the numbers that order it. Raises InputError."""
    return tuple(map(int, plain_oid(oid).split(".")))


def beneath(oid: str, root: str) -> bool:
    """Whether `oid` is `root` or lies beneath it."""
    return oid == root or oid.startswith(root + ".")
