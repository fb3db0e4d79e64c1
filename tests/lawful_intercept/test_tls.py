"""Who may connect to whom, with certificates of the product's own authority, judged by real handshakes and openssl."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lawful_intercept import pki
from lawful_intercept.tls import client_context, own_identity, peer_of, reload, require, server_context
from nf.clock import RealClock
from nf.errors import IdentityError, IntegrityError, NfError, RefusedError
from nf.trust.spiffe import SpiffeId

REFUSED = (ssl.SSLError, ConnectionError)


def files(folder: Path, name: str, domain: str = "li.example", who: pki.Who = pki.Who.ELEMENT) -> pki.Issued:
    place = folder / domain
    clock = RealClock()
    authority = pki.Authority.open(place, clock) if place.exists() else pki.create(place, domain, clock)
    return pki.issue(authority, who, name, folder / "issued" / domain, ip=["127.0.0.1"])


async def meet(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[SpiffeId | None, SpiffeId | None]:
    """Whom each of them saw. Raises OSError (ssl.SSLError among them)."""
    seen: asyncio.Future[SpiffeId] = asyncio.get_running_loop().create_future()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(peer_of(writer))
        writer.write(await reader.read(1))
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=server)
    async with listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname()[:2], ssl=client)
        try:
            writer.write(b"x")
            if await reader.read(1) != b"x":
                raise ConnectionResetError
            return await seen, peer_of(writer)
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_both_sides_know_each_other(tmp_path: Path) -> None:
    server, client = server_context(files(tmp_path, "mdf1")), client_context(files(tmp_path, "poi1"))
    assert await meet(server, client) == (
        SpiffeId("li.example", "element", "poi1"),
        SpiffeId("li.example", "element", "mdf1"),
    )


@pytest.mark.parametrize("foreign", ["server", "client"])
async def test_another_authority_is_refused(tmp_path: Path, foreign: str) -> None:
    other = files(tmp_path, "x", "other.example")
    server = other if foreign == "server" else files(tmp_path, "mdf1")
    client = other if foreign == "client" else files(tmp_path, "poi1")
    with pytest.raises(REFUSED):
        await meet(server_context(server), client_context(client))


async def test_nobody_without_a_certificate_is_taken(tmp_path: Path) -> None:
    naked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    naked.check_hostname, naked.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(REFUSED):
        await meet(server_context(files(tmp_path, "mdf1")), naked)


async def test_old_tls_is_refused(tmp_path: Path) -> None:
    client = client_context(files(tmp_path, "poi1"))
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        client.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(REFUSED):
        await meet(server_context(files(tmp_path, "mdf1")), client)


async def test_a_bundle_believes_two_authorities(tmp_path: Path) -> None:
    """While one follows another."""
    own, other = files(tmp_path, "mdf1"), files(tmp_path, "poi1", "other.example")
    pki.trust_bundle([own.authority, other.authority], tmp_path / "both.pem")
    server = server_context(pki.Issued(own.certificate, own.key, tmp_path / "both.pem"))
    client = client_context(pki.Issued(other.certificate, other.key, own.authority))
    assert (await meet(server, client))[0] == SpiffeId("other.example", "element", "poi1")


async def test_a_renewed_certificate_is_shown_from_then_on(tmp_path: Path) -> None:
    made = files(tmp_path, "mdf1")
    server, client = server_context(made), client_context(files(tmp_path, "poi1"))
    await meet(server, client)
    other = files(tmp_path, "mdf2")
    reload(server, other)
    assert (await meet(server, client))[1] == own_identity(other) == SpiffeId("li.example", "element", "mdf2")


class _Seen:
    def __init__(self, *uris: str) -> None:
        self._names = tuple(("URI", uri) for uri in uris)

    def getpeercert(self) -> dict[str, object]:
        return {"subjectAltName": (("DNS", "x"), *self._names)}


def test_the_expected_peer_is_who_it_should_be() -> None:
    officer = _Seen("spiffe://li.example/officer/meyer")
    assert require(officer, "li.example", "officer").name == "meyer"
    for wrong in (
        lambda: require(officer, "li.example", "element"),
        lambda: require(officer, "other.example", "officer"),
        lambda: require(officer, "li.example", "officer", "schulz"),
        lambda: peer_of(_Seen()),
        lambda: peer_of(_Seen("spiffe://li.example/officer/a", "spiffe://li.example/officer/b")),
        lambda: peer_of(_Seen("spiffe://li.example/root/secret-agency")),
        lambda: peer_of(object()),
    ):
        with pytest.raises(IdentityError) as refused:
            wrong()
        assert not any(word in str(refused.value) for word in ("meyer", "agency", "li.example"))


def test_files_that_are_not_what_they_should_be_are_refused(tmp_path: Path) -> None:
    made, other = files(tmp_path, "mdf1"), files(tmp_path, "mdf2")
    with pytest.raises(IntegrityError):
        server_context(pki.Issued(made.certificate, other.key, made.authority))
    with pytest.raises(IntegrityError):
        client_context(pki.Issued(made.certificate, made.key, tmp_path / "none.pem"))
    made.key.chmod(0o644)
    with pytest.raises(IntegrityError, match="others"):
        server_context(made)


def test_the_command_makes_what_openssl_believes(tmp_path: Path) -> None:
    run = CliRunner()
    assert run.invoke(pki.app, ["init", str(tmp_path / "ca"), "--domain", "li.example"]).exit_code == 0
    words = ["issue", "officer", "meyer", "--authority", str(tmp_path / "ca"), "--into", str(tmp_path), "--days", "5"]
    told = run.invoke(pki.app, words)
    assert told.exit_code == 0, told.output
    assert "spiffe://li.example/officer/meyer" in told.output
    assert (tmp_path / "meyer.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    judged = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient"]
    subprocess.run([*judged, "-CAfile", str(tmp_path / "ca.pem"), str(tmp_path / "meyer.pem")], check=True)
    again = run.invoke(pki.app, words)
    assert isinstance(again.exception, RefusedError)
    assert run.invoke(pki.app, [*words, "--replace", "--ip", "::1", "--dns", "li.example"]).exit_code == 0
    assert isinstance(run.invoke(pki.app, ["issue", "element", "x", "--authority", "/nonexistent"]).exception, NfError)
    both = run.invoke(pki.app, ["bundle", str(tmp_path / "b.pem"), str(tmp_path / "ca.pem"), str(tmp_path / "ca.pem")])
    assert both.exit_code == 0
    assert (tmp_path / "b.pem").read_text().count("BEGIN CERTIFICATE") == 2


async def test_the_environment_makes_no_context_write_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", os.fspath(tmp_path / "keys.log"))
    await meet(server_context(files(tmp_path, "mdf1")), client_context(files(tmp_path, "poi1")))
    assert not (tmp_path / "keys.log").exists()
