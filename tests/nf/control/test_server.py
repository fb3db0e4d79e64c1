"""The server's credentials, under many handshakes at once and over a rotation."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nf.clock import RealClock
from nf.control.server import ControlServer, server_credentials
from nf.trust.authority import Authority
from nf.trust.identity import Identity, new_identity
from nf.trust.spiffe import SpiffeId

_LIVES = """
import asyncio, sys
from pathlib import Path
from tests.nf.control.test_server import identity_below
from nf.control.server import ControlServer, server_credentials

async def main():
    identity, port = identity_below(Path(sys.argv[1])), 0
    for life in range(int(sys.argv[2])):
        credentials = server_credentials(lambda: identity, client_certificates=bool(life % 2))
        server = ControlServer(f"127.0.0.1:{port}", credentials)
        await server.start()
        port = server.port
        print(port, flush=True)
        await asyncio.sleep(0.01 + life % 8 / 100)
        await server.stop(life % 3 / 40)

asyncio.run(main())
"""


def identity_below(directory: Path) -> Identity:
    authority = Authority.create(directory / "ca", "tv.example", RealClock())
    return new_identity(authority, SpiffeId("tv.example", "noc", "noc"), 3600, ["localhost"], ["127.0.0.1"])


def handshakes(port: int, count: int) -> list[str]:
    """The serial numbers of the certificates that were shown, one for each connection."""
    return [ssl.get_server_certificate(("127.0.0.1", port), timeout=20) for _ in range(count)]


def _storm(port: int, over: threading.Event) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    for number in itertools.count():
        if over.is_set():
            return
        try:
            with socket.create_connection(("127.0.0.1", port), 0.2) as plain:
                plain.settimeout(0.5)
                if number % 3 == 0:  # one that breaks off in the middle
                    plain.send(b"\x16\x03\x01")
                else:
                    _shake_hands(context, plain)
        except OSError:
            over.wait(0.002)


def _shake_hands(context: ssl.SSLContext, plain: socket.socket) -> None:
    """By hand: a wrapped socket whose peer is gone at the wrong instant is left open."""
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(received, to_send)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            plain.sendall(to_send.read())
            data = plain.recv(16_384)
            if not data:
                return
            received.write(data)
        else:
            plain.sendall(to_send.read())
            return


def test_a_storm_of_handshakes_over_many_lives_of_a_server_ends_no_process(tmp_path: Path) -> None:
    """The library exchanges its TLS context without a lock: handed over at every handshake, it was freed in use."""
    command = [sys.executable, "-c", _LIVES, str(tmp_path), "60"]
    over = threading.Event()
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor() as pool,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline())
        storms = [pool.submit(_storm, port, over) for _ in range(6)]
        try:
            _, told = process.communicate(timeout=100)
        finally:
            over.set()
            process.kill()
        assert [storm.result() for storm in storms] == [None] * len(storms)
    assert process.returncode == 0, told[-2000:]


async def test_a_renewed_certificate_is_shown_at_the_next_handshake(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca", "tv.example", RealClock())
    name = SpiffeId("tv.example", "noc", "noc")
    first, second = (new_identity(authority, name, 3600, ["localhost"], ["127.0.0.1"]) for _ in range(2))
    shown = [first]
    server = ControlServer("127.0.0.1:0", server_credentials(lambda: shown[-1], client_certificates=False))
    await server.start()
    try:
        for identity in (first, first, second, second):
            shown.append(identity)
            (pem,) = await asyncio.to_thread(handshakes, server.port, 1)
            assert ssl.PEM_cert_to_DER_cert(pem) == ssl.PEM_cert_to_DER_cert(identity.certificate_pem.decode())
    finally:
        await server.stop(0)
