"""The notification receiver: its own socket with a large buffer, a bounded queue, and every lost datagram counted.

What needs no cryptography is decided when a datagram comes in, so that junk fills no queue. The rest is done when the
consumer takes it: an INFORM is acknowledged only then, and what waits too long is sent again by its sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Self

from headend.snmp import header
from headend.snmp.ber import BerError
from headend.snmp.engine import BOOTS_LATCHED, TIME_WINDOW_S, EngineTime
from headend.snmp.header import CommunityHead, Head, UnknownVersion, UsmHead
from headend.snmp.inbound import Address, Inbound
from headend.snmp.notification import Drop, Notification, Reason
from headend.snmp.target import Community, Usm
from headend.snmp.values import Varbind
from nf.clock import Clock
from nf.errors import UnavailableError

TRAP_OID: Final = "1.3.6.1.6.3.1.1.4.1.0"
QUEUE: Final = 10_000
SOCKET_BUFFER: Final = 16 * 2**20
_LARGEST: Final = 65_535
_BURST: Final = 500  # datagrams read before others get their turn
_DROPS_KEPT: Final = 100
_SO_RCVBUFFORCE: Final = 33  # socket(7); Python names neither
_SO_RXQ_OVFL: Final = 40
_NOTIFICATIONS: Final = frozenset({header.TRAP_V1, header.TRAP_V2, header.INFORM})


@dataclass(frozen=True, slots=True)
class OwnEngine:
    """Our engine as senders of INFORMs see it. `boots` must be one more at every start (RFC 3414 clause 2.2.2)."""

    engine_id: bytes
    boots: int


@dataclass(slots=True)
class _User:
    level: int
    time: EngineTime | None = None  # the latest under a right digest
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    datagram: bytes
    source: Address
    head: CommunityHead | UsmHead
    at: float


class TrapReceiver:
    """Receives v1, v2c and v3 TRAPs and INFORMs; `async for notification in receiver` until `close`.

    `dropped` counts every datagram that was not delivered, by reason; `drops` has the last hundred with their sources,
    and `on_drop` gets each that had one (what the kernel loses has none).
    """

    def __init__(
        self,
        address: str,
        port: int,
        clock: Clock,
        *,
        own: OwnEngine,
        communities: Iterable[Community] = (),
        queue: int = QUEUE,
        socket_buffer: int = SOCKET_BUFFER,
        on_drop: Callable[[Drop], None] | None = None,
    ) -> None:
        self.dropped: Counter[Reason] = Counter()
        self.drops: deque[Drop] = deque(maxlen=_DROPS_KEPT)
        self._on_drop = on_drop
        self._place = (address, port)
        self._clock = clock
        self._own = own
        self._queue_max = queue
        self._socket_buffer = socket_buffer
        self._socket: socket.socket | None = None
        self._overflowed = 0
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._inbound = Inbound(own.engine_id, own.boots, self._send)
        self._communities = [community.name.encode() for community in communities]
        for name in self._communities:
            self._inbound.add_community(name.decode())
        self._users: dict[tuple[bytes, bytes], _User] = {}

    # --- who may send -------------------------------------------------------------------------------------------------

    def enrol(self, engine_id: bytes, usm: Usm, known: EngineTime | None = None) -> None:
        """Take this user's TRAPs from this engine, and its INFORMs. `known`: nothing older is taken from the start."""
        level = 1 + (usm.auth_protocol is not None) + (usm.privacy_protocol is not None)
        self._inbound.add_user(usm, engine_id)
        self._inbound.add_user(usm, None)
        user = usm.user.encode()
        self._users[(engine_id, user)] = _User(level, known, self._clock.monotonic())
        self._users[(self._own.engine_id, user)] = _User(level)

    def withdraw(self, engine_id: bytes, user: str) -> None:
        """Nothing from this engine any more; INFORMs of the user end with its last engine."""
        name = user.encode()
        self._users.pop((engine_id, name), None)
        self._inbound.remove_user(user, engine_id)
        if not any(key[1] == name and key[0] != self._own.engine_id for key in self._users):
            self._users.pop((self._own.engine_id, name), None)
            self._inbound.remove_user(user, None)

    # --- life ---------------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1]) if self._socket else self._place[1]

    @property
    def socket_buffer(self) -> int:
        """Octets that the kernel really keeps for us (it counts its own overhead in)."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) if self._socket else 0

    def open(self) -> None:
        """Bind and listen. Raises UnavailableError when the port is taken or may not be bound."""
        if self._socket is not None:
            return
        family = socket.AF_INET6 if ipaddress.ip_address(self._place[0]).version == 6 else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            listening.bind(self._place)
        except OSError as error:
            listening.close()
            where = f"{self._place[0]} port {self._place[1]}"
            raise UnavailableError(f"cannot listen for SNMP notifications: {error}", where=where) from error
        _enlarge(listening, self._socket_buffer)
        with contextlib.suppress(OSError):  # without it the kernel's losses stay uncounted
            listening.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        self._socket = listening
        self._overflowed = 0
        asyncio.get_running_loop().add_reader(listening, self._read)

    def close(self) -> None:
        """Stop listening; what waits is still handed out, then iteration ends."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self._arrived.set()

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notification:
        while True:
            await asyncio.sleep(0)  # a storm must not keep the others of this event loop from working
            if not self._waiting:
                if self._socket is None:
                    raise StopAsyncIteration
                self._arrived.clear()
                await self._arrived.wait()
                continue
            notification = self._decoded(self._waiting.popleft())
            if notification is not None:
                return notification

    # --- from the socket into the queue -------------------------------------------------------------------------------

    def _read(self) -> None:
        for _ in range(_BURST):
            if self._socket is None:
                return
            try:
                datagram, ancillary, _flags, source = self._socket.recvmsg(_LARGEST, socket.CMSG_SPACE(4))
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an ICMP error about an answer of ours
                continue
            self._count_overflow(ancillary)
            self._arrive(datagram, (source[0], source[1]))

    def _count_overflow(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                total = struct.unpack("=I", data[:4])[0]
                self.dropped[Reason.SOCKET_FULL] += (total - self._overflowed) % 2**32
                self._overflowed = total

    def _arrive(self, datagram: bytes, source: Address) -> None:
        now = self._clock.monotonic()
        try:
            head = header.parse(datagram)
        except BerError:
            self._drop(Reason.MALFORMED, source, now)
            return
        reason = self._objection(head)
        if reason is Reason.DISCOVERY:
            self._inbound.take(datagram, source)
        if reason is None and len(self._waiting) >= self._queue_max:
            reason = Reason.QUEUE_FULL
        if reason is not None or isinstance(head, UnknownVersion):
            self._drop(reason or Reason.UNSUPPORTED_VERSION, source, now, head)
            return
        self._waiting.append(_Waiting(datagram, source, head, now))
        self._arrived.set()

    def _objection(self, head: Head) -> Reason | None:
        """What is wrong already from what stands in clear; None when nothing is."""
        if isinstance(head, UnknownVersion):
            return Reason.UNSUPPORTED_VERSION
        if isinstance(head, CommunityHead):
            known = [hmac.compare_digest(head.community, community) for community in self._communities]
            return (
                (None if head.pdu in _NOTIFICATIONS else Reason.NOT_A_NOTIFICATION)
                if any(known)
                else (Reason.BAD_COMMUNITY)
            )
        return self._objection_usm(head)

    def _objection_usm(self, head: UsmHead) -> Reason | None:
        ours = head.engine_id == self._own.engine_id
        unsynchronised = ours and head.boots == head.time_s == 0
        if head.reportable and (not head.engine_id or unsynchronised):
            return Reason.DISCOVERY
        user = self._users.get((head.engine_id, head.user))
        if user is None:
            known = ours or any(engine_id == head.engine_id for engine_id, _ in self._users)
            return Reason.UNKNOWN_USER if known else Reason.UNKNOWN_ENGINE
        if head.level < user.level:
            return Reason.LOW_SECURITY_LEVEL
        if head.boots == BOOTS_LATCHED and head.level > 1:
            return Reason.NOT_IN_TIME_WINDOW
        return Reason.NOT_A_NOTIFICATION if head.pdu is not None and head.pdu not in _NOTIFICATIONS else None

    # --- from the queue to the consumer -------------------------------------------------------------------------------

    def _decoded(self, waiting: _Waiting) -> Notification | None:
        head, source = waiting.head, waiting.source
        taken = self._inbound.take(waiting.datagram, source)
        if isinstance(taken, Reason):
            self._drop(taken, source, waiting.at, head)
            return None
        if isinstance(head, UsmHead) and not self._in_time(head, waiting.at):
            self._drop(Reason.NOT_IN_TIME_WINDOW, source, waiting.at, head)
            return None
        plain = (source[0], source[1], _trap_oid(taken), tuple(taken), waiting.at)
        if isinstance(head, CommunityHead):
            return Notification(*plain, confirmed=head.pdu == header.INFORM)
        return Notification(*plain, head.reportable, head.engine_id, head.user.decode("utf-8", "replace"))

    def _in_time(self, head: UsmHead, now: float) -> bool:
        """RFC 3414 clause 3.2 (7b): a TRAP's sender is authoritative; older than what we have seen of it is too old."""
        user = self._users.get((head.engine_id, head.user))
        if user is None or head.level == 1 or head.engine_id == self._own.engine_id:
            return user is not None
        known = user.time
        if known is not None:
            expected = known.time_s + (now - user.at)
            if head.boots < known.boots or (head.boots == known.boots and head.time_s < expected - TIME_WINDOW_S):
                return False
        if known is None or (head.boots, head.time_s) > (known.boots, known.time_s):
            user.time, user.at = EngineTime(head.engine_id, head.boots, head.time_s, authentic=True), now
        return True

    def _drop(self, reason: Reason, source: Address, now: float, head: Head | None = None) -> None:
        self.dropped[reason] += 1
        usm = head if isinstance(head, UsmHead) else None
        name = usm.user.decode("utf-8", "replace") if usm else ""
        drop = Drop(reason, source[0], now, usm.engine_id if usm else b"", name)
        self.drops.append(drop)
        if self._on_drop is not None:
            self._on_drop(drop)

    def _send(self, datagram: bytes, destination: Address) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # UDP: the sender asks again
                self._socket.sendto(datagram, destination)


def _enlarge(listening: socket.socket, size: int) -> None:
    """Beyond net.core.rmem_max only root may; the rest takes what it gets."""
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _trap_oid(varbinds: list[Varbind]) -> str:
    return next((str(varbind.value) for varbind in varbinds if varbind.oid == TRAP_OID), "")
