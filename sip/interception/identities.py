"""Identities of targets, and by which keys a proxy finds them in a message. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from nf.contracts.interception import Identity, IdentityKind

IDENTITIES: Final = (IdentityKind.SIP_URI, IdentityKind.TEL_URI)
_SEPARATORS: Final = str.maketrans("", "", "-.()")


def account(identity: Identity) -> str:
    """`USER@DOMAIN` of a SIP or SIPS URI (RFC 3261 section 19.1), without password, port and parameters; "" else."""
    match = re.fullmatch(
        r"sips?:([^@:;?\s|]+)(?::[^@\s]*)?@(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d+)?(?:[;?]\S*)?",
        identity.value,
        re.IGNORECASE,
    )
    return f"{match[1]}@{match[2].lower()}" if match and identity.kind is IdentityKind.SIP_URI else ""


def number(identity: Identity) -> str:
    """Of a tel URI (RFC 3966): its digits, with the + of a global one, without visual separators; "" else."""
    match = re.fullmatch(r"tel:(\+?[0-9A-Fa-f*#().-]+)(?:;\S*)?", identity.value, re.IGNORECASE)
    if match is None or identity.kind is not IdentityKind.TEL_URI:
        return ""
    digits = match[1].translate(_SEPARATORS)
    return digits if re.fullmatch(r"\+?[0-9A-Fa-f*#]+", digits) else ""


def matchable(identity: Identity) -> bool:
    return bool(account(identity) or number(identity))


def keys(identity: Identity, numbers: Mapping[str, str]) -> tuple[str, ...]:
    """Whatever leads to the same subscriber is sought: an account has its numbers, a number its account.

    A number is sought with and without its +: networks write both.
    """
    name, digits = account(identity), number(identity)
    if not name and not digits:
        return ()
    if not name:
        name = next((numbers[one] for one in _spelled(digits) if one in numbers), "")
    listed = {digits, *(one for one, owner in numbers.items() if name and owner == name)} - {""}
    found = [name] if name else []
    for one in sorted(listed):
        found += [spelling for spelling in _spelled(one) if spelling not in found]
    return tuple(found)


def spellings(identity: Identity) -> tuple[str, ...]:
    """Of a number, as the proxy's table may have it."""
    digits = number(identity)
    return _spelled(digits) if digits else ()


def _spelled(digits: str) -> tuple[str, ...]:
    """A short number is what it is; from seven digits on it may be E.164."""
    bare = digits.removeprefix("+")
    return (f"+{bare}", bare) if digits.startswith("+") or len(bare) > 6 else (digits,)


def known(identity: Identity, found: Iterable[str]) -> tuple[Identity, ...]:
    """All of whom it is about, the matched one first. `found`: keys."""
    listed = [identity]
    for key in found:
        one = Identity(IdentityKind.SIP_URI, f"sip:{key}") if "@" in key else _tel(key)
        if one is not None and one not in listed:
            listed.append(one)
    return tuple(listed)


def _tel(key: str) -> Identity | None:
    return Identity(IdentityKind.TEL_URI, f"tel:{key}") if key.startswith("+") else None
