"""What a POI puts into a PDU's attributes, and how a target that stands in one is read. Pure.

A target stands as X1 names it, `<e164Number>49...</e164Number>`. Other makers write the element with another first
letter, or the value alone: all are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from xml.sax.saxutils import escape, unescape

from lawful_intercept.identifiers import RULES, TargetIdentifier
from lawful_intercept.x2x3.codec import Attribute, Attributes
from nf.errors import InputError

_ELEMENT: Final = re.compile(r"\s*<(?:\w+:)?(\w+)(?:\s[^<>]*)?>([^<>]*)</(?:\w+:)?\1\s*>\s*")
_FORMS: Final = {form.lower(): form for form in RULES}


def point_attributes(network_function: str, point: str) -> Attributes:
    """Which function and which of its points of interception delivers (attributes 6 and 7)."""
    return (
        (Attribute.NETWORK_FUNCTION, network_function.encode()),
        (Attribute.INTERCEPTION_POINT, point.encode()),
    )


def address_attributes(
    source: IPv4Address | IPv6Address,
    destination: IPv4Address | IPv6Address,
    ports: tuple[int, int] | None = None,
    protocol: int | None = None,
) -> Attributes:
    """Attributes 10 to 16. `ports`: the source's, the destination's. `protocol`: IANA's number, 17 for UDP."""
    parts: list[tuple[int, bytes]] = [
        (Attribute.SOURCE_IPV4 if source.version == 4 else Attribute.SOURCE_IPV6, source.packed),
        (Attribute.DESTINATION_IPV4 if destination.version == 4 else Attribute.DESTINATION_IPV6, destination.packed),
    ]
    if ports is not None:
        parts += (
            (Attribute.SOURCE_PORT, ports[0].to_bytes(2, "big")),
            (Attribute.DESTINATION_PORT, ports[1].to_bytes(2, "big")),
        )
    if protocol is not None:
        parts.append((Attribute.IP_PROTOCOL, bytes((protocol,))))
    return tuple(parts)


def target_attributes(matched: TargetIdentifier, others: Iterable[TargetIdentifier] = ()) -> Attributes:
    """Attribute 17, and 18 for what else the target is known by."""
    return (
        (Attribute.MATCHED_TARGET, _written(matched)),
        *((Attribute.OTHER_TARGET, _written(other)) for other in others),
    )


def _written(target: TargetIdentifier) -> bytes:
    return f"<{target.form}>{escape(target.value)}</{target.form}>".encode()


def read_target(value: bytes) -> TargetIdentifier | None:
    """Of attribute 17 or 18; None when it cannot be told what kind of identifier it is, or the value is not one."""
    match = _ELEMENT.fullmatch(value.decode("utf-8", "replace"))
    form = _FORMS.get(match[1].lower()) if match else None
    if match is None or form is None:
        return None
    try:
        return TargetIdentifier(form, unescape(match[2].strip()))
    except InputError:
        return None
