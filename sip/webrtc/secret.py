"""What a secret of the WebRTC edge may be. Errors never quote it."""

from __future__ import annotations

import re
from typing import Final

from nf.errors import RefusedError
from sip.kamailio.certificate import checked as checked_certificate

_SHARED: Final = re.compile(r"[A-Za-z0-9+/=_.~-]{16,128}")


def shared(value: str, where: str) -> str:
    """One of which credentials are made, without the line's end. Raises RefusedError."""
    text = value.strip()
    if _SHARED.fullmatch(text) is None:
        remedy = "write 16 to 128 letters, digits and +/=_.~- into it, such as openssl rand -base64 32 makes"
        raise RefusedError("no secret of which credentials can be made", where=where, remedy=remedy)
    return text


def certificate(value: str, where: str) -> str:
    """PEM, with its private key. Raises RefusedError."""
    return checked_certificate(value, where)
