"""Walks as files: what `snmpbulkwalk -On` prints, and snmpsim's *.snmprec."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from headend.devices.rows import parse_oid
from headend.snmp.values import Syntax, Varbind, Wire
from nf.errors import InputError

_TAGS: Final[Mapping[str, Syntax]] = {
    "2": Syntax.INTEGER,
    "4": Syntax.OCTETS,
    "5": Syntax.NULL,
    "6": Syntax.OID,
    "64": Syntax.IPADDRESS,
    "65": Syntax.COUNTER32,
    "66": Syntax.GAUGE32,
    "67": Syntax.TIMETICKS,
    "68": Syntax.OPAQUE,
    "70": Syntax.COUNTER64,
}
_SNMPREC = re.compile(r"((?:\d+\.)+\d+)\|(\d+)(x?)(?::[a-z]+)?\|(.*)")
_NET_SNMP = re.compile(r"\.?((?:\d+\.)+\d+) = (?:([A-Za-z0-9-]+(?: [A-Za-z]+)?): ?)?(.*)")
_TYPES: Final[Mapping[str, Syntax]] = {
    "INTEGER": Syntax.INTEGER,
    "STRING": Syntax.OCTETS,
    "Hex-STRING": Syntax.OCTETS,
    "OID": Syntax.OID,
    "IpAddress": Syntax.IPADDRESS,
    "Network Address": Syntax.IPADDRESS,
    "Counter32": Syntax.COUNTER32,
    "Counter64": Syntax.COUNTER64,
    "Gauge32": Syntax.GAUGE32,
    "Unsigned32": Syntax.GAUGE32,
    "Timeticks": Syntax.TIMETICKS,
    "Opaque": Syntax.OPAQUE,
    "BITS": Syntax.OCTETS,
}


@dataclass(frozen=True, slots=True)
class Walk:
    """What a device holds: each OID once, in order. What was wrong with the walk is counted: drivers survive it."""

    varbinds: tuple[Varbind, ...]
    duplicates: int = 0
    disorder: int = 0
    unread_lines: int = 0


def parse_walk(text: str) -> Walk:
    """Raises InputError when no line of it is one of a walk."""
    lines = [line for line in text.splitlines() if line.strip()]
    found: list[Varbind] = []
    unread = 0
    for line in lines:
        varbind = _snmprec(line) or _net_snmp(line)
        if varbind is not None:
            found.append(varbind)
        elif found and not line.lstrip().startswith("."):
            unread += 1
    if not found:
        remedy = "write it with `snmpbulkwalk -v2c -On ADDRESS .1.3.6.1`"
        raise InputError("is no walk: no line has an OID and a value", remedy=remedy)
    keys = [parse_oid(varbind.oid) for varbind in found]
    disorder = sum(later < earlier for earlier, later in pairwise(keys))
    unique = dict(zip(keys, found, strict=True))
    ordered = tuple(unique[key] for key in sorted(unique))
    return Walk(ordered, len(found) - len(unique), disorder, unread)


def _snmprec(line: str) -> Varbind | None:
    match = _SNMPREC.fullmatch(line)
    if match is None or match[2] not in _TAGS:
        return None
    syntax = _TAGS[match[2]]
    try:
        return Varbind(match[1], _wire(syntax, match[4], hexadecimal=bool(match[3])), syntax)
    except ValueError:
        return None


def _wire(syntax: Syntax, text: str, *, hexadecimal: bool) -> Wire:
    if syntax is Syntax.IPADDRESS:
        return ".".join(map(str, bytes.fromhex(text))) if hexadecimal else text
    if syntax in (Syntax.OCTETS, Syntax.OPAQUE):
        return bytes.fromhex(text) if hexadecimal else text.encode("latin-1", "replace")
    if syntax is Syntax.OID:
        return text.removeprefix(".")
    return None if syntax is Syntax.NULL else int(text)


def _net_snmp(line: str) -> Varbind | None:
    match = _NET_SNMP.fullmatch(line)
    if match is None or line.rstrip().endswith(("(Past end of MIB tree)",)) or "No Such" in line:
        return None
    oid, kind, rest = match.groups()
    if kind is None:
        return Varbind(oid, rest.strip('"').encode(), Syntax.OCTETS) if rest.startswith('"') else None
    if kind not in _TYPES:
        return None
    try:
        return Varbind(oid, _PRINTED.get(kind, _number)(rest), _TYPES[kind])
    except ValueError:
        return None


def _number(text: str) -> Wire:
    """`up(1)`, `(145) 0:00:01.45`, `42 units`."""
    match = re.search(r"\((-?\d+)\)", text) or re.match(r"\s*(-?\d+)", text)
    if match is None:
        raise ValueError(text)
    return int(match[1])


def _address(text: str) -> Wire:
    if ":" in text:
        return ".".join(str(int(part, 16)) for part in text.split(":"))
    return text.strip()


_PRINTED: Final[Mapping[str, Callable[[str], Wire]]] = {
    "STRING": lambda text: text.removeprefix('"').removesuffix('"').encode(),
    "Hex-STRING": lambda text: bytes.fromhex(text.replace(" ", "")),
    "BITS": lambda text: bytes.fromhex("".join(re.findall(r"\b[0-9A-Fa-f]{2}\b", text))),
    "OID": lambda text: text.strip().removeprefix("."),
    "IpAddress": _address,
    "Network Address": _address,
    "Opaque": lambda text: text.encode(),
}
