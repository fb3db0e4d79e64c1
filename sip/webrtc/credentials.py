"""Credentials that expire by themselves, for browsers: made by whoever knows the secret, checked without a list. Pure.

TURN: user name `expiry:user`, password its HMAC-SHA1 (draft-uberti-behave-turn-rest-00 section 2.2).
Janus: a token `expiry,janus,plugin...:HMAC-SHA1` (its documentation, "Signed tokens").
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from nf.documents.model import RuleError

REALM: Final = "janus"
_LONGEST: Final = 400
"""Bytes of a user name; STUN allows 508 (RFC 8489 section 14.3), with the time before it."""


@dataclass(frozen=True, slots=True)
class TurnCredentials:
    """The password shows nowhere, also not in `repr`. `until`: seconds since the epoch."""

    username: str
    password: str = field(repr=False)
    until: int


def turn_credentials(secret: str, user: str, until: float) -> TurnCredentials:
    """`until`: seconds since the epoch; allocations that exist then go on. Raises RuleError for a user that is none."""
    if not user or len(user.encode()) > _LONGEST or not user.isprintable() or ":" in user:
        rule = f"a user of TURN is 1 to {_LONGEST} printable bytes without a colon"
        raise RuleError(rule, "write it as alice, or as whatever the application calls the session")
    username = f"{int(until)}:{user}"
    digest = hmac.digest(secret.encode(), username.encode(), hashlib.sha1)
    return TurnCredentials(username, base64.b64encode(digest).decode(), int(until))


def janus_token(secret: str, plugins: Iterable[str], until: float) -> str:
    """`plugins`: short names, as in the document, that its holder may use until then. Raises RuleError."""
    named = sorted({*plugins})
    if not named or any(not name.isalnum() for name in named):
        raise RuleError("a token is good for one plugin or more", "name them as the gateway's `plugins` does")
    stated = ",".join((str(int(until)), REALM, *(f"janus.plugin.{name}" for name in named)))
    digest = hmac.digest(secret.encode(), stated.encode(), hashlib.sha1)
    return f"{stated}:{base64.b64encode(digest).decode()}"
