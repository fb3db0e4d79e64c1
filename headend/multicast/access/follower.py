"""Keeps the ports' sets of what may pass as the bridge's group database and the hosts' reports say.

On its way from a join to the set there is no process to start and no text to parse: a report is followed in well under
a millisecond. Whatever is missed (a full socket, a table made anew) is put right by a whole reading every two seconds.
When it dies, what passes goes on passing: the sets are the kernel's.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping

from headend.multicast.access import mdb, sets
from headend.multicast.access.documents import AccessSection
from headend.multicast.access.learning import Learning, ask_hosts
from headend.multicast.access.limiter import PortLimiter, name
from headend.multicast.access.netlink import NLMSG_DONE, Message, messages
from headend.multicast.access.render import PASS, TABLE
from headend.multicast.igmp import Flow, parse_report
from headend.multicast.ipv4 import IGMP, MalformedError, parse
from headend.multicast.membership import Membership
from nf.contracts.json import JsonObject

_BUFFER = 8 << 20
_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 33, 26
_PACKET_OUTGOING = 4
_ETH_P_IP = 0x0800
_ANSWER_S = 2.0
_READS = 256
# Load the protocol octet of the IPv4 header; IGMP is taken whole, all else not at all (classic BPF).
_IGMP_ONLY = struct.pack("=HBBIHBBIHBBIHBBI", 0x30, 0, 0, 9, 0x15, 0, 1, IGMP, 6, 0, 0, 0x40000, 6, 0, 0, 0)


def netlink_socket(protocol: int, groups: tuple[int, ...] = ()) -> socket.socket:
    """Raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    sock.bind((0, 0))
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    for group in groups:
        sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    return sock


