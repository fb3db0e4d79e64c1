"""What a warrant and a task name: target identifiers in the forms of X1, and the LIID. Pure.

A value that is not of its form is refused, with the rule and without the value: what is written about a target nobody
reads but who may.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from nf.errors import InputError

_DIGITS: Final = re.compile(r"[0-9]+")


def _digits(least: int, most: int) -> Callable[[str], bool]:
    return lambda value: _DIGITS.fullmatch(value) is not None and least <= len(value) <= most


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda value: compiled.fullmatch(value) is not None


def _ipv6_full(value: str) -> bool:
    """All eight groups, lower case: TS 103 280 refuses the short form."""
    return re.fullmatch(r"[0-9a-f]{4}(?::[0-9a-f]{4}){7}", value) is not None


def _ipv4(value: str) -> bool:
    try:
        return str(IPv4Address(value)) == value
    except ValueError:
        return False


_SIP: Final = r"[Ss][Ii][Pp][Ss]?:[^\s<>\"@]+@[^\s<>\"@]+"
_TEL: Final = r"[Tt][Ee][Ll]:\+?[0-9A-Fa-f*#().-]+(?:;[^\s<>\"]*)?"
_NAI: Final = r"[^\s<>\"@]+@[^\s<>\"@]+"

RULES: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "e164Number": (_digits(1, 15), "1 to 15 digits, without a plus sign"),
    "imsi": (_digits(6, 15), "6 to 15 digits"),
    "imei": (_digits(14, 14), "14 digits"),
    "sipUri": (_matches(_SIP), "sip:USER@HOST or sips:USER@HOST"),
    "telUri": (_matches(_TEL), "tel:NUMBER"),
    "impu": (_matches(f"{_SIP}|{_TEL}"), "a SIP or tel URI"),
    "nai": (_matches(_NAI), "USER@REALM"),
    "supiimsi": (_digits(6, 15), "6 to 15 digits"),
    "supinai": (_matches(_NAI), "USER@REALM"),
    "gpsiMsisdn": (_digits(1, 15), "1 to 15 digits, without a plus sign"),
    "gpsiNai": (_matches(_NAI), "USER@REALM"),
    "peiImei": (_digits(14, 14), "14 digits"),
    "peiImeisv": (_digits(16, 16), "16 digits"),
    "ipv4Address": (_ipv4, "four decimal numbers"),
    "ipv6Address": (_ipv6_full, "eight groups of four lower-case hexadecimal digits"),
}
"""Each form: X1's element name (TS 103 221-1, TargetIdentifier), whether a value is of it, and the rule in words."""

_LIID: Final = re.compile(r"[!-~]{1,25}|[0-9a-f]{26,50}")


@dataclass(frozen=True, slots=True, repr=False)
class TargetIdentifier:
    """What a target is known by. `form`: X1's element name, a key of `RULES`. Raises InputError."""

    form: str
    value: str

    def __post_init__(self) -> None:
        if self.form not in RULES:
            raise InputError("this kind of target identifier is not known", remedy=f"use one of {', '.join(RULES)}")
        good, rule = RULES[self.form]
        if not good(self.value):
            raise InputError(f"the target's {self.form} is not one", remedy=f"write {rule}")


def address_of(address: str) -> TargetIdentifier:
    """An IP address in X1's spelling, from any spelling. Raises InputError."""
    try:
        parsed = ip_address(address)
    except ValueError as error:
        raise InputError("the target's address is not one", remedy="write an IPv4 or IPv6 address") from error
    if isinstance(parsed, IPv6Address):
        return TargetIdentifier("ipv6Address", parsed.exploded)
    return TargetIdentifier("ipv4Address", str(parsed))


def check_liid(liid: str) -> str:
    """A lawful interception identifier (TS 102 232-1 clause 5.2.2): 1 to 25 characters, or 26 to 50 hexadecimal digits.

    Raises InputError.
    """
    if _LIID.fullmatch(liid) is None:
        raise InputError(
            "the LIID is not one",
            remedy="write 1 to 25 printable ASCII characters without spaces, or 26 to 50 hexadecimal digits",
        )
    return liid


def liid_octets(liid: str) -> bytes:
    """As it stands in a PS-PDU's header."""
    return bytes.fromhex(liid) if len(liid) > 25 else liid.encode("ascii")
