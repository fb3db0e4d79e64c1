"""FreeSWITCH's event socket (mod_event_socket), sans-IO: bytes to messages, commands to bytes.

A message is lines `Name: value`, an empty line, and as many octets as Content-Length says. Inside a text/event-plain
the same form stands once more with its values URL-encoded, perhaps with a body of its own. A text/event-json is one
object; its body is the member `_body`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from nf.errors import InputError
from sip.freeswitch.errors import FrameError

MAX_HEADERS: Final = 64 * 1024
MAX_BODY: Final = 32 * 1024 * 1024
"""Octets. The list of 10,000 channels as JSON is about 12 MB."""

_ARRAY: Final = "ARRAY::"
_BETWEEN: Final = "|:"
_ASCII: Final = {f"{code:02{case}}": chr(code) for code in range(0x80) for case in "xX"}


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """The greeting: it wants to be told a password."""


@dataclass(frozen=True, slots=True)
class Reply:
    """To a command other than `api`. `text` begins with +OK or -ERR."""

    text: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """To `api`: what the command printed."""

    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """The headers are decoded; a header with several values reads `ARRAY::one|:two`, in both formats."""

    headers: Mapping[str, str]
    body: str = ""

    @property
    def name(self) -> str:
        return self.headers.get("Event-Name", "")


@dataclass(frozen=True, slots=True)
class Disconnect:
    """It is about to close. `linger_s`: not before so many seconds, None: at once."""

    text: str
    linger_s: int | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Its access list does not have our address; it closes."""

    text: str


@dataclass(frozen=True, slots=True)
class LogLine:
    headers: Mapping[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Whole by its length, but of no content type that is known, or not what its type says."""

    content_type: str
    headers: Mapping[str, str]
    body: bytes


Message = AuthRequest | Reply | Response | Event | Disconnect | Rejection | LogLine | Unknown


class Decoder:
    """`receive(data)` gives the messages that are whole by now.

    Raises FrameError for what cannot be framed, then and ever after; what was whole before it is in `rest`.
    """

    def __init__(self, max_headers: int = MAX_HEADERS, max_body: int = MAX_BODY) -> None:
        self._max_headers = max_headers
        self._max_body = max_body
        self._buffer = bytearray()
        self._start = 0
        self._scanned = 0
        self._waiting: tuple[dict[str, str], int] | None = None
        self._broken: str = ""
        self.rest: tuple[Message, ...] = ()

    @property
    def held(self) -> int:
        """Octets of a message that is not whole."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[Message]:
        if self._broken:
            raise FrameError(self._broken)
        self._buffer += data
        found: list[Message] = []
        at = 0
        try:
            while (end := self._next(at)) is not None:
                at, message = end
                if message is not None:
                    found.append(message)
        except FrameError as error:
            self._broken, self.rest = error.message, tuple(found)
            self._buffer.clear()
            raise
        # What is not whole stays, with nothing before it: `_scanned` counts from there.
        del self._buffer[: self._start]
        self._start = 0
        return found

    def _next(self, at: int) -> tuple[int, Message | None] | None:
        """Takes what is whole from `at` on: where it ends, and its message if it has one. None: more has to come."""
        buffer = self._buffer
        if self._waiting is not None:
            headers, length = self._waiting
            end = at + length
            if len(buffer) < end:
                return None
            self._waiting = None
            self._start = end
            return end, _message(headers, bytes(buffer[at:end]))
        while at < len(buffer) and buffer[at] == 0x0A:
            at += 1
        self._start = at
        end = buffer.find(b"\n\n", at + max(0, self._scanned - 1))
        size = (end if end >= 0 else len(buffer)) - at
        if size > self._max_headers:
            raise FrameError(f"more than {self._max_headers:,} octets of headers")
        if end < 0:
            self._scanned = size
            return None
        self._scanned = 0
        headers = _headers(buffer[at:end].decode("utf-8", "replace"))
        length = self._length(headers)
        self._start = end + 2
        if length:
            self._waiting = headers, length
            return end + 2, None
        return end + 2, _message(headers, b"")

    def _length(self, headers: Mapping[str, str]) -> int:
        text = headers.get("Content-Length")
        if text is None:
            return 0
        if not (text.isascii() and text.isdigit()) or len(text) > 12:
            raise FrameError(f"Content-Length is {text[:40]!r}")
        if int(text) > self._max_body:
            raise FrameError(f"a body of {int(text):,} octets, more than {self._max_body:,}")
        return int(text)


def _headers(block: str) -> dict[str, str]:
    """Values as they stand. Of a name that comes twice the first counts, as for FreeSWITCH itself."""
    lines = block.split("\n")
    try:
        found = dict([line.split(": ", 1) for line in lines])
    except ValueError:
        found = {}
    if len(found) != len(lines):
        found = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name, value.removeprefix(" "))
    return found


