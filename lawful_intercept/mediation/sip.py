"""What the IRI rules need of a SIP message (RFC 3261): its first line, Call-ID, CSeq and tags. Sans-IO, bounded.

Messages come from other people's terminals: whatever cannot be read raises SipError and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from nf.errors import InputError

_HEAD: Final = 64 << 10
"""Octets of a message in which its header fields are sought."""
_LONGEST: Final = 1024
_TOKEN: Final = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]{1,64}")
_REPLY: Final = re.compile(rb"SIP/2\.0[ \t]+([1-6][0-9]{2})(?:[ \t]|\Z)")
_CSEQ: Final = re.compile(rb"([0-9]{1,10})[ \t]+([A-Za-z0-9\-.!%*_+`'~]{1,64})[ \t]*")
_TAG: Final = re.compile(rb";[ \t]*tag[ \t]*=[ \t]*([^\s;,<>\"]{1,256})", re.IGNORECASE)
_NAMES: Final = {
    b"call-id": "call",
    b"i": "call",
    b"cseq": "cseq",
    b"from": "from",
    b"f": "from",
    b"to": "to",
    b"t": "to",
}
_BODY: Final = re.compile(rb"\r?\n\r?\n")
_TYPE: Final = re.compile(rb"^(?:content-type|c)[ \t]*:[ \t]*([^\s;]+)", re.IGNORECASE | re.MULTILINE)
_KEYS: Final = re.compile(rb"^(?:a=(?:crypto|key-mgmt):|k=)[^\n]*\n?", re.IGNORECASE | re.MULTILINE)


class SipError(InputError):
    """No SIP message that could be understood."""


@dataclass(frozen=True, slots=True, repr=False)
class SipMessage:
    """method  of a request, or of the request that a reply answers (CSeq), in capitals
    status  of a reply; 0: it is a request
    tags    of From and To, "" where there is none
    """

    method: str
    status: int
    call_id: str
    number: int
    from_tag: str
    to_tag: str


def read(octets: bytes) -> SipMessage:
    """Raises SipError."""
    first, fields = _fields(octets)
    status = 0
    reply = _REPLY.match(first)
    if reply:
        status = int(reply[1])
    else:
        words = first.split()
        if len(words) != 3 or words[2] != b"SIP/2.0" or _TOKEN.fullmatch(words[0]) is None:
            raise SipError("the first line is neither a SIP request's nor a reply's")
    sequence = _CSEQ.fullmatch(fields.get("cseq", b""))
    if sequence is None or int(sequence[1]) > 0xFFFFFFFF:
        raise SipError("there is no CSeq")
    method = sequence[2].decode("ascii").upper()
    if not reply and first.split()[0].decode("ascii").upper() != method:
        raise SipError("the CSeq is of another method")
    if not fields.get("call"):
        raise SipError("there is no Call-ID")
    return SipMessage(
        method=method,
        status=status,
        call_id=fields["call"].decode("utf-8", "surrogateescape"),
        number=int(sequence[1]),
        from_tag=_tag(fields.get("from", b"")),
        to_tag=_tag(fields.get("to", b"")),
    )


def without_content(octets: bytes) -> bytes:
    """The message as a warrant without content may have it: with a session description, and with no other body.

    Addresses and codecs of media are signalling; keys to media (`a=crypto`, `k=`, MIKEY) are not. Header fields stay as
    they were on the wire, Content-Length too: it says how much there was.
    """
    end = _BODY.search(octets)
    if end is None:
        return octets
    head = octets[: end.end()]
    found = _TYPE.search(head)
    if found is None or found[1].lower() != b"application/sdp":
        return head
    return head + _KEYS.sub(b"", octets[end.end() :])


def _fields(octets: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The first line, and the first field of each name that is needed, unfolded."""
    head = octets[:_HEAD].lstrip(b"\r\n")
    end = _BODY.search(head)
    lines = (head[: end.start()] if end else head).split(b"\n")
    found: dict[str, bytes] = {}
    name = ""
    for raw in lines[1:]:
        line = raw.rstrip(b"\r")
        if line[:1] in b" \t" and line:
            if name and len(found[name]) < _LONGEST:
                found[name] += b" " + line.strip()
            continue
        key, colon, value = line.partition(b":")
        name = _NAMES.get(key.strip().lower(), "") if colon else ""
        if name in found:
            name = ""
        elif name:
            found[name] = value.strip()
    if any(len(value) > _LONGEST for value in found.values()):
        raise SipError("a header field is too long to be one")
    return lines[0].rstrip(b"\r")[:_HEAD], found


def _tag(field: bytes) -> str:
    """The tag of a From or To field: parameters stand behind the URI's bracket."""
    bare = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", field)
    found = _TAG.search(bare.rpartition(b">")[2])
    return found[1].decode("utf-8", "surrogateescape") if found else ""
