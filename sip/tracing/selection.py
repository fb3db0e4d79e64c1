"""Which messages of a capture are of the call that is asked for, and what of them is told. Pure.

Credentials are taken out, and bodies that are no session descriptions: what people write each other is not signalling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from nf.contracts.json import Json, JsonObject
from nf.errors import InputError
from sip.calling.messages import Message, NameAddr, Request, Response, SipSyntaxError, Uri
from sip.calling.sdp import Description
from sip.tracing.packets import Endpoint, Seen

MAX_MESSAGES: Final = 500
REMOVED: Final = "(removed)"
_SECRET: Final = frozenset({"Authorization", "Proxy-Authorization", "Authentication-Info", "Identity"})
_KEYS: Final = re.compile(rb"^a=(crypto|ice-pwd|key-mgmt):.*?$", re.MULTILINE)


class Selection:
    """`call`: a Call-ID; else the first call that `user` has a part in, as caller, called or dialled number."""

    def __init__(self, *, call: str, user: str, addresses: frozenset[str]) -> None:
        self.call = call
        self.messages: list[Seen] = []
        self.over_at: float | None = None
        """When it ended, by what was seen."""
        self._user = user.lower()
        self._addresses = addresses

    def take(self, seen: Seen) -> bool:
        """Whether it is of the call."""
        if not {seen.source[0], seen.destination[0]} & self._addresses or len(self.messages) >= MAX_MESSAGES:
            return False
        message = seen.message
        begins = isinstance(message, Request) and message.method == "INVITE"
        if not self.call and begins and self._user in set(_users(message)):
            self.call = message.call_id
        if not self.call or message.call_id != self.call:
            return False
        self.messages.append(seen)
        if self._ends(message):
            self.over_at = seen.at
        return True

    @staticmethod
    def _ends(message: Message) -> bool:
        """The answer to a BYE, or a refusal of the INVITE that asks for no credentials."""
        if not isinstance(message, Response) or message.status < 200:
            return False
        try:
            method = message.cseq[1]
        except SipSyntaxError:
            return False
        return method == "BYE" or (method == "INVITE" and message.status >= 300 and message.status not in {401, 407})


def _users(message: Message) -> Iterator[str]:
    texts = [message.get("From"), message.get("To")]
    texts += [message.uri] if isinstance(message, Request) else []
    for text in texts:
        try:
            uri = NameAddr.parse(text).uri
            user = Uri.parse(uri).user.lower()
        except SipSyntaxError:
            continue
        yield user
        yield f"{user}@{Uri.parse(uri).host.lower()}"


def rows(selection: Selection) -> list[Json]:
    return [row(seen) for seen in sorted(selection.messages, key=lambda one: one.at)]


def row(seen: Seen) -> JsonObject:
    message = seen.message
    if isinstance(message, Request):
        line = f"{message.method} {message.uri}"
        short = message.method
    else:
        line = short = f"{message.status} {message.reason}".rstrip()
    return {
        "at": seen.at,
        "from": _place(seen.source),
        "to": _place(seen.destination),
        "transport": seen.transport,
        "short": _printable(short)[:60],
        "line": _printable(line)[:300],
        "cseq": _printable(message.get("CSeq")),
        "sdp": _described(message),
        "text": _printable(stripped(message).to_bytes().decode(errors="replace"), keep="\r\n"),
    }


def stripped(message: Message) -> Message:
    """Without credentials, keys of media, and bodies that are not a session description."""
    headers = tuple((name, REMOVED if name in _SECRET else value) for name, value in message.headers)
    is_sdp = message.get("Content-Type").partition(";")[0].strip().lower() == "application/sdp"
    body = _KEYS.sub(rb"a=\1:" + REMOVED.encode(), message.body) if is_sdp else b""
    if isinstance(message, Request):
        return Request(headers, body, message.method, message.uri)
    return Response(headers, body, message.status, message.reason)


def _described(message: Message) -> str:
    if not message.body:
        return ""
    try:
        found = Description.parse(message.body)
    except InputError:
        return ""
    codec = next((name.partition("/")[0] for name in found.formats.values() if name), "?")
    return f"{found.address}:{found.port} {codec}" + ("" if found.direction == "sendrecv" else f" {found.direction}")


def _place(endpoint: Endpoint) -> str:
    return f"{endpoint[0]}:{endpoint[1]}"


def _printable(text: str, keep: str = "") -> str:
    return "".join(one if one.isprintable() or one in keep else "?" for one in text)
