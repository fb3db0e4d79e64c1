"""Notifications as they are handed on, and why a datagram was not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from headend.snmp.values import Varbind


class Reason(Enum):
    """Why a datagram at the notification port did not become a notification."""

    MALFORMED = "malformed"
    UNSUPPORTED_VERSION = "unsupported-version"
    BAD_COMMUNITY = "bad-community"
    NOT_A_NOTIFICATION = "not-a-notification"
    DISCOVERY = "discovery"  # no loss: a sender of INFORMs asks for our engine, and gets it
    UNKNOWN_ENGINE = "unknown-engine"
    UNKNOWN_USER = "unknown-user"
    LOW_SECURITY_LEVEL = "low-security-level"  # less than the user's: a forgery, or a sender set up wrongly
    WRONG_DIGEST = "wrong-digest"
    NOT_IN_TIME_WINDOW = "not-in-time-window"
    CANNOT_DECRYPT = "cannot-decrypt"
    QUEUE_FULL = "queue-full"
    SOCKET_FULL = "socket-full"  # the kernel's count


@dataclass(frozen=True, slots=True)
class Drop:
    """One datagram that was not delivered, for whoever looks for the reason."""

    reason: Reason
    source: str
    at: float  # monotonic seconds
    engine_id: bytes = b""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """A TRAP or INFORM. A hint: a lost one is never repeated, so it makes a poll due and decides nothing itself.

    `oid`: snmpTrapOID.0, "" when the sender left it out; `at`: monotonic seconds; `engine_id`: v3 only.
    """

    source: str
    port: int
    oid: str
    varbinds: tuple[Varbind, ...]
    at: float
    confirmed: bool
    engine_id: bytes = b""
    user: str = ""
