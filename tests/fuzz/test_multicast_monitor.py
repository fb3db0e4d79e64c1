"""Whatever a network sends to a watched group, and whatever stands where an answer should, must not stop a monitor or
a trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.monitor.client import parse
from headend.multicast.monitor.meter import Meter
from headend.multicast.monitor.packets import Classifier, FlowKey
from headend.multicast.trace.operation import parse_net_dev, parse_rpf
from headend.multicast.trace.reading import reading_of
from headend.multicast.trace.walk import Walk, stretches
from nf.errors import IntegrityError, NotFoundError
from tests.headend.multicast.monitor.made import GROUP, KEY, PORT, SOURCE, Datagram, ring, rtp, ts

sound = st.builds(ts, st.lists(st.integers(0, 15), max_size=7), st.integers(0, 8191), st.none() | st.just(5))
contents = st.one_of(
    st.binary(max_size=400),
    sound,
    st.builds(rtp, st.integers(0, 65535), sound, csrc=st.integers(0, 15), extension=st.none() | st.just(bytes(8))),
)


@given(st.lists(contents, min_size=1, max_size=12), st.booleans(), st.data())
def test_any_packets(payloads: list[bytes], is_rtp: bool, data: st.DataObject) -> None:
    words, headers = ring([Datagram(number * 1000, payload) for number, payload in enumerate(payloads)])
    damaged = words.view(np.uint8).copy()
    last = int(headers[-1]) * 4 + 120
    for _ in range(data.draw(st.integers(0, 12))):
        header = int(data.draw(st.sampled_from(headers.tolist()))) * 4
        # Of the packet itself: what stands before it is the kernel's own.
        damaged[min(header + 82 + data.draw(st.integers(0, 80)), last)] = data.draw(st.integers(0, 255))
    memory = damaged[: data.draw(st.integers(last, len(damaged))) // 4 * 4].view(np.uint32)
    classifier = Classifier([KEY, FlowKey(SOURCE, GROUP, PORT + 1)])
    meter = Meter([is_rtp, False])
    found = classifier.packets(memory, headers, 1)
    meter.take(found.where(found.start * 4 + found.size <= len(memory) * 4))
    for figures in meter.close(0, 10**9):
        assert figures.packets <= len(payloads)
        assert min(figures.ts_packets, figures.continuity_errors, figures.ts_missing, figures.delay_factor_ms) >= 0


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
READING: dict[str, Any] = {
    "appliance": "a",
    "addresses": {"eth1": ["10.0.0.1/24"]},
    "flows": [
        {
            "flow": {"path": "p", "leg": "", "role": "tree", "source": "10.0.0.1", "group": "232.1.1.1"},
            "meets": False,
            "route": {"input": "eth1", "outputs": ["eth2"], "neighbour": ""},
            "passed": [{"interface": "eth1", "direction": "in", "packets": 5}],
        }
    ],
    "began_at": 1.0,
    "seconds": 2.0,
    "drops": {},
    "notes": [],
}


@given(st.sampled_from([*READING]), values, st.sampled_from(["a", "10.0.0.9", ""]))
def test_any_answer_to_a_trace(key: str, value: Any, receiver: str) -> None:
    try:
        reading = reading_of({**READING, key: value})
    except IntegrityError:
        return
    try:
        ways = Walk([reading, replace(reading, appliance="b")]).ways(receiver or "b")
    except NotFoundError:
        return
    assert all(" -> " in stretch.link for way in ways for stretch in stretches(way))


@given(st.dictionaries(st.text(max_size=8), values, max_size=4), st.text(max_size=200))
def test_any_output_of_daemon_and_kernel(told: dict[str, Any], text: str) -> None:
    parse_rpf(told)
    assert all(count >= 0 for count in parse_net_dev(text).values())


@given(values)
def test_any_status_of_a_monitor(value: Any) -> None:
    try:
        parse({"config": "x", "intervals": 1, "problems": [], "dropped": 0, "flows": value})
    except ValueError:
        return
    assert not value
