"""From X1's target identifiers to what observation points match, and back. Pure.

    form                        sip                 core5g
    e164Number                  tel:+NUMBER         msisdn-NUMBER (GPSI)
    gpsiMsisdn, gpsiNai                             msisdn-NUMBER, extid-USER@DOMAIN (GPSI)
    sipUri, telUri, impu        as it is
    imsi, supiimsi, supinai                         imsi-NUMBER, nai-NAI (SUPI)
    imei, peiImei, peiImeisv                        imei-NUMBER with its check digit, imeisv-NUMBER (PEI)
    nai                                             nai-NAI (SUPI), extid-NAI (GPSI): it does not say which it is
    ipv4Address, ipv6Address                        the session that has it, an IPv6 address by its /64

Identifiers of a task are alternatives: each has to be matched by a point here, or the task is refused as a whole. A
point that knows another kind of identity is not asked; nothing is matched by something narrower or wider.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from lawful_intercept.identifiers import TargetIdentifier, address_of
from nf.contracts.interception import Identity, IdentityKind
from nf.errors import InputError

DEFAULTS: Final[Mapping[str, frozenset[IdentityKind]]] = {
    "sip": frozenset({IdentityKind.SIP_URI, IdentityKind.TEL_URI}),
    "core5g": frozenset({IdentityKind.SUPI, IdentityKind.GPSI, IdentityKind.PEI, IdentityKind.UE_ADDRESS}),
}
"""What a point is known to match before it has said so itself."""

_LEAST_MSISDN: Final = 5


def check_digit(imei: str) -> str:
    """Of 14 digits (TS 23.003 annex B)."""
    total = 0
    for place, digit in enumerate(map(int, imei)):
        doubled = digit * 2 if place % 2 else digit
        total += doubled // 10 + doubled % 10
    return str(-total % 10)


def _tel_uri(value: str) -> tuple[Identity, ...]:
    return (Identity(IdentityKind.TEL_URI, value),)


def _sip_uri(value: str) -> tuple[Identity, ...]:
    return (Identity(IdentityKind.SIP_URI, value),)


def _public(value: str) -> tuple[Identity, ...]:
    return _tel_uri(value) if value[:4].lower() == "tel:" else _sip_uri(value)


def _msisdn(value: str) -> tuple[Identity, ...]:
    return (Identity(IdentityKind.GPSI, f"msisdn-{value}"),) if len(value) >= _LEAST_MSISDN else ()


def _supi(value: str) -> tuple[Identity, ...]:
    return (Identity(IdentityKind.SUPI, f"imsi-{value}"),)


def _imei(value: str) -> tuple[Identity, ...]:
    return (Identity(IdentityKind.PEI, f"imei-{value}{check_digit(value)}"),)


def _nai(value: str) -> tuple[Identity, ...]:
    return (Identity(IdentityKind.SUPI, f"nai-{value}"),)


def _external(value: str) -> tuple[Identity, ...]:
    return (Identity(IdentityKind.GPSI, f"extid-{value}"),)


def _address(value: str) -> tuple[Identity, ...]:
    return (Identity(IdentityKind.UE_ADDRESS, str(ip_address(value))),)


_FORMS: Final[Mapping[str, Callable[[str], tuple[Identity, ...]]]] = {
    "e164Number": lambda value: (*_tel_uri(f"tel:+{value}"), *_msisdn(value)),
    "telUri": _tel_uri,
    "sipUri": _sip_uri,
    "impu": _public,
    "gpsiMsisdn": _msisdn,
    "gpsiNai": _external,
    "imsi": _supi,
    "supiimsi": _supi,
    "supinai": _nai,
    "nai": lambda value: (*_nai(value), *_external(value)),
    "imei": _imei,
    "peiImei": _imei,
    "peiImeisv": lambda value: (Identity(IdentityKind.PEI, f"imeisv-{value}"),),
    "ipv4Address": _address,
    "ipv6Address": _address,
}


def identities_of(target: TargetIdentifier) -> tuple[Identity, ...]:
    """In the spellings of all points that there may be; empty where none matches this form."""
    known = _FORMS.get(target.form)
    return known(target.value) if known is not None else ()


class UnmatchableError(InputError):
    """A target identifier that no point here matches: X1's error 3010."""


@dataclass(frozen=True, slots=True, repr=False)
class Sought:
    """One identifier of a task, as one point is asked for it."""

    target: TargetIdentifier
    identity: Identity


def planned(
    targets: Iterable[TargetIdentifier], points: Mapping[str, frozenset[IdentityKind]]
) -> dict[str, tuple[Sought, ...]]:
    """Whom each point is asked for. `points`: which kinds each of them matches.

    Raises UnmatchableError, which says no more than that.
    """
    found: dict[str, list[Sought]] = {name: [] for name in points}
    for target in targets:
        matched = False
        for identity in identities_of(target):
            for name, kinds in points.items():
                if identity.kind not in kinds:
                    continue
                matched = True
                if all(one.identity != identity for one in found[name]):
                    found[name].append(Sought(target, identity))
        if not matched:
            raise UnmatchableError("a target identifier is of a kind that no point here matches")
    return {name: tuple(listed) for name, listed in found.items() if listed}


_BACK: Final = (
    (IdentityKind.SUPI, r"imsi-([0-9]{6,15})", "supiimsi"),
    (IdentityKind.SUPI, r"nai-(.+)", "supinai"),
    (IdentityKind.GPSI, r"msisdn-([0-9]{1,15})", "gpsiMsisdn"),
    (IdentityKind.GPSI, r"extid-(.+)", "gpsiNai"),
    (IdentityKind.PEI, r"imei-([0-9]{14})[0-9]?", "peiImei"),
    (IdentityKind.PEI, r"imeisv-([0-9]{16})", "peiImeisv"),
    (IdentityKind.SIP_URI, r"(.+)", "sipUri"),
    (IdentityKind.TEL_URI, r"(.+)", "telUri"),
)


def target_of(identity: Identity) -> TargetIdentifier | None:
    """What else a target is known by, as X1 writes it; None for what X1 cannot write."""
    if identity.kind is IdentityKind.UE_ADDRESS:
        try:
            return address_of(identity.value)
        except InputError:
            return None
    for kind, pattern, form in _BACK:
        match = re.fullmatch(pattern, identity.value) if kind is identity.kind else None
        if match is not None:
            try:
                return TargetIdentifier(form, match[1])
            except InputError:
                return None
    return None
