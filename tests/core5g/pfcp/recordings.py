"""What real Open5GS daemons sent (tests/data/core5g/NOTICE.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scapy.layers.inet import UDP
from scapy.utils import rdpcap

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


def gtpu() -> Iterator[bytes]:
    """Every GTP-U packet that was on the wire."""
    for run in RUNS:
        for frame in rdpcap(str(DATA / f"{run}.pcap")):
            if UDP in frame and 2152 in (frame[UDP].sport, frame[UDP].dport):
                yield bytes(frame[UDP].payload)


def _run(run: str) -> tuple[Recorded, ...]:
    return tuple(_of(run, one) for one in json.loads((DATA / f"{run}.json").read_text()))


def _of(run: str, one: dict[str, str]) -> Recorded:
    up = one["dir"].endswith(("->UP", "->UPF"))
    return Recorded(run, one.get("name", str(one.get("type"))), up, bytes.fromhex(one["hex"]))
