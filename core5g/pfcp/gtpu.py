"""GTP-U packets as octets and back (TS 29.281), with the PDU session container of a 5G core (TS 38.415). Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Self

from nf.errors import InputError

PORT = 2152
"""UDP port of both ends (TS 29.281, 4.4.2)."""

_VERSION_1 = 0x20
_GTP = 0x10
_SPARE, _EXTENSION, _SEQ, _NPDU = 8, 4, 2, 1
_HEAD = struct.Struct("!BBHI")
_OPTIONS = struct.Struct("!HBB")
_CONTAINER_HEAD = struct.Struct("!BBHIHBBBBBB")

_IE_RECOVERY, _IE_TEID, _IE_PEER_ADDRESS, _IE_EXTENSIONS = 14, 16, 133, 141


class GtpuError(InputError):
    """Octets that are no GTP-U, or a value that GTP-U cannot carry. `reason` is a word to count by: short, version,
    length, extension, ie, missing, type, range."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message, where="GTP-U")
        self.reason = reason


class GtpuType(IntEnum):
    """TS 29.281 table 6.1-1."""

    ECHO_REQUEST = 1
    ECHO_RESPONSE = 2
    ERROR_INDICATION = 26
    SUPPORTED_EXTENSION_HEADERS = 31
    TUNNEL_STATUS = 253
    END_MARKER = 254
    G_PDU = 255


class ExtensionType(IntEnum):
    """TS 29.281 figure 5.2.1-3: those that a 5G core sees."""

    UDP_PORT = 0x40
    PDU_SESSION_CONTAINER = 0x85


class Extension(NamedTuple):
    """An extension header: `content` without its length and next type, 4n - 2 octets."""

    type: int
    content: bytes

    @property
    def required(self) -> bool:
        """Whether an end that does not know it must refuse the packet (5.2.1)."""
        return bool(self.type & 0x80)


class Packet(NamedTuple):
    """A GTP-U packet. `payload` is the user's IP packet in a G-PDU, IEs in signalling.

    `type` may be a number of no message known here: such packets are to be dropped by who ends the tunnel.
    `spare` is the unused bit of octet 1.
    """

    type: int
    teid: int
    payload: bytes = b""
    seq: int | None = None
    npdu: int | None = None
    extensions: tuple[Extension, ...] = ()
    spare: bool = False

    @property
    def pdu_session(self) -> PduSession | None:
        """The PDU session container; None without one. Raises GtpuError for one that is none."""
        for extension in self.extensions:
            if extension.type == ExtensionType.PDU_SESSION_CONTAINER:
                return PduSession.decode(extension.content)
        return None


