"""Origin validation (RFC 6811). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from ipaddress import IPv4Network

from headend.multicast.bgp.documents import Roa


class Validity(Enum):
    VALID = "valid"
    INVALID = "invalid"
    NOT_FOUND = "not found"


def validity(prefix: IPv4Network, origin: int, roas: Iterable[Roa]) -> Validity:
    """Section 2: valid by one ROA is valid; covered, and valid by none, is invalid. AS 0 matches nobody (RFC 6483)."""
    covering = [roa for roa in roas if prefix.subnet_of(roa.prefix)]
    if any(roa.as_number == origin != 0 and prefix.prefixlen <= roa.longest for roa in covering):
        return Validity.VALID
    return Validity.INVALID if covering else Validity.NOT_FOUND
