"""What the proxy's fragment `interception.cfg` puts into its queue. Sans-IO; whoever calls has written parts of it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

WORDS: Final = frozenset({"invite", "reply", "request", "failed", "end", "register", "expired"})
_FIELDS: Final = 9
_ROLES: Final = frozenset("cdr")


@dataclass(frozen=True, slots=True, repr=False)
class Told:
    """role: c calls, d is called, r registers; `number`: of what was sought; `count`: how often it was told of."""

    role: str
    number: int
    count: int


@dataclass(frozen=True, slots=True, repr=False)
class Item:
    """call_id, from_tag  of the INVITE that began the call
    relay     the proxy's number for the relay that has the media; None: none yet
    code      of a reply, of a call's failure; seconds of a call that has ended; what a registration did
    octets    of the message as it came; `length`: how many they were
    """

    what: str
    told: tuple[Told, ...]
    at: float
    relay: int | None
    source: str
    code: int
    call_id: str
    from_tag: str
    length: int
    octets: bytes


def read_item(key: str, value: str) -> Item:
    """Raises ValueError for what is none."""
    fields = value.split(";")
    if len(fields) != _FIELDS or key not in WORDS:
        raise ValueError("no item")
    told, at, relay, source, code, call_id, from_tag, length, octets = fields
    return Item(
        what=key,
        told=tuple(_told(one) for one in told.split("|") if one),
        at=float(at),
        relay=read_relay(relay),
        source="" if "<null>" in source else source,
        code=int(code) if code.lstrip("-").isdecimal() else 0,
        call_id=_text(call_id),
        from_tag=_text(from_tag),
        length=int(length),
        octets=_octets(octets),
    )


def read_relay(text: str) -> int | None:
    """`NUMBER|NAME` of the proxy's dialogs."""
    number = text.partition("|")[0]
    return int(number) if number.isascii() and number.isdecimal() else None


def _told(text: str) -> Told:
    head, _, count = text.partition(":")
    if head[:1] not in _ROLES:
        raise ValueError("no role")
    return Told(head[0], int(head[1:]), int(count))


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def _text(text: str) -> str:
    return _octets(text).decode(errors="surrogateescape")
