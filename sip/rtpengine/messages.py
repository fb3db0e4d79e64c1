"""Requests and answers of rtpengine's ng protocol, sans-IO: `COOKIE bencoded-dictionary`, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from nf.errors import DriverError, InputError, NotFoundError
from sip.rtpengine.bencode import Value, decode, encode

Members = dict[str, Value]

_UNKNOWN: Final = ("unknown call-id", "call-id not found", "unknown subscription")


class RelayError(DriverError):
    """rtpengine answered, and refused."""


class UnknownCallError(NotFoundError):
    """rtpengine has no such call."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What an offer or an answer asks for beside the SDP.

    items       key -> value, such as `transport-protocol`
    rtcp_mux    RFC 5761; `t38`: of faxes; `direction`: names of the media interfaces towards either side
    """

    flags: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    codec: Mapping[str, tuple[str, ...]] | None = None
    items: Mapping[str, str] | None = None
    rtcp_mux: tuple[str, ...] = ()
    t38: tuple[str, ...] = ()
    direction: tuple[str, ...] = ()

    def members(self) -> Members:
        found: Members = dict(self.items or {})
        if self.flags:
            found["flags"] = [*self.flags]
        for key in ("replace", "rtcp-mux", "T.38", "direction"):
            if listed := getattr(self, key.replace("-", "_").replace("T.", "t")):
                found[key] = [*listed]
        if self.codec:
            found["codec"] = {verb: [*names] for verb, names in self.codec.items()}
        return found


def ping() -> Members:
    return {"command": "ping"}


def statistics() -> Members:
    return {"command": "statistics"}


def list_calls(limit: int = 32) -> Members:
    """Call-IDs, at most `limit` of them."""
    if limit < 1:
        raise InputError("a list has room for one call or more", where="limit", remedy="write 1 or more")
    return {"command": "list", "limit": limit}


def query(call_id: str) -> Members:
    return {"command": "query", "call-id": call_id}


def offer(call_id: str, from_tag: str, sdp: str, flags: Flags | None = None) -> Members:
    """RFC 3264: the caller's SDP; the answer has the SDP that the other side is to be offered."""
    return {"command": "offer", "call-id": call_id, "from-tag": from_tag, "sdp": sdp, **_members(flags)}


def answer(call_id: str, from_tag: str, to_tag: str, sdp: str, flags: Flags | None = None) -> Members:
    return {
        "command": "answer",
        "call-id": call_id,
        "from-tag": from_tag,
        "to-tag": to_tag,
        "sdp": sdp,
        **_members(flags),
    }


def delete(call_id: str, from_tag: str = "") -> Members:
    """At once, whatever delay rtpengine is configured with. Without `from_tag`: all of the call."""
    tag: Members = {"from-tag": from_tag} if from_tag else {}
    return {"command": "delete", "call-id": call_id, **tag, "delete delay": 0}


def subscribe_request(call_id: str, to_tag: str, from_tags: Iterable[str] = ()) -> Members:
    """A copy of the media of these parties, or of all; the answer has an SDP to be answered (`subscribe_answer`)."""
    listed: list[Value] = [*from_tags]
    of: Members = {"from-tags": listed} if listed else {"flags": ["all"]}
    return {"command": "subscribe request", "call-id": call_id, "to-tag": to_tag, **of}


def subscribe_answer(call_id: str, to_tag: str, sdp: str, flags: Flags | None = None) -> Members:
    return {"command": "subscribe answer", "call-id": call_id, "to-tag": to_tag, "sdp": sdp, **_members(flags)}


def unsubscribe(call_id: str, to_tag: str) -> Members:
    return {"command": "unsubscribe", "call-id": call_id, "to-tag": to_tag}


def _members(flags: Flags | None) -> Members:
    return flags.members() if flags is not None else {}


def pack(cookie: bytes, members: Members) -> bytes:
    return b"%b %b" % (cookie, encode(members))


def unpack(datagram: bytes) -> tuple[bytes, bytes]:
    """The cookie, and what it belongs to, not yet decoded. Raises InputError."""
    cookie, space, body = datagram.partition(b" ")
    if not space or not cookie or len(cookie) > 255:
        raise InputError("a message of the ng protocol begins with a cookie and a space", remedy="look who sends it")
    return cookie, body


def read(body: bytes, where: str = "") -> Members:
    """The members of an answer. Raises InputError for what is none, UnknownCallError, RelayError."""
    members = decode(body)
    if not isinstance(members, dict) or not isinstance(members.get("result"), str):
        raise InputError("an answer is a dictionary with a `result`", where=where, remedy="look what listens there")
    if members["result"] != "error":
        return members
    reason = str(members.get("error-reason", "no reason given"))
    if any(known in reason.lower() for known in _UNKNOWN):
        raise UnknownCallError(reason, where=where, remedy="it has ended, or another relay has it")
    raise RelayError(reason, where=where, remedy="read the log of the unit rtpengine")


def call_ids(members: Members) -> tuple[str, ...]:
    """Of the answer to `list`."""
    calls = members.get("calls")
    return tuple(str(one) for one in calls) if isinstance(calls, list) else ()
