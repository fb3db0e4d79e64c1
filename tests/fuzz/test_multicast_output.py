"""Bytes that are no configuration, no netlink, no packets: the output stage refuses them, or sends nothing of them."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from headend.multicast.output import hostroute, ways
from headend.multicast.output.config import OutputConfig, parse
from headend.multicast.output.merge import Merge
from headend.multicast.rtp import Header, build
from nf.errors import InputError

keys = st.sampled_from(["tap", "outputs", "channel", "path", "mode", "feeds", "addresses", "group", "port", "source"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["10.1.0.10", "merge", "rtp"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=8),
    max_leaves=20,
)


@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_any_configuration_is_taken_or_refused(text: bytes) -> None:
    with contextlib.suppress(InputError):
        assert all(isinstance(output, OutputConfig) for output in parse(text).outputs)


@given(st.binary(max_size=200))
def test_any_netlink_is_read_or_left(data: bytes) -> None:
    for _, body in hostroute.messages(data):
        hostroute._own(body)


hexes = st.text("0123456789ABCDEFabcdefg -:\n", max_size=80)


@given(hexes, hexes)
def test_any_table_of_the_kernel_is_read_or_left(cache: str, interfaces: str) -> None:
    ways.parse(cache, interfaces)


datagrams = st.binary(max_size=60) | st.builds(
    lambda number, first, kind, payload: bytes([first, kind]) + build(Header(number, 0, 5), payload)[2:],
    st.integers(0, 0xFFFF),
    st.integers(0x80, 0xBF),
    st.sampled_from([33, 33 | 0x80, 96]),
    st.binary(max_size=30),
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), datagrams, st.floats(0, 0.2)), max_size=60))
def test_any_datagrams_at_any_time(story: list[tuple[int, bytes, float]]) -> None:
    out: list[bytes] = []
    merge, at = Merge(2, out.append), 0.0
    for leg, datagram, later in story:
        at += later
        merge.tick(at)
        merge.take(leg, b"\xff" + datagram + b"\xff", 1, 1 + len(datagram), at)
    merge.flush()
    assert len(out) == merge.packets <= len(story)
    assert sum(leg.used for leg in merge.legs) == len(out)
    for one in merge.legs:
        assert one.received == one.used + one.duplicate + one.late
        assert one.lost >= 0
