"""X1 towards one element, as `links` needs it."""

from __future__ import annotations

import ssl

from lawful_intercept.administration.reconcile import Request
from lawful_intercept.x1.client import X1Client
from lawful_intercept.x1.exchange import AllDetails
from nf.clock import Clock


class X1Asker:
    """`links.Asker`. `url`: of the element's X1; `own`, `peer`: identifiers in X1. Raises InputError."""

    def __init__(self, url: str, tls: ssl.SSLContext, own: str, peer: str, clock: Clock) -> None:
        # A change without an answer is not sent again: what the element holds is asked first.
        self._client = X1Client(url, tls, own, peer, clock=clock, repeats_changes=False)

    async def all_details(self) -> AllDetails:
        return await self._client.get_all_details()

    async def do(self, request: Request) -> None:
        await self._client.send(request)

    async def keepalive(self) -> None:
        await self._client.keepalive()

    async def close(self) -> None:
        await self._client.close()
