"""The kernel's table of connections over ctnetlink: those with our bit in their mark. The codec is pure.

pyroute2 decodes an entry in about a millisecond; thousands of them are read here while players wait.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from core5g.steering.n6.documents import IpAddress

_NETLINK_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEAD = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NFGEN = struct.Struct("!BBH")
_TUPLE_ORIG, _TUPLE_REPLY, _PROTOINFO, _MARK, _MARK_MASK = 1, 2, 4, 8, 21
_IP, _PROTO = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_TCP_INFO, _TCP_STATE = 1, 1
_TYPE_MASK = 0x3FFF
_TCP = 6
_TIMEOUT_S = 5.0
_BUFFER = 1 << 18


class TcpState(IntEnum):
    """enum tcp_conntrack of the kernel; those of which more than one may be told apart here."""

    NONE = 0
    SYN_SENT = 1
    SYN_RECV = 2
    ESTABLISHED = 3
    FIN_WAIT = 4
    CLOSE_WAIT = 5
    LAST_ACK = 6
    TIME_WAIT = 7
    CLOSE = 8
    SYN_SENT2 = 9


@dataclass(frozen=True, slots=True)
class Flow:
    """A TCP connection of a UE. `asked`: whom it called; `server`: who answers in truth, after translation."""

    ue: IpAddress
    ue_port: int
    asked: IpAddress
    asked_port: int
    server: IpAddress
    server_port: int
    state: TcpState

    @property
    def over(self) -> bool:
        return self.state in {TcpState.TIME_WAIT, TcpState.CLOSE}


Attributes = dict[int, bytes]
_End = tuple[IpAddress, int]


def request(kind: int, flags: int, mark: int, family: int) -> bytes:
    """For the entries that have all bits of `mark`."""
    body = _NFGEN.pack(family, 0, 0)
    for attribute in (_MARK, _MARK_MASK):
        body += _ATTRIBUTE.pack(8, attribute) + struct.pack("!I", mark)
    return _HEAD.pack(_HEAD.size + len(body), kind, _REQUEST | flags, 1, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each message. Raises ValueError."""
    place = 0
    while place + _HEAD.size <= len(data):
        length, kind, *_ = _HEAD.unpack_from(data, place)
        if length < _HEAD.size or place + length > len(data):
            raise ValueError("a netlink message is cut short")
        yield kind, data[place + _HEAD.size : place + length]
        place += (length + 3) & ~3


def attributes(data: bytes) -> Attributes:
    """Raises ValueError."""
    found: Attributes = {}
    place = 0
    while place + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        if length < _ATTRIBUTE.size or place + length > len(data):
            raise ValueError("a netlink attribute is cut short")
        found[kind & _TYPE_MASK] = data[place + _ATTRIBUTE.size : place + length]
        place += (length + 3) & ~3
    return found


def flow_of(body: bytes) -> Flow | None:
    """None for what is no TCP. Raises ValueError."""
    told = attributes(body[_NFGEN.size :])
    protocol, ue, asked = _tuple(told.get(_TUPLE_ORIG, b""))
    if protocol != _TCP:
        return None
    _, server, _ = _tuple(told.get(_TUPLE_REPLY, b""))
    info = attributes(attributes(told.get(_PROTOINFO, b"")).get(_TCP_INFO, b""))
    state = TcpState(_one(info.get(_TCP_STATE, b"\0")))
    return Flow(*ue, *asked, *server, state)


def _tuple(data: bytes) -> tuple[int, _End, _End]:
    parts = attributes(data)
    addresses, protocol = attributes(parts.get(_IP, b"")), attributes(parts.get(_PROTO, b""))
    source, destination = (_address(addresses.get(v4) or addresses.get(v6) or b"") for v4, v6 in ((1, 3), (2, 4)))
    ports = [int.from_bytes(protocol.get(kind, b""), "big") for kind in (_SOURCE_PORT, _DESTINATION_PORT)]
    return _one(protocol.get(_NUMBER, b"\0")), (source, ports[0]), (destination, ports[1])


def _one(data: bytes) -> int:
    if len(data) != 1:
        raise ValueError("an octet is not one octet")
    return data[0]


def _address(data: bytes) -> IpAddress:
    return IPv4Address(data) if len(data) == 4 else IPv6Address(data)


def _exchange(kind: int, flags: int, mark: int, family: int) -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
        sock.settimeout(_TIMEOUT_S)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        sock.sendto(request(kind, flags, mark, family), (0, 0))
        while True:
            for got, body in messages(sock.recv(_BUFFER)):
                if got == _ERROR:
                    code = -int.from_bytes(body[:4], "little", signed=True)
                    if code:
                        raise OSError(code, "ctnetlink")
                    return
                if got == _DONE:
                    return
                yield body


def flows(mark: int) -> list[Flow]:
    """Raises OSError."""
    found: list[Flow] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            found += [flow for body in _exchange(_GET, _DUMP, mark, family) if (flow := flow_of(body)) is not None]
        except ValueError as error:
            raise OSError(f"ctnetlink cannot be read: {error}") from error
    return found


def forget(mark: int) -> None:
    """The kernel forgets all connections with this mark; what they still send is of no connection. Raises OSError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for _ in _exchange(_DELETE, _ACK, mark, family):
            pass
