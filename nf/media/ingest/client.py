"""Asks a running receiver what it does, and tells it to take the primary back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nf.media import answering
from nf.media.ingest.switch import Role

_FAILBACK, _STATUS = b"failback\n", b"status\n"


@dataclass(frozen=True, slots=True)
class IngestStatus:
    """`active`: whose packets go out, None before the first. `ages_s`: since the last packet of each, None = never.

    alive        who was heard within the time of detection
    last_gap_s   what nothing went out for, at the last switch; None = there was none
    receiver     what keeps the receiver of SRT or RIST from running, "" = nothing
    """

    arguments: dict[str, Any]
    active: Role | None
    switches: int
    last_gap_s: float | None
    alive: frozenset[Role]
    ages_s: dict[Role, float | None]
    sent: int
    receiver: str

    @classmethod
    def from_json(cls, data: Any) -> IngestStatus:
        """Raises KeyError, TypeError or ValueError."""
        stopped = data["receiver_restarts"] and data["receiver_pid"] is None
        return cls(
            arguments=dict(data["arguments"]),
            active=None if data["active"] is None else Role(data["active"]),
            switches=int(data["switches"]),
            last_gap_s=data["last_gap_s"],
            alive=frozenset(role for role in Role if data["feeds"][role.value]["alive"]),
            ages_s={role: data["feeds"][role.value]["age_s"] for role in Role},
            sent=int(data["sent"]),
            receiver=str(data["receiver_exit"]) if stopped else "",
        )


async def ask(path: Path) -> IngestStatus | None:
    """None when nothing answers there within a second."""
    return await _converse(path, _STATUS)


async def fail_back(path: Path) -> IngestStatus | None:
    """Ask for the primary; it is taken at its next random access point. None when nothing answers there."""
    return await _converse(path, _FAILBACK)


async def _converse(path: Path, line: bytes) -> IngestStatus | None:
    try:
        return IngestStatus.from_json(await answering.ask(path, line))
    except (ValueError, KeyError, TypeError):
        return None
