"""What a test call says: plain values, and JSON. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nf.contracts.json import JsonObject
from sip.calling.emodel import CODECS, estimate
from sip.calling.rtcp import Block
from sip.calling.rtp import PACKET_MS, Report

BUFFER_MS: Final = 60.0
"""Jitter buffer of the telephone that is thought of: what comes later than that is not heard."""


@dataclass(frozen=True, slots=True)
class Direction:
    """One way. `measured`: where: at the receiver here, by the far end's RTCP, or of both ways together by an echo.

    delay_ms    of the network, one way; None: not known
    loss        of the network, 0 to 1; `late`: share that came after the jitter buffer had played on
    """

    measured: str
    sent: int
    received: int
    loss: float
    late: float
    duplicates: int
    jitter_ms: float
    delay_ms: float | None
    burst_ratio: float
    r: float
    mos: float

    def to_json(self) -> JsonObject:
        return {
            "measured": self.measured,
            "sent": self.sent,
            "received": self.received,
            "loss": round(self.loss, 5),
            "late": round(self.late, 5),
            "duplicates": self.duplicates,
            "jitter_ms": round(self.jitter_ms, 3),
            "delay_ms": None if self.delay_ms is None else round(self.delay_ms, 3),
            "burst_ratio": round(self.burst_ratio, 3),
            "r": round(self.r, 2),
            "mos": round(self.mos, 2),
        }


def heard(report: Report, *, delay_ms: float | None, measured: str) -> Direction:
    """Of a receiver that is here."""
    late = report.late / report.expected if report.expected else 0.0
    return _direction(
        measured,
        (report.expected, report.received, report.duplicates),
        losses=(report.loss, late, report.burst_ratio),
        jitter_ms=report.jitter_ms,
        delay_ms=delay_ms,
    )


def told(block: Block, sent: int, *, clock_hz: int, delay_ms: float | None) -> Direction:
    """Of a receiver that says so by RTCP: bursts and lateness it does not tell."""
    lost = max(0, block.lost)
    loss = min(1.0, lost / sent) if sent else 0.0
    counts = sent, max(0, sent - lost), 0
    jitter_ms = block.jitter * 1000 / clock_hz
    return _direction("rtcp", counts, losses=(loss, 0.0, 1.0), jitter_ms=jitter_ms, delay_ms=delay_ms)


def _direction(
    measured: str,
    counts: tuple[int, int, int],
    *,
    losses: tuple[float, float, float],
    jitter_ms: float,
    delay_ms: float | None,
) -> Direction:
    loss, late, burst = losses
    ear_ms = max(0.0, delay_ms or 0.0) + PACKET_MS + BUFFER_MS
    quality = estimate(CODECS["PCMU"], delay_ms=ear_ms, loss=min(1.0, loss + late), burst_ratio=burst)
    sent, received, duplicates = counts
    return Direction(
        measured, sent, received, loss, late, duplicates, jitter_ms, delay_ms, burst, quality.r, quality.mos
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """`up`: answered, heard both ways as far as can be known, and not below the least MOS. `at`: seconds since 1970."""

    test: str
    at: float
    caller: str
    called: str
    up: bool
    text: str
    status: int = 0
    setup_ms: float | None = None
    ringing_ms: float | None = None
    seconds: float = 0.0
    call_id: str = ""
    to_called: Direction | None = None
    to_caller: Direction | None = None

    @property
    def mos(self) -> float | None:
        """Of the worse way."""
        found = [one.mos for one in (self.to_called, self.to_caller) if one is not None]
        return min(found) if found else None

    def to_json(self) -> JsonObject:
        return {
            "test": self.test,
            "at": self.at,
            "caller": self.caller,
            "called": self.called,
            "up": self.up,
            "text": self.text,
            "status": self.status,
            "setup_ms": None if self.setup_ms is None else round(self.setup_ms, 1),
            "ringing_ms": None if self.ringing_ms is None else round(self.ringing_ms, 1),
            "seconds": round(self.seconds, 2),
            "call_id": self.call_id,
            "to_called": None if self.to_called is None else self.to_called.to_json(),
            "to_caller": None if self.to_caller is None else self.to_caller.to_json(),
            "mos": None if self.mos is None else round(self.mos, 2),
        }


def describe(direction: Direction) -> str:
    delay = "" if direction.delay_ms is None else f", {direction.delay_ms:.1f} ms"
    return f"{direction.loss * 100:.1f} % lost, jitter {direction.jitter_ms:.1f} ms{delay}"
