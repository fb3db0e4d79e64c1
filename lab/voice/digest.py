"""Digest authentication: RFC 8760, RFC 7616, as SIP uses it (RFC 3261 section 22)."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

ALGORITHMS: Final = {"md5": hashlib.md5, "sha-256": hashlib.sha256}


def fields(value: str) -> dict[str, str]:
    """Of a challenge, or of credentials."""
    found = re.findall(r'([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', value.partition(" ")[2])
    return {name.lower(): quoted or plain for name, quoted, plain in found}


def _hashed(algorithm: str, *parts: str) -> str:
    return ALGORITHMS[algorithm](":".join(parts).encode()).hexdigest()


def response(method: str, password: str, given: dict[str, str], *, ha1: str = "") -> str:
    """What the field `response` must be. `given`: the other fields of the credentials; `ha1` in place of a password.

    Raises KeyError where a field or the algorithm is not known.
    """
    algorithm = given.get("algorithm", "md5").lower()
    ha1 = ha1 or _hashed(algorithm, given["username"], given["realm"], password)
    ha2 = _hashed(algorithm, method, given["uri"])
    if "qop" in given:
        return _hashed(algorithm, ha1, given["nonce"], given["nc"], given["cnonce"], given["qop"], ha2)
    return _hashed(algorithm, ha1, given["nonce"], ha2)


def answer(challenge: str, method: str, uri: str, user: str, password: str) -> str:
    """The header's value for a challenge's. Raises KeyError as `response` does."""
    asked = fields(challenge)
    given = {"username": user, "realm": asked["realm"], "nonce": asked["nonce"], "uri": uri}
    given["algorithm"] = asked.get("algorithm", "MD5")
    if "opaque" in asked:
        given["opaque"] = asked["opaque"]
    if "auth" in asked.get("qop", "").replace(" ", "").split(","):
        given |= {"qop": "auth", "nc": "00000001", "cnonce": secrets.token_hex(8)}
    given["response"] = response(method, password, given)
    bare = {"algorithm", "qop", "nc"}
    return "Digest " + ", ".join(
        f"{name}={value}" if name in bare else f'{name}="{value}"' for name, value in given.items()
    )
