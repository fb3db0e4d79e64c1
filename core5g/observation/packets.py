"""What the copies are made from: IP headers, GTP-U, fragments on N3. Sans-IO."""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Network

from core5g.pfcp.gtpu import PORT, GtpuType, decode
from core5g.ue import PREFIX_BITS, UeAddress

_UDP = 17
_MORE, _OFFSET = 0x2000, 0x1FFF
_HELD, _HELD_OCTETS, _HELD_S = 256, 4 << 20, 30.0


@dataclass(frozen=True, slots=True)
class Tunnelled:
    """A G-PDU (TS 29.281 clause 6): to whom, under which TEID, and the packet in it."""

    destination: IPv4Address
    teid: int
    packet: bytes


def version(packet: bytes) -> int:
    """4, 6, or 0 for what is neither."""
    found = packet[0] >> 4 if packet else 0
    return found if (found == 4 and len(packet) >= 20) or (found == 6 and len(packet) >= 40) else 0


def ends(packet: bytes) -> tuple[UeAddress, UeAddress] | None:
    """Source and destination as UEs are known by: IPv4 addresses, /64 of IPv6. Fragments have them too."""
    match version(packet):
        case 4:
            return IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
        case 6:
            return _prefix(packet[8:16]), _prefix(packet[24:32])
        case _:
            return None


def _prefix(first: bytes) -> IPv6Network:
    return IPv6Network((first + bytes(8), PREFIX_BITS))


def gtpu(packet: bytes) -> Tunnelled | None:
    """From a whole IPv4 packet; None for what is no G-PDU. Raises GtpuError for what is no sound GTP-U."""
    if version(packet) != 4 or packet[9] != _UDP:
        return None
    head = (packet[0] & 0xF) * 4
    octets = packet[head : struct.unpack_from("!H", packet, 2)[0]]
    if len(octets) < 16 or struct.unpack_from("!H", octets, 2)[0] != PORT:
        return None
    length: int = struct.unpack_from("!H", octets, 10)[0]
    found = decode(octets[8 : 16 + length])
    if found.type != GtpuType.G_PDU or not found.payload:
        return None
    return Tunnelled(IPv4Address(packet[16:20]), found.teid, found.payload)


@dataclass(slots=True)
class _Held:
    since: float
    parts: dict[int, bytes] = field(default_factory=dict)
    end: int | None = None

    def whole(self) -> bytes | None:
        at = 0
        while at in self.parts:
            if at + len(self.parts[at]) == self.end:
                return b"".join(self.parts[key] for key in sorted(self.parts))
            if not self.parts[at]:
                return None
            at += len(self.parts[at])
        return None


class Reassembly:
    """Of IPv4 packets (RFC 791 section 3.2), since only the first fragment of a GTP-U packet has its TEID.

    Bounded in number, octets and time: what is too much goes, the oldest first. `given_up` counts it.
    """

    def __init__(self) -> None:
        self.given_up = 0
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._octets = 0

    def packet(self, packet: bytes, now: float) -> bytes | None:
        """A whole packet: this one, or the one that it completes."""
        if version(packet) != 4:
            return packet
        fragment = struct.unpack_from("!H", packet, 6)[0]
        if not fragment & (_MORE | _OFFSET):
            return packet
        self._forget(now)
        head = (packet[0] & 0xF) * 4
        key, at = packet[4:6] + packet[9:10] + packet[12:20], (fragment & _OFFSET) * 8
        payload = packet[head : struct.unpack_from("!H", packet, 2)[0]]
        held = self._held.setdefault(key, _Held(now))
        if at not in held.parts:
            held.parts[at] = payload
            self._octets += len(payload)
        if not fragment & _MORE:
            held.end = at + len(payload)
        whole = held.whole()
        if whole is None:
            return None
        self._drop(key)
        first = bytearray(packet[:20])
        first[0] = 0x45
        struct.pack_into("!HHH", first, 2, min(20 + len(whole), 0xFFFF), 0, 0)
        return bytes(first) + whole

    def _forget(self, now: float) -> None:
        while self._held:
            key, oldest = next(iter(self._held.items()))
            if now - oldest.since < _HELD_S and len(self._held) <= _HELD and self._octets <= _HELD_OCTETS:
                return
            self._drop(key)
            self.given_up += 1

    def _drop(self, key: bytes) -> None:
        self._octets -= sum(map(len, self._held.pop(key).parts.values()))
