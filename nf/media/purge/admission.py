"""What the NOC lets through: well-formed messages about the channel that they are given to."""

from __future__ import annotations

from nf.contracts.admission import Admitted
from nf.contracts.json import JsonObject
from nf.media.purge.message import PURGE, by_channel, lifetime, parse_message

CHANNEL = "channel"
"""Argument of a driver: the channel that the message is about there."""


class PurgeAdmission:
    """Implements `nf.contracts.admission.Admission`."""

    name = PURGE

    def admit(self, target: str, arguments: JsonObject, now: float) -> Admitted:
        message = parse_message({key: value for key, value in arguments.items() if key != CHANNEL})
        message = by_channel(message, frozenset({target}))[target]
        begins, ends = lifetime(message, now)
        given = {**message.to_json(), CHANNEL: target, "expires": ends}
        return Admitted(message.id, given, begins, ends)
