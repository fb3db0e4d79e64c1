"""Requests that wait at a shield which hangs: their sockets are ended, so that Traffic Server asks another shield.

sock_diag(7): a dump of the TCP sockets that go to one address, and SOCK_DESTROY for those of Traffic Server's user. The
owner of a socket that was ended reads ECONNABORTED; the peer gets a reset. It needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 4, 20, 21
_REQUEST_ACK, _REQUEST_DUMP = 0x5, 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEAD = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBBI")  # struct inet_diag_req_v2 up to the id: family, protocol, extensions, padding, states
_ID = 48  # struct inet_diag_sockid: ports, source, destination, interface, cookie
_MESSAGE = struct.Struct(f"=BBBB{_ID}sIIIII")  # struct inet_diag_msg: ..., expires, rqueue, wqueue, uid, inode
_STATES = (1 << 1) | (1 << 2)  # established, SYN sent
_ATTRIBUTE = struct.Struct("=HH")
_BYTECODE = 1  # INET_DIAG_REQ_BYTECODE
_D_COND = 8  # INET_DIAG_BC_D_COND
_TIMEOUT_S = 1.0


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEAD.pack(_HEAD.size + len(body), kind, flags, 1, 0) + body


def dump_request(address: IPv4Address, port: int) -> bytes:
    """The kernel looks through its sockets for those that go to `address` and `port`, and tells no others."""
    condition = struct.pack("=BBHi", socket.AF_INET, 32, 0, port) + address.packed
    # struct inet_diag_bc_op: where the next one is when it holds, and when it does not (4 beyond the end: no match)
    length = 4 + len(condition)
    code = struct.pack("=BBH", _D_COND, length, length + 4) + condition
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(code), _BYTECODE) + code
    query = _QUERY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _STATES) + bytes(_ID)
    return _message(_SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, query + attribute)


def destroy_request(identity: bytes) -> bytes:
    """`identity`: of a socket, as a dump told it."""
    query = _QUERY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _STATES) + identity
    return _message(_SOCK_DESTROY, _REQUEST_ACK, query)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each netlink message in a datagram; what is cut off ends it."""
    while len(data) >= _HEAD.size:
        length, kind, *_ = _HEAD.unpack_from(data)
        if not _HEAD.size <= length <= len(data):
            return
        yield kind, data[_HEAD.size : length]
        data = data[(length + 3) & ~3 :]


def identity_of(body: bytes, uid: int) -> bytes | None:
    """The socket of one entry of a dump; None when it is another user's."""
    if len(body) < _MESSAGE.size:
        return None
    _, _, _, _, identity, _, _, _, owner, _ = _MESSAGE.unpack_from(body)
    return identity if owner == uid else None


def end_requests(address: IPv4Address, port: int, uid: int) -> int:
    """End what user `uid` has open to there; how many. Blocking, for some milliseconds. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(_TIMEOUT_S)
        sock.bind((0, 0))
        found = list(_dump(sock, address, port, uid))
        return sum(_destroy(sock, identity) for identity in found)


def _dump(sock: socket.socket, address: IPv4Address, port: int, uid: int) -> Iterator[bytes]:
    sock.send(dump_request(address, port))
    while True:
        for kind, body in messages(sock.recv(1 << 16)):
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                raise OSError(-int.from_bytes(body[:4], "little", signed=True), "sock_diag refuses to tell sockets")
            if kind == _SOCK_DIAG_BY_FAMILY and (identity := identity_of(body, uid)) is not None:
                yield identity


def _destroy(sock: socket.socket, identity: bytes) -> bool:
    sock.send(destroy_request(identity))
    for kind, body in messages(sock.recv(1 << 16)):
        code = -int.from_bytes(body[:4], "little", signed=True) if kind == _NLMSG_ERROR else 0
        if code == errno.ENOENT:
            return False  # it ended meanwhile
        if code:
            raise OSError(code, "sock_diag refuses to end a socket")
    return True
