"""SIP messages: RFC 3261 sections 7, 20 and 25, without any input or output."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

MAX_MESSAGE = 65_535

_COMPACT = {
    "i": "call-id", "m": "contact", "e": "content-encoding", "l": "content-length", "c": "content-type", "f": "from",
    "s": "subject", "k": "supported", "t": "to", "v": "via", "r": "refer-to", "b": "referred-by", "o": "event",
    "x": "session-expires", "u": "allow-events",
}  # fmt: skip
_LISTS = frozenset({"via", "route", "record-route", "contact"})
_SPELLED = {"call-id": "Call-ID", "cseq": "CSeq", "www-authenticate": "WWW-Authenticate"}
_REASONS = {
    100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted", 400: "Bad Request",
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    407: "Proxy Authentication Required", 408: "Request Timeout", 420: "Bad Extension", 480: "Temporarily Unavailable",
    481: "Call Does Not Exist", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
    491: "Request Pending", 500: "Server Internal Error", 501: "Not Implemented", 503: "Service Unavailable",
    603: "Decline",
}  # fmt: skip
_URI = re.compile(
    r"(?P<scheme>sips?|tel):(?:(?P<user>[^@;?>]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:;?>]*)(?::(?P<port>\d{1,5}))?"
    r"(?P<params>;[^?>]*)?(?:\?(?P<headers>[^>]*))?$"
)
_ADDRESS = re.compile(
    r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"\s*|(?P<plain>[^<"]*?)\s*)<(?P<uri>[^>]*)>(?P<params>.*)$', re.DOTALL
)


class SipError(Exception):
    """What was received is no SIP, or what was asked for cannot be said in SIP."""


def reason_of(status: int) -> str:
    return _REASONS.get(status, "Unknown")


def parameters(text: str) -> dict[str, str]:
    """Of `;a=b;c`: names in lower case; what has no value has an empty one."""
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        if name:
            found[name.strip().lower()] = value.strip().strip('"')
    return found


@dataclass(frozen=True, slots=True)
class Uri:
    """RFC 3261 section 19.1. port 0: none was written."""

    user: str
    host: str
    port: int = 0
    params: dict[str, str] = field(default_factory=dict)
    scheme: str = "sip"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SipError."""
        found = _URI.match(text.strip())
        if not found:
            raise SipError(f"{text[:80]!r} is no SIP URI (RFC 3261 section 25.1)")
        port = int(found["port"] or 0)
        if port > 0xFFFF:
            raise SipError(f"{text[:80]!r}: a port is 65535 at most")
        host = (found["host"] or "").strip("[]")
        return cls(found["user"] or "", host, port, parameters(found["params"] or ""), found["scheme"])

    @property
    def transport(self) -> str:
        return self.params.get("transport", "udp").lower()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        before = f"{self.user}@" if self.user else ""
        after = f":{self.port}" if self.port else ""
        params = "".join(f";{name}={value}" if value else f";{name}" for name, value in self.params.items())
        return f"{self.scheme}:{before}{host}{after}{params}"


