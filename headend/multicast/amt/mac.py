"""The response MAC of a relay (RFC 7450 section 5.3.5): proof that who sends an update was reached by the query.

Without it anybody could have a stream sent to an address that is not his.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from headend.multicast.amt.codec import MAC_OCTETS, Endpoint

ROTATE_S = 60.0
"""How long a secret makes MACs; for as long again it is still believed (section 5.3.5 asks for such a window)."""

_INPUT = struct.Struct("!4sHI")


@dataclass(slots=True)
class Authenticator:
    """`random`: so many octets that nobody can guess. Time in seconds of any clock that does not go back."""

    random: Callable[[int], bytes]
    rotate_s: float = ROTATE_S
    _secrets: list[bytes] = field(default_factory=list)
    _since: float = 0.0

    def make(self, endpoint: Endpoint, nonce: int, now: float) -> bytes:
        self._rotate(now)
        return _mac(self._secrets[0], endpoint, nonce)

    def holds(self, mac: bytes, endpoint: Endpoint, nonce: int, now: float) -> bool:
        """Made by `make` no longer ago than the window."""
        self._rotate(now)
        return any(hmac.compare_digest(_mac(secret, endpoint, nonce), mac) for secret in self._secrets)

    def _rotate(self, now: float) -> None:
        if not self._secrets or now - self._since >= 2 * self.rotate_s:
            self._secrets = [self.random(32)]
            self._since = now
        elif now - self._since >= self.rotate_s:
            self._secrets = [self.random(32), self._secrets[0]]
            self._since = now


def _mac(secret: bytes, endpoint: Endpoint, nonce: int) -> bytes:
    data = _INPUT.pack(endpoint.address.packed, endpoint.port, nonce)
    return hmac.digest(secret, data, "sha256")[:MAC_OCTETS]
