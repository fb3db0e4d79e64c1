"""SCTP over UDP (RFC 6951) by Debian's libusrsctp: only a peer that does the same is reached.

The lab's kernels have no SCTP, and a stock amfd on Linux uses the kernel's. What was seen is a gNB setup with an amfd
that was built upon usrsctp, and with ourselves.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import socket
import struct
from ipaddress import IPv4Address

ENCAPSULATION_PORT = 9899
"""IANA's for SCTP over UDP, and that of an amfd upon usrsctp."""

_IPPROTO_SCTP = 132
_REMOTE_UDP_ENCAPS_PORT = 0x24
_INITMSG = 0x03
_STREAMS, _ATTEMPTS, _MOST_BETWEEN_MS = 10, 5, 1000
"""Of a peer that is not there: told within seconds, not minutes."""
_SENDV_SNDINFO = 1
_LISTENING = 8
_MOST = 65536


class SctpError(Exception):
    """The library is missing, or the peer is."""


def _library() -> ctypes.CDLL:
    name = os.environ.get("NF_USRSCTP") or ctypes.util.find_library("usrsctp") or "libusrsctp.so.2"
    try:
        library = ctypes.CDLL(name, use_errno=True)
    except OSError as error:
        raise SctpError(f"{name} cannot be loaded: install libusrsctp2") from error
    library.usrsctp_socket.restype = library.usrsctp_accept.restype = ctypes.c_void_p
    library.usrsctp_sendv.restype = library.usrsctp_recvv.restype = ctypes.c_ssize_t
    return library


def _sockaddr(address: str, port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET) + port.to_bytes(2) + IPv4Address(address).packed + bytes(8)


class Stack:
    """SCTP of this process, at a UDP port of its own; there is one of a process. Raises SctpError."""

    def __init__(self, udp_port: int = ENCAPSULATION_PORT) -> None:
        self._library = _library()
        self._library.usrsctp_init(ctypes.c_uint16(udp_port), None, None)

    def connect(self, address: str, port: int, udp_port: int = ENCAPSULATION_PORT) -> Association:
        """Raises SctpError."""
        made = self._socket()
        # struct sctp_udpencaps: an address (any), an association (none yet), the port.
        option = struct.pack("=H126xIH2x", socket.AF_INET, 0, socket.htons(udp_port))
        self._done(
            self._library.usrsctp_setsockopt(made, _IPPROTO_SCTP, _REMOTE_UDP_ENCAPS_PORT, option, len(option)),
            "usrsctp_setsockopt",
        )
        first = struct.pack("=HHHH", _STREAMS, _STREAMS, _ATTEMPTS, _MOST_BETWEEN_MS)
        self._done(
            self._library.usrsctp_setsockopt(made, _IPPROTO_SCTP, _INITMSG, first, len(first)), "usrsctp_setsockopt"
        )
        peer = _sockaddr(address, port)
        self._done(self._library.usrsctp_connect(made, peer, len(peer)), f"no association with {address}:{port}")
        return Association(self._library, made)

    def listen(self, address: str, port: int) -> Listener:
        """Raises SctpError."""
        made, own = self._socket(), _sockaddr(address, port)
        self._done(self._library.usrsctp_bind(made, own, len(own)), "usrsctp_bind")
        self._done(self._library.usrsctp_listen(made, _LISTENING), "usrsctp_listen")
        return Listener(self._library, made)

    def accept(self, address: str, port: int) -> Association:
        """The first association that comes. Raises SctpError."""
        return self.listen(address, port).accept()

    def _socket(self) -> ctypes.c_void_p:
        made = self._library.usrsctp_socket(socket.AF_INET, socket.SOCK_STREAM, _IPPROTO_SCTP, None, None, 0, None)
        if not made:
            raise SctpError(f"usrsctp_socket: {os.strerror(ctypes.get_errno())}")
        return ctypes.c_void_p(made)

    def _done(self, result: int, what: str) -> None:
        if result < 0:
            raise SctpError(f"{what}: {os.strerror(ctypes.get_errno())}")


class Listener:
    """Where associations come in."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library, self._handle = library, handle

    def accept(self) -> Association:
        """The next one; it waits. Raises SctpError."""
        accepted = self._library.usrsctp_accept(self._handle, None, None)
        if not accepted:
            raise SctpError(f"usrsctp_accept: {os.strerror(ctypes.get_errno())}")
        return Association(self._library, ctypes.c_void_p(accepted))

    def close(self) -> None:
        """Who accepts gets an SctpError."""
        self._library.usrsctp_close(self._handle)


class Association:
    """Messages of one stream, in order."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library, self._handle = library, handle

    def send(self, data: bytes, ppid: int) -> None:
        """Raises SctpError."""
        info = struct.pack("=HHIII", 0, 0, socket.htonl(ppid), 0, 0)
        sent = self._library.usrsctp_sendv(
            self._handle, data, ctypes.c_size_t(len(data)), None, 0, info, len(info), _SENDV_SNDINFO, 0
        )
        if sent != len(data):
            raise SctpError(f"usrsctp_sendv: {os.strerror(ctypes.get_errno())}")

    def receive(self) -> bytes:
        """The next message; it waits. Raises SctpError when the association has ended."""
        buffer = ctypes.create_string_buffer(_MOST)
        kind, size, flags = ctypes.c_uint(0), ctypes.c_uint32(0), ctypes.c_int(0)
        got = self._library.usrsctp_recvv(
            *(self._handle, buffer, ctypes.c_size_t(_MOST), None, None),
            *(None, ctypes.byref(size), ctypes.byref(kind), ctypes.byref(flags)),
        )
        if got <= 0:
            raise SctpError("the association has ended")
        return buffer.raw[:got]

    def shutdown(self) -> None:
        """Nothing more is sent; the peer, which then ends it too, lets who receives go."""
        self._library.usrsctp_shutdown(self._handle, socket.SHUT_WR)

    def close(self) -> None:
        self._library.usrsctp_close(self._handle)
