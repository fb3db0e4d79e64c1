"""PS-PDUs out of a TCP stream, whose only framing are BER lengths (ETSI TS 102 232-1 clause 6.3). Sans-IO, bounded."""

from __future__ import annotations

from typing import Final

from lawful_intercept.handover.reading import DEEPEST, PduError, read_head

LARGEST: Final = 256 * 1024
"""Octets of one PS-PDU: an IP packet of 64 KiB or a SIP message, and what stands around it, several times over."""
_SEQUENCE: Final = 0x30


class Splitter:
    """Give it what came, take whole PDUs; also those of indefinite length. Each octet is looked at once.

    `largest`: octets of one PDU; what is longer is refused before it is buffered.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._buffer = bytearray()
        self._start = 0
        self._at = 0  # where the next head of an indefinite PDU stands
        self._depth = 0
        self._broken = False

    @property
    def waiting(self) -> int:
        """Octets of a PDU that is not whole."""
        return len(self._buffer)

    @property
    def broken(self) -> bool:
        """The stream cannot be read on; the connection has to be closed."""
        return self._broken

    def feed(self, octets: bytes) -> list[bytes]:
        """Raises PduError for what can be no PDU, now and ever after.

        PDUs that were whole before it are handed over first: then `broken` is set, and the next call raises.
        """
        if self._broken:
            raise PduError("came after one that could not be read")
        self._buffer += octets
        found: list[bytes] = []
        self._start = 0
        try:
            while (end := self._end()) is not None:
                found.append(bytes(self._buffer[self._start : end]))
                self._start = self._at = end
        except PduError:
            self._broken = True
            if not found:
                self._buffer.clear()
                raise
        del self._buffer[: self._start]
        self._at -= self._start
        return found

    def _end(self) -> int | None:
        """Where the PDU at `_start` ends; None while it is not whole. Raises PduError."""
        end = len(self._buffer)
        if not self._depth:
            if end > self._start and self._buffer[self._start] != _SEQUENCE:
                raise PduError("does not begin as one")
            head = read_head(self._buffer, self._start, end)
            if head is None:
                return None
            if head.length is not None:
                whole = head.size + head.length
                if whole > self._largest:
                    raise PduError("is longer than any may be")
                return self._start + whole if self._start + whole <= end else None
            self._at, self._depth = self._start + head.size, 1
        return self._indefinite(end)

    def _indefinite(self, end: int) -> int | None:
        while True:
            if self._at - self._start > self._largest:
                raise PduError("is longer than any may be")
            head = read_head(self._buffer, self._at, end)
            if head is None:
                return None
            self._at += head.size + (head.length or 0)
            if head.tag == 0 and head.length == 0:
                self._depth -= 1
                if not self._depth:
                    return self._at
            elif head.length is None:
                self._depth += 1
                if self._depth > DEEPEST:
                    raise PduError("is nested too deep")
