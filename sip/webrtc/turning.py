"""A client of TURN that asks one server one thing after another: is it there, does it allocate, to whom does it relay.

Sans-IO. Requests are sent again as RFC 8489 section 6.2.1 says, over UDP.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sip.webrtc.credentials import TurnCredentials
from sip.webrtc.stun import Attribute, Class, Endpoint, Message, Method, StunError, decode, encode, key_of, xor

FIRST_S: Final = 0.5
SENT: Final = 7
"""Times that a request is sent at most; the wait doubles, and after the last it is 16 of the first."""
_LAST: Final = 16
_UDP: Final = b"\x11\0\0\0"
UNAUTHENTICATED, FORBIDDEN, STALE_NONCE = 401, 403, 438


@dataclass(frozen=True, slots=True)
class Answered:
    """A request and what came of it. `error` 0: granted. `round_s`: from its first sending.

    mapped, relayed  addresses that it told: ours as it sees us, and the one that it gives us
    """

    method: Method
    error: int = 0
    reason: str = ""
    mapped: Endpoint | None = None
    relayed: Endpoint | None = None
    lifetime_s: int = 0
    round_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Silent:
    """No answer to any of them."""

    method: Method


class TurnClient:
    """`ask` again when an event came: one request is under way at a time. Times: seconds, of a clock that is steady."""

    def __init__(self, credentials: TurnCredentials | None = None) -> None:
        self._credentials = credentials
        self._realm, self._nonce = "", b""
        self._out: deque[bytes] = deque()
        self._events: deque[Answered | Silent] = deque()
        self._request: tuple[Method, tuple[tuple[int, bytes], ...]] | None = None
        self._transaction, self._bytes = b"", b""
        self._begun = self._due = 0.0
        self._sent = self._challenged = 0

    # -- what is asked ----------------------------------------------------------------------------------------------

    def bind(self, now: float) -> None:
        self._ask(Method.BINDING, (), now)

    def allocate(self, now: float, lifetime_s: int = 60) -> None:
        """RFC 8656 section 7.1, a relayed UDP address."""
        lifetime = (int(Attribute.LIFETIME), lifetime_s.to_bytes(4))
        self._ask(Method.ALLOCATE, ((int(Attribute.REQUESTED_TRANSPORT), _UDP), lifetime), now)

    def permit(self, peers: Sequence[Endpoint], now: float) -> None:
        """RFC 8656 section 10.1."""
        self._ask(Method.CREATE_PERMISSION, tuple((int(Attribute.XOR_PEER_ADDRESS), xor(one)) for one in peers), now)

    def release(self, now: float) -> None:
        """The allocation ends at once (RFC 8656 section 8.1)."""
        self._ask(Method.REFRESH, ((int(Attribute.LIFETIME), bytes(4)),), now)

    # -- bytes and time ---------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Whatever is no answer to what was asked is as if it had not come."""
        try:
            message = decode(data)
            if self._request is None or message.transaction != self._transaction:
                return
            self._take(message, now)
        except StunError:
            return

    def data_to_send(self, now: float) -> bytes | None:
        """One datagram; None: nothing for now."""
        if not self._out and self._request is not None and now >= self._due:
            self._again(now)
        return self._out.popleft() if self._out else None

    def next_event(self) -> Answered | Silent | None:
        return self._events.popleft() if self._events else None

    def next_timeout(self) -> float | None:
        """When `data_to_send` is to be asked again, if nothing comes before."""
        return self._due if self._request is not None else None

    # -- how --------------------------------------------------------------------------------------------------------

    def _ask(self, method: Method, attributes: tuple[tuple[int, bytes], ...], now: float) -> None:
        if self._request is not None:
            raise RuntimeError("one request at a time")
        self._request, self._begun, self._challenged = (method, attributes), now, 0
        self._send(now)

    def _send(self, now: float) -> None:
        if self._request is None:
            return
        method, attributes = self._request
        self._transaction, key = secrets.token_bytes(12), None
        if self._credentials is not None and self._realm and method is not Method.BINDING:
            attributes = (
                *attributes,
                (int(Attribute.USERNAME), self._credentials.username.encode()),
                (int(Attribute.REALM), self._realm.encode()),
                (int(Attribute.NONCE), self._nonce),
            )
            key = self._key()
        self._bytes = encode(Message(method, Class.REQUEST, self._transaction, attributes), key)
        self._sent, self._due = 1, now + FIRST_S
        self._out.append(self._bytes)

    def _key(self) -> bytes | None:
        known = self._credentials
        return key_of(known.username, self._realm, known.password) if known is not None and self._realm else None

    def _again(self, now: float) -> None:
        if self._sent >= SENT and self._request is not None:
            self._events.append(Silent(self._request[0]))
            self._request = None
            return
        self._due = now + FIRST_S * (2**self._sent if self._sent < SENT - 1 else _LAST)
        self._sent += 1
        self._out.append(self._bytes)

    def _take(self, message: Message, now: float) -> None:
        if self._request is None or message.method != self._request[0]:
            return
        method, key = self._request[0], self._key()
        signed = message.integrity is not None and key is not None
        if signed and not message.is_signed_with(key or b""):
            return
        if message.kind is Class.ERROR:
            code, reason = message.error()
            if self._challenge(message, code):
                self._send(now)
                return
            self._end(Answered(method, code, reason, round_s=now - self._begun))
        elif message.kind is Class.SUCCESS:
            if key is not None and method is not Method.BINDING and not signed:
                return
            self._end(
                Answered(
                    method,
                    mapped=message.endpoint(Attribute.XOR_MAPPED_ADDRESS),
                    relayed=message.endpoint(Attribute.XOR_RELAYED_ADDRESS),
                    lifetime_s=message.lifetime(),
                    round_s=now - self._begun,
                )
            )

    def _challenge(self, message: Message, code: int) -> bool:
        """Whether it is asked once more, with what it told (RFC 8489 section 9.2.5)."""
        first = code == UNAUTHENTICATED and not self._challenged
        if self._credentials is None or not (first or (code == STALE_NONCE and self._challenged < 3)):
            return False
        self._realm = message.text(Attribute.REALM)
        self._nonce = message.find(Attribute.NONCE) or b""
        self._challenged += 1
        return bool(self._realm)

    def _end(self, event: Answered) -> None:
        self._request = None
        self._events.append(event)
