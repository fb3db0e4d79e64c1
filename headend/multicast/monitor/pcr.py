"""Program clock references of one PID over one interval: ISO/IEC 13818-1 clause 2.4.2, TR 101 290 section 5.3.2. Pure.

jitter_us     what a receiver's clock recovery sees, network included (as PCR_OJ of TR 101 290, without its filter of
              the measuring clock): the residuals of arrival time against PCR after the best straight line (least
              squares: offset and drift of the two clocks) is taken off, highest less lowest, microseconds
accuracy_ns   how well the multiplexer stamped (as PCR_AC, which does not depend on arrival): residuals of PCR against
              the place of its packet in the stream, likewise, the greatest by amount, nanoseconds. It means something
              for a stream of constant rate only, and needs an interval without a loss
rate_bps      of the whole transport stream, by place and PCR of the first and the last

Arrival is the datagram's: PCRs of one datagram come at one time, which shows as jitter of up to a datagram's duration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headend.multicast.monitor.arrays import Floats, Ints
from headend.transport.packet import PACKET_SIZE, PCR_HZ, PCR_MODULUS

_FEWEST = 3
_LONGEST_GAP = 10 * PCR_HZ
"""TR 101 290 allows 100 ms; a step beyond this is another time base, or the same one set anew."""


@dataclass(frozen=True, slots=True)
class PcrFigures:
    """None where there are fewer than 3 PCRs of one time base."""

    jitter_us: float | None = None
    accuracy_ns: float | None = None
    rate_bps: float | None = None


def unwrap(pcr: Ints) -> Ints | None:
    """27 MHz ticks from the first one on, across the wrap at 2^33 x 300; None where they leap."""
    steps = np.diff(pcr) % PCR_MODULUS
    if (steps > _LONGEST_GAP).any():
        return None
    return np.append(0, np.cumsum(steps))


def figures(pcr: Ints, at_ns: Ints, position: Ints, *, lossless: bool = True) -> PcrFigures:
    """`pcr`: 27 MHz ticks; `at_ns`: arrival; `position`: number of the TS packet in the flow; all in order."""
    ticks = unwrap(pcr) if len(pcr) >= _FEWEST else None
    if ticks is None or not ticks[-1]:
        return PcrFigures()
    jitter = _residuals(ticks / PCR_HZ, (at_ns - at_ns[0]) / 1e9)
    accuracy = None
    span = int(position[-1] - position[0])
    if lossless and span > 0:
        accuracy = float(np.abs(_residuals((position - position[0]).astype(np.float64), ticks / PCR_HZ)).max()) * 1e9
    rate = span * PACKET_SIZE * 8 * PCR_HZ / float(ticks[-1])
    return PcrFigures(float(np.ptp(jitter)) * 1e6, accuracy, rate)


def _residuals(x: Floats, y: Floats) -> Floats:
    """Of the least-squares line through (x, y)."""
    x, y = x - x.mean(), y - y.mean()
    square = float(x @ x)
    slope = float(x @ y) / square if square else 0.0
    found: Floats = y - slope * x
    return found
