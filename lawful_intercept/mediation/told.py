"""What points say that is no SIP message: events of TS 33.128, and our own points' words for what has no standard form.

Those are JSON, `{"event": kind, ...}`, marked by the proprietary attribute (TS 103 221-2 clause 5.3.5). Pure, bounded.
"""

from __future__ import annotations

import json
from typing import Final

from lawful_intercept.handover import threegpp
from lawful_intercept.handover.reading import choice, fields, need, one
from lawful_intercept.handover.values import IriType

OWNER: Final = b"StreamVerse"
"""Of the attribute."""
_ACTIVE_CALL: Final = 0xBF6A
"""Tag of startOfInterceptionForActiveIMSSession in XIRIEvent (release 17)."""
_LONGEST: Final = 255
"""Octets of an operatorLeaMessage."""


def ends_call(payload: bytes) -> bool:
    """It ended without signalling that says so, or after a refusal that every branch gave."""
    return _event(payload) == "session-end"


def text(payload: bytes) -> str:
    """For an operatorLeaMessage: as it came, cut to what one holds."""
    found = payload[:_LONGEST].decode("utf-8", "ignore")
    return "".join(one if one.isprintable() else "?" for one in found) or "?"


def iri_type(xiri: bytes) -> IriType:
    """What an event says of its session by itself; a call that was there when interception began is one as well.

    Raises PduError.
    """
    return IriType.BEGIN if is_call(xiri) else threegpp.iri_type(xiri)


def is_call(xiri: bytes) -> bool:
    """Raises PduError."""
    tag, _ = choice(need(fields(one(xiri, 0x30)), 0xA2))
    return tag == _ACTIVE_CALL


def _event(payload: bytes) -> str:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    return str(found.get("event", "")) if isinstance(found, dict) else ""
