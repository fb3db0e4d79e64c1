"""What `nf sip` asks of the fleet: names of operations, and of what they are done to. Pure.

Each is an operation of a driver, which planners make operations of the fleet: of one proxy, relay or media server by
its id, of a whole PoP, or of all (`EVERY`). None of them tells anything of lawful interception: rows are made of fields
that are named in `sip.kamailio.queries`, never of what a daemon happens to list.
"""

from __future__ import annotations

from typing import Final

from sip.naming import DRAIN

__all__ = (
    "CALLS",
    "CHANNEL",
    "DRAIN",
    "EVERY",
    "HANGUP",
    "HOLD_RELAYS",
    "MEDIA",
    "NODES",
    "RECORDS",
    "REGISTRATIONS",
    "RELAY_REPORT",
    "TEST_CALL",
    "TRACE",
    "TURN_CREDENTIALS",
    "WAIT_EMPTY",
)

CALLS: Final = "voice-calls"
REGISTRATIONS: Final = "voice-registrations"
HANGUP: Final = "voice-hangup"
NODES: Final = "voice-nodes"
RECORDS: Final = "voice-records"
"""Call records (CDR)."""
TRACE: Final = "voice-trace"
HOLD_RELAYS: Final = "voice-hold-relays"
RELAY_REPORT: Final = "voice-relay-report"
"""What only a relay has, and what only a proxy: of relays and of proxies."""
WAIT_EMPTY: Final = "wait-empty"
"""Of relays: until they have no call any more."""
MEDIA: Final = "voice-media"
"""Of media servers: their legs and conferences."""
TEST_CALL: Final = "voice-test-call"
TURN_CREDENTIALS: Final = "voice-turn-credentials"
"""Of TURN servers."""

EVERY: Final = "*"
"""In place of an id: all of them. Nothing can be called so."""

CHANNEL: Final = "voice"
"""Stands for a channel where test calls are told of: `nf channel show voice`, the delivery matrix."""


def pop(site: str) -> str:
    """Object of `DRAIN`: proxies of a site first, then its WebRTC gateways and TURN servers, then its media servers; of
    `WAIT_EMPTY`: its relays."""
    return f"pop:{site}"


def pop_back(site: str) -> str:
    """Object of `DRAIN` with `end`: the other way round, so that no call meets a media server that takes none."""
    return f"pop:{site}:undrain"


def site_of(name: str) -> str | None:
    """The site of a `pop` object; None for any other."""
    kind, _, site = name.partition(":")
    return site if kind == "pop" and site and ":" not in site else None