@dataclass(frozen=True, slots=True)
class PduSession:
    """PDU session information (TS 38.415, 5.5.2).

    qfi      QoS flow, 0 to 63
    options  the low half of octet 1: which measurements follow
    flags    the two high bits of octet 2 (downlink: PPP and RQI; uplink: N3/N9 delay and new IE)
    rest     what follows octet 2, padding included
    """

    uplink: bool
    qfi: int
    options: int = 0
    flags: int = 0
    rest: bytes = b""

    @classmethod
    def down(cls, qfi: int, *, rqi: bool = False, ppi: int | None = None) -> Self:
        """What a UPF sends. `rqi`: reflective QoS; `ppi`: paging policy, 0 to 7."""
        if ppi is not None and not 0 <= ppi < 8:
            raise GtpuError("range", f"paging policy {ppi}")
        rest = b"" if ppi is None else bytes((ppi << 5, 0, 0, 0))
        return cls(uplink=False, qfi=qfi, flags=int(ppi is not None) << 1 | int(rqi), rest=rest)

    @classmethod
    def up(cls, qfi: int) -> Self:
        """What a gNB sends."""
        return cls(uplink=True, qfi=qfi)

    @property
    def rqi(self) -> bool:
        return not self.uplink and bool(self.flags & 1)

    @property
    def ppi(self) -> int | None:
        """Paging policy indicator of downlink packets."""
        return self.rest[0] >> 5 if not self.uplink and self.flags & 2 and self.rest else None

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Raises GtpuError."""
        if len(content) < 2 or content[0] >> 4 > 1:
            raise GtpuError("extension", f"PDU session container {content.hex() or 'empty'}")
        return cls(bool(content[0] >> 4), content[1] & 63, content[0] & 15, content[1] >> 6, content[2:])

    def extension(self) -> Extension:
        """Raises GtpuError for numbers that do not fit."""
        if not (0 <= self.qfi < 64 and 0 <= self.options < 16 and 0 <= self.flags < 4):
            raise GtpuError("range", str(self))
        head = bytes((int(self.uplink) << 4 | self.options, self.flags << 6 | self.qfi))
        return Extension(ExtensionType.PDU_SESSION_CONTAINER, head + self.rest)


def decode(data: bytes) -> Packet:
    """Raises GtpuError; nothing else, whatever the octets."""
    size = len(data)
    if size < 8:
        raise GtpuError("short", f"{size} octets are no header")
    flags, kind, length, teid = _HEAD.unpack_from(data)
    if flags & 0xF0 != _VERSION_1 | _GTP:
        raise GtpuError("version", f"first octet {flags:#04x} is not of GTP version 1")
    if length + 8 != size:
        raise GtpuError("length", f"the header says {length + 8} octets, the datagram has {size}")
    spare = bool(flags & _SPARE)
    if not flags & 7:
        return Packet(kind, teid, data[8:], None, None, (), spare)
    if size < 12:
        raise GtpuError("short", "its header ends within the optional fields")
    seq, npdu, following = _OPTIONS.unpack_from(data, 8)
    at = 12
    extensions = []
    while flags & _EXTENSION and following:
        octets = 4 * data[at] if at < size else 0
        if not octets or at + octets > size:
            raise GtpuError("extension", f"extension header {following:#04x} does not fit")
        end = at + octets
        extensions.append(Extension(following, data[at + 1 : end - 1]))
        following = data[end - 1]
        at = end
    return Packet(
        kind,
        teid,
        data[at:],
        seq if flags & _SEQ else None,
        npdu if flags & _NPDU else None,
        tuple(extensions),
        spare,
    )


def encode(packet: Packet) -> bytes:
    """Raises GtpuError for what a packet cannot carry. Extension headers are padded to their unit of 4 octets."""
    kind, teid, payload, seq, npdu, extensions, spare = packet
    flags = _VERSION_1 | _GTP | (_SPARE if spare else 0)
    options = b""
    try:
        if seq is not None or npdu is not None or extensions:
            flags |= (_EXTENSION if extensions else 0) | (_SEQ if seq is not None else 0)
            flags |= _NPDU if npdu is not None else 0
            parts = [_OPTIONS.pack(seq or 0, npdu or 0, extensions[0].type if extensions else 0)]
            for number, extension in enumerate(extensions):
                units = (len(extension.content) + 5) // 4
                following = extensions[number + 1].type if number + 1 < len(extensions) else 0
                content = extension.content.ljust(4 * units - 2, b"\0")
                parts.append(bytes((units,)) + content + bytes((following,)))
            options = b"".join(parts)
        if any(extension.type == 0 for extension in extensions):
            raise GtpuError("range", "extension type 0 means that there is none")
        return _HEAD.pack(flags, kind, len(options) + len(payload), teid) + options + payload
    except (struct.error, ValueError) as error:
        raise GtpuError("range", f"a number or a size does not fit: {error}") from error


def g_pdu(teid: int, payload: bytes, qfi: int | None = None, *, uplink: bool = False) -> bytes:
    """A user's packet in its tunnel, as fast as it gets; with `qfi`, in a PDU session container."""
    try:
        if qfi is None:
            return _HEAD.pack(_VERSION_1 | _GTP, GtpuType.G_PDU, len(payload), teid) + payload
        if not 0 <= qfi < 64:
            raise GtpuError("range", f"QFI {qfi}")
        head = _CONTAINER_HEAD.pack(
            _VERSION_1 | _GTP | _EXTENSION, GtpuType.G_PDU, len(payload) + 8, teid,
            0, 0, ExtensionType.PDU_SESSION_CONTAINER, 1, 16 if uplink else 0, qfi, 0,
        )  # fmt: skip
    except struct.error as error:
        raise GtpuError("range", f"TEID {teid} or {len(payload)} octets do not fit: {error}") from error
    return head + payload


