"""Whether octets look like media: a walk over the boxes of ISO/IEC 14496-12, or the sync bytes of ISO/IEC 13818-1."""

from __future__ import annotations

from collections.abc import Iterator

from nf.errors import InputError

_TS_PACKET = 188


def boxes(data: bytes) -> Iterator[tuple[str, int]]:
    """Type and size in octets of each top-level box (4.2). Raises InputError when the sizes do not fit the data."""
    offset = 0
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 4], "big")
        header = 8
        if size == 1:
            size, header = int.from_bytes(data[offset + 8 : offset + 16], "big"), 16
        elif size == 0:
            size = len(data) - offset
        if size < header or offset + max(size, header) > len(data):
            raise InputError(f"a box at octet {offset} does not fit: {size} of {len(data) - offset} octets")
        kind = data[offset + 4 : offset + 8]
        if not all(0x20 <= octet < 0x7F for octet in kind):
            raise InputError(f"no box at octet {offset}")
        yield kind.decode("ascii"), size
        offset += size


def segment_fault(data: bytes) -> str:
    """Why this is no media segment of CMAF (ISO/IEC 23000-19, 7.3.2.3) or MPEG-TS; empty when it is one."""
    if not data:
        return "the segment is empty"
    if data[0] == 0x47 and len(data) % _TS_PACKET == 0:
        return "" if all(data[at] == 0x47 for at in range(0, len(data), _TS_PACKET)) else "sync bytes are missing"
    try:
        kinds = [kind for kind, _ in boxes(data)]
    except InputError as error:
        return error.message
    missing = {"moof", "mdat"} - set(kinds)
    return f"the segment has no {' and no '.join(sorted(missing))}" if missing else ""
