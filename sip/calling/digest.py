"""Digest authentication of SIP (RFC 3261 section 22, RFC 8760) by HA1 alone: no password is anywhere.

The response is that of RFC 7616 section 3.4.1, and of RFC 2069 where a challenge has no qop.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from nf.errors import IdentityError, IntegrityError

_HASHES: Final = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_HA1: Final = {32: "MD5", 64: "SHA-256"}
"""Digits of an HA1 tell its algorithm."""
_PAIR: Final = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Challenge:
    """Of a WWW-Authenticate or Proxy-Authenticate. `algorithm`: upper case, MD5 where none is written."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: tuple[str, ...] = ()
    opaque: str = ""
    stale: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises IdentityError."""
        scheme, _, rest = text.strip().partition(" ")
        values: dict[str, str] = {}
        at = 0
        while at < len(rest) and (match := _PAIR.match(rest, at)) is not None:
            values[match[1].lower()] = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            at = match.end()
        if scheme.lower() != "digest" or at < len(rest) or not {"realm", "nonce"} <= values.keys():
            raise IdentityError("not a challenge for a digest", where=text[:80])
        qop = tuple(one.strip() for one in values.get("qop", "").split(",") if one.strip())
        stale = values.get("stale", "").lower() == "true"
        algorithm = values.get("algorithm", "MD5").upper()
        return cls(values["realm"], values["nonce"], algorithm, qop, values.get("opaque", ""), stale)


@dataclass(frozen=True, slots=True)
class Account:
    """Who calls: HA1 by algorithm. Shows no HA1, also not in `repr`."""

    user: str
    realm: str
    ha1: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, user: str, realm: str, password: str) -> Self:
        """For tests, and for who has a password."""
        text = f"{user}:{realm}:{password}".encode()
        return cls(user, realm, {name: make(text).hexdigest() for name, make in _HASHES.items()})

    def answer(
        self, challenges: Sequence[Challenge], method: str, uri: str, *, cnonce: str, count: int
    ) -> tuple[Challenge, str]:
        """(the challenge that is answered, the value of the Authorization): the first that we can (RFC 8760 2.4).

        Raises IdentityError when none is for us.
        """
        for challenge in challenges:
            known = challenge.realm == self.realm and challenge.algorithm in self.ha1
            if known and (not challenge.qop or "auth" in challenge.qop):
                return challenge, self._value(challenge, f"{method}:{uri}", uri, cnonce=cnonce, count=count)
        asked = ", ".join(f"{one.realm} by {one.algorithm}" for one in challenges) or "nobody"
        raise IdentityError(
            f"{self.user} has no credentials for {asked}",
            where=self.realm,
            remedy="have its line USER:DOMAIN:HA1 in the secret, with the domain as realm",
        )

    def _value(self, challenge: Challenge, a2: str, uri: str, *, cnonce: str, count: int) -> str:
        make, ha1 = _HASHES[challenge.algorithm], self.ha1[challenge.algorithm]
        ha2 = make(a2.encode()).hexdigest()
        parts = [("username", self.user), ("realm", challenge.realm), ("nonce", challenge.nonce), ("uri", uri)]
        quoted = "Digest " + ", ".join(f'{name}="{_escaped(value)}"' for name, value in parts)
        if challenge.qop:
            nc = f"{count:08x}"
            response = make(f"{ha1}:{challenge.nonce}:{nc}:{cnonce}:auth:{ha2}".encode()).hexdigest()
            quoted += f', qop=auth, nc={nc}, cnonce="{cnonce}"'
        else:
            response = make(f"{ha1}:{challenge.nonce}:{ha2}".encode()).hexdigest()
        quoted += f', response="{response}", algorithm={challenge.algorithm}'
        return quoted + (f', opaque="{_escaped(challenge.opaque)}"' if challenge.opaque else "")


def account_of(text: str, user: str, realm: str, *, where: str) -> Account:
    """Out of a secret: lines `user:domain:HA1`, one for each algorithm. Raises IntegrityError, which quotes no line."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        parts = line.strip().split(":")
        if len(parts) != 3 or (parts[0], parts[1]) != (user, realm):
            continue
        ha1 = parts[2].lower()
        if len(ha1) not in _HA1 or re.fullmatch(r"[0-9a-f]+", ha1) is None:
            break
        found[_HA1[len(ha1)]] = ha1
    if not found:
        raise IntegrityError(
            f"it has no HA1 of {user}@{realm}",
            where=where,
            remedy=f"write the line {user}:{realm}:HA1, with 32 (MD5) or 64 (SHA-256) hexadecimal digits",
        )
    return Account(user, realm, found)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
