"""Client channels to the NOC: mTLS, keep-alive, and the delays between attempts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

import grpc

from nf.trust.identity import Identity

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
MAX_METADATA_BYTES: Final = 4 * 1024 * 1024

Options = list[tuple[str, int | str]]


def client_options(*, keepalive_ms: int = 10_000, keepalive_timeout_ms: int = 5_000) -> Options:
    """Limits fit a document with thousands of problems; a peer that is silently gone is noticed in 15 s."""
    return [
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", keepalive_timeout_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # Reconnects are ours (full jitter); a channel that waits by itself would hide them.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.use_local_subchannel_pool", 1),
    ]


def noc_channel(address: str, identity: Identity, *, options: Options | None = None) -> grpc.aio.Channel:
    """A channel to `address` ("host:port") that shows `identity` and trusts its CA alone.

    The NOC's name is checked against the DNS names and addresses of its certificate, which only the CA can give.
    """
    credentials = grpc.ssl_channel_credentials(
        root_certificates=identity.ca_pem,
        private_key=identity.key_pem,
        certificate_chain=identity.certificate_pem,
    )
    return grpc.aio.secure_channel(address, credentials, options=options or client_options())


def enrolment_channel(address: str, ca_pem: bytes) -> grpc.aio.Channel:
    """A channel without a client certificate, to the enrolment service only."""
    return grpc.aio.secure_channel(
        address, grpc.ssl_channel_credentials(root_certificates=ca_pem), options=client_options()
    )


@dataclass
class FullJitter:
    """Delays before the next attempt: uniform in [0, min(cap, base * 2**attempt)] seconds; a fleet spreads out."""

    base_s: float = 0.5
    cap_s: float = 30.0
    source: random.Random = field(default_factory=random.SystemRandom)
    attempt: int = 0

    def next_s(self) -> float:
        ceiling = min(self.cap_s, self.base_s * 2 ** min(self.attempt, 30))
        self.attempt += 1
        return self.source.uniform(0.0, ceiling)

    def reset(self) -> None:
        self.attempt = 0
