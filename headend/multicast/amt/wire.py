"""The sockets of relay and gateway: multicast off an interface as it is, and onto one with its source address kept."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator

from headend.multicast.igmp import Flow
from headend.multicast.ipv4 import UDP, MalformedError, checksum, parse

_SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 33, 26
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_AUXDATA = 263, 1, 8
_PACKET_MR_ALLMULTI = 2
_TP_STATUS_CSUMNOTREADY = 1 << 3
_PACKET_OUTGOING = 4
_ETH_P_IP = 0x0800
_MCAST_JOIN_SOURCE_GROUP, _MCAST_LEAVE_SOURCE_GROUP = 46, 47
_IP_MULTICAST_ALL = 49
_BUFFER = 16 << 20
_READS = 256
_FLOWS_PER_SOCKET = 16  # net.ipv4.igmp_max_memberships is 20
# UDP to 232.0.0.0/8 whole, all else not at all (classic BPF on the IPv4 header).
_SSM_ONLY = struct.pack(
    "=HBBIHBBIHBBIHBBIHBBIHBBI",
    *(0x30, 0, 0, 9),
    *(0x15, 0, 3, UDP),
    *(0x30, 0, 0, 16),
    *(0x15, 0, 1, 232),
    *(6, 0, 0, 0x40000),
    *(6, 0, 0, 0),
)


class Upstream:
    """Takes flows off an interface, and asks for them there with IGMPv3. Raises OSError when there is no interface."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._index = socket.if_nametoindex(interface)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        try:
            buffer = ctypes.create_string_buffer(_SSM_ONLY)
            program = struct.pack("HxxxxxxP", len(_SSM_ONLY) // 8, ctypes.addressof(buffer))
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            self.socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            everything = struct.pack("iHH8s", self._index, _PACKET_MR_ALLMULTI, 0, bytes(8))
            self.socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, everything)
            self.socket.setblocking(False)
            self.socket.bind((interface, _ETH_P_IP))
        except OSError:
            self.socket.close()
            raise
        self._members: dict[Flow, socket.socket] = {}
        self._used: dict[socket.socket, int] = {}

    @property
    def made_anew(self) -> bool:
        """The interface was, so that nothing will ever come by these sockets again."""
        try:
            return socket.if_nametoindex(self._interface) != self._index
        except OSError:
            return False  # it is away: whoever takes it away may bring it back

    def want(self, flows: frozenset[Flow]) -> None:
        """Ask for these and no others. Raises OSError."""
        for flow in self._members.keys() - flows:
            sock = self._members.pop(flow)
            with contextlib.suppress(OSError):  # the interface is gone
                sock.setsockopt(socket.IPPROTO_IP, _MCAST_LEAVE_SOURCE_GROUP, self._request(flow))
            self._used[sock] -= 1
            if self._used[sock] == 0:
                del self._used[sock]
                sock.close()
        for flow in sorted(flows - self._members.keys()):
            sock = (
                next((s for s, used in self._used.items() if used < _FLOWS_PER_SOCKET), None) or self._member_socket()
            )
            sock.setsockopt(socket.IPPROTO_IP, _MCAST_JOIN_SOURCE_GROUP, self._request(flow))
            self._members[flow] = sock
            self._used[sock] += 1

    def _member_socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        self._used[sock] = 0
        return sock

    def _request(self, flow: Flow) -> bytes:
        """struct group_source_req, RFC 3678 section 5.1.1."""
        source, group = (struct.pack("=HH4s120x", socket.AF_INET, 0, n.to_bytes(4, "big")) for n in flow)
        return struct.pack("=Ixxxx", self._index) + group + source

    def packets(self) -> Iterator[tuple[bytes, Flow]]:
        """What waits, up to a number that leaves others their turn. Raises OSError."""
        for _ in range(_READS):
            try:
                data, ancillary, _, address = self.socket.recvmsg(65_536, 64)
            except (BlockingIOError, InterruptedError):
                return
            if address[2] == _PACKET_OUTGOING or len(data) < 28:
                continue
            flow = (int.from_bytes(data[12:16], "big"), int.from_bytes(data[16:20], "big"))
            yield (_summed(data) if _unsummed(ancillary) else data), flow

    def close(self) -> None:
        for sock in (self.socket, *self._used):
            sock.close()


class Delivery:
    """Puts datagrams on interfaces, one hop further, with their own source address."""

    def __init__(self, interfaces: tuple[str, ...]) -> None:
        self._interfaces = interfaces
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._socket.setblocking(False)
        self.errors = 0
        self.last_error = ""

    def deliver(self, packet: bytes) -> None:
        """Raises MalformedError for one whose hops are used up; an interface that does not take it is counted."""
        passed = next_hop(packet)
        mac = b"\x01\x00\x5e" + bytes([passed[17] & 0x7F]) + passed[18:20]  # RFC 1112 section 6.4
        for interface in self._interfaces:
            try:
                self._socket.sendto(passed, (interface, _ETH_P_IP, 0, 0, mac))
            except OSError as error:
                self.errors += 1
                self.last_error = f"{interface}: {error}"

    def close(self) -> None:
        self._socket.close()


def next_hop(packet: bytes) -> bytes:
    """With one hop less. Raises MalformedError when that was the last one, or it is no datagram."""
    datagram = parse(packet)
    if datagram.ttl <= 1:
        raise MalformedError("ttl")
    length = (packet[0] & 15) * 4
    head = packet[:8] + bytes([datagram.ttl - 1]) + packet[9:10] + b"\0\0" + packet[12:length]
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + datagram.payload


def _unsummed(ancillary: list[tuple[int, int, bytes]]) -> bool:
    """The sender left the UDP checksum to a network card that the datagram never passed."""
    return any(
        level == _SOL_PACKET and kind == _PACKET_AUXDATA and struct.unpack_from("=I", data)[0] & _TP_STATUS_CSUMNOTREADY
        for level, kind, data in ancillary
    )


def _summed(packet: bytes) -> bytes:
    length = (packet[0] & 15) * 4
    if packet[9] != UDP or len(packet) < length + 8:
        return packet
    size = int.from_bytes(packet[length + 4 : length + 6], "big")
    datagram = packet[length : length + 6] + b"\0\0" + packet[length + 8 : length + size]
    pseudo = packet[12:20] + b"\0\x11" + size.to_bytes(2, "big")  # RFC 768
    value = checksum(pseudo + datagram) or 0xFFFF
    return packet[: length + 6] + value.to_bytes(2, "big") + packet[length + 8 :]
