"""SPIFFE ids (SPIFFE-ID, section 2): `spiffe://<domain>/<kind>/<name>`, the only name that a certificate carries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from nf.errors import IdentityError, InputError

Kind = Literal["appliance", "noc", "operator", "officer", "element"]
"""The last two are of lawful intercept, whose trust domain and authorities are its own."""
KINDS: tuple[Kind, ...] = get_args(Kind)

_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,38}")
_URI = re.compile(r"spiffe://([^/]*)/([^/]*)/([^/]*)")


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """`domain`: the trust domain, written as a lower-case DNS name. `name`: as documents name things.

    Raises InputError when a part is not well-formed.
    """

    domain: str
    kind: Kind
    name: str

    def __post_init__(self) -> None:
        if len(self.domain) > 255 or not _DOMAIN.fullmatch(self.domain):
            raise InputError(
                "not a trust domain",
                where=repr(self.domain[:80]),
                remedy="write it as a DNS name in lower case: tv.example",
            )
        if self.kind not in KINDS:
            raise InputError("not a kind of identity", where=repr(self.kind[:80]), remedy=f"one of: {', '.join(KINDS)}")
        if not _NAME.fullmatch(self.name):
            raise InputError(
                "not a name",
                where=repr(self.name[:80]),
                remedy="start with a lower-case letter; then letters, digits, hyphens; at most 39",
            )

    def __str__(self) -> str:
        return f"spiffe://{self.domain}/{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Strict: no port, query, fragment, escape, upper case or further path. Raises IdentityError."""
        match = _URI.fullmatch(text)
        if match is None:
            raise IdentityError(
                "not a SPIFFE id of this product", where=repr(text[:200]), remedy="spiffe://<domain>/<kind>/<name>"
            )
        try:
            return cls(match[1], cast(Kind, match[2]), match[3])
        except InputError as error:
            raise IdentityError(error.message, where=repr(text[:200]), remedy=error.remedy) from error
