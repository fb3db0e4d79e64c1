"""Session descriptions (RFC 8866) of one audio stream, offered and answered (RFC 3264). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Self, get_args

from nf.errors import InputError

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
_STATIC: Final[Mapping[int, str]] = MappingProxyType({0: "PCMU/8000", 8: "PCMA/8000", 18: "G729/8000"})
"""RFC 3551 table 4."""
PCMU: Final = 0
MAX_BYTES: Final = 65_535


@dataclass(frozen=True, slots=True)
class Description:
    """`formats`: payload type -> encoding, in order of preference. `rtcp_port`: RFC 3605; the next one where unwritten.

    `port` 0: the stream is refused.
    """

    address: str
    port: int
    formats: Mapping[int, str]
    direction: Direction = "sendrecv"
    rtcp_port: int = 0
    rtcp_mux: bool = False
    session: int = 0
    version: int = 0
    ptime_ms: int = 20

    @property
    def control_port(self) -> int:
        return self.port if self.rtcp_mux else self.rtcp_port or self.port + 1

    def to_bytes(self) -> bytes:
        lines = [
            "v=0",
            f"o=- {self.session} {self.version} IN IP4 {self.address}",
            "s=-",
            f"c=IN IP4 {self.address}",
            "t=0 0",
            f"m=audio {self.port} RTP/AVP {' '.join(map(str, self.formats))}",
            *(f"a=rtpmap:{number} {name}" for number, name in self.formats.items()),
            f"a={self.direction}",
            f"a=ptime:{self.ptime_ms}",
        ]
        if self.rtcp_port:
            lines.append(f"a=rtcp:{self.rtcp_port}")
        if self.rtcp_mux:
            lines.append("a=rtcp-mux")
        return "".join(f"{line}\r\n" for line in lines).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The first audio stream. Raises InputError with the line that is wrong."""
        try:
            lines = data[:MAX_BYTES].decode().replace("\r\n", "\n").split("\n")
        except UnicodeDecodeError:
            raise InputError("the session description is no UTF-8") from None
        if not lines or lines[0] != "v=0":
            raise InputError("a session description begins with v=0", where=(lines or [""])[0][:80])
        reader = _Reader()
        for line in lines[1:]:
            if line:
                reader.take(line)
        if reader.port is None or not reader.address:
            raise InputError("the session description has no audio stream with an address")
        formats = {number: reader.maps.get(number) or _STATIC.get(number, "") for number in reader.numbers}
        direction = reader.direction or reader.session_direction or "sendrecv"
        return cls(reader.address, reader.port, formats, direction, reader.rtcp_port, reader.mux)


class _Reader:
    def __init__(self) -> None:
        self.address = ""
        self.port: int | None = None
        self.numbers: tuple[int, ...] = ()
        self.maps: dict[int, str] = {}
        self.session_direction: Direction | None = None
        self.direction: Direction | None = None
        self.rtcp_port = 0
        self.mux = False
        self._section = "session"

    def take(self, line: str) -> None:
        key, mark, value = line.partition("=")
        if len(key) != 1 or not mark:
            raise InputError("not a line of a session description", where=line[:80])
        if key == "m":
            self._media(line, value)
        elif key == "c" and self._section != "other":
            self._connection(line, value)
        elif key == "a" and self._section != "other":
            self._attribute(line, value)

    def _media(self, line: str, value: str) -> None:
        words = value.split()
        first = words[:1] == ["audio"] and self.port is None
        self._section = "audio" if first else "other"
        if not first:
            return
        if len(words) < 4 or not words[2].startswith(("RTP/", "UDP/")):
            raise InputError("not an audio stream by RTP", where=line[:80])
        self.port = _number(words[1].partition("/")[0], 65_535, line)
        self.numbers = tuple(_number(word, 127, line) for word in words[3:])

    def _connection(self, line: str, value: str) -> None:
        words = value.split()
        if len(words) != 3 or words[0] != "IN":
            raise InputError("not a connection line", where=line[:80])
        self.address = words[2].partition("/")[0]

    def _attribute(self, line: str, value: str) -> None:
        name, _, rest = value.partition(":")
        if name in get_args(Direction):
            if self._section == "audio":
                self.direction = name  # type: ignore[assignment]
            else:
                self.session_direction = name  # type: ignore[assignment]
        elif self._section != "audio":
            return
        elif name == "rtpmap":
            number, _, encoding = rest.partition(" ")
            self.maps[_number(number, 127, line)] = encoding.strip()
        elif name == "rtcp" and rest:
            self.rtcp_port = _number(rest.split()[0], 65_535, line)
        elif name == "rtcp-mux":
            self.mux = True


def offer(address: str, port: int, *, session: int, rtcp_port: int = 0) -> Description:
    """PCMU, both ways."""
    return Description(address, port, {PCMU: _STATIC[PCMU]}, rtcp_port=rtcp_port, session=session, version=1)


def answer(offered: Description, address: str, port: int, *, session: int, rtcp_port: int = 0) -> Description:
    """What of it we take: PCMU, the other way round (RFC 3264 section 6). Raises InputError when it has none."""
    if not any(name.upper().startswith("PCMU/8000") for name in offered.formats.values()):
        names = ", ".join(filter(None, offered.formats.values())) or "nothing known"
        raise InputError(f"the offer has no PCMU, but {names}", remedy="let the relay transcode to PCMU")
    turned: dict[Direction, Direction] = {"sendonly": "recvonly", "recvonly": "sendonly"}
    direction = turned.get(offered.direction, offered.direction)
    number = next(one for one, name in offered.formats.items() if name.upper().startswith("PCMU/8000"))
    return Description(
        address, port, {number: _STATIC[PCMU]}, direction, rtcp_port, session=session, version=1
    )  # fmt: skip


def _number(text: str, most: int, line: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= most):
        raise InputError(f"not a number up to {most}", where=line[:80])
    return int(text)
