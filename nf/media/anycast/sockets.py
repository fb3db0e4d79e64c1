"""Connections to a VIP are ended, so that whoever waits for a sick cache is told at once and asks again.

sock_diag(7): the kernel looks for TCP sockets with the VIP as their own address, and SOCK_DESTROY makes it send the
reset itself, with the numbers that the other end expects (RFC 9293 section 3.10.7). It needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 4, 20, 21
_REQUEST_ACK, _REQUEST_DUMP = 0x5, 0x301
_ERROR, _DONE = 2, 3
_HEAD = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBBI")  # struct inet_diag_req_v2 up to the id: family, protocol, extensions, padding, states
_ID = struct.Struct("!HH16s16s")  # struct inet_diag_sockid: ports, source, destination; interface and cookie follow
_ID_OCTETS, _ID_AT = 48, 4
_LISTEN, _CLOSED, _TIME_WAIT = 10, 7, 6
_STATES = (1 << 13) - 2 & ~(1 << _LISTEN) & ~(1 << _CLOSED) & ~(1 << _TIME_WAIT)
_ATTRIBUTE = struct.Struct("=HH")
_BYTECODE, _S_COND = 1, 7  # INET_DIAG_REQ_BYTECODE, INET_DIAG_BC_S_COND
_TIMEOUT_S = 1.0


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEAD.pack(_HEAD.size + len(body), kind, flags, 1, 0) + body


def dump_request(address: IPv4Address) -> bytes:
    """For the sockets whose own address is `address`, at any port, but those that listen."""
    condition = struct.pack("=BBHi", socket.AF_INET, 32, 0, -1) + address.packed
    # struct inet_diag_bc_op: where the next one is when it holds, and when it does not (4 beyond the end: no match)
    length = 4 + len(condition)
    code = struct.pack("=BBH", _S_COND, length, length + 4) + condition
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(code), _BYTECODE) + code
    query = _QUERY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _STATES) + bytes(_ID_OCTETS)
    return _message(_SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, query + attribute)


def destroy_request(identity: bytes) -> bytes:
    """`identity`: of a socket, as a dump told it."""
    return _message(_SOCK_DESTROY, _REQUEST_ACK, _QUERY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0) + identity)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each netlink message in a datagram; what is cut off ends it."""
    while len(data) >= _HEAD.size:
        length, kind, *_ = _HEAD.unpack_from(data)
        if not _HEAD.size <= length <= len(data):
            return
        yield kind, data[_HEAD.size : length]
        data = data[(length + 3) & ~3 :]


def identity_of(body: bytes, address: IPv4Address) -> bytes | None:
    """The socket of one entry of a dump; None when its own address is another."""
    identity = body[_ID_AT : _ID_AT + _ID_OCTETS]
    if len(identity) < _ID_OCTETS:
        return None
    _, _, source, _ = _ID.unpack_from(identity)
    return identity if source[:4] == address.packed else None


def end_connections(address: IPv4Address) -> int:
    """End every connection to `address` on this host; how many. Blocking, for some milliseconds. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(_TIMEOUT_S)
        sock.bind((0, 0))
        found = list(_dump(sock, address))
        return sum(_destroy(sock, identity) for identity in found)


def _dump(sock: socket.socket, address: IPv4Address) -> Iterator[bytes]:
    sock.send(dump_request(address))
    while True:
        for kind, body in messages(sock.recv(1 << 16)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError(_code(body), "sock_diag refuses to tell sockets")
            if kind == _SOCK_DIAG_BY_FAMILY and (identity := identity_of(body, address)) is not None:
                yield identity


def _destroy(sock: socket.socket, identity: bytes) -> bool:
    sock.send(destroy_request(identity))
    for kind, body in messages(sock.recv(1 << 16)):
        code = _code(body) if kind == _ERROR else 0
        if code == errno.ENOENT:
            return False  # it ended meanwhile
        if code:
            raise OSError(code, "sock_diag refuses to end a socket")
    return True


def _code(body: bytes) -> int:
    return -int.from_bytes(body[:4], "little", signed=True)
