"""TCP sockets of this host are ended, so that whoever waits at them is told at once.

sock_diag(7): the kernel looks for sockets that go to an address or have it as their own, and SOCK_DESTROY makes it send
the reset itself, with the numbers that the other end expects (RFC 9293 section 3.10.7); the owner of the socket reads
ECONNABORTED. It needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 4, 20, 21
_REQUEST_ACK, _REQUEST_DUMP = 0x5, 0x301
_ERROR, _DONE = 2, 3
_HEAD = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBBI")  # struct inet_diag_req_v2 up to the id: family, protocol, extensions, padding, states
_ID_OCTETS = 48  # struct inet_diag_sockid: ports, source, destination, interface, cookie
_MESSAGE = struct.Struct(f"=BBBB{_ID_OCTETS}sIIIII")  # struct inet_diag_msg: ..., expires, rqueue, wqueue, uid, inode
_SOURCE = slice(4, 8)  # in the id; an IPv4 address takes the first four of its 16 octets
_ATTRIBUTE = struct.Struct("=HH")
_BYTECODE = 1  # INET_DIAG_REQ_BYTECODE
_TIMEOUT_S = 1.0

SYN_SENT_AND_ESTABLISHED = (1 << 1) | (1 << 2)
_TIME_WAIT, _CLOSED, _LISTEN = 6, 7, 10
CONNECTED = (1 << 13) - 2 & ~(1 << _LISTEN) & ~(1 << _CLOSED) & ~(1 << _TIME_WAIT)
"""From the first packet to the last acknowledgement."""


class End(IntEnum):
    """Whose address is looked at: INET_DIAG_BC_S_COND, INET_DIAG_BC_D_COND."""

    OWN = 7
    PEER = 8


@dataclass(frozen=True, slots=True)
class Condition:
    """`port` None: any."""

    end: End
    address: IPv4Address
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Socket:
    """`uid`: of its owner."""

    identity: bytes
    own: IPv4Address
    uid: int


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEAD.pack(_HEAD.size + len(body), kind, flags, 1, 0) + body


def dump_request(wanted: Condition, states: int) -> bytes:
    """The kernel looks through its sockets, and tells those that meet the condition."""
    port = -1 if wanted.port is None else wanted.port
    condition = struct.pack("=BBHi", socket.AF_INET, 32, 0, port) + wanted.address.packed
    # struct inet_diag_bc_op: where the next one is when it holds, and when it does not (4 beyond the end: no match)
    length = 4 + len(condition)
    code = struct.pack("=BBH", wanted.end, length, length + 4) + condition
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(code), _BYTECODE) + code
    query = _QUERY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, states) + bytes(_ID_OCTETS)
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


def socket_of(body: bytes) -> Socket | None:
    """One entry of a dump; None when it is cut off."""
    if len(body) < _MESSAGE.size:
        return None
    _, _, _, _, identity, _, _, _, uid, _ = _MESSAGE.unpack_from(body)
    return Socket(identity, IPv4Address(identity[_SOURCE]), uid)


def end_sockets(condition: Condition, states: int, keep: Callable[[Socket], bool]) -> int:
    """End what meets the condition, but what is to be kept; how many. Blocking, for some milliseconds.

    Raises OSError.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(_TIMEOUT_S)
        sock.bind((0, 0))
        found = [one for one in _dump(sock, dump_request(condition, states)) if not keep(one)]
        return sum(_destroy(sock, one.identity) for one in found)


def _dump(sock: socket.socket, request: bytes) -> Iterator[Socket]:
    sock.send(request)
    while True:
        for kind, body in messages(sock.recv(1 << 16)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError(_code(body), "sock_diag refuses to tell sockets")
            if kind == _SOCK_DIAG_BY_FAMILY and (found := socket_of(body)) is not None:
                yield found


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