def echo_request(seq: int) -> Packet:
    """7.2.1."""
    return Packet(GtpuType.ECHO_REQUEST, 0, seq=seq)


def echo_response(request: Packet) -> Packet:
    """7.2.2. The restart counter is 0 and means nothing any more (8.2)."""
    return Packet(GtpuType.ECHO_RESPONSE, 0, bytes((_IE_RECOVERY, 0)), seq=request.seq or 0)


def end_marker(teid: int, qfi: int | None = None) -> Packet:
    """The last packet on a path that a handover leaves (7.3.2)."""
    extensions = () if qfi is None else (PduSession.down(qfi).extension(),)
    return Packet(GtpuType.END_MARKER, teid, extensions=extensions)


class ErrorIndication(NamedTuple):
    """7.3.1: the sender, reached at `address`, knows no tunnel `teid`. `port`: where the packet had come from."""

    teid: int
    address: IPv4Address | IPv6Address
    port: int | None = None


def error_indication(told: ErrorIndication) -> Packet:
    """Raises GtpuError for numbers that do not fit."""
    try:
        octets = told.teid.to_bytes(4, "big")
        content = b"" if told.port is None else told.port.to_bytes(2, "big")
    except OverflowError as error:
        raise GtpuError("range", str(told)) from error
    address = told.address.packed
    payload = bytes((_IE_TEID,)) + octets + bytes((_IE_PEER_ADDRESS, 0, len(address))) + address
    extensions = (Extension(ExtensionType.UDP_PORT, content),) if content else ()
    return Packet(GtpuType.ERROR_INDICATION, 0, payload, seq=0, extensions=extensions)


def read_error_indication(packet: Packet) -> ErrorIndication:
    """Raises GtpuError for another message, and for one that lacks what it must have."""
    if packet.type != GtpuType.ERROR_INDICATION:
        raise GtpuError("type", f"message {packet.type} is no Error Indication")
    ies = _ies(packet.payload)
    teid, address = ies.get(_IE_TEID), ies.get(_IE_PEER_ADDRESS)
    if teid is None or address is None or len(address) not in (4, 16):
        raise GtpuError("missing", "an Error Indication names a TEID and an address")
    ports = [one.content for one in packet.extensions if one.type == ExtensionType.UDP_PORT]
    return ErrorIndication(
        int.from_bytes(teid, "big"),
        IPv4Address(address) if len(address) == 4 else IPv6Address(address),
        int.from_bytes(ports[0][:2], "big") if ports else None,
    )


def supported_extensions(types: Iterable[int]) -> Packet:
    """7.2.3: sent to who used an extension header that is required and not known here. Raises GtpuError."""
    numbers = tuple(types)
    if len(numbers) > 255 or not all(0 <= number < 256 for number in numbers):
        raise GtpuError("range", f"extension types {numbers}")
    listed = bytes(numbers)
    return Packet(GtpuType.SUPPORTED_EXTENSION_HEADERS, 0, bytes((_IE_EXTENSIONS, len(listed))) + listed, seq=0)


def _ies(payload: bytes) -> dict[int, bytes]:
    """The first IE of each type (8.1): below 128 the size follows from the type, above it is told."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(payload):
        kind = payload[at]
        at += 1
        if kind in (_IE_RECOVERY, _IE_TEID):
            size = 1 if kind == _IE_RECOVERY else 4
        elif kind == _IE_EXTENSIONS:
            size = payload[at] if at < len(payload) else -1
            at += 1
        elif kind > 127:
            size = int.from_bytes(payload[at : at + 2], "big") if at + 2 <= len(payload) else -1
            at += 2
        else:
            raise GtpuError("ie", f"IE {kind} has no size that is known")
        if size < 0 or at + size > len(payload):
            raise GtpuError("ie", f"IE {kind} does not fit")
        found.setdefault(kind, payload[at : at + size])
        at += size
    return found
