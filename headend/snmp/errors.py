"""What can go wrong between us and an agent.

DriverError
├── SnmpError           the agent answered with an error-status, or with something that is no answer
└── SnmpSecurityError   USM (RFC 3414) or community: one of the two sides does not accept the other
UnavailableError
└── AgentSilentError    no answer in time, all retries included
"""

from __future__ import annotations

from typing import Final

from nf.errors import DriverError, UnavailableError

ERROR_STATUS: Final = (
    "noError",
    "tooBig",
    "noSuchName",
    "badValue",
    "readOnly",
    "genErr",
    "noAccess",
    "wrongType",
    "wrongLength",
    "wrongEncoding",
    "wrongValue",
    "noCreation",
    "inconsistentValue",
    "resourceUnavailable",
    "commitFailed",
    "undoFailed",
    "authorizationError",
    "notWritable",
    "inconsistentName",
)
"""Names of error-status by number (RFC 3416 clause 3)."""


def status_name(number: int) -> str:
    """The RFC 3416 name of an error-status; `error-status N` for a number it does not know."""
    return ERROR_STATUS[number] if 0 <= number < len(ERROR_STATUS) else f"error-status {number}"


class SnmpError(DriverError):
    """An agent refused, or answered with what cannot be an answer.

    error_status   the RFC 3416 name ("wrongValue"), or "noSuchInstance" and the like where a SET was answered with an
                   exception value and error-status 0, or "malformed"
    index          which variable binding, counted from 1; 0 when the agent did not say
    oid            that binding's OID, "" when unknown
    """

    def __init__(self, error_status: str, index: int = 0, oid: str = "", *, where: str = "", remedy: str = "") -> None:
        place = f" at {oid} (binding {index})" if oid else ""
        super().__init__(f"SNMP {error_status}{place}", where=where, remedy=remedy)
        self.error_status = error_status
        self.index = index
        self.oid = oid


class SnmpSecurityError(DriverError):
    """Community, user, digest, key or time window is not accepted; never a secret in the text."""


class AgentSilentError(UnavailableError):
    """The agent did not answer in time; with v2c that is also what a wrong community looks like."""
