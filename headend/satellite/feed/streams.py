"""Which PID each stream of a programme gets on the way out: the same ones whatever input it comes from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from headend.transport.packet import NULL_PID
from headend.transport.psi import Pmt, PmtStream, descriptor_tags, strip_descriptors

PMT_PID = 0x0100
PCR_PID = 0x0101
"""Only where the PCR does not travel with one of the streams."""

_CA_DESCRIPTOR = 0x09  # names a PID of the input, and no ECM is handed on (clause 2.6.16)


class Kind(Enum):
    VIDEO = "video"
    AUDIO = "audio"
    OTHER = "other"


_PLACES = {Kind.VIDEO: (0x0111, 16), Kind.AUDIO: (0x0121, 32), Kind.OTHER: (0x0141, 32)}

# ISO/IEC 13818-1 table 2-34; 0x81 and 0x87 are ATSC A/52 as many multiplexers write it.
_VIDEO = frozenset({0x01, 0x02, 0x10, 0x1B, 0x1E, 0x1F, 0x20, 0x21, 0x24, 0x25, 0x33, 0x42, 0xD1, 0xEA})
_AUDIO = frozenset({0x03, 0x04, 0x0F, 0x11, 0x1C, 0x2D, 0x2E, 0x81, 0x87})
_PRIVATE = 0x06
_AUDIO_TAGS = frozenset({0x6A, 0x7A, 0x7B, 0x7C})  # AC-3, E-AC-3, DTS, AAC: EN 300 468 table 12


def kind(stream: PmtStream) -> Kind:
    if stream.stream_type in _VIDEO:
        return Kind.VIDEO
    if stream.stream_type in _AUDIO:
        return Kind.AUDIO
    if stream.stream_type == _PRIVATE and descriptor_tags(stream.descriptors) & _AUDIO_TAGS:
        return Kind.AUDIO
    return Kind.OTHER


@dataclass(frozen=True, slots=True)
class Remap:
    """`pids`: input PID -> output PID. `lead`: the input PID at which one may cut in, the picture if there is one."""

    pids: dict[int, int]
    streams: tuple[PmtStream, ...]
    descriptors: bytes
    pcr_in: int
    pcr_out: int
    lead: int | None


def remap(pmt: Pmt) -> Remap:
    """The n-th video, audio and other stream of a PMT always get the same PIDs; more than there are places stay out."""
    taken: Counter[Kind] = Counter()
    pids: dict[int, int] = {}
    streams: list[PmtStream] = []
    leads: dict[Kind, int] = {}
    for stream in pmt.streams:
        of = kind(stream)
        base, room = _PLACES[of]
        if taken[of] >= room or stream.pid in pids:
            continue
        pids[stream.pid] = base + taken[of]
        taken[of] += 1
        descriptors = strip_descriptors(stream.descriptors, frozenset({_CA_DESCRIPTOR}))
        streams.append(PmtStream(stream.stream_type, pids[stream.pid], descriptors))
        leads.setdefault(of, stream.pid)
    if pmt.pcr_pid != NULL_PID:
        pids.setdefault(pmt.pcr_pid, PCR_PID)
    program_info = strip_descriptors(pmt.descriptors, frozenset({_CA_DESCRIPTOR}))
    lead = next((leads[of] for of in Kind if of in leads), None)
    return Remap(pids, tuple(streams), program_info, pmt.pcr_pid, pids.get(pmt.pcr_pid, NULL_PID), lead)
