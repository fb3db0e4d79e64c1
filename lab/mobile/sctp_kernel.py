"""SCTP of the kernel, for a gNB whose AMF is a stock one of Linux. The kernel needs its module `sctp`.

It has only been tried as far as a kernel without that module lets it: the options are those of RFC 6458.
"""

from __future__ import annotations

import socket
import struct

from lab.mobile.sctp import SctpError

_IPPROTO_SCTP = 132
_DEFAULT_SEND_PARAM = 10
_MOST = 65536


class KernelAssociation:
    """Messages of one stream, in order. Raises SctpError."""

    def __init__(self, address: str, port: int, ppid: int) -> None:
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, _IPPROTO_SCTP)
        except OSError as error:
            raise SctpError(f"the kernel has no SCTP ({error.strerror}): modprobe sctp") from error
        try:
            # struct sctp_sndrcvinfo (RFC 6458 clause 5.3.2): stream, number, flags, ppid, context, times, association.
            default = struct.pack("=HHH2xIIIIIi", 0, 0, 0, socket.htonl(ppid), 0, 0, 0, 0, 0)
            self._socket.setsockopt(_IPPROTO_SCTP, _DEFAULT_SEND_PARAM, default)
            self._socket.connect((address, port))
        except OSError as error:
            self._socket.close()
            raise SctpError(f"no association with {address}:{port}: {error.strerror}") from error

    def send(self, data: bytes, ppid: int) -> None:  # noqa: ARG002 - that of the socket
        """Raises SctpError."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise SctpError(f"send: {error.strerror}") from error

    def receive(self) -> bytes:
        """The next message; it waits. Raises SctpError when the association has ended."""
        try:
            data = self._socket.recv(_MOST)
        except OSError as error:
            raise SctpError(f"recv: {error.strerror}") from error
        if not data:
            raise SctpError("the association has ended")
        return data

    def shutdown(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()