@dataclass(frozen=True, slots=True)
class NameAddress:
    """Of From, To, Contact, Route, Refer-To: RFC 3261 section 20.10."""

    uri: Uri
    display: str = ""
    params: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SipError."""
        found = _ADDRESS.match(text)
        if found:
            return cls(Uri.parse(found["uri"]), found["quoted"] or found["plain"] or "", parameters(found["params"]))
        bare, _, params = text.strip().partition(";")  # without <>, parameters are the header's
        return cls(Uri.parse(bare), "", parameters(params))

    @property
    def tag(self) -> str:
        return self.params.get("tag", "")

    def __str__(self) -> str:
        params = "".join(f";{name}={value}" if value else f";{name}" for name, value in self.params.items())
        before = f'"{self.display}" ' if self.display else ""
        return f"{before}<{self.uri}>{params}"


@dataclass(slots=True)
class Message:
    """A request has `method` and `uri`, a response `status` and `reason`. Headers keep order; names lower case."""

    method: str = ""
    uri: str = ""
    status: int = 0
    reason: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def get(self, name: str, default: str = "") -> str:
        """The first of that name."""
        return next((value for key, value in self.headers if key == name), default)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def set(self, name: str, value: str) -> None:
        self.remove(name)
        self.headers.append((name, value))

    def add(self, *headers: tuple[str, str]) -> None:
        self.headers += headers

    def remove(self, name: str) -> None:
        self.headers = [one for one in self.headers if one[0] != name]

    @property
    def cseq(self) -> tuple[int, str]:
        number, _, method = self.get("cseq").strip().partition(" ")
        return int(number), method.strip()

    @property
    def branch(self) -> str:
        return parameters(self.get("via").partition(";")[2]).get("branch", "")

    def encode(self) -> bytes:
        first = f"{self.method} {self.uri} SIP/2.0" if self.method else f"SIP/2.0 {self.status} {self.reason}"
        lines = [first]
        lines += [f"{spelled(name)}: {value}" for name, value in self.headers if name != "content-length"]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + self.body


def spelled(name: str) -> str:
    return _SPELLED.get(name) or "-".join(part.capitalize() for part in name.split("-"))


def split_list(value: str) -> list[str]:
    """Values of a header that commas divide, outside of quotes and angle brackets (RFC 3261 section 7.3.1)."""
    if "," not in value:
        return [value.strip()]
    parts, depth, quoted, start = [], 0, False, 0
    for index, letter in enumerate(value):
        if letter == '"' and value[index - 1 : index] != "\\":
            quoted = not quoted
        elif not quoted and letter in "<>":
            depth += 1 if letter == "<" else -1
        elif letter == "," and not quoted and depth <= 0:
            parts.append(value[start:index].strip())
            start = index + 1
    return [*parts, value[start:].strip()]


def _first_line(line: str) -> Message:
    first, _, rest = line.partition(" ")
    if first.upper() == "SIP/2.0":
        status, _, reason = rest.partition(" ")
        if not (status.isdecimal() and 100 <= int(status) <= 699):
            raise SipError(f"{line[:80]!r} is no status line (RFC 3261 section 7.2)")
        return Message(status=int(status), reason=reason)
    uri, _, version = rest.rpartition(" ")
    if version.upper() != "SIP/2.0" or not uri or not re.fullmatch(r"[A-Za-z0-9.!%*_+`'~-]+", first):
        raise SipError(f"{line[:80]!r} is no request line (RFC 3261 section 7.1)")
    return Message(method=first, uri=uri.strip())


def parse(data: bytes) -> Message:
    """Raises SipError. A body is as long as Content-Length says, and all of the datagram without one (section 18.3)."""
    head, parted, body = data.partition(b"\r\n\r\n")
    if not parted:
        raise SipError("no empty line after the headers (RFC 3261 section 7)")
    lines = head.decode("utf-8", "surrogateescape").lstrip("\r\n").split("\r\n")
    message = _first_line(lines[0])
    unfolded: list[str] = []
    for line in lines[1:]:
        if line[:1] in (" ", "\t") and unfolded:
            unfolded[-1] += " " + line.strip()
        else:
            unfolded.append(line)
    for line in unfolded:
        name, colon, value = line.partition(":")
        if not colon:
            raise SipError(f"{line[:80]!r} is no header (RFC 3261 section 7.3)")
        name = name.strip().lower()
        name = _COMPACT.get(name, name)
        values = split_list(value) if name in _LISTS else [value.strip()]
        message.headers += [(name, one) for one in values]
    _check(message)
    length = message.get("content-length")
    message.body = body[: int(length)] if length.isdecimal() else body
    if length.isdecimal() and int(length) > len(body):
        raise SipError("the body is shorter than Content-Length says (RFC 3261 section 18.3)")
    return message


def _check(message: Message) -> None:
    for name in ("via", "from", "to", "call-id", "cseq"):
        if not message.get(name):
            raise SipError(f"there is no {spelled(name)} (RFC 3261 section 8.1.1)")
    if not re.fullmatch(r"\d{1,10}\s+\S+", message.get("cseq").strip()):
        raise SipError("CSeq is a number and a method (RFC 3261 section 20.16)")
    for name in ("from", "to"):
        NameAddress.parse(message.get(name))


class Stream:
    """Messages out of a TCP connection: RFC 3261 section 18.3."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Whole messages. Raises SipError where no end can be found."""
        self._data += data
        while True:
            self._data = self._data.lstrip(b"\r\n")
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                if len(self._data) > MAX_MESSAGE:
                    raise SipError("headers without end")
                return
            found = re.search(
                rb"\r\n(?:content-length|l)\s*:\s*(\d{1,6})\s*(?=\r\n)", self._data[: end + 2], re.IGNORECASE
            )
            whole = end + 4 + int(found[1] if found else 0)
            if len(self._data) < whole:
                return
            yield self._data[:whole]
            self._data = self._data[whole:]
