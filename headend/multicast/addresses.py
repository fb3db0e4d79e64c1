"""Multicast groups of source-specific multicast (RFC 4607), of both families, and the classes of service by name."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from nf.documents.model import Address, RuleError

IpAddress: TypeAlias = IPv4Address | IPv6Address
_LOW_23: Final = 0x7FFFFF
_LOW_32: Final = 0xFFFFFFFF
FIRST_V6_GROUP_ID: Final = 0x4000_0001
"""RFC 4607 section 1: group ids below it are reserved."""


def shares_link_local_ethernet(group: IPv4Address) -> bool:
    """Low 23 bits 0.0.x: the Ethernet addresses of 224.0.0.x, which switches flood (RFC 1112 section 6.4)."""
    return int(group) & _LOW_23 < 0x100


def _ssm_group(group: IPv4Address) -> IPv4Address:
    if int(group) >> 24 != 232:
        raise RuleError("a source-specific group is in 232.0.0.0/8 (RFC 4607)", "choose one such as 232.10.1.1")
    if shares_link_local_ethernet(group):
        raise RuleError(
            "the low 23 bits may not be 0.0.x: such groups share Ethernet addresses with 224.0.0.x",
            "choose a group outside 232.0.0.0/24 and 232.128.0.0/24",
        )
    return group


def is_ssm_v6(group: IPv6Address) -> bool:
    """FF3x::/96 (RFC 3306 section 6, RFC 4607): flags 3, prefix length and prefix zero."""
    return int(group) >> 116 == 0xFF3 and (int(group) >> 32) & ((1 << 80) - 1) == 0


def _ssm_group_v6(group: IPv6Address) -> IPv6Address:
    if not is_ssm_v6(group):
        raise RuleError(
            "a source-specific IPv6 group is in ff3x::/96 (RFC 3306, RFC 4607)", "choose one such as ff3e::8000:1"
        )
    if int(group) & _LOW_32 < FIRST_V6_GROUP_ID:
        raise RuleError("group ids below 4000:0001 are reserved (RFC 4607)", "choose one from ff3e::8000:0 on")
    return group


def _any_group(value: object) -> object:
    if isinstance(value, IPv4Address):
        return _ssm_group(value)
    if isinstance(value, IPv6Address):
        return _ssm_group_v6(value)
    text = value if isinstance(value, str) else ""
    try:
        return _ssm_group_v6(IPv6Address(text)) if ":" in text else _ssm_group(IPv4Address(text))
    except RuleError:
        raise
    except ValueError:
        raise RuleError("must be a multicast group", "write 232.10.1.1, or ff3e::8000:1 for IPv6") from None


def _text_interface_v6(value: object) -> object:
    if isinstance(value, IPv6Interface):
        return value
    try:
        if isinstance(value, str) and "/" in value:
            return IPv6Interface(value)
    except ValueError:
        pass
    raise RuleError("must be an IPv6 address with its prefix length", "write it as 2001:db8:1::10/64")


def _pool_v4(value: object) -> object:
    try:
        network = value if isinstance(value, IPv4Network) else IPv4Network(value if isinstance(value, str) else "")
    except ValueError:
        raise RuleError("must be a network", "write it as 232.64.0.0/10") from None
    if not network.subnet_of(IPv4Network("232.0.0.0/8")):
        raise RuleError("a pool of source-specific groups is in 232.0.0.0/8 (RFC 4607)", "write it as 232.64.0.0/10")
    if network.prefixlen > 23:
        raise RuleError("the pool is too small: groups come from a hash into it", "give it a /23 or more")
    return network


def _pool_v6(value: object) -> object:
    try:
        network = value if isinstance(value, IPv6Network) else IPv6Network(value if isinstance(value, str) else "")
    except ValueError:
        raise RuleError("must be a network", "write it as ff3e::8000:0/97") from None
    if not 96 <= network.prefixlen <= 119 or not is_ssm_v6(network.network_address):
        raise RuleError("a pool of IPv6 groups is 512 or more of ff3x::/96", "write it as ff3e::8000:0/97")
    if int(network.network_address) & _LOW_32 < FIRST_V6_GROUP_ID:
        raise RuleError("group ids below 4000:0001 are reserved (RFC 4607)", "write it as ff3e::8000:0/97")
    return network


def _as_text(*examples: str) -> tuple[Any, ...]:
    return PlainSerializer(str, when_used="json"), WithJsonSchema({"type": "string", "examples": list(examples)})


SsmGroup = Annotated[Address, AfterValidator(_ssm_group)]
AnySsmGroup = Annotated[IpAddress, BeforeValidator(_any_group), *_as_text("232.10.1.1", "ff3e::8000:1")]
InterfaceAddress6 = Annotated[IPv6Interface, BeforeValidator(_text_interface_v6)]
PoolV4 = Annotated[IPv4Network, BeforeValidator(_pool_v4), *_as_text("232.64.0.0/10")]
PoolV6 = Annotated[IPv6Network, BeforeValidator(_pool_v6), *_as_text("ff3e::8000:0/97")]


def ethernet(group: IpAddress) -> str:
    """The destination on Ethernet: low 23 bits (RFC 1112 section 6.4), or low 32 bits (RFC 2464 section 7)."""
    if isinstance(group, IPv4Address):
        octets = (0x01005E000000 | int(group) & _LOW_23).to_bytes(6, "big")
    else:
        octets = (0x333300000000 | int(group) & _LOW_32).to_bytes(6, "big")
    return octets.hex(":")


# ---- differentiated services -----------------------------------------------------------------------------------------

CODE_POINTS: Final[dict[str, int]] = {
    "df": 0,
    **{f"cs{number}": 8 * number for number in range(1, 8)},
    **{f"af{high}{low}": 8 * high + 2 * low for high in range(1, 5) for low in range(1, 4)},
    "ef": 46,
    "va": 44,
}
"""RFC 2474 (df, cs), 2597 (af), 3246 (ef), 5865 (va)."""
_NAMES: Final = {number: name for name, number in CODE_POINTS.items()}


def _class(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 63:
        return value
    if isinstance(value, str) and value.lower() in CODE_POINTS:
        return CODE_POINTS[value.lower()]
    raise RuleError("must be a class of service", "write it as af41, cs5, ef or df, or as a number from 0 to 63")


ServiceClass = Annotated[
    int,
    BeforeValidator(_class),
    Field(ge=0, le=63),
    PlainSerializer(lambda value: _NAMES.get(value, value), when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "enum": list(CODE_POINTS)}, {"type": "integer", "minimum": 0, "maximum": 63}]}
    ),
]
"""A differentiated services code point; in documents by its name, such as `af41`."""
