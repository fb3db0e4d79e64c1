"""gRPC servers of the NOC: mTLS with certificates that rotate in place, keep-alive, bounded connection age, health."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from nf.control.channel import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, Options
from nf.errors import UnavailableError
from nf.trust.identity import Identity


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """`max_connection_age_s`: a connection is ended after that, so that a revoked identity must show itself again."""

    max_connection_age_s: float = 3600.0
    max_connection_grace_s: float = 20.0
    keepalive_ms: int = 10_000
    keepalive_timeout_ms: int = 5_000

    def options(self) -> Options:
        return [
            ("grpc.max_connection_age_ms", round(self.max_connection_age_s * 1000)),
            ("grpc.max_connection_age_grace_ms", round(self.max_connection_grace_s * 1000)),
            ("grpc.keepalive_time_ms", self.keepalive_ms),
            ("grpc.keepalive_timeout_ms", self.keepalive_timeout_ms),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.so_reuseport", 0),
        ]


_KEPT: Final[list[grpc.ServerCredentials]] = []
"""The library calls `configuration` from its own threads, also for a handshake that outlives its server: the object
behind it must not go before the process does."""


def server_credentials(current: Callable[[], Identity], *, client_certificates: bool) -> grpc.ServerCredentials:
    """`current` is asked at every handshake: a renewed certificate is shown without a restart.

    It is handed over only when it changed: the library exchanges its TLS context without a lock against handshakes
    that use it at that moment, and a fleet that comes back at once would end the process.
    """
    shown = current()

    def configuration() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        identity = current()
        if identity is shown:
            return None
        shown = identity
        return _configuration(identity, client_certificates)

    credentials = grpc.dynamic_ssl_server_credentials(
        _configuration(shown, client_certificates),
        configuration,  # type: ignore[arg-type]  # None is allowed by the library's documentation: nothing changed
        require_client_authentication=client_certificates,
    )
    _KEPT.append(credentials)
    return credentials


def _configuration(identity: Identity, client_certificates: bool) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(identity.key_pem, identity.certificate_pem)],
        root_certificates=identity.ca_pem if client_certificates else None,
    )


class ControlServer:
    """One listening address with its services and `grpc.health.v1`."""

    def __init__(
        self,
        address: str,
        credentials: grpc.ServerCredentials,
        *,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        limits: ServerLimits | None = None,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._health = health.aio.HealthServicer()
        self.server = grpc.aio.server(interceptors=interceptors, options=(limits or ServerLimits()).options())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self.port = 0

    async def start(self) -> None:
        """Bind and serve. Raises UnavailableError when the address is taken."""
        try:
            self.port = self.server.add_secure_port(self._address, self._credentials)
        except RuntimeError as error:
            raise UnavailableError(
                f"cannot listen on {self._address}", remedy="stop what listens there or choose another address"
            ) from error
        await self.server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float = 1.0) -> None:
        """Health turns to NOT_SERVING, running calls get `grace_s`, then everything is closed."""
        await self._health.enter_graceful_shutdown()
        await self.server.stop(grace_s)
