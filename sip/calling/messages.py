"""SIP messages: parsing and writing (RFC 3261 sections 7 and 25), and their framing on streams (section 18.3). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Self, TypeAlias

from nf.errors import InputError

MAX_BYTES: Final = 65_535
MAX_HEADERS: Final = 256
_URI: Final = re.compile(r"(sips?):(?:([^@\s]+)@)?(\[[0-9a-f:.]+\]|[^\s:@\[\]]+)(?::(\d{1,5}))?", re.IGNORECASE)
_VERSION: Final = "SIP/2.0"
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_NAMES: Final = {
    "call-id": "Call-ID",
    "cseq": "CSeq",
    "www-authenticate": "WWW-Authenticate",
}
_COMPACT: Final = {
    "a": "Accept-Contact", "b": "Referred-By", "c": "Content-Type", "d": "Request-Disposition",
    "e": "Content-Encoding", "f": "From", "i": "Call-ID", "j": "Reject-Contact", "k": "Supported",
    "l": "Content-Length", "m": "Contact", "n": "Identity-Info", "o": "Event", "r": "Refer-To", "s": "Subject",
    "t": "To", "u": "Allow-Events", "v": "Via", "x": "Session-Expires", "y": "Identity",
}  # fmt: skip
"""Section 7.3.3 and the registry of IANA."""


class SipSyntaxError(InputError):
    """What came is no SIP message."""


def canonical(name: str) -> str:
    """A header's name as RFC 3261 writes it: `v` and `VIA` are `Via`."""
    low = name.lower()
    if low in _COMPACT:
        return _COMPACT[low]
    return _NAMES.get(low) or "-".join(part.capitalize() for part in low.split("-"))


@dataclass(frozen=True, slots=True)
class _Headers:
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)

    def all(self, name: str) -> tuple[str, ...]:
        """Each value; headers that are lists are one value for each line: see `listed`."""
        return tuple(value for key, value in self.headers if key == name)

    def get(self, name: str) -> str:
        """The first value; empty when there is none."""
        return next((value for key, value in self.headers if key == name), "")

    def listed(self, name: str) -> tuple[str, ...]:
        """Elements of a list, of all its lines (section 7.3.1)."""
        return tuple(one for value in self.all(name) for one in split_list(value))

    @property
    def call_id(self) -> str:
        return self.get("Call-ID")

    @property
    def cseq(self) -> tuple[int, str]:
        """(number, method). Raises SipSyntaxError."""
        number, _, method = self.get("CSeq").partition(" ")
        if not (number.isascii() and number.isdecimal() and int(number) < 2**31 and method.strip()):
            raise SipSyntaxError("the CSeq is no number below 2^31 and a method", where=self.get("CSeq")[:80])
        return int(number), method.strip()

    @property
    def via(self) -> Via:
        """The top one. Raises SipSyntaxError."""
        found = self.listed("Via")
        if not found:
            raise SipSyntaxError("there is no Via")
        return Via.parse(found[0])

    def _tail(self) -> bytes:
        lines = [f"{name}: {value}\r\n" for name, value in self.headers if name != "Content-Length"]
        return ("".join(lines) + f"Content-Length: {len(self.body)}\r\n\r\n").encode() + self.body


@dataclass(frozen=True, slots=True)
class Request(_Headers):
    method: str = ""
    uri: str = ""

    def with_header(self, name: str, value: str) -> Self:
        return replace(self, headers=(*self.headers, (name, value)))

    def to_bytes(self) -> bytes:
        return f"{self.method} {self.uri} {_VERSION}\r\n".encode() + self._tail()


@dataclass(frozen=True, slots=True)
class Response(_Headers):
    status: int = 0
    reason: str = ""

    def to_bytes(self) -> bytes:
        return f"{_VERSION} {self.status} {self.reason}\r\n".encode() + self._tail()


Message: TypeAlias = Request | Response


