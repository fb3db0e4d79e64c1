"""The association with the edge UPF, of which the proxy is a control plane of its own (TS 29.244 6.2.6, 6.2.2). No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from core5g.pfcp.wire import MessageType

HEARTBEAT_S = 2.0
AGAIN_S = 3.0
T1_S, N1 = 1.0, 2
"""Shorter than the standard's: while a dead edge goes unnoticed, what goes there is lost."""


class Phase(Enum):
    IDLE = "idle"  # nothing was asked yet, or it waits to ask again
    ASKING = "asking"  # a setup request is out
    UP = "up"
    BEATING = "beating"  # up, and a heartbeat is out


class Input(Enum):
    DUE = "due"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    SILENT = "silent"
    RELEASED = "released"  # the edge ended it, or knows of none


TABLE: dict[tuple[Phase, Input], Phase] = {
    (Phase.IDLE, Input.DUE): Phase.ASKING,
    (Phase.IDLE, Input.RELEASED): Phase.IDLE,
    (Phase.ASKING, Input.ACCEPTED): Phase.UP,
    (Phase.ASKING, Input.REFUSED): Phase.IDLE,
    (Phase.ASKING, Input.SILENT): Phase.IDLE,
    (Phase.ASKING, Input.RELEASED): Phase.ASKING,
    (Phase.UP, Input.DUE): Phase.BEATING,
    (Phase.UP, Input.RELEASED): Phase.IDLE,
    (Phase.BEATING, Input.ACCEPTED): Phase.UP,
    (Phase.BEATING, Input.SILENT): Phase.IDLE,
    (Phase.BEATING, Input.RELEASED): Phase.IDLE,
}


@dataclass(slots=True)
class EdgeLink:
    """`due_at`: when it has something to send. `why`: what is wrong, for people."""

    phase: Phase = Phase.IDLE
    due_at: float = 0.0
    why: str = "not associated yet"

    @property
    def up(self) -> bool:
        return self.phase in {Phase.UP, Phase.BEATING}

    @property
    def waiting(self) -> bool:
        return self.phase in {Phase.IDLE, Phase.UP}

    def due(self, now: float) -> MessageType | None:
        """The request that is to be sent now."""
        if not self.waiting or now < self.due_at:
            return None
        self._go(Input.DUE)
        return MessageType.ASSOCIATION_SETUP_REQUEST if self.phase is Phase.ASKING else MessageType.HEARTBEAT_REQUEST

    def take(self, given: Input, now: float, why: str = "") -> None:
        """What became of the request that is out. An answer that comes after the edge ended the association says
        nothing any more."""
        if given is not Input.RELEASED and self.waiting:
            return
        self._go(given)
        self.why = "" if self.up else (why or self.why)
        self.due_at = now + (HEARTBEAT_S if self.up else AGAIN_S)

    def _go(self, given: Input) -> None:
        self.phase = TABLE[self.phase, given]
