"""All watched flows: batches of packets in, figures of each interval out. Pure: time is that of the packets.

An interval's figures are those of its own packets; losses are seen when the packet behind them comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from headend.multicast.monitor.arrays import Flags, Ints, Words
from headend.multicast.monitor.continuity import ContinuityBank
from headend.multicast.monitor.mdi import NS, delay_factor_ms, mean_rate_bps, media_loss_rate
from headend.multicast.monitor.packets import Packets, big_endian
from headend.multicast.monitor.pcr import PcrFigures, figures
from headend.multicast.monitor.sequence import SequenceMeter
from headend.transport.packet import PACKET_SIZE

_SYNC = 0x47
_WORDS = PACKET_SIZE // 4
_USUAL = 7
"""TS packets of a datagram, as long as no other number has been seen."""


@dataclass(frozen=True, slots=True)
class FlowFigures:
    """Totals since the monitor began, then figures of the last whole interval.

    packets, octets     UDP datagrams and their payload; ts_packets among them
    lost ... restarts   of the RTP sequence (see `sequence`); 0 without RTP
    continuity_errors   TR 101 290 check 1.4; ts_missing: TS packets that they stand for, at most 15 an error
    bad_packets         places in datagrams where a TS packet should begin and 0x47 does not stand
    last_ns             arrival of the last packet, since the epoch; None: none has come
    media_loss_rate     RFC 4445, TS packets per second: lost and out of order
    delay_factor_ms     RFC 4445
    """

    packets: int = 0
    octets: int = 0
    ts_packets: int = 0
    lost: int = 0
    reordered: int = 0
    duplicates: int = 0
    restarts: int = 0
    continuity_errors: int = 0
    ts_missing: int = 0
    bad_packets: int = 0
    last_ns: int | None = None
    interval_packets: int = 0
    bitrate_bps: float = 0.0
    media_loss_rate: float = 0.0
    delay_factor_ms: float = 0.0
    pcr_jitter_us: float | None = None
    pcr_accuracy_ns: float | None = None


@dataclass(slots=True)
class _Flow:
    rtp: bool
    sequence: SequenceMeter = field(default_factory=SequenceMeter)
    packets: int = 0
    octets: int = 0
    ts_packets: int = 0
    continuity_errors: int = 0
    ts_missing: int = 0
    bad_packets: int = 0
    last_ns: int | None = None
    # of the interval
    since_ns: int | None = None
    times: list[Ints] = field(default_factory=list)
    sizes: list[Ints] = field(default_factory=list)
    pcrs: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    before: tuple[int, int, int, int] = (0, 0, 0, 0)  # lost, reordered, missing and errors at its begin

    def arrive(self, at_ns: Ints, payload: Ints, media: Ints) -> None:
        self.packets += len(at_ns)
        self.octets += int(payload.sum())
        self.last_ns = int(at_ns[-1])
        self.times.append(at_ns)
        self.sizes.append(media)

    def close(self, begin_ns: int, end_ns: int) -> FlowFigures:
        none = np.empty(0, np.int64)
        at_ns = np.concatenate([none, *self.times])
        size = np.concatenate([none, *self.sizes])
        seconds = (end_ns - begin_ns) / NS
        lost, reordered, missing, errors = self._counts()
        lossless = (lost, missing, errors) == (self.before[0], *self.before[2:])
        pcr = self._pcr(lossless=lossless)
        rate = pcr.rate_bps if pcr.rate_bps and lossless else mean_rate_bps(at_ns, size)
        since_ns = self.since_ns if self.since_ns is not None else int(at_ns[0]) if len(at_ns) else begin_ns
        per_datagram = round(self.ts_packets / self.packets) if self.packets else _USUAL
        gone, late = (lost - self.before[0]) * per_datagram, (reordered - self.before[1]) * per_datagram
        if not self.rtp:
            gone, late = missing - self.before[2], 0
        found = FlowFigures(
            packets=self.packets,
            octets=self.octets,
            ts_packets=self.ts_packets,
            lost=self.sequence.lost,
            reordered=self.sequence.reordered,
            duplicates=self.sequence.duplicates,
            restarts=self.sequence.restarts,
            continuity_errors=self.continuity_errors,
            ts_missing=self.ts_missing,
            bad_packets=self.bad_packets,
            last_ns=self.last_ns,
            interval_packets=len(at_ns),
            bitrate_bps=float(size.sum()) * 8 / seconds,
            media_loss_rate=media_loss_rate(gone, late, seconds),
            delay_factor_ms=delay_factor_ms(at_ns, size, rate, since_ns),
            pcr_jitter_us=pcr.jitter_us,
            pcr_accuracy_ns=pcr.accuracy_ns,
        )
        self.times, self.sizes, self.pcrs = [], [], {}
        self.before = (lost, reordered, missing, errors)
        # A stream that was silent for the whole interval begins anew, instead of owing its silence for ever.
        self.since_ns = self.last_ns if len(at_ns) else None
        return found

    def _counts(self) -> tuple[int, int, int, int]:
        return self.sequence.lost, self.sequence.reordered, self.ts_missing, self.continuity_errors

    def _pcr(self, *, lossless: bool) -> PcrFigures:
        """Of the PID with the most PCRs, the lowest of equals."""
        if not self.pcrs:
            return PcrFigures()
        pid = min(self.pcrs, key=lambda pid: (-len(self.pcrs[pid]), pid))
        pcr, at_ns, position = np.array(self.pcrs[pid], np.int64).T
        return figures(pcr, at_ns, position, lossless=lossless)


class Meter:
    """`rtp`: for each flow, whether its datagrams have an RTP header before the TS packets."""

    def __init__(self, rtp: Sequence[bool]) -> None:
        self._flows = [_Flow(one) for one in rtp]
        self._rtp = np.array(rtp, np.bool_)
        self._continuity = ContinuityBank(len(rtp))

    def take(self, packets: Packets) -> None:
        """A batch of one interval, in the order of arrival."""
        if not len(packets):
            return
        if (packets.flow != packets.flow[0]).any():
            packets = packets.where(np.argsort(packets.flow.astype(np.uint16), kind="stable"))
        heads = _rtp_words(packets, self._rtp[packets.flow])
        media = np.maximum(packets.size - heads * 4, 0)
        edges = np.flatnonzero(np.diff(packets.flow)) + 1
        for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), len(packets)], strict=True):
            flow = self._flows[packets.flow[begin]]
            flow.arrive(packets.at_ns[begin:end], packets.size[begin:end], media[begin:end])
            if flow.rtp:
                valid = heads[begin:end] > 0
                flow.sequence.take(big_endian(packets.words, packets.start[begin:end][valid]) & 0xFFFF)
        self._transport(packets, packets.start + heads, media // PACKET_SIZE)

    def _transport(self, packets: Packets, start: Ints, count: Ints) -> None:
        """The TS packets of all datagrams: `count` of them from word `start` on."""
        total = int(count.sum())
        if not total:
            return
        if (count == count[0]).all():
            index = (start[:, None] + np.arange(count[0]) * _WORDS).ravel()
        else:
            first = np.repeat(np.cumsum(count) - count, count)
            index = np.repeat(start, count) + (np.arange(total) - first) * _WORDS
        flow, head = np.repeat(packets.flow, count), big_endian(packets.words, index)
        # Transport error, reserved adaptation_field_control, no sync: their counters say nothing.
        good = (head >> 24 == _SYNC) & (head & 0x800000 == 0) & (head & 0x30 != 0)
        for number, packets_seen in enumerate(np.bincount(flow, minlength=len(self._flows)).tolist()):
            self._flows[number].ts_packets += packets_seen
        if not good.all():
            bad = np.bincount(flow[head >> 24 != _SYNC], minlength=len(self._flows))
            for number, found in enumerate(bad.tolist()):
                self._flows[number].bad_packets += found
        pid = head >> 8 & 0x1FFF
        adapted = np.flatnonzero((head & 0x20 != 0) & good)
        discontinuity = np.zeros(total, np.bool_)
        if len(adapted):
            second = big_endian(packets.words, index[adapted] + 1)
            discontinuity[adapted] = (second >> 24 > 0) & (second & 0x800000 != 0)
            stamped = adapted[(second >> 24 >= 7) & (second & 0x100000 != 0)]
            if len(stamped):
                at_ns = np.repeat(packets.at_ns, count)[stamped]
                pcr = _clock(packets.words, index[stamped])
                self._stamp(flow, stamped, zip(pid[stamped].tolist(), pcr.tolist(), at_ns.tolist(), strict=True))
        payload = head & 0x10 != 0
        if not good.all():
            flow, pid, head, payload, discontinuity = (
                flow[good],
                pid[good],
                head[good],
                payload[good],
                discontinuity[good],
            )
        breaks = self._continuity.take(flow, pid, head & 0x0F, payload, discontinuity)
        for number in np.flatnonzero(breaks.errors).tolist():
            self._flows[number].continuity_errors += int(breaks.errors[number])
            self._flows[number].ts_missing += int(breaks.missing[number])

    def _stamp(self, flow: Ints, stamped: Ints, pcrs: Iterable[tuple[int, int, int]]) -> None:
        """Keep (PID, PCR, arrival) of the TS packets `stamped`; flows lie one after the other in `flow`."""
        ends = np.searchsorted(flow, np.arange(len(self._flows)), side="right")
        for place, (pid, pcr, at_ns) in zip(stamped.tolist(), pcrs, strict=True):
            number = int(flow[place])
            owner = self._flows[number]
            position = owner.ts_packets - (int(ends[number]) - place)
            owner.pcrs.setdefault(pid, []).append((pcr, at_ns, position))

    def close(self, begin_ns: int, end_ns: int) -> tuple[FlowFigures, ...]:
        """The interval is over; every flow's figures."""
        return tuple(flow.close(begin_ns, end_ns) for flow in self._flows)


