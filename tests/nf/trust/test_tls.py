"""Independent judges of the certificates: OpenSSL, and the handshake of gRPC over loopback."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest

from nf.clock import RealClock, VirtualClock
from nf.trust.authority import APPLIANCE_LIFETIME_S, Authority
from nf.trust.identity import Identity, new_identity
from nf.trust.spiffe import SpiffeId

POP1 = SpiffeId("tv.example", "appliance", "pop1")
NOC = SpiffeId("tv.example", "noc", "noc")
METHOD = "/test.Echo/WhoAmI"


@pytest.fixture
def real(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "real", "tv.example", RealClock())


def openssl_verify(directory: Path, identity: Identity, ca_pem: bytes, *options: str) -> tuple[bool, str]:
    leaf, ca = directory / "leaf.pem", directory / "authority.pem"
    leaf.write_bytes(identity.certificate_pem)
    ca.write_bytes(ca_pem)
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-no-CApath",
        "-no-CAstore",
        "-CAfile",
        str(ca),
        *options,
        str(leaf),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.daemon
def test_openssl_accepts_the_certificate_for_client_and_server(
    real: Authority, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("openssl")
    identity = new_identity(real, NOC, APPLIANCE_LIFETIME_S, ["noc.tv.example"], ["172.20.20.10"])
    assert identity.ca_pem == real.ca_pem
    for purpose in ("sslclient", "sslserver"):
        assert openssl_verify(tmp_path, identity, real.ca_pem, "-purpose", purpose) == (
            True,
            f"{tmp_path}/leaf.pem: OK\n",
        )
    assert openssl_verify(tmp_path, identity, real.ca_pem, "-verify_hostname", "noc.tv.example")[0]
    assert openssl_verify(tmp_path, identity, real.ca_pem, "-verify_ip", "172.20.20.10")[0]
    assert not openssl_verify(tmp_path, identity, real.ca_pem, "-verify_ip", "172.20.20.11")[0]
    assert not openssl_verify(tmp_path, identity, real.ca_pem, "-purpose", "crlsign")[0]


@pytest.mark.daemon
def test_openssl_refuses_a_foreign_authority_and_an_expired_certificate(
    real: Authority, authority: Authority, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("openssl")
    foreign = Authority.create(tmp_path / "foreign", "tv.example", RealClock())
    accepted, _ = openssl_verify(tmp_path, new_identity(real, POP1, 60), foreign.ca_pem)
    assert not accepted
    old = new_identity(authority, POP1, APPLIANCE_LIFETIME_S)  # its clock stands in the past
    accepted, text = openssl_verify(tmp_path, old, authority.ca_pem)
    assert not accepted
    assert "expired" in text
    assert openssl_verify(tmp_path, old, authority.ca_pem, "-attime", str(int(old.not_after) - 10))[0]


@pytest.mark.daemon
def test_openssl_reads_one_uri_an_empty_subject_and_p256(
    real: Authority, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("openssl")
    (tmp_path / "leaf.pem").write_bytes(new_identity(real, POP1, 60).certificate_pem)
    command = ["openssl", "x509", "-noout", "-text", "-in", str(tmp_path / "leaf.pem")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "X509v3 Subject Alternative Name: critical\n                URI:spiffe://tv.example/appliance/pop1\n" in text
    assert "Subject: \n" in text
    assert "ASN1 OID: prime256v1" in text


async def whoami(_request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return context.auth_context()["peer_spiffe_id"][0]


@pytest.fixture
async def port(real: Authority) -> AsyncIterator[int]:
    noc = new_identity(real, NOC, APPLIANCE_LIFETIME_S, ip=["127.0.0.1"])
    credentials = grpc.ssl_server_credentials(
        [(noc.key_pem, noc.certificate_pem)], root_certificates=noc.ca_pem, require_client_auth=True
    )
    server = grpc.aio.server()
    handlers = {"WhoAmI": grpc.unary_unary_rpc_method_handler(whoami)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    bound = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield bound
    await server.stop(None)


async def call(port: int, identity: Identity, ca_pem: bytes) -> bytes:
    credentials = grpc.ssl_channel_credentials(ca_pem, identity.key_pem, identity.certificate_pem)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        answer: bytes = await channel.unary_unary(METHOD)(b"", timeout=10)
        return answer


async def test_grpc_sees_the_spiffe_id(real: Authority, port: int) -> None:
    assert await call(port, new_identity(real, POP1, 60), real.ca_pem) == str(POP1).encode()


async def test_grpc_refuses_foreign_and_expired_identities(real: Authority, port: int, tmp_path: Path) -> None:
    foreign = Authority.create(tmp_path / "foreign", "tv.example", RealClock())
    past = Authority.open(tmp_path / "real", VirtualClock())
    for identity, ca_pem in (
        (new_identity(foreign, POP1, 60), real.ca_pem),
        (new_identity(past, POP1, 60), real.ca_pem),
        (new_identity(real, POP1, 60), foreign.ca_pem),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(port, identity, ca_pem)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
