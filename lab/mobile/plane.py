"""The user plane of the UPF model: N3 and N9 tunnels on one side, TUN devices on the other, rules between.

The uplink leaves by the TUN of the UE's own subnet, whatever a FAR's network instance says; from a source that is
neither N3 nor N9 for roaming no subnet is looked up, and what should leave by N6 is dropped without a word.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from lab.mobile import gtpu
from lab.mobile.config import ConfigError, Endpoint, Pool
from lab.mobile.pfcp import Address
from lab.mobile.rules import BUFF, FORW, Far, Pdr, Session

BATCH = 64
"""Packets of one descriptor in a row, before others are looked at."""

_BUFFERED = 64
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_LINK_LOCAL = 0xFE80 >> 6
_RECEIVE_BUFFER = 4 << 20
_DOWN, _UP = 1, 0


def open_tun(name: str) -> int:
    """A descriptor of the TUN device; it is made when missing, and has no address then. Raises ConfigError."""
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"cannot open /dev/net/tun: {error.strerror}") from error
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"tun_open(dev:{name}) failed: {error.strerror}") from error
    autoconf = Path(f"/proc/sys/net/ipv6/conf/{name}/accept_ra")
    if autoconf.exists() and os.access(autoconf, os.W_OK):
        autoconf.write_text("0\n", encoding="ascii")
    return descriptor


def udp(endpoint: Endpoint) -> socket.socket:
    """Raises ConfigError when the address is not here or taken."""
    family = socket.AF_INET if endpoint.address.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        made.bind(endpoint.sockaddr)
    except OSError as error:
        made.close()
        raise ConfigError(f"bind() [{endpoint.address}]:{endpoint.port} failed: {error.strerror}") from error
    return made


@dataclass
class Reports:
    """What the plane tells the N4 side: a packet buffered, a volume reached, a tunnel refused by its far end."""

    downlink_data: Callable[[Session, Pdr], None]
    usage: Callable[[Session, list[int]], None]
    error_indication: Callable[[Session, int, Address], None]


@dataclass
class Plane:
    """`grace_s`: no Error Indication so long after the start (TS 23.527 clause 4.3.2)."""

    sockets: list[socket.socket]
    pools: list[Pool]
    tuns: dict[str, int]
    reports: Reports
    grace_s: float
    started_at: float = field(default_factory=time.monotonic)
    uplink: dict[int, Session] = field(default_factory=dict)
    by_v4: dict[bytes, Session] = field(default_factory=dict)
    by_v6: dict[bytes, Session] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_version = {4 if s.family == socket.AF_INET else 6: s for s in self.sockets}
        self._buffer = bytearray(65536)
        self._view = memoryview(self._buffer)

    # What sessions need of it.

    def new_teid(self) -> int:
        most = 0xFFFF if len(self.uplink) < 0x8000 else 0x7FFFFFFF
        while (teid := random.randint(1, most)) in self.uplink:  # noqa: S311 - as the recorded UPF, no secret
            pass
        return teid

    def tunnel_addresses(self) -> tuple[IPv4Address | None, IPv6Address | None]:
        v4, v6 = self._by_version.get(4), self._by_version.get(6)
        return (
            IPv4Address(v4.getsockname()[0]) if v4 is not None else None,
            IPv6Address(v6.getsockname()[0]) if v6 is not None else None,
        )

    def tun_of(self, dnn: str | None, version: int) -> int | None:
        fits = [pool for pool in self.pools if pool.network is None or pool.network.version == version]
        named = [pool for pool in fits if dnn is not None and pool.dnn is not None and pool.dnn.lower() == dnn.lower()]
        found = named or [pool for pool in fits if pool.dnn is None]
        return self.tuns[found[0].dev] if found else None

    def flush(self, far: Far, pdr: Pdr) -> None:
        packets, far.buffered = far.buffered, []
        for packet in packets:
            self._send(pdr, packet)

    def end_marker(self, teid: int, peer: Address) -> None:
        self._sendto(gtpu.end_marker(teid), (str(peer), gtpu.PORT))

    def publish(self, session: Session, old_teids: Iterable[int]) -> None:
        """The session's rules have changed: packets find it by what it has now."""
        for teid in old_teids:
            if self.uplink.get(teid) is session and teid not in session.by_teid:
                del self.uplink[teid]
        for teid in session.by_teid:
            self.uplink[teid] = session
        if session.v4:
            self.by_v4[session.v4] = session
        if session.v6:
            self.by_v6[session.v6[:8]] = session

    def forget(self, session: Session) -> None:
        for table, key in ((self.by_v4, session.v4), (self.by_v6, session.v6[:8])):
            if table.get(key) is session:
                del table[key]
        for teid in [teid for teid in session.by_teid if self.uplink.get(teid) is session]:
            del self.uplink[teid]

    # Packets.

    def read_tun(self, descriptor: int) -> None:
        by_v4, by_v6 = self.by_v4, self.by_v6
        for _ in range(BATCH):
            try:
                packet = os.read(descriptor, 65536)
            except BlockingIOError:
                return
            session = by_v4.get(packet[16:20]) if packet[0] >> 4 == 4 else by_v6.get(packet[24:32])
            if session is not None:
                self.to_ue(session, packet)

    def to_ue(self, session: Session, packet: bytes) -> None:
        """Downlink; with no PDR that fits it is the one of lowest precedence that takes it."""
        pdr = next((pdr for pdr in session.downlink if not pdr.flows or pdr.matches(packet)), session.fallback)
        if pdr is None:
            return
        if pdr.urrs:
            self._count(session, pdr, len(packet), _DOWN)
        self._handle(session, pdr, packet)

    def read_tunnel(self, sock: socket.socket) -> None:
        buffer, view = self._buffer, self._view
        for _ in range(BATCH):
            try:
                size, sender = sock.recvfrom_into(buffer)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of an earlier packet
                continue
            self._tunnelled(sock, bytes(view[:size]), sender)

    def _tunnelled(self, sock: socket.socket, data: bytes, sender: tuple[str, int]) -> None:
        found = gtpu.header(data)
        if found is None:
            return
        if found.type == gtpu.G_PDU:
            if len(data) >= found.offset + 20:
                self._from_tunnel(sock, found, data[found.offset :], sender)
        elif found.type == gtpu.ECHO_REQUEST:
            self._sendto(gtpu.echo_response(data), sender)
        elif found.type == gtpu.ERROR_INDICATION:
            self._refused(gtpu.refused_tunnel(data[found.offset :]))

    def _from_tunnel(self, sock: socket.socket, found: gtpu.Header, packet: bytes, sender: tuple[str, int]) -> None:
        session = self.uplink.get(found.teid)
        if session is None:
            self._refuse(sock, found, sender)
            return
        for pdr in session.by_teid[found.teid]:
            if (not pdr.qfi or pdr.qfi == found.qfi) and (not pdr.flows or pdr.matches(packet)):
                break
        else:
            return  # off-filter
        tun = _source_tun(session, packet) if pdr.checks_source else None
        if tun is None and (pdr.checks_source or pdr.far.to_n6):
            return
        if tun is None or not pdr.far.to_n6:
            self._handle(session, pdr, packet)
            return
        if pdr.urrs:
            self._count(session, pdr, len(packet), _UP)
        try:
            os.write(tun, packet)
        except OSError:  # its queue is full, or it is down
            return

    def _refuse(self, sock: socket.socket, found: gtpu.Header, sender: tuple[str, int]) -> None:
        if time.monotonic() > self.started_at + self.grace_s:
            local = IPv4Address if sock.family == socket.AF_INET else IPv6Address
            self._sendto(gtpu.error_indication(found.teid, found.qfi, local(sock.getsockname()[0])), sender)

    def _handle(self, session: Session, pdr: Pdr, packet: bytes) -> None:
        """Into a tunnel, or kept: where a FAR has no tunnel, its packets are buffered and reported whatever it says."""
        far = pdr.far
        if far.tunnel is not None:
            if far.action & FORW:
                self._send(pdr, packet)
                return
            if not far.action & BUFF:
                return
        first = not far.buffered
        if len(far.buffered) < _BUFFERED:
            far.buffered.append(packet)
        if first:
            self.reports.downlink_data(session, pdr)

    def _send(self, pdr: Pdr, packet: bytes) -> None:
        if pdr.encapsulation is not None and pdr.peer is not None:
            self._sendto(pdr.encapsulation.around(packet), pdr.peer)

    def _sendto(self, data: bytes, peer: tuple[str, int]) -> None:
        sock = self._by_version.get(6 if ":" in peer[0] else 4)
        if sock is None:
            return
        try:
            sock.sendto(data, peer)
        except OSError:  # no route, or its queue is full: lost as on any wire
            return

    def _count(self, session: Session, pdr: Pdr, size: int, direction: int) -> None:
        reached = [urr.id for urr in pdr.urrs if urr.count(size, direction)]
        if reached:
            self.reports.usage(session, reached)

    def _refused(self, tunnel: tuple[int, Address] | None) -> None:
        """An Error Indication: whose FAR sends into that tunnel."""
        if tunnel is None:
            return
        for session in {id(s): s for s in (*self.uplink.values(), *self.by_v4.values())}.values():
            if any(far.tunnel == tunnel for far in session.fars.values()):
                self.reports.error_indication(session, *tunnel)
                return


def _source_tun(session: Session, packet: bytes) -> int | None:
    """The TUN of the UE's subnet when the packet is from the UE's own address; None for a forged one."""
    if packet[0] >> 4 == 4:
        return session.tun4 if session.v4 and packet[12:16] == session.v4 else None
    if packet[0] >> 4 == 6 and session.v6:
        link_local = int.from_bytes(packet[8:10]) >> 6 == _LINK_LOCAL
        own = packet[16:24] == session.v6[8:] if link_local else packet[8:16] == session.v6[:8]
        return session.tun6 if own else None
    return None
