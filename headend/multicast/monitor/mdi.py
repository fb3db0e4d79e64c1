"""The Media Delivery Index: RFC 4445. Pure.

Delay factor (section 3.1): a virtual buffer takes each packet's media octets as they come and is drained at the media
rate all along. Its span, in time at that rate, is what a receiver's buffer must hold:

    DF = (max(VB) - min(VB)) / MR,   VB(i, pre) = sum of S up to i-1, less MR * T(i);   VB(i, post) = VB(i, pre) + S(i)

The RFC's media rate is nominal. Here it is measured, since a reserved rate above the stream's own would show as delay:
by the stream's PCRs where it has them, else as the mean of the interval. T(i) counts from the interval's begin; where
packets came before, the buffer stands at 0 at the last of them, so that a gap across the boundary is seen in full.

Media loss rate (section 3.2): media packets (TS packets, without null packets) that were lost or came out of order in
the interval, by the second.
"""

from __future__ import annotations

import numpy as np

from headend.multicast.monitor.arrays import Ints

NS = 1_000_000_000


def delay_factor_ms(at_ns: Ints, size: Ints, rate_bps: float, since_ns: int) -> float:
    """`at_ns`, `size`: of the interval's packets, in order, sizes in media octets. `rate_bps`: media rate, bit/s.
    `since_ns`: when the virtual buffer is empty: the last packet before, or the interval's begin. 0 without packets
    or rate."""
    if not len(at_ns) or rate_bps <= 0:
        return 0.0
    rate = rate_bps / 8
    drained = rate * (at_ns - since_ns) / NS
    post = np.cumsum(size) - drained
    pre = post - size
    return float(max(post.max(), pre.max(), 0.0) - min(pre.min(), post.min(), 0.0)) / rate * 1000


def mean_rate_bps(at_ns: Ints, size: Ints) -> float:
    """Of the interval's packets between the first and the last of them, which marks the end; 0 for fewer than two."""
    if len(at_ns) < 2 or at_ns[-1] <= at_ns[0]:
        return 0.0
    return float(size[:-1].sum() * 8 * NS / (at_ns[-1] - at_ns[0]))


def media_loss_rate(lost: int, reordered: int, seconds: float) -> float:
    """Media packets by the second."""
    return max(0, lost + reordered) / seconds if seconds > 0 else 0.0