@dataclass(frozen=True, slots=True)
class Via:
    """Section 20.42. `parameters`: names in lower case; one without a value has an empty one."""

    transport: str
    host: str
    port: int
    parameters: dict[str, str]

    @property
    def branch(self) -> str:
        return self.parameters.get("branch", "")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SipSyntaxError."""
        head, parameters = split_parameters(text)
        match = re.fullmatch(r"SIP\s*/\s*2\.0\s*/\s*(\w+)\s+(\[[0-9a-fA-F:.]+\]|[^\s:]+)\s*(?::\s*(\d{1,5}))?", head)
        if match is None:
            raise SipSyntaxError("not a Via", where=text[:80])
        return cls(match[1].upper(), match[2], int(match[3] or 0), parameters)


@dataclass(frozen=True, slots=True)
class Uri:
    """`sip:` or `sips:` (section 19.1). `port` 0: none is written."""

    scheme: str
    user: str
    host: str
    port: int
    parameters: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SipSyntaxError."""
        head, parameters = split_parameters(text.partition("?")[0])
        match = re.fullmatch(
            r"(sips?):(?:([^@\s]+)@)?(\[[0-9a-fA-F:.]+\]|[^\s:@\[\]]+)(?::(\d{1,5}))?", head, re.IGNORECASE
        )
        if match is None:
            raise SipSyntaxError("not a SIP URI", where=text[:80], remedy="write it as sip:USER@HOST")
        return cls(match[1].lower(), match[2] or "", match[3], int(match[4] or 0), parameters)


