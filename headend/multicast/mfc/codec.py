"""`struct mfcctl` and `struct vifctl` (Linux include/uapi/linux/mroute.h), and `/proc/net/ip_mr_vif`. Pure."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

MRT_INIT, MRT_DONE, MRT_ADD_VIF, MRT_DEL_VIF, MRT_ADD_MFC, MRT_DEL_MFC = 200, 201, 202, 203, 204, 205
MAX_VIFS = 32
"""Of one table; pimd takes one of them for its register interface."""

_MFCCTL = struct.Struct("=4s4sH32s2xIIIi")
_VIFCTL = struct.Struct("=HBBIi4s")
_VIFF_USE_IFINDEX = 0x8
_VIF = re.compile(r"^\s*(\d{1,2})\s+(\S{1,15})\s+\d+\s+\d+\s+\d+\s+\d+\s+[0-9A-Fa-f]+\s", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """(S, G) comes in on the virtual interface `input` and goes out on `outputs`."""

    source: IPv4Address
    group: IPv4Address
    input: int
    outputs: frozenset[int]


def encode_entry(entry: Entry) -> bytes:
    """For MRT_ADD_MFC and MRT_DEL_MFC. Raises ValueError for a vif number that the kernel's table cannot have."""
    if not all(0 <= vif < MAX_VIFS for vif in (entry.input, *entry.outputs)):
        raise ValueError(f"a vif number is 0 to {MAX_VIFS - 1}")
    ttls = bytes(1 if vif in entry.outputs else 0 for vif in range(MAX_VIFS))
    return _MFCCTL.pack(entry.source.packed, entry.group.packed, entry.input, ttls, 0, 0, 0, 0)


def encode_vif(vif: int, index: int) -> bytes:
    """For MRT_ADD_VIF: the interface with this index. Raises ValueError."""
    if not 0 <= vif < MAX_VIFS:
        raise ValueError(f"a vif number is 0 to {MAX_VIFS - 1}")
    return _VIFCTL.pack(vif, _VIFF_USE_IFINDEX, 1, 0, index, bytes(4))


def parse_vifs(text: str) -> dict[str, int]:
    """Interface name -> vif number. Lines that are no interface are left out, the heading among them."""
    matches = (_VIF.match(line) for line in text.splitlines())
    return {match[2]: number for match in matches if match is not None and (number := int(match[1])) < MAX_VIFS}


def numbers(vifs: Mapping[str, int], names: Collection[str]) -> frozenset[int] | None:
    """None when one of them is no virtual interface."""
    return frozenset(vifs[name] for name in names) if vifs.keys() >= set(names) else None
