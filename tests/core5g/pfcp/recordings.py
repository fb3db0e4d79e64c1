"""What real Open5GS daemons sent (tests/data/core5g/NOTICE.md)."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scapy.utils import RawPcapReader

DATA = Path(__file__).resolve().parents[2] / "data" / "core5g"
RUNS = ("run1", "run2", "run3")


class Recorded(NamedTuple):
    """`run` is the file; `up`: towards the UPF."""

    run: str
    name: str
    up: bool
    data: bytes


@cache
def recorded() -> tuple[Recorded, ...]:
    """Every message of every run, in order."""
    return (*(one for run in RUNS for one in _run(run)), *smf())


@cache
def smf() -> tuple[Recorded, ...]:
    """The conversation of the real SMF with its UPF."""
    lines = (DATA / "smf_upf_proxy_messages.jsonl").read_text().splitlines()
    return tuple(_of("smf", json.loads(line)) for line in lines)


def establishment() -> bytes:
    """The real SMF's Session Establishment Request, 602 octets."""
    return max((one.data for one in smf()), key=len)


@cache
def gtpu() -> tuple[bytes, ...]:
    """Every GTP-U packet that was on the wire."""
    return tuple(packet for run in RUNS for packet in _udp(DATA / f"{run}.pcap", 2152))


def _udp(file: Path, port: int) -> Iterator[bytes]:
    """Payloads to or from a UDP port; the captures are of Ethernet and of IPv4 without options."""
    with RawPcapReader(str(file)) as reader:
        for frame, _ in reader:
            if frame[12:15] == b"\x08\0\x45" and frame[23] == 17 and port in struct.unpack_from("!HH", frame, 34):
                yield frame[42 : 34 + int.from_bytes(frame[38:40], "big")]


def _run(run: str) -> tuple[Recorded, ...]:
    return tuple(_of(run, one) for one in json.loads((DATA / f"{run}.json").read_text()))


def _of(run: str, one: dict[str, str]) -> Recorded:
    up = one["dir"].endswith(("->UP", "->UPF"))
    return Recorded(run, one.get("name", str(one.get("type"))), up, bytes.fromhex(one["hex"]))
