"""Whether this machine's clock is right, and by what: a warrant begins and ends by it, and products carry its time.

The kernel knows whether somebody steers its clock (adjtimex(2): chrony, ntpd, phc2sys tell it); who does is asked of
chrony or systemd-timesyncd. What is not known counts as wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from nf.errors import RefusedError

LIMIT_S: Final = 0.1
_TIME_ERROR: Final = 5
_STA_UNSYNC: Final = 0x40
_STA_NANO: Final = 0x2000
_TIMESYNCD: Final = Path("/run/systemd/timesync/synchronized")
_ASK_S: Final = 2.0
_CHRONY_FIELDS: Final = 14


@dataclass(frozen=True, slots=True)
class ClockState:
    """synchronised  None: nobody can say
    offset_s         what the clock is believed to be off, as its steerer has it last
    error_s          the most that it can be off
    source           "chrony 10.0.0.1 stratum 2", "kernel", ...; "assumed" where settings say so
    assumed          nothing proves it; settings say that it be believed
    """

    synchronised: bool | None
    offset_s: float | None
    error_s: float | None
    source: str
    assumed: bool = False

    def within(self, limit_s: float) -> bool:
        """Fail closed: what is not known is not within."""
        if self.assumed:
            return True
        # The largest error grows with every second without a measurement; the offset is what was measured.
        return self.synchronised is True and self.offset_s is not None and abs(self.offset_s) <= limit_s

    def __str__(self) -> str:
        if self.assumed:
            return "assumed to be right, as the settings say"
        if self.synchronised is None:
            return "not known"
        offset = "unknown offset" if self.offset_s is None else f"offset {self.offset_s * 1000:+.3f} ms"
        return f"{'synchronised' if self.synchronised else 'not synchronised'} by {self.source}, {offset}"


class _Timex(ctypes.Structure):
    """struct timex (adjtimex(2))."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("fraction", ctypes.c_long),
        ("tick", ctypes.c_long),
        ("rest", ctypes.c_byte * 160),
    )


def kernel() -> ClockState:
    """What adjtimex(2) says."""
    read = _Timex()
    result = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(read))
    if result < 0:
        return ClockState(None, None, None, "kernel")
    return _kernel(result, read.status, read.offset, read.maxerror, read.esterror)


def _kernel(result: int, status: int, offset: int, max_error_us: int, error_us: int) -> ClockState:
    steered = result != _TIME_ERROR and not status & _STA_UNSYNC
    phase_s = offset / (1e9 if status & _STA_NANO else 1e6)
    # chrony leaves the phase at 0 and writes what it estimates into the error.
    return ClockState(steered, max(abs(phase_s), error_us / 1e6), max_error_us / 1e6, "kernel")


def chrony() -> ClockState | None:
    """What `chronyc tracking` says; None where there is no chrony."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        ran = subprocess.run(
            ["chronyc", "-n", "-c", "tracking"], capture_output=True, text=True, timeout=_ASK_S, check=True
        )
        return read_tracking(ran.stdout)
    return None


def read_tracking(text: str) -> ClockState | None:
    """The one line of chronyc(1) in CSV: reference, address, stratum, time, offset, ..., delay, dispersion, leap."""
    fields = text.strip().split(",")
    if len(fields) != _CHRONY_FIELDS:
        return None
    try:
        stratum, offset_s = int(fields[2]), float(fields[4])
        error_s = float(fields[10]) / 2 + float(fields[11])
    except ValueError:
        return None
    return ClockState(fields[13] != "Not synchronised", offset_s, error_s, f"chrony {fields[1]} stratum {stratum}")


def timesyncd() -> ClockState | None:
    """systemd-timesyncd says that it has set the clock, and nothing more; None where it has not."""
    return ClockState(True, None, None, "systemd-timesyncd") if _TIMESYNCD.exists() else None


def measured() -> ClockState:
    """The kernel's word, with who steers it where that is known. Blocks for up to two seconds."""
    found, steerer = kernel(), chrony() or timesyncd()
    if steerer is None:
        return found
    if steerer.offset_s is None:
        return replace(found, source=steerer.source)
    # Who steers may have lost its source while the kernel goes on in good faith, and the other way round.
    both = found.synchronised and steerer.synchronised
    return replace(steerer, synchronised=both)


class TimeSync:
    """`read`: how the clock is judged; tests and laboratories put another in its place."""

    def __init__(
        self, read: Callable[[], ClockState] = measured, *, assumed: bool = False, limit_s: float = LIMIT_S
    ) -> None:
        self._read, self._assumed, self._limit_s = read, assumed, limit_s

    async def state(self) -> ClockState:
        """What does not answer is not known."""
        if self._assumed:
            return ClockState(None, None, None, "assumed", assumed=True)
        try:
            return await asyncio.to_thread(self._read)
        except Exception:  # noqa: BLE001 - whatever fails, the clock is not known
            return ClockState(None, None, None, "unknown")

    async def require(self) -> ClockState:
        """Raises RefusedError when the clock is not known to be right."""
        found = await self.state()
        if not found.within(self._limit_s):
            remedy = "see `chronyc tracking`; a laboratory may set clock.assumed"
            raise RefusedError("this machine's clock is not known to be right", where=str(found), remedy=remedy)
        return found