@dataclass(frozen=True, slots=True)
class NameAddr:
    """A From, To, Contact or Route (section 20.10): the URI as text, and what stands behind it."""

    uri: str
    parameters: dict[str, str]
    display: str = ""

    @property
    def tag(self) -> str:
        return self.parameters.get("tag", "")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SipSyntaxError."""
        text = text.strip()
        match = re.fullmatch(r'((?:"(?:[^"\\]|\\.)*"|[^"<>])*)<([^<>\s]+)>\s*(;.*)?', text, re.DOTALL)
        if match is not None:
            return cls(match[2], split_parameters(match[3] or "")[1], match[1].strip().strip('"'))
        if not text or any(mark in text for mark in '<>"'):
            raise SipSyntaxError("not an address", where=text[:80])
        uri, parameters = split_parameters(text)  # without <> they are the header's, not the URI's
        return cls(uri, parameters)


def split_list(text: str) -> Iterator[str]:
    """By commas that stand outside of quotes and angle brackets."""
    for part in _split(text, ","):
        if part.strip():
            yield part.strip()


def split_parameters(text: str) -> tuple[str, dict[str, str]]:
    """`head;a=1;b` -> (head, {a: 1, b: ""}). Names in lower case, quotes taken off."""
    head, *rest = _split(text, ";")
    found: dict[str, str] = {}
    for part in rest:
        name, _, value = part.partition("=")
        if name.strip():
            found[name.strip().lower()] = value.strip().strip('"')
    return head.strip(), found


def _split(text: str, mark: str) -> list[str]:
    parts, begin, quoted, depth, skip = [], 0, False, 0, False
    for at, char in enumerate(text):
        if skip:
            skip = False
        elif quoted:
            skip, quoted = char == "\\", char != '"'
        elif char == '"':
            quoted = True
        elif char in "<>":
            depth = max(0, depth + (1 if char == "<" else -1))
        elif char == mark and depth == 0:
            parts.append(text[begin:at])
            begin = at + 1
    return [*parts, text[begin:]]


def parse(data: bytes) -> Message:
    """One datagram's message. What stands behind Content-Length is ignored (section 18.3).

    Raises SipSyntaxError, which quotes the line that is wrong.
    """
    if len(data) > MAX_BYTES:
        raise SipSyntaxError(f"a message of {len(data)} bytes; {MAX_BYTES} is the most")
    data = data.lstrip(b"\r\n")
    head, mark, body = data.partition(b"\r\n\r\n")
    if not mark:
        raise SipSyntaxError("no empty line ends the headers")
    try:
        first, *lines = head.decode().split("\r\n")
    except UnicodeDecodeError:
        raise SipSyntaxError("the headers are no UTF-8") from None
    headers = tuple(_headers(lines))
    lengths = {value for name, value in headers if name == "Content-Length"}
    if lengths:
        body = body[: _length(lengths)] if _length(lengths) <= len(body) else _short(body, lengths)
    return _start(first, headers, body)


def _headers(lines: list[str]) -> Iterator[tuple[str, str]]:
    if len(lines) > MAX_HEADERS:
        raise SipSyntaxError(f"{len(lines)} header lines; {MAX_HEADERS} is the most")
    unfolded: list[str] = []
    for line in lines:
        if line[:1] in {" ", "\t"} and unfolded:
            unfolded[-1] += " " + line.strip(" \t")
        else:
            unfolded.append(line)
    for line in unfolded:
        name, mark, value = line.partition(":")
        if not mark or _TOKEN.fullmatch(name.rstrip()) is None or "\n" in line or "\r" in line:
            raise SipSyntaxError("not a header line", where=line[:80])
        yield canonical(name.rstrip()), value.strip(" \t")


def _length(values: set[str]) -> int:
    (value, *more) = values
    if more or not (value.isascii() and value.isdecimal()) or len(value) > 9:
        raise SipSyntaxError("Content-Length is one number", where=", ".join(sorted(values))[:80])
    return int(value)


def _short(body: bytes, lengths: set[str]) -> bytes:
    raise SipSyntaxError(f"the body has {len(body)} bytes, and Content-Length says {_length(lengths)}")


def _start(line: str, headers: tuple[tuple[str, str], ...], body: bytes) -> Message:
    if line.startswith(f"{_VERSION} "):
        status, _, reason = line[len(_VERSION) + 1 :].partition(" ")
        if not (re.fullmatch(r"[1-6]\d\d", status, re.ASCII) and "\n" not in reason and "\r" not in reason):
            raise SipSyntaxError("not a status line", where=line[:80])
        return Response(headers, body, int(status), reason)
    method, _, rest = line.partition(" ")
    uri, _, version = rest.partition(" ")
    if version != _VERSION or _TOKEN.fullmatch(method) is None or re.search(r"\s", uri) or not uri:
        raise SipSyntaxError("not a request line", where=line[:80])
    return Request(headers, body, method, uri)


class Framer:
    """Messages out of a stream (TCP, TLS): Content-Length is what ends them, and must be there.

    Empty lines between messages are keep-alives (RFC 5626 section 3.5.1).
    """

    def __init__(self) -> None:
        self._buffer = b""

    def receive(self, data: bytes) -> list[Message]:
        """Those that are complete now. Raises SipSyntaxError: the stream cannot be followed any more."""
        self._buffer += data
        found: list[Message] = []
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_BYTES:
                    raise SipSyntaxError("headers without end")
                return found
            match = re.search(
                rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\d{1,9})[ \t]*\r\n", self._buffer[: end + 2], re.IGNORECASE
            )
            if match is None:
                raise SipSyntaxError("a message on a stream has a Content-Length")
            total = end + 4 + int(match[1])
            if total > MAX_BYTES:
                raise SipSyntaxError(f"a message of {total} bytes; {MAX_BYTES} is the most")
            if len(self._buffer) < total:
                return found
            found.append(parse(self._buffer[:total]))
            self._buffer = self._buffer[total:]


def reply(request: Request, status: int, reason: str, *, tag: str = "") -> Response:
    """With what a response copies (section 8.2.6.2); `tag` is put to the To that has none."""
    copied = [(name, value) for name, value in request.headers if name in {"Via", "From", "Call-ID", "CSeq"}]
    to = request.get("To")
    if tag and "tag" not in split_parameters(to if "<" not in to else to[to.index(">") + 1 :])[1]:
        to = f"{to};tag={tag}"
    routes = [(name, value) for name, value in request.headers if name == "Record-Route"]
    return Response((*copied, ("To", to), *routes), b"", status, reason)