def _decoded(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if "%" in value:
            headers[name] = _unquote(value)
    return headers


def _unquote(text: str) -> str:
    """As `urllib.parse.unquote`, in a third of its time where the octets are ASCII."""
    parts = text.split("%")
    try:
        for index in range(1, len(parts)):
            part = parts[index]
            parts[index] = _ASCII[part[:2]] + part[2:]
    except KeyError:
        return unquote(text, errors="replace")
    return "".join(parts)


def _plain(headers: Mapping[str, str], body: bytes) -> Message:
    head, _, rest = body.partition(b"\n\n")
    found = _decoded(_headers(head.decode("utf-8", "replace").rstrip("\n")))
    if "Event-Name" not in found:
        return Unknown("text/event-plain", headers, body)
    size = found.get("Content-Length", "")
    text = rest[: int(size)].decode("utf-8", "replace") if size.isascii() and size.isdigit() and len(size) <= 12 else ""
    return Event(found, text)


def _json(headers: Mapping[str, str], body: bytes) -> Message:
    try:
        read = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict) or "Event-Name" not in read:
        return Unknown("text/event-json", headers, body)
    text = read.pop("_body", "")
    found = {name: value if isinstance(value, str) else _flat(value) for name, value in read.items()}
    return Event(found, text if isinstance(text, str) else _flat(text))


def _flat(value: object) -> str:
    if isinstance(value, list):
        return _ARRAY + _BETWEEN.join(one if isinstance(one, str) else json.dumps(one) for one in value)
    return value if isinstance(value, str) else json.dumps(value)


def _disconnect(headers: Mapping[str, str], body: bytes) -> Message:
    linger = None
    if headers.get("Content-Disposition") == "linger":
        told = headers.get("Linger-Time", "")
        linger = int(told) if told.isascii() and told.isdigit() and len(told) <= 9 else 0
    return Disconnect(_text(body), linger)


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


_TYPES: Final[Mapping[str, Callable[[Mapping[str, str], bytes], Message]]] = {
    "auth/request": lambda _headers, _body: AuthRequest(),
    "command/reply": lambda headers, _body: Reply(headers.get("Reply-Text", ""), headers),
    "api/response": lambda _headers, body: Response(_text(body)),
    "text/event-plain": _plain,
    "text/event-json": _json,
    "text/disconnect-notice": _disconnect,
    "text/rude-rejection": lambda _headers, body: Rejection(_text(body)),
    "rude/rejection": lambda _headers, body: Rejection(_text(body)),  # before 1.0.5
    "log/data": lambda headers, body: LogLine(headers, _text(body)),
}


def _message(headers: dict[str, str], body: bytes) -> Message:
    kind = headers.get("Content-Type", "")
    make = _TYPES.get(kind)
    return make(headers, body) if make is not None else Unknown(kind, headers, body)


# -- to FreeSWITCH ----------------------------------------------------------------------------------------------------


def encode(command: str, headers: Iterable[tuple[str, str]] = (), body: str = "") -> bytes:
    """A command with its end. Raises InputError for what would become another command or header."""
    lines = [_one_line(command), *(f"{_name(name)}: {_one_line(value)}" for name, value in headers)]
    if not command.strip():
        raise InputError("an empty command", where="event socket", remedy="name one, such as api status")
    octets = body.encode()
    if octets:
        lines.append(f"content-length: {len(octets)}")
    return ("\n".join(lines) + "\n\n").encode() + octets


def _one_line(text: str) -> str:
    if "\n" in text or "\r" in text or "\0" in text:
        raise InputError("a line of a command holds another line", where="event socket", remedy="write it in one line")
    return text


def _name(text: str) -> str:
    if not text or ":" in text or " " in text:
        raise InputError(f"{text!r} is no name of a header", where="event socket", remedy="letters, digits and hyphens")
    return _one_line(text)


def subscription(names: Iterable[str], form: str) -> str:
    """`event json A B CUSTOM c::d`: what is after CUSTOM are subclasses, written as `CUSTOM c::d` in `names`."""
    plain = sorted({name for name in names if " " not in name})
    custom = sorted({name.partition(" ")[2] for name in names if name.startswith("CUSTOM ")})
    return " ".join(("event", form, *plain, *(("CUSTOM", *custom) if custom else ())))
