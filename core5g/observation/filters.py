"""Classic BPF for packet sockets: the kernel copies what may be a target's and nothing else. Pure.

The socket decides once more, exactly; a filter only keeps the load of everybody else's packets away from its buffer.
Programs see the packet from its IP header on (a SOCK_DGRAM packet socket).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Network

from core5g.pfcp.gtpu import PORT
from core5g.ue import UeAddress

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, k (linux/filter.h)."""

MOST_INSTRUCTIONS = 4096
"""BPF_MAXINSNS."""

_LD_W, _LD_H, _LD_B = 0x20, 0x28, 0x30
_LDX_HEAD = 0xB1  # x = 4 * (octet at k & 15): the length of an IPv4 header
_LDX_W, _LDX_H, _LDX_B = 0x40, 0x48, 0x50  # relative to x
_AND, _JEQ, _JSET, _JA, _RET = 0x54, 0x15, 0x45, 0x05, 0x06
_WHOLE = 0xFFFFFFFF

NOTHING: tuple[Instruction, ...] = ((_RET, 0, 0, 0),)
EVERYTHING: tuple[Instruction, ...] = ((_RET, 0, 0, _WHOLE),)


def by_ue(addresses: Iterable[UeAddress]) -> tuple[Instruction, ...]:
    """Packets from or to these. Of too many for a program it is all packets: the socket still decides exactly."""
    wanted = sorted(set(addresses), key=str)
    v4 = [int(address) for address in wanted if isinstance(address, IPv4Address)]
    v6 = [int(net.network_address) >> 64 for net in wanted if isinstance(net, IPv6Network)]
    if not wanted:
        return NOTHING
    four = [*_any(12, v4), *_any(16, v4), (_RET, 0, 0, 0)]
    six = [*_any_prefix(8, v6), *_any_prefix(24, v6), (_RET, 0, 0, 0)]
    head: list[Instruction] = [
        (_LD_B, 0, 0, 0),
        (_AND, 0, 0, 0xF0),
        (_JEQ, 2, 0, 0x40),
        (_JEQ, 2, 0, 0x60),
        (_RET, 0, 0, 0),
        (_JA, 0, 0, 1),
        (_JA, 0, 0, len(four)),
    ]
    return _fitting([*head, *four, *six])


def _any(offset: int, values: list[int]) -> list[Instruction]:
    found: list[Instruction] = [(_LD_W, 0, 0, offset)] if values else []
    for value in values:
        found += [(_JEQ, 0, 1, value), (_RET, 0, 0, _WHOLE)]
    return found


def _any_prefix(offset: int, prefixes: list[int]) -> list[Instruction]:
    found: list[Instruction] = []
    for prefix in prefixes:
        found += [
            (_LD_W, 0, 0, offset),
            (_JEQ, 0, 3, prefix >> 32),
            (_LD_W, 0, 0, offset + 4),
            (_JEQ, 0, 1, prefix & _WHOLE),
            (_RET, 0, 0, _WHOLE),
        ]
    return found


def by_teid(teids: Iterable[int]) -> tuple[Instruction, ...]:
    """G-PDUs over IPv4 of these TEIDs, and fragments of UDP, whose TEID only their first one has."""
    wanted = sorted(set(teids))
    if not wanted:
        return NOTHING
    return _fitting(
        [
            (_LD_B, 0, 0, 0),
            (_AND, 0, 0, 0xF0),
            (_JEQ, 1, 0, 0x40),
            (_RET, 0, 0, 0),
            (_LD_B, 0, 0, 9),
            (_JEQ, 1, 0, 17),
            (_RET, 0, 0, 0),
            (_LD_H, 0, 0, 6),
            (_JSET, 0, 1, 0x3FFF),
            (_RET, 0, 0, _WHOLE),
            (_LDX_HEAD, 0, 0, 0),
            (_LDX_H, 0, 0, 2),
            (_JEQ, 1, 0, PORT),
            (_RET, 0, 0, 0),
            (_LDX_B, 0, 0, 9),
            (_JEQ, 1, 0, 255),
            (_RET, 0, 0, 0),
            (_LDX_W, 0, 0, 12),
            *(one for teid in wanted for one in ((_JEQ, 0, 1, teid), (_RET, 0, 0, _WHOLE))),
            (_RET, 0, 0, 0),
        ]
    )


def _fitting(program: list[Instruction]) -> tuple[Instruction, ...]:
    return tuple(program) if len(program) <= MOST_INSTRUCTIONS else EVERYTHING


def assembled(program: Iterable[Instruction]) -> bytes:
    """`struct sock_filter[]`."""
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)
