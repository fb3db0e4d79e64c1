"""The number of the last change to this network namespace's nftables, asked over netlink: as long as it stays, what was
read holds, but for counters and elements that packets make."""

from __future__ import annotations

import socket
import struct
from typing import Final

_NETLINK_NETFILTER: Final = 12
_GETGEN: Final = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_NEWGEN: Final = 10 << 8 | 15
_REQUEST: Final = 1
_HEAD: Final = struct.Struct("=IHHII")
_GENERIC: Final = struct.Struct(">BBH")
_ATTRIBUTE: Final = struct.Struct("=HH")
_GEN_ID: Final = 1
_ANSWER_S: Final = 1.0
_LARGEST: Final = 4096


def generation() -> int | None:
    """It is another one after each transaction, whoever made it. None when the kernel does not tell."""
    size = _HEAD.size + _GENERIC.size
    question = _HEAD.pack(size, _GETGEN, _REQUEST, 1, 0) + _GENERIC.pack(0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as sock:
            sock.settimeout(_ANSWER_S)  # it answers within the call that asks
            sock.send(question)
            return _read(sock.recv(_LARGEST))
    except OSError:
        return None


def _read(answer: bytes) -> int | None:
    if len(answer) < _HEAD.size or _HEAD.unpack_from(answer)[1] != _NEWGEN:
        return None
    place = _HEAD.size + _GENERIC.size
    while place + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, place)
        if kind == _GEN_ID and length == _ATTRIBUTE.size + 4:
            return int.from_bytes(answer[place + _ATTRIBUTE.size : place + length], "big")
        if length < _ATTRIBUTE.size:
            return None
        place += length + 3 & ~3
    return None
