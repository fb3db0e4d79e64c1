"""Session descriptions: RFC 4566 and the offer/answer of RFC 3264, for one audio stream."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Final, Literal, Self

from lab.voice.g711 import NAMES, PCMA, PCMU

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
EVENTS: Final = 101
"""Our payload type of telephone events."""

_MIRROR: Final[dict[Direction, Direction]] = {
    "sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive",
}  # fmt: skip
_numbers = itertools.count(1)


class SdpError(Exception):
    """There is no audio in it that can be taken: 488 (RFC 3261 section 21.4.26)."""


@dataclass(frozen=True, slots=True)
class Audio:
    """The audio of a description. events: payload type of telephone events, 0 without; codecs by preference."""

    host: str
    port: int
    codecs: tuple[int, ...] = (PCMU, PCMA)
    events: int = EVENTS
    direction: Direction = "sendrecv"
    refused: tuple[str, ...] = field(default_factory=tuple)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Raises SdpError."""
        lines = [line.strip() for line in body.decode("utf-8", "replace").splitlines() if "=" in line]
        first = next((at for at, line in enumerate(lines) if line.startswith("m=")), len(lines))
        parts: list[list[str]] = []
        for line in lines[first:]:
            parts.append([line]) if line.startswith("m=") else parts[-1].append(line)
        found = next((part for part in parts if part[0].startswith("m=audio ")), None)
        if found is None:
            raise SdpError("there is no m=audio")
        return cls._of(lines[:first], found, tuple(part[0] for part in parts if part is not found))

    @classmethod
    def _of(cls, session: list[str], part: list[str], others: tuple[str, ...]) -> Self:
        words = part[0].split()
        if len(words) < 4 or not words[1].partition("/")[0].isdecimal() or not words[2].startswith("RTP/AVP"):
            raise SdpError(f"{part[0][:60]!r} is not RTP/AVP")
        host = next((line.split()[2] for line in [*part, *session] if line.startswith("c=IN ")), "")
        names = {int(one) for one in words[3:] if one.isdecimal()}
        events = 0
        for line in part:
            number, _, name = line.removeprefix("a=rtpmap:").partition(" ")
            if line.startswith("a=rtpmap:") and name.lower().startswith("telephone-event/8000") and number.isdecimal():
                events = int(number)
        codecs = tuple(int(one) for one in words[3:] if one.isdecimal() and int(one) in NAMES)
        said = [one for lines in (part, session) for one in _MIRROR if f"a={one}" in lines]
        direction: Direction = said[0] if said else "sendrecv"
        if host == "0.0.0.0":  # noqa: S104 - RFC 2543's way of holding
            direction = "inactive" if direction == "recvonly" else "sendonly"
        return cls(host, int(words[1].partition("/")[0]), codecs, events if events in names else 0, direction, others)

    def answered(self, host: str, port: int, *, codecs: tuple[int, ...] = (PCMU, PCMA)) -> Audio:
        """Our answer to it: one codec of the offer. Raises SdpError when none is known."""
        common = tuple(one for one in self.codecs if one in codecs)
        if not common or not self.port:
            raise SdpError("no codec of the offer is known here (PCMU, PCMA)")
        return Audio(host, port, common[:1], self.events, _MIRROR[self.direction], self.refused)

    def encode(self, *, user: str = "-", session: int = 0) -> bytes:
        version = next(_numbers)
        numbers = [*self.codecs, *([self.events] if self.events else [])]
        kind = "IP6" if ":" in self.host else "IP4"
        lines = [
            "v=0",
            f"o={user} {session or version} {version} IN {kind} {self.host}",
            f"s={user}",
            f"c=IN {kind} {self.host}",
            "t=0 0",
            f"m=audio {self.port} RTP/AVP {' '.join(map(str, numbers))}",
            *(f"a=rtpmap:{one} {NAMES[one]}/8000" for one in self.codecs),
        ]
        if self.events:
            lines += [f"a=rtpmap:{self.events} telephone-event/8000", f"a=fmtp:{self.events} 0-16"]
        lines += [f"a={self.direction}", "a=ptime:20"]
        for other in self.refused:  # RFC 3264 section 6: every stream of the offer is answered
            words = other.split()
            lines.append(" ".join([words[0], "0", *words[2:]]))
        return "".join(f"{line}\r\n" for line in lines).encode()
