"""Bundles from the NOC, by a channel of their own beside the session, with the agent's identity."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

from nf.agent.enrolment import Keyring
from nf.control.channel import Options, noc_channel
from nf.control.errors import translated
from nf.control.v1 import fleet_pb2 as pb
from nf.control.v1 import fleet_pb2_grpc
from nf.errors import IdentityError


class NocBundles:
    """Implements `nf.contracts.image.BundleSource`. Each attempt asks the next of the NOC's addresses."""

    def __init__(self, keyring: Keyring, options: Options | None = None) -> None:
        self._keyring = keyring
        self._options = options
        self._attempts = count()

    async def pieces(self, sha256: str, offset: int) -> AsyncIterator[bytes]:
        enrolled, identity = self._keyring.enrolled, self._keyring.identity
        if enrolled is None or identity is None:
            raise IdentityError("not enrolled")
        address = enrolled.noc[next(self._attempts) % len(enrolled.noc)]
        async with noc_channel(address, identity, options=self._options) as channel:
            stub: Any = fleet_pb2_grpc.FleetStub(channel)
            call = stub.FetchBundle(pb.FetchBundleRequest(sha256=sha256, offset=offset))
            try:
                with translated():
                    async for piece in call:
                        yield piece.data
            finally:
                call.cancel()