def _clock(words: Words, index: Ints) -> Ints:
    """PCRs of the TS packets at `index`, which have one: 33 bits base, 6 reserved, 9 bits extension."""
    octets = (big_endian(words, index + 1) & 0xFFFF) << 32 | big_endian(words, index + 2)
    return (octets >> 15) * 300 + (octets & 0x1FF)


def _rtp_words(packets: Packets, rtp: Flags) -> Ints:
    """Words of each packet's RTP header with its CSRCs and extension (RFC 3550 section 5.1); 0 for none."""
    heads = np.zeros(len(packets), np.int64)
    if not rtp.any():
        return heads
    able = np.flatnonzero(rtp & (packets.size >= 12))
    first = big_endian(packets.words, packets.start[able])
    able, first = able[first >> 30 == 2], first[first >> 30 == 2]
    size = 3 + (first >> 24 & 0x0F)
    extended = np.flatnonzero(first & 0x10000000 != 0)
    if len(extended):
        place = packets.start[able[extended]] + size[extended]
        inside = (size[extended] + 1) * 4 <= packets.size[able[extended]]
        length = np.where(inside, big_endian(packets.words, np.where(inside, place, 0)) & 0xFFFF, 0)
        size[extended] += 1 + length
    heads[able] = size
    return heads


def interval_of(at_ns: int, interval_ns: int) -> int:
    """Begin of the interval that `at_ns` is in."""
    return at_ns - at_ns % interval_ns
