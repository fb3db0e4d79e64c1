"""An endpoint of the tests that speaks TLS over one connection of its own: RFC 3261 section 18."""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading

from tests.sip.kamailio.phones import LIMIT_S, Endpoint


class TlsEndpoint(Endpoint):
    """It calls, and is called, by the connection that it has opened; `certificate`: the proxy's, DER."""

    transport = "TLS"

    def __init__(self, address: str, port: int, proxy: tuple[str, int] = ("127.0.0.1", 5061)) -> None:
        self._buffer = b""
        self._lock = threading.Lock()  # OpenSSL has no connection read and written at once
        super().__init__(address, port, proxy)

    def contact(self, user: str) -> str:
        return f"<sip:{user}@{self.address}:{self.port};transport=tls>"

    def _bound(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(LIMIT_S)
        sock.bind((self.address, self.port))
        sock.connect(self.proxy)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._tls = context.wrap_socket(sock)
        self.certificate = self._tls.getpeercert(binary_form=True)
        self._tls.setblocking(False)
        return self._tls

    def send(self, text: str | bytes, to: tuple[str, int] | None = None) -> None:
        data = text.encode() if isinstance(text, str) else text
        with self._lock:
            while data:
                try:
                    data = data[self._tls.send(data) :]
                except ssl.SSLWantWriteError:
                    select.select([], [self._tls], [], LIMIT_S)

    def _receive(self) -> tuple[bytes, tuple[str, int]]:
        while not (whole := self._whole()):
            if not self._tls.pending() and not select.select([self._tls], [], [], 0.5)[0]:
                raise TimeoutError
            with self._lock:
                try:
                    data = self._tls.recv(65_536)
                except ssl.SSLWantReadError:
                    continue
            if not data:
                self._open = False
                raise TimeoutError
            self._buffer += data
        return whole, self.proxy

    def _whole(self) -> bytes:
        """The first message of what came; empty when it is not whole."""
        self._buffer = self._buffer.lstrip(b"\r\n")
        head, end, _ = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"^(?:Content-Length|l)\s*:\s*(\d+)", head, re.IGNORECASE | re.MULTILINE)
        size = len(head + end) + int(length[1]) if length else 0
        if not end or len(self._buffer) < size:
            return b""
        whole, self._buffer = self._buffer[:size], self._buffer[size:]
        return whole
