"""A link that falls silent with its carrier on: the gap in the stream with BFD, against OSPF's dead interval alone."""

from __future__ import annotations

import time

from headend.multicast.documents import FrrSection
from tests.bench.harness import Benchmark
from tests.headend.multicast.ring import (
    FAR,
    Receiver,
    Ring,
    end_silence,
    receiving,
    ring,
    router,
    sections,
    silence,
)
from tests.headend.multicast.tree.network import commit

HERE, BEFORE = FAR, FAR - 1
WAIT_S = 30.0


def _gap_ms(whole: Ring, receiver: Receiver) -> float:
    """Longest silence at the receiver when the link that it hangs on falls silent; waits until it is back."""
    whole.routed(router(HERE), "eth2")
    whole.wait_input(router(HERE), "eth2")
    mark = len(receiver.packets)
    silence(whole[router(BEFORE)], "eth1")
    try:
        whole.wait_input(router(HERE), "eth1")
        resumed, deadline = len(receiver.packets), time.monotonic() + WAIT_S
        while len(receiver.packets) <= resumed + 10 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        end_silence(whole[router(BEFORE)])
    return receiver.gap(mark)[1]


def _without_bfd(number: int) -> FrrSection:
    section = sections(number)["frr"]
    if not isinstance(section, FrrSection):
        raise TypeError("section frr holds an FrrSection")
    return section.model_copy(
        update={"interfaces": tuple(i.model_copy(update={"bfd": False}) for i in section.interfaces)}
    )


def ratio() -> float:
    with ring() as whole:
        whole.emit()
        with receiving(whole) as receiver:
            whole.watched(router(HERE))
            with_bfd = _gap_ms(whole, receiver)
            whole.routed(router(HERE), "eth2")
            for number in (BEFORE, HERE):
                node = whole[router(number)]
                node.call(commit, node.drivers["frr"], _without_bfd(number))
            dead_interval = _gap_ms(whole, receiver)
    return with_bfd / dead_interval


BENCHMARKS = [
    Benchmark(
        "multicast.silent_link",
        peer="OSPF dead interval of 4 s, no BFD",
        sense="<=",
        target=0.25,
        run=ratio,
        repeats=2,
    ),
]
