"""How connections to a dead cache end at once, so that players ask again.

A socket of a local cache is destroyed (sock_diag(7), SOCK_DESTROY): the kernel sends the reset itself. For a cache on
another host, or a socket that is gone, nobody here knows the sequence numbers. So the player is made to tell them: a
segment in the cache's place that is outside of its window has to be answered with an acknowledgement (RFC 9293 section
3.10.7.4), which comes by the TUN device, where the shut gate answers it with a reset that fits it exactly.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

from core5g.steering.n6 import conntrack
from core5g.steering.n6.conntrack import Flow
from core5g.steering.n6.render import NUDGE_MARK, STEER_BIT

_NETLINK_SOCK_DIAG, _SOCK_DESTROY = 4, 21
_REQUEST_ACK = 0x5
_TCP = 6
_HEAD = struct.Struct("=IHHII")
_IP_PROTO_RAW = 255
_TTL = 64
_ACK = 0x10
SEQUENCES = (0, 1 << 31)
"""At most one of two numbers so far apart is in anybody's window."""


def destroy_request(flow: Flow) -> bytes:
    """struct inet_diag_req_v2: the server's socket of this flow."""
    family = socket.AF_INET if isinstance(flow.ue, IPv4Address) else socket.AF_INET6
    ends = b"".join(end.packed.ljust(16, b"\0") for end in (flow.server, flow.ue))
    identity = struct.pack("!HH", flow.server_port, flow.ue_port) + ends + struct.pack("=III", 0, *(2**32 - 1,) * 2)
    body = struct.pack("=BBBBI", family, _TCP, 0, 0, 2**32 - 1) + identity
    return _HEAD.pack(_HEAD.size + len(body), _SOCK_DESTROY, _REQUEST_ACK, 1, 0) + body


def destroy(flows: Iterable[Flow]) -> list[Flow]:
    """End the sockets of this host that serve these; those of which there is none. Raises OSError."""
    absent: list[Flow] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(2.0)
        for flow in flows:
            sock.sendto(destroy_request(flow), (0, 0))
            for kind, body in conntrack.messages(sock.recv(8192)):
                code = -int.from_bytes(body[:4], "little", signed=True) if kind == 2 else 0
                if code in {errno.ENOENT, errno.EOPNOTSUPP}:
                    absent.append(flow)
                elif code:
                    raise OSError(code, "sock_diag")
    return absent


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def nudge_packet(flow: Flow, sequence: int) -> bytes:
    """A segment from whom the UE called, with an octet of data so that the answer is not rate-limited."""
    data = b"\0"
    tcp = struct.pack("!HHIIBBHHH", flow.asked_port, flow.ue_port, sequence, 0, 5 << 4, _ACK, 1, 0, 0) + data
    ends = flow.asked.packed + flow.ue.packed
    pseudo = ends + (struct.pack("!BBH", 0, _TCP, len(tcp)) if len(ends) == 8 else struct.pack("!II", len(tcp), _TCP))
    tcp = tcp[:16] + _checksum(pseudo + tcp).to_bytes(2, "big") + tcp[18:]
    if len(ends) == 8:  # the kernel fills in length and checksum of an IPv4 header
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, _TTL, _TCP, 0) + ends + tcp
    return struct.pack("!IHBB", 6 << 28, len(tcp), _TCP, _TTL) + ends + tcp


def nudge(flows: Iterable[Flow]) -> None:
    """Make the UEs of these flows speak. A UE that cannot be reached is passed over. Raises OSError."""
    with contextlib.ExitStack() as stack:
        sockets = {}
        for family in (socket.AF_INET, socket.AF_INET6):
            sock = stack.enter_context(socket.socket(family, socket.SOCK_RAW, _IP_PROTO_RAW))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, NUDGE_MARK)
            sockets[family] = sock
        for flow in flows:
            family = socket.AF_INET if isinstance(flow.ue, IPv4Address) else socket.AF_INET6
            for sequence in SEQUENCES:
                with contextlib.suppress(OSError):
                    sockets[family].sendto(nudge_packet(flow, sequence), (str(flow.ue), 0))


def reset_flows(*, local: bool) -> int:
    """One round: end what is steered and not over yet. How many there were. Raises OSError."""
    waiting = [flow for flow in conntrack.flows(STEER_BIT) if not flow.over]
    if waiting:
        nudge(destroy(waiting) if local else waiting)
    return len(waiting)