def igmp_socket(interface: str) -> socket.socket:
    """Every IGMP datagram that comes in on the interface, from its IPv4 header on. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    try:
        buffer = ctypes.create_string_buffer(_IGMP_ONLY)
        program = struct.pack("HxxxxxxP", len(_IGMP_ONLY) // 8, ctypes.addressof(buffer))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        sock.setblocking(False)
        sock.bind((interface, _ETH_P_IP))
    except OSError:
        sock.close()
        raise
    return sock


class Follower:
    """Sockets come and go with the section and the interfaces: the caller watches what `sockets` says at each tick."""

    def __init__(self, section: AccessSection, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._events = netlink_socket(_NETLINK_ROUTE, (mdb.RTNLGRP_MDB,))
        self._events.setblocking(False)
        self._asking = netlink_socket(_NETLINK_ROUTE)
        self._tables = netlink_socket(_NETLINK_NETFILTER)
        for sock in (self._asking, self._tables):
            sock.settimeout(_ANSWER_S)
        self._sequence = 0
        self._taps: dict[str, socket.socket] = {}
        self._memberships: dict[str, Membership] = {}
        self._learning: dict[str, Learning] = {}
        self._unread: set[str] = set()
        self._ports: dict[str, PortLimiter] = {}
        self._installed: dict[str, frozenset[Flow]] = {}
        self._indexes: dict[int, str] = {}
        self._bridged: frozenset[str] = frozenset()
        self.counts = {"events": 0, "changes": 0, "resyncs": 0, "refused": 0, "malformed": 0, "errors": 0}
        self.last_error = ""
        self.take_section(section)

    def close(self) -> None:
        for sock in (self._events, self._asking, self._tables, *self._taps.values()):
            sock.close()

    def sockets(self) -> Iterator[tuple[socket.socket, Callable[[], None]]]:
        """What to watch, and what to call when it can be read."""
        yield self._events, self.read_events
        for port, tap in self._taps.items():
            yield tap, functools.partial(self.read_reports, port)

    def take_section(self, section: AccessSection) -> None:
        """Ports that stay keep what they have; then everything is read anew."""
        ports: dict[str, PortLimiter] = {}
        bridged: set[str] = set()
        plain: dict[str, bool] = {}
        for lan in section.lans:
            for port in lan.ports:
                allowed = None if port.groups is None else frozenset(map(int, port.groups))
                limiter = PortLimiter(port.max_channels, allowed)
                if port.name in self._ports:
                    limiter.settle(self._ports[port.name].order())
                ports[port.name] = limiter
                if lan.bridge is None:
                    plain[port.name] = port.fast_leave
            bridged |= {port.name for port in lan.ports if lan.bridge is not None}
        self._unread = (self._unread & ports.keys()) | (ports.keys() - self._ports.keys())
        self._ports, self._bridged = ports, frozenset(bridged)
        for gone in self._taps.keys() - plain.keys():
            self._taps.pop(gone).close()
        for gone in self._memberships.keys() - plain.keys():
            del self._memberships[gone]
            self._learning.pop(gone, None)
        for port_name, fast_leave in plain.items():
            if port_name not in self._memberships:
                self._memberships[port_name] = Membership(fast_leave=fast_leave)
                self._learning[port_name] = Learning()
            self._memberships[port_name].fast_leave = fast_leave
        self._open_taps()
        self.resync()

    def _open_taps(self) -> None:
        for port in self._memberships:
            if port not in self._taps:
                with contextlib.suppress(OSError):  # it comes with its interface
                    self._taps[port] = igmp_socket(port)

    # -- what happens -----------------------------------------------------------------------------------------------

    def read_events(self) -> None:
        try:
            for _ in range(_READS):
                for received in messages(self._events.recv(1 << 16)):
                    self._take_event(received)
        except BlockingIOError:
            pass
        except OSError as error:  # ENOBUFS: something was missed
            self._failed(error)
            self.resync()
            return
        self.flush()

    def _take_event(self, received: Message) -> None:
        for change in mdb.changes(received):
            self.counts["events"] += 1
            port = self._indexes.get(change.port)
            if port in self._bridged and port is not None:
                limiter = self._ports[port]
                (limiter.join if change.joined else limiter.leave)(change.key)

    def read_reports(self, port: str) -> None:
        tap, membership, now = self._taps[port], self._memberships[port], self._clock()
        try:
            for _ in range(_READS):
                data, (_, _, kind, *_) = tap.recvfrom(1 << 16)
                if kind != _PACKET_OUTGOING:
                    self._take_report(membership, data, now)
        except BlockingIOError:
            pass
        except OSError as error:
            self._failed(error)
            self._taps.pop(port).close()  # its interface went; the next whole reading looks for it
        self._ports[port].replace(membership.joined())
        self.flush()

    def _take_report(self, membership: Membership, data: bytes, now: float) -> None:
        self.counts["events"] += 1
        try:
            datagram = parse(data)
            if datagram.payload[:1] == b"\x22":
                membership.report(datagram.source, parse_report(datagram.payload), now)
        except MalformedError:
            self.counts["malformed"] += 1

    def tick(self) -> None:
        """What time does: hosts that are asked, and those that no longer report."""
        now = self._clock()
        self._learn(now)
        for port, membership in self._memberships.items():
            membership.expire(now)
            self._ports[port].replace(membership.joined())
        self.flush()

    def _learn(self, now: float) -> None:
        for port, learning in list(self._learning.items()):
            if port not in self._taps:
                continue
            if learning.due(now):
                try:
                    ask_hosts(self._taps[port], port)
                    learning.asked(now)
                except OSError as error:  # it has gone, or is down
                    self._failed(error)
            elif learning.over(now):
                self.read_reports(port)  # what has come and waits to be read
                del self._learning[port]

    # -- the sets ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Bring the sets to what may pass. One that the kernel does not take is tried again by the next resync."""
        changes: dict[str, tuple[list[Flow], list[Flow]]] = {}
        for port, limiter in self._ports.items():
            have, want = self._installed.get(port), limiter.passing
            if have is not None and have != want:
                changes[f"{PASS}{port}"] = (sorted(have - want), sorted(want - have))
        if not changes:
            return
        error = self._transact(changes)
        if error:
            self.counts["refused"] += 1
            self.last_error = f"nftables refused elements: errno {error}"
            with contextlib.suppress(OSError):
                self._read_sets()
            return
        self.counts["changes"] += sum(len(out) + len(into) for out, into in changes.values())
        for port in self._ports:
            if f"{PASS}{port}" in changes:
                self._installed[port] = self._ports[port].passing

    def resync(self) -> None:
        """Read what is joined and what passes, and bring the one to the other."""
        self.counts["resyncs"] += 1
        try:
            self._indexes = dict(socket.if_nameindex())
            self._read_sets()
            joined = self._read_database()
        except OSError as error:
            self._failed(error)
            return
        self._open_taps()
        self._adopt(joined)
        for port in self._bridged:
            self._ports[port].replace(joined.get(port, ()))
        self.flush()

    def _adopt(self, joined: Mapping[str, Iterable[Flow]]) -> None:
        """What an earlier life let pass at a port goes on, and comes first."""
        now = self._clock()
        for port in self._unread:
            passing, limiter = self._installed.get(port, frozenset()), self._ports[port]
            if port in self._bridged:
                limiter.settle(key for key in joined.get(port, ()) if key in passing)
            else:
                self._memberships[port].believe(sorted(passing), now)
                limiter.replace(self._memberships[port].joined())
        self._unread = set()

    def _read_database(self) -> dict[str, dict[Flow, None]]:
        found: dict[str, dict[Flow, None]] = {}
        for received in self._ask(self._asking, mdb.dump_request(self._next())):
            for change in mdb.changes(received):
                if change.joined and change.port in self._indexes:
                    found.setdefault(self._indexes[change.port], {})[change.key] = None
        return found

    def _read_sets(self) -> None:
        self._installed = {port: found for port in self._ports if (found := self._read_set(port)) is not None}

    def _read_set(self, port: str) -> frozenset[Flow] | None:
        """None when there is no such set, so that nothing is put into it."""
        received = list(self._ask(self._tables, sets.dump_request(TABLE, f"{PASS}{port}", self._next())))
        if any(message.failure for message in received):
            return None
        return frozenset(key for message in received for key in sets.elements(message))

    def _ask(self, sock: socket.socket, request: bytes) -> Iterator[Message]:
        """Answers up to the last one of a dump. Raises OSError."""
        sequence = self._sequence
        sock.send(request)
        while True:
            for received in messages(sock.recv(1 << 18)):
                if received.sequence != sequence:
                    continue
                yield received
                if received.type == NLMSG_DONE or received.error is not None:
                    return

    def _transact(self, changes: sets.Changes) -> int:
        """The first errno, 0 when all was taken."""
        octets, answers = sets.batch(TABLE, changes, self._next())
        first, self._sequence = self._sequence, self._sequence + answers + 1
        try:
            self._tables.send(octets)
            worst = 0
            while answers > 0:
                for received in messages(self._tables.recv(1 << 16)):
                    if received.error is not None and received.sequence >= first:
                        answers -= 1
                        worst = worst or received.error
        except OSError as error:
            self._failed(error)
            return error.errno or -1
        return worst

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        return self._sequence

    def _failed(self, error: OSError) -> None:
        self.counts["errors"] += 1
        self.last_error = str(error)

    def status(self) -> JsonObject:
        ports: JsonObject = {
            port: {
                "passing": [name(key) for key in limiter.order() if key in limiter.passing],
                "waiting": [name(key) for key in limiter.waiting],
                "refused": limiter.refused,
                "unentitled": limiter.unentitled,
            }
            for port, limiter in self._ports.items()
        }
        return {
            "version": 1,
            "ports": ports,
            "learning": [*self._learning],
            "counts": {**self.counts},
            "last_error": self.last_error,
        }
