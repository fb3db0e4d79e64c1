"""GTP-U as the models speak it (TS 29.281), with the PDU session container of NG-RAN (TS 38.415)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

from lab.mobile.pfcp import Address

PORT = 2152
ECHO_REQUEST, ECHO_RESPONSE, ERROR_INDICATION, END_MARKER, G_PDU = 1, 2, 26, 254, 255
_PDU_SESSION_CONTAINER, _UDP_PORT = 0x85, 0x40


class Header(NamedTuple):
    """`qfi` 0: no PDU session container. `offset`: where what it carries begins."""

    type: int
    teid: int
    qfi: int
    offset: int


def header(data: bytes) -> Header | None:
    """None for what is no GTP-U version 1."""
    size = len(data)
    if size < 8 or data[0] >> 4 != 3:
        return None
    teid, flags = int.from_bytes(data[4:8]), data[0]
    if not flags & 7:
        return Header(data[1], teid, 0, 8)
    if size < 12:
        return None
    qfi, at, following = 0, 12, data[11] if flags & 4 else 0
    while following:
        if at >= size or not data[at] or at + 4 * data[at] > size:
            return None
        if following == _PDU_SESSION_CONTAINER:
            qfi = data[at + 2] & 0x3F
        at += 4 * data[at]
        following = data[at - 1]
    return Header(data[1], teid, qfi, at)


class Encapsulation:
    """What stands before the packets of one tunnel: all of the header but its length."""

    __slots__ = ("_extra", "_tail", "_type")

    def __init__(self, teid: int, qfi: int | None, *, uplink: bool = False) -> None:
        self._type = b"\x34\xff" if qfi else b"\x30\xff"
        container = bytes((0, 0, 0, 0x85, 1, 0x10 if uplink else 0, qfi, 0)) if qfi else b""
        self._tail = teid.to_bytes(4) + container
        self._extra = len(container)

    def around(self, packet: bytes) -> bytes:
        return self._type + (len(packet) + self._extra).to_bytes(2) + self._tail + packet


def echo_request(seq: int) -> bytes:
    return bytes((0x32, ECHO_REQUEST, 0, 4)) + bytes(4) + seq.to_bytes(2) + b"\0\0"


def echo_response(request: bytes) -> bytes:
    """With the recovery of clause 8.2, which is always 0."""
    seq = request[8:10] if request[0] & 2 and len(request) >= 10 else b"\0\0"
    return bytes((0x32, ECHO_RESPONSE, 0, 6)) + bytes(4) + seq + b"\0\0" + b"\x0e\0"


def end_marker(teid: int) -> bytes:
    return bytes((0x30, END_MARKER, 0, 0)) + teid.to_bytes(4)


def error_indication(teid: int, qfi: int, local: Address) -> bytes:
    """As recorded: the TEID of the refused packet stands in the header too, where clause 7.3.1 wants 0."""
    port = bytes((1, 0, 0, 0))
    container = bytes((1, 0, qfi, _UDP_PORT)) + port if qfi else port
    kind = _PDU_SESSION_CONTAINER if qfi else _UDP_PORT
    body = b"\0\0\0" + bytes((kind,)) + container
    body += b"\x10" + teid.to_bytes(4) + b"\x85" + len(local.packed).to_bytes(2) + local.packed
    return bytes((0x36, ERROR_INDICATION)) + len(body).to_bytes(2) + teid.to_bytes(4) + body


def refused_tunnel(body: bytes) -> tuple[int, Address] | None:
    """The tunnel that an Error Indication is about, by what follows its header."""
    if len(body) >= 12 and body[0] == 0x10 and body[5] == 0x85:
        packed = body[8 : 8 + int.from_bytes(body[6:8])]
        if len(packed) in (4, 16):
            return int.from_bytes(body[1:5]), ip_address(packed)
    return None
