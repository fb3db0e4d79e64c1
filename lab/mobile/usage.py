"""What a UPF counts of a session's traffic, and how it tells (TS 29.244 clauses 5.2.2, 7.5.8.3): volume only."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.mobile.pfcp import Ie, T, first, ie, ntp, number

_VOLUME_TRIGGER, _TERMINATION = b"\2\0\0", b"\0\x08\0"
_BY_VOLUME = 0x02


class Urr:
    """A usage reporting rule. Times are of the wall clock, as on the wire; 0 is 1970, as the recorded UPF sends it."""

    __slots__ = ("bytes_", "first_at", "id", "last_at", "now", "packets", "seqn", "started_at", "threshold")

    def __init__(self, urr_id: int, now: Callable[[], float] = time.time) -> None:
        self.id = urr_id
        self.now = now
        self.threshold: int | None = None
        self.seqn = 0
        self.started_at = 0.0
        self._reset()

    def configure(self, ies: tuple[Ie, ...]) -> None:
        triggers, volume = first(ies, T.REPORTING_TRIGGERS), first(ies, T.VOLUME_THRESHOLD)
        by_volume = bool(triggers and triggers[0] & _BY_VOLUME)
        self.threshold = number(volume[1:9]) if by_volume and volume and volume[0] & 1 else None

    def _reset(self) -> None:
        self.bytes_ = [0, 0]
        self.packets = [0, 0]
        self.first_at = self.last_at = 0.0

    def count(self, size: int, direction: int) -> bool:
        """`direction`: 0 up, 1 down. True when the threshold is reached."""
        self.last_at = self.now()
        self.first_at = self.first_at or self.last_at
        self.bytes_[direction] += size
        self.packets[direction] += 1
        return self.threshold is not None and sum(self.bytes_) >= self.threshold

    def report(self, *, final: bool = False) -> bytes:
        """A usage report, from which on it counts anew."""
        at = self.now()
        up, down = self.bytes_
        volumes = b"".join(n.to_bytes(8) for n in (up + down, up, down, sum(self.packets), *self.packets))
        report = ie(
            T.USAGE_REPORT_DELETION if final else T.USAGE_REPORT_SESSION_REPORT,
            ie(T.URR_ID, self.id.to_bytes(4)),
            ie(T.UR_SEQN, self.seqn.to_bytes(4)),
            ie(T.USAGE_REPORT_TRIGGER, _TERMINATION if final else _VOLUME_TRIGGER),
            ie(T.START_TIME, ntp(self.started_at)) if self.seqn else b"",
            ie(T.END_TIME, ntp(at)),
            ie(T.VOLUME_MEASUREMENT, b"\x3f", volumes),
            ie(T.DURATION_MEASUREMENT, (int(at) - int(self.started_at)).to_bytes(4)),
            ie(T.TIME_OF_FIRST_PACKET, ntp(self.first_at)),
            ie(T.TIME_OF_LAST_PACKET, ntp(self.last_at)),
        )
        self.seqn += 1
        self.started_at = at
        self._reset()
        return report
