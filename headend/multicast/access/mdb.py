"""The bridge's multicast group database: which port has joined which (S, G). Pure.

Linux include/uapi/linux/if_bridge.h.

An IGMPv3 bridge keeps for each port an entry (*, G) with a list of sources, and installs one entry (S, G) for each
source that is forwarded; those are what counts here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from headend.multicast.access.netlink import (
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Message,
    attributes,
    message,
)
from headend.multicast.igmp import Flow

RTM_NEWMDB, RTM_DELMDB, RTM_GETMDB = 84, 85, 86
RTNLGRP_MDB = 26
_MDBA_MDB = _MDBA_MDB_ENTRY = _MDBA_MDB_ENTRY_INFO = 1
_MDBA_MDB_EATTR_SOURCE = 4
_MDB_FLAGS_BLOCKED = 0x08
_PORT_MESSAGE = struct.Struct("=BxxxI")
_ENTRY = struct.Struct("=IBBH16sHxx")
_ETH_P_IP = 0x0800
_PF_BRIDGE = 7


@dataclass(frozen=True, slots=True)
class MdbChange:
    """`joined`: the entry is there (added, or listed) and lets the stream through; else it went."""

    bridge: int
    port: int
    key: Flow
    joined: bool


def dump_request(sequence: int) -> bytes:
    """Asks for the whole database of every bridge."""
    return message(RTM_GETMDB, NLM_F_REQUEST | NLM_F_DUMP, sequence, _PORT_MESSAGE.pack(_PF_BRIDGE, 0))


def changes(received: Message) -> Iterator[MdbChange]:
    """The IPv4 entries (S, G) of ports that a message tells of, in its order; the bridge's own joins are left out."""
    if received.type not in {RTM_NEWMDB, RTM_DELMDB, RTM_GETMDB} or len(received.payload) < _PORT_MESSAGE.size:
        return
    _, bridge = _PORT_MESSAGE.unpack_from(received.payload)
    for outer, table in attributes(received.payload[_PORT_MESSAGE.size :]):
        if outer != _MDBA_MDB:
            continue
        for kind, entry in attributes(table):
            if kind == _MDBA_MDB_ENTRY:
                yield from _entries(bridge, entry, gone=received.type == RTM_DELMDB)


def _entries(bridge: int, data: bytes, *, gone: bool) -> Iterator[MdbChange]:
    for kind, info in attributes(data):
        if kind != _MDBA_MDB_ENTRY_INFO or len(info) < _ENTRY.size:
            continue
        port, _, flags, _, address, protocol = _ENTRY.unpack_from(info)
        source = next((v for k, v in attributes(info[_ENTRY.size :]) if k == _MDBA_MDB_EATTR_SOURCE), b"")
        if protocol != struct.unpack("=H", _ETH_P_IP.to_bytes(2, "big"))[0] or len(source) != 4 or port == bridge:
            continue
        key = (int.from_bytes(source, "big"), int.from_bytes(address[:4], "big"))
        yield MdbChange(bridge, port, key, joined=not gone and not flags & _MDB_FLAGS_BLOCKED)
