"""The sockets of the proxy: the one that owns the kernel's multicast table, those that query, those that join."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address

from headend.multicast.kernel.forwarding import Work
from headend.multicast.kernel.igmp import ALL_ROUTERS, IgmpError, Message, Query, decode, encode
from headend.multicast.kernel.querier import Key
from headend.multicast.mfc.codec import (
    MRT_ADD_MFC,
    MRT_ADD_VIF,
    MRT_DEL_MFC,
    MRT_INIT,
    encode_entry,
    encode_vif,
)
from nf.errors import DriverError

_IP_PKTINFO, _IP_OPTIONS = 8, 4
_JOIN_SOURCE, _LEAVE_SOURCE = 46, 47  # MCAST_JOIN_SOURCE_GROUP (RFC 3678 section 5.1)
_ROUTER_ALERT = b"\x94\x04\x00\x00"  # RFC 2113; queries carry it (RFC 3376 section 4)
_CONTROL_TOS = 0xC0
_SOURCE_REQUEST = struct.Struct("=I4x128s128s")


def _raw() -> socket.socket:
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
    except OSError as error:
        raise DriverError(f"no raw IGMP socket: {error}", remedy="run as root") from error


def _membership(group: IPv4Address, index: int) -> bytes:
    return struct.pack("=4s4xi", group.packed, index)


class Table:
    """Owner of the kernel's multicast table of this namespace; `interfaces` become virtual interfaces in their order.

    Raises DriverError when another daemon owns it.
    """

    def __init__(self, interfaces: Sequence[str]) -> None:
        self.socket = _raw()
        self.socket.setblocking(False)
        self._indices = [socket.if_nametoindex(name) for name in interfaces]
        try:
            self.socket.setsockopt(socket.IPPROTO_IP, MRT_INIT, 1)
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            for vif, index in enumerate(self._indices):
                self.socket.setsockopt(socket.IPPROTO_IP, MRT_ADD_VIF, encode_vif(vif, index))
            for index in self._indices[1:]:
                wanted = _membership(ALL_ROUTERS, index)
                self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, wanted)
        except OSError as error:
            self.socket.close()
            taken = "another daemon routes multicast here" if error.errno == errno.EADDRINUSE else str(error)
            raise DriverError(f"the multicast table cannot be had: {taken}", remedy="stop pimd") from error

    def receive(self) -> tuple[int, IPv4Address, Message] | None:
        """(vif, sender, message); None when it is nothing for a querier. Raises BlockingIOError when there is none."""
        data, ancillary, _, _ = self.socket.recvmsg(1 << 16, 64)
        index = next((struct.unpack_from("=i", value)[0] for _, kind, value in ancillary if kind == _IP_PKTINFO), 0)
        length = (data[0] & 0xF) * 4 if data else 0
        # Protocol 0: the kernel's own upcall, such as for a stream that nobody asked for.
        if len(data) < max(20, length) or data[9] != socket.IPPROTO_IGMP or index not in self._indices:
            return None
        try:
            return self._indices.index(index), IPv4Address(data[12:16]), decode(data[length:])
        except IgmpError:
            return None

    def write(self, work: Work) -> None:
        """Raises OSError. What is gone already is no error."""
        for entry in work.delete:
            try:
                self.socket.setsockopt(socket.IPPROTO_IP, MRT_DEL_MFC, encode_entry(entry))
            except FileNotFoundError:
                continue
        for entry in work.add:
            self.socket.setsockopt(socket.IPPROTO_IP, MRT_ADD_MFC, encode_entry(entry))


class Speaker:
    """Sends queries on one interface. `address`: of that interface."""

    def __init__(self, interface: str) -> None:
        self._socket = _raw()
        index = socket.if_nametoindex(interface)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=8xi", index))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_OPTIONS, _ROUTER_ALERT)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _CONTROL_TOS)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # it only speaks
        self.address = address_of(interface)

    def say(self, query: Query) -> None:
        """A link that is down loses it, as the wire would."""
        try:
            self._socket.sendto(encode(query), (str(query.destination), 0))
        except OSError as error:
            if error.errno not in {errno.ENETDOWN, errno.ENETUNREACH, errno.ENOBUFS}:
                raise


def address_of(interface: str) -> IPv4Address:
    """Its main IPv4 address. Raises DriverError when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, 0x8915, struct.pack("16s24x", interface.encode()))  # SIOCGIFADDR
        except OSError as error:
            raise DriverError(f"it has no IPv4 address: {error}", where=f"interface {interface}") from error
    return IPv4Address(answer[20:24])


class Upstream:
    """Memberships on the uplink: the kernel is the IGMPv3 host that reports them.

    A socket holds so many (igmp_max_memberships, igmp_max_msf, optmem_max); then another one is opened.
    """

    def __init__(self, interface: str) -> None:
        self._index = socket.if_nametoindex(interface)
        self._sockets: dict[socket.socket, tuple[int, int | None]] = {}  # -> memberships, and how many it can hold
        self._held: dict[Key, socket.socket] = {}

    def join(self, key: Key) -> None:
        """Raises OSError when even a new socket may not join."""
        for one, (count, limit) in [*self._sockets.items()]:
            if limit is not None and count >= limit:
                continue
            try:
                one.setsockopt(socket.IPPROTO_IP, _JOIN_SOURCE, self._request(key))
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._sockets[one] = (count, count)
            else:
                self._sockets[one] = (count + 1, limit)
                self._held[key] = one
                return
        new = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        new.setsockopt(socket.IPPROTO_IP, _JOIN_SOURCE, self._request(key))
        self._sockets[new] = (1, None)
        self._held[key] = new

    def leave(self, key: Key) -> None:
        one = self._held.pop(key, None)
        if one is None:
            return
        one.setsockopt(socket.IPPROTO_IP, _LEAVE_SOURCE, self._request(key))
        count, limit = self._sockets[one]
        self._sockets[one] = (count - 1, limit)
        if count <= 1:
            del self._sockets[one]
            one.close()

    def _request(self, key: Key) -> bytes:
        source, group = (struct.pack("=H2x4s120x", socket.AF_INET, address.packed) for address in key)
        return _SOURCE_REQUEST.pack(self._index, group, source)
