"""Echo replies of UEs that have no device: ICMP (RFC 792) and ICMPv6 (RFC 4443)."""

from __future__ import annotations

import struct

_ICMP, _ICMP6 = 1, 58
_REQUEST, _REQUEST6 = 8, 128


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_reply(packet: bytes) -> bytes | None:
    """The reply to an echo request; None for every other packet."""
    if len(packet) >= 28 and packet[0] >> 4 == 4 and packet[9] == _ICMP:
        head = (packet[0] & 15) * 4
        if len(packet) < head + 8 or packet[head] != _REQUEST:
            return None
        body = b"\0\0\0\0" + packet[head + 4 :]
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        addressed = packet[:10] + b"\0\0" + packet[16:20] + packet[12:16] + packet[20:head]
        return addressed[:10] + struct.pack("!H", checksum(addressed)) + addressed[12:] + body
    if len(packet) >= 48 and packet[0] >> 4 == 6 and packet[6] == _ICMP6 and packet[40] == _REQUEST6:
        ends = packet[24:40] + packet[8:24]
        body = b"\x81\0\0\0" + packet[44:]
        pseudo = ends + struct.pack("!II", len(body), _ICMP6)
        return packet[:8] + ends + body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return None
