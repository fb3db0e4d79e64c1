"""What the NOC lets through: well-formed messages about the channel that they are given to."""

from __future__ import annotations

from nf.contracts.admission import Admitted
from nf.contracts.json import JsonObject
from nf.errors import NfError
from nf.media.purge.message import PURGE, by_channel, lifetime, parse_message
from nf.trust.spiffe import SpiffeId

CHANNEL = "channel"
"""Argument of a driver: the channel that the message is about there."""


class PurgeAdmission:
    """Implements `nf.contracts.admission.Admission`."""

    name = PURGE

    def admit(self, target: str, arguments: JsonObject, now: float, *, author: str) -> Admitted:
        message = parse_message({key: value for key, value in arguments.items() if key != CHANNEL})
        message = by_channel(message, frozenset({target}))[target]
        begins, ends = lifetime(message, now)
        issued_by = message.issued_by or _operator(author)
        given = {**message.to_json(), CHANNEL: target, "expires": ends, "issued_by": issued_by}
        return Admitted(message.id, given, begins, ends)


def _operator(author: str) -> str:
    """The operator's name; empty when the NOC gives it for somebody else, such as a topic."""
    try:
        found = SpiffeId.parse(author)
    except NfError:
        return ""
    return found.name if found.kind == "operator" else ""
