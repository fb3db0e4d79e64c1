"""SIP out of captured packets of IPv4: datagrams, and streams put together again. Pure.

A capture begins anywhere: a stream is followed from the first segment on that begins a message.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import Final, Literal

from sip.calling.messages import Framer, Message, SipSyntaxError, parse

_UDP, _TCP = 17, 6
_BEGINS: Final = re.compile(rb"(?:SIP/2\.0 \d{3} |[A-Z]{3,12} sips?:)", re.IGNORECASE)
_MAX_FLOWS: Final = 4096
_MAX_AHEAD: Final = 64
"""Segments that came before the one that is missing; more, and the stream is taken up anew."""

Endpoint = tuple[str, int]
Transport = Literal["udp", "tcp"]


@dataclass(frozen=True, slots=True)
class Seen:
    """`at`: seconds since the epoch."""

    at: float
    source: Endpoint
    destination: Endpoint
    transport: Transport
    message: Message


@dataclass(slots=True)
class _Flow:
    framer: Framer = field(default_factory=Framer)
    expected: int | None = None
    ahead: dict[int, bytes] = field(default_factory=dict)


class Reader:
    """`receive` a packet from its IP header on; what it completes is returned. What is no SIP is passed over."""

    def __init__(self) -> None:
        self._flows: dict[tuple[Endpoint, Endpoint], _Flow] = {}

    def receive(self, packet: bytes, at: float) -> list[Seen]:
        found = _transport(packet)
        if found is None:
            return []
        kind, source, destination, rest = found
        if kind == _UDP:
            message = _datagram(rest[8:])
            return [] if message is None else [Seen(at, source, destination, "udp", message)]
        return [Seen(at, source, destination, "tcp", one) for one in self._segment((source, destination), rest)]

    def _segment(self, key: tuple[Endpoint, Endpoint], segment: bytes) -> list[Message]:
        if len(segment) < 20:
            return []
        sequence = int.from_bytes(segment[4:8], "big")
        data, flags = segment[4 * (segment[12] >> 4) :], segment[13]
        if flags & 0x06:  # SYN, RST
            self._flows.pop(key, None)
        if not data:
            return []
        flow = self._flows.get(key)
        if flow is None or flow.expected is None:
            if not _BEGINS.match(data):
                return []
            if len(self._flows) >= _MAX_FLOWS:
                self._flows.pop(next(iter(self._flows)))
            flow = self._flows[key] = _Flow(expected=sequence)
        return self._follow(key, flow, sequence, data)

    def _follow(self, key: tuple[Endpoint, Endpoint], flow: _Flow, sequence: int, data: bytes) -> list[Message]:
        flow.ahead.setdefault(sequence, data)
        found: list[Message] = []
        try:
            while flow.expected is not None and (data := _next(flow, flow.expected)):
                flow.expected = (flow.expected + len(data)) % (1 << 32)
                found += flow.framer.receive(data)
        except SipSyntaxError:
            del self._flows[key]
        if len(flow.ahead) > _MAX_AHEAD:
            self._flows.pop(key, None)
        return found


def _next(flow: _Flow, expected: int) -> bytes:
    """What comes next of what is there; segments that came again are shortened or thrown away."""
    for sequence in [*flow.ahead]:
        behind = (expected - sequence + (1 << 31)) % (1 << 32) - (1 << 31)
        if behind < 0:
            continue
        data = flow.ahead.pop(sequence)[behind:]
        if data:
            return data
    return b""


def _transport(packet: bytes) -> tuple[int, Endpoint, Endpoint, bytes] | None:
    """(protocol, source, destination, from the transport's header on) of a packet that begins its datagram."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    begin = 4 * (packet[0] & 0x0F)
    end = int.from_bytes(packet[2:4], "big") or len(packet)
    fragment = int.from_bytes(packet[6:8], "big") & 0x1FFF
    rest = packet[begin:end]
    if packet[9] not in {_UDP, _TCP} or fragment or begin < 20 or len(rest) < 8:
        return None
    hosts = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    ports = int.from_bytes(rest[0:2], "big"), int.from_bytes(rest[2:4], "big")
    return packet[9], (hosts[0], ports[0]), (hosts[1], ports[1]), rest


def _datagram(data: bytes) -> Message | None:
    """Also the first fragment of one that did not fit a packet: without its body then."""
    if not _BEGINS.match(data):
        return None
    try:
        return parse(data)
    except SipSyntaxError:
        head, mark, _ = data.partition(b"\r\n\r\n")
    if not mark:
        head = head[: head.rfind(b"\r\n")]
    kept = [line for line in head.split(b"\r\n") if not re.match(rb"(?:content-length|l)[ \t]*:", line, re.IGNORECASE)]
    try:
        return parse(b"\r\n".join(kept) + b"\r\n\r\n")
    except SipSyntaxError:
        return None
