"""The socket filter of the monitor: classic BPF (Linux Documentation/networking/filter.rst). Pure.

It lets unfragmented UDP over IPv4 to the watched groups through; source and port are looked at later, by the batch.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

MAX_INSTRUCTIONS = 4096
"""BPF_MAXINSNS of linux/bpf_common.h."""
WHOLE_PACKET = 0x40000

_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD = 0x30, 0x28, 0x20  # BPF_LD | BPF_ABS, by size
_JUMP, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_BITS = 0x05, 0x15, 0x35, 0x45
_RETURN = 0x06
_PROTOCOL, _FRAGMENT, _DESTINATION = 14 + 9, 14 + 6, 14 + 16  # behind an Ethernet header
_UDP, _FRAGMENT_BITS = 17, 0x3FFF  # more fragments, and the offset
_LEAF = 4
_MULTICAST = 0xE0000000
_INSTRUCTION = struct.Struct("=HBBI")


@dataclass(frozen=True, slots=True)
class Instruction:
    code: int
    if_true: int = 0
    if_false: int = 0
    value: int = 0


def program(groups: Sequence[int]) -> tuple[Instruction, ...]:
    """`groups`: IPv4 addresses as numbers. Where they are too many for a filter, all multicast is let through."""
    search = _search(sorted(set(groups)))
    head = (
        Instruction(_LOAD_BYTE, value=_PROTOCOL),
        Instruction(_JUMP_EQUAL, 1, 0, _UDP),
        Instruction(_RETURN),
        Instruction(_LOAD_HALF, value=_FRAGMENT),
        Instruction(_JUMP_BITS, 0, 1, _FRAGMENT_BITS),
        Instruction(_RETURN),
        Instruction(_LOAD_WORD, value=_DESTINATION),
    )
    if len(head) + len(search) > MAX_INSTRUCTIONS:
        search = [Instruction(_JUMP_AT_LEAST, 0, 1, _MULTICAST), Instruction(_RETURN, value=WHOLE_PACKET), _REFUSE]
    return (*head, *search)


_REFUSE = Instruction(_RETURN)


def _search(groups: Sequence[int]) -> list[Instruction]:
    """A binary search, since every packet of the interface goes through it."""
    if len(groups) <= _LEAF:
        tests = [
            step
            for group in groups
            for step in (Instruction(_JUMP_EQUAL, 0, 1, group), Instruction(_RETURN, value=WHOLE_PACKET))
        ]
        return [*tests, _REFUSE]
    middle = len(groups) // 2
    low, high = _search(groups[:middle]), _search(groups[middle:])
    return [Instruction(_JUMP_AT_LEAST, 0, 1, groups[middle]), Instruction(_JUMP, value=len(low)), *low, *high]


def encode(instructions: Sequence[Instruction]) -> bytes:
    """An array of struct sock_filter."""
    return b"".join(_INSTRUCTION.pack(one.code, one.if_true, one.if_false, one.value) for one in instructions)
