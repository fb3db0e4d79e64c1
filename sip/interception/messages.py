"""SIP messages as an observation point hands them on (RFC 3261). Sans-IO; what is no SIP passes as it is."""

from __future__ import annotations

import re
from typing import Final

_CREDENTIALS: Final = re.compile(
    rb"^(?:proxy-)?authorization[ \t]*:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*\r?\n", re.IGNORECASE | re.MULTILINE
)
_END: Final = re.compile(rb"\r?\n\r?\n")


def stripped(octets: bytes) -> bytes:
    """Without credentials: they are no communication, and would be enough to find a bad password."""
    end = _END.search(octets)
    head = octets[: end.start() + 2] if end else octets
    return _CREDENTIALS.sub(b"", head) + octets[len(head) :]


def header(octets: bytes, name: str, short: str = "") -> str:
    """The first of that name, unfolded; "" when there is none."""
    end = _END.search(octets)
    head = octets[: end.start() + 2] if end else octets
    names = "|".join(re.escape(one) for one in (name, short) if one)
    found = re.search(
        rf"^(?:{names})[ \t]*:[ \t]*([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)".encode(), head, re.IGNORECASE | re.MULTILINE
    )
    return re.sub(r"\s+", " ", found[1].decode(errors="replace")).strip() if found else ""


def uri_of(value: str) -> str:
    """Of a header such as From: the URI without display name and parameters."""
    found = re.search(r"<([^<>]*)>", value)
    return (found[1] if found else value.partition(";")[0]).strip()


def request_uri(octets: bytes) -> str:
    words = octets.partition(b"\n")[0].split()
    return words[1].decode(errors="replace") if len(words) == 3 and words[2].startswith(b"SIP/") else ""


def method(octets: bytes) -> str:
    """Of a request, or of the request that a reply belongs to."""
    return header(octets, "cseq").rpartition(" ")[2].upper()


def describes_media(octets: bytes) -> bool:
    return header(octets, "content-type", "c").lower().startswith(("application/sdp", "multipart/"))
