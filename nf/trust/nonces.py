"""Nonces: 32 random bytes, for one name, valid once and for 60 s. Kept in memory: a restart asks for new ones."""

from __future__ import annotations

import secrets
from collections import OrderedDict

from nf.clock import Clock
from nf.errors import IdentityError

LIFETIME_S = 60.0
MAX_NONCES = 10_000
"""Of all names together; more than that in a minute is no fleet but a flood, and the oldest go."""


class Nonces:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._issued: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def issue(self, name: str) -> bytes:
        now = self._clock.monotonic()
        while self._issued and next(iter(self._issued.values()))[1] <= now:
            self._issued.popitem(last=False)
        while len(self._issued) >= MAX_NONCES:
            self._issued.popitem(last=False)
        nonce = secrets.token_bytes(32)
        self._issued[nonce] = (name, now + LIFETIME_S)
        return nonce

    def use(self, name: str, nonce: bytes) -> None:
        """Use it up, whatever becomes of the request. Raises IdentityError when it is old or not of `name`."""
        issued = self._issued.pop(nonce, None)
        if issued is None or issued[0] != name or issued[1] <= self._clock.monotonic():
            raise IdentityError(
                "the nonce is not valid: unknown, used or older than 60 s", where=name, remedy="ask for a new challenge"
            )
