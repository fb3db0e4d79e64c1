"""Elements of the nft sets that say what may pass, put and read over netlink. Pure.

Linux include/uapi/linux/netfilter/nf_tables.h. A batch is one transaction of the kernel: all of it, or nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

from headend.multicast.access.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Message,
    attribute,
    attributes,
    message,
    nested,
    text,
)
from headend.multicast.igmp import Flow

_SUBSYSTEM = 10 << 8
_NEWSETELEM, _GETSETELEM, _DELSETELEM = _SUBSYSTEM | 12, _SUBSYSTEM | 13, _SUBSYSTEM | 14
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NETDEV = 5
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_LIST_ELEM, _ELEM_KEY, _DATA_VALUE = 1, 1, 1
_GENERAL = struct.Struct("!BBH")
_KEY = struct.Struct("!II")

Changes = Mapping[str, tuple[Sequence[Flow], Sequence[Flow]]]
"""Set -> (to take out, to put in)."""


def batch(table: str, wanted: Changes, sequence: int) -> tuple[bytes, int]:
    """(octets, how many answers come). What goes is ahead of what comes, since a set has a size."""
    parts = [message(_BATCH_BEGIN, NLM_F_REQUEST, sequence, _GENERAL.pack(0, 0, 10))]
    for which, (kind, flags) in enumerate(((_DELSETELEM, 0), (_NEWSETELEM, NLM_F_CREATE))):
        for name, pair in wanted.items():
            if keys := pair[which]:
                body = _GENERAL.pack(_NETDEV, 0, 0) + _elements(table, name, keys)
                parts.append(message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, sequence + len(parts), body))
    answers = len(parts) - 1
    parts.append(message(_BATCH_END, NLM_F_REQUEST, sequence + len(parts), _GENERAL.pack(0, 0, 10)))
    return b"".join(parts), answers


def _elements(table: str, name: str, keys: Sequence[Flow]) -> bytes:
    listed = (nested(_LIST_ELEM, nested(_ELEM_KEY, attribute(_DATA_VALUE, _KEY.pack(*key)))) for key in keys)
    return text(_LIST_TABLE, table) + text(_LIST_SET, name) + nested(_LIST_ELEMENTS, *listed)


def dump_request(table: str, name: str, sequence: int) -> bytes:
    body = _GENERAL.pack(_NETDEV, 0, 0) + text(_LIST_TABLE, table) + text(_LIST_SET, name)
    return message(_GETSETELEM, NLM_F_REQUEST | NLM_F_DUMP, sequence, body)


def elements(received: Message) -> Iterator[Flow]:
    """What a message of a set's listing holds."""
    if received.type != _NEWSETELEM:
        return
    for kind, listed in attributes(received.payload[_GENERAL.size :]):
        if kind == _LIST_ELEMENTS:
            for element_kind, element in attributes(listed):
                if element_kind == _LIST_ELEM:
                    yield from _keys(element)


def _keys(element: bytes) -> Iterator[Flow]:
    for kind, data in attributes(element):
        if kind == _ELEM_KEY:
            for value_kind, value in attributes(data):
                if value_kind == _DATA_VALUE and len(value) == _KEY.size:
                    source, group = _KEY.unpack(value)
                    yield source, group
