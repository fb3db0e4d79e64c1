"""The PFCP codec against scapy: the real SMF's Session Establishment Request of 602 octets, decoded and encoded."""

from __future__ import annotations

import time
from collections.abc import Callable

from scapy.contrib.pfcp import PFCP

from core5g.pfcp.wire import decode, encode
from tests.bench.harness import Benchmark
from tests.core5g.pfcp.opening import remade
from tests.core5g.pfcp.recordings import establishment

ROUNDS = 20


def _ours(data: bytes) -> bytes:
    return encode(decode(data))


def _ours_opened(data: bytes) -> bytes:
    """Every grouped IE opened, as scapy does it, and made anew from its members."""
    message = decode(data)
    return encode(message._replace(ies=remade(message.ies)))


def _scapys(data: bytes) -> bytes:
    return bytes(PFCP(data))


def _seconds(run: Callable[[bytes], bytes], data: bytes, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        run(data)
    return (time.perf_counter() - start) / times


def codec() -> float:
    data = establishment()
    assert _ours(data) == _ours_opened(data) == _scapys(data) == data
    ours = opened = theirs = 0.0
    for _ in range(ROUNDS):
        ours += _seconds(_ours, data, 200)
        opened += _seconds(_ours_opened, data, 40)
        theirs += _seconds(_scapys, data, 2)
    print(
        f"pfcp.codec: ours {ours / ROUNDS * 1e6:.1f} us, with every group opened {opened / ROUNDS * 1e6:.1f} us "
        f"({theirs / opened:.0f}x), scapy {theirs / ROUNDS * 1e6:.0f} us",
        flush=True,
    )
    return theirs / ours


BENCHMARKS = [
    Benchmark("pfcp.codec", peer="scapy, decode + encode, 602 octets", sense=">=", target=50, run=codec),
]
