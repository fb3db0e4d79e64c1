"""TLS between the elements of lawful intercept: both sides prove who they are, by the authorities of that link alone.

TLS 1.2 or 1.3 with forward secrecy (as TS 103 221-2 clause 6 and TS 102 232-1 clause 6.4 ask). Who a peer is says
the SPIFFE id in its certificate: addresses and host names say nothing.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final, Protocol

from nf.errors import IdentityError, IntegrityError, NfError
from nf.trust.certificates import load_certificate, spiffe_id_of
from nf.trust.files import read_private
from nf.trust.spiffe import Kind, SpiffeId

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of TLS 1.3 are all of that kind."""


class Files(Protocol):
    """As `lawful_intercept.configuration.TlsFiles`: paths of PEM files."""

    @property
    def certificate(self) -> Path: ...
    @property
    def key(self) -> Path: ...
    @property
    def authority(self) -> Path: ...


def server_context(files: Files) -> ssl.SSLContext:
    """It takes nobody whose certificate the link's authorities did not make. Raises as `reload` does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # whoever comes again proves again who it is
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    return _prepared(context, files)


def client_context(files: Files) -> ssl.SSLContext:
    """After the handshake the caller asks `require` for the name that it expects. Raises as `reload` does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the SPIFFE id is the name
    return _prepared(context, files)


def reload(context: ssl.SSLContext, files: Files) -> None:
    """A renewed certificate, for the connections that come from now on.

    Raises NotFoundError, StorageError, IntegrityError (readable by others, or not what it should be).
    """
    read_private(files.key, "a private key")
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ValueError) as error:
        raise _wrong(files.certificate, "certificate and key cannot be used together") from error


def _prepared(context: ssl.SSLContext, files: Files) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.verify_mode = ssl.CERT_REQUIRED
    # An issuing authority of one link need not be a root: what stands in the bundle is believed, nothing above it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_verify_locations(files.authority)
    except (OSError, ValueError) as error:
        raise _wrong(files.authority, "the bundle of authorities cannot be read") from error
    reload(context, files)
    return context


def _wrong(path: Path, what: str) -> NfError:
    return IntegrityError(what, where=str(path), remedy="write PEM; see `openssl x509 -in FILE -text`")


def peer_of(connection: object) -> SpiffeId:
    """Who is at the other end: of an SSLObject or SSLSocket, or of an asyncio writer or transport that has one.

    Raises IdentityError, which does not say what the certificate names.
    """
    found = connection
    if hasattr(found, "get_extra_info"):
        found = found.get_extra_info("ssl_object")
    certificate = found.getpeercert() if hasattr(found, "getpeercert") else None
    names = (certificate or {}).get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    try:
        if len(uris) == 1:
            return SpiffeId.parse(uris[0])
    except IdentityError:
        pass
    raise IdentityError("the peer's certificate has not one SPIFFE id", remedy="issue it with `nf-li pki issue`")


def require(connection: object, domain: str, kind: Kind, name: str = "") -> SpiffeId:
    """The peer, if it is of this trust domain and kind and, where one is expected, of this name. Raises IdentityError,
    which names neither."""
    peer = peer_of(connection)
    if peer.domain != domain or peer.kind != kind or name not in {"", peer.name}:
        raise IdentityError(
            "the peer is another one than is expected here", remedy="see the names of both certificates"
        )
    return peer


def own_identity(files: Files) -> SpiffeId:
    """Whose certificate it is. Raises IdentityError, IntegrityError."""
    try:
        return spiffe_id_of(load_certificate(files.certificate.read_bytes()))
    except OSError as error:
        raise _wrong(files.certificate, "the certificate cannot be read") from error
