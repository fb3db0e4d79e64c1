"""Certificates of an edge: which are needed, which are installed, and which one is served."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from nf.errors import DriverError, NfError, RefusedError
from nf.media.certificates import read_certificate
from nf.media.documents import EdgeSection
from nf.media.edge.render import GROUP, USER, certificate_file
from nf.trust.files import write_private

_HANDSHAKE_TIMEOUT_S = 2.0


def resolve(section: EdgeSection, secret: Callable[[str], str]) -> dict[str, str]:
    """File name -> PEM of every certificate that the section names. Raises what `secret` raises."""
    references = section.tls.certificates if section.tls is not None else ()
    return {certificate_file(reference): secret(reference) for reference in references}


def names(section: EdgeSection) -> frozenset[str]:
    """All that players may ask for by https."""
    channels = section.channels if section.tls is not None else ()
    return frozenset(name for channel in channels for name in (channel.host, *channel.aliases))


def install(directory: Path, pems: Mapping[str, str]) -> bool:
    """Write what differs, for Traffic Server's user alone; whether anything did. Raises DriverError."""
    changed = False
    try:
        for name, pem in pems.items():
            path = directory / name
            if installed(path) != pem:
                write_private(path, pem.encode())
                shutil.chown(path, USER, GROUP)
                changed = True
    except (LookupError, OSError, NfError) as error:
        raise DriverError(f"cannot write {directory}: {error}") from error
    return changed


def installed(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None


def touch(path: Path, at: float) -> None:
    """Make a reload read it again: Traffic Server tells a new file by its time of change, in whole seconds."""
    changed = max(at, path.stat().st_mtime + 1.0)
    os.utime(path, (changed, changed))


async def served(address: str, port: int, name: str) -> bytes | None:
    """DER of the certificate that a client gets who asks for `name`; None when there is no handshake."""
    return await asyncio.to_thread(_served, address, port, name)


def _served(address: str, port: int, name: str) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it is compared, octet for octet, with the one that was installed
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port), _HANDSHAKE_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=name) as secured,
        ):
            return secured.getpeercert(binary_form=True)
    except (OSError, ValueError):
        return None


async def unserved(section: EdgeSection, directory: Path) -> tuple[str, ...]:
    """The installed certificates that a client who asks for one of their names does not get."""
    missing = []
    references = section.tls.certificates if section.tls is not None else ()
    for reference in references:
        name = certificate_file(reference)
        pem = installed(directory / name)
        try:
            certificate = read_certificate(pem or "", name)
        except RefusedError:
            missing.append(reference)
            continue
        asked = next((n.replace("*", "any", 1) for n in certificate.names), "")
        port = section.tls.port if section.tls is not None else 443
        if await served(str(section.listen[0]), port, asked) != certificate.der:
            missing.append(reference)
    return tuple(missing)
