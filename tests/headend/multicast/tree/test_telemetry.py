from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from headend.multicast.documents import TreeEntry
from headend.multicast.tree.mroute import MulticastRoute
from headend.multicast.tree.telemetry import TreeMeter

KEY = ("10.61.1.10", "232.61.1.1")
ENTRY = TreeEntry(channel="ch1", path="iptv", source=IPv4Address(KEY[0]), group=IPv4Address(KEY[1]), port=5000)


def route(packets: int, wrong_if: int = 0) -> dict[tuple[str, str], MulticastRoute]:
    return {KEY: MulticastRoute(*KEY, packets=packets, octets=packets * 1344, wrong_if=wrong_if, outputs=(1,))}


def test_bit_rate_is_udp_payload_that_was_forwarded() -> None:
    meter = TreeMeter()
    (first,) = meter.take([ENTRY], route(100), 10.0, 1000.0)
    assert first.values == {"bitrate_bps": 0.0, "packets": 100.0, "wanted": 1.0}
    (second,) = meter.take([ENTRY], route(200), 12.0, 1002.0)
    assert second.labels == {"channel": "ch1", "path": "iptv", "point": "tree"}
    assert second.values == {"bitrate_bps": 100 * 1316 * 8 / 2, "packets": 200.0, "age_ms": 0.0, "wanted": 1.0}
    (flooded,) = meter.take([ENTRY], route(400, wrong_if=100), 14.0, 1004.0)
    assert flooded.values["bitrate_bps"] == pytest.approx(100 * 1316 * 8 / 2)
    assert flooded.values["packets"] == 300.0


def test_age_grows_while_nothing_moves() -> None:
    meter = TreeMeter()
    meter.take([ENTRY], {}, 0.0, 0.0)
    (never,) = meter.take([ENTRY], {}, 1.0, 1.0)
    assert "age_ms" not in never.values
    meter.take([ENTRY], route(5), 2.0, 2.0)
    (still,) = meter.take([ENTRY], route(5), 5.0, 5.0)
    assert still.values == {"bitrate_bps": 0.0, "packets": 5.0, "age_ms": 3000.0, "wanted": 1.0}


def test_a_route_that_the_kernel_made_anew_starts_from_nothing() -> None:
    meter = TreeMeter()
    meter.take([ENTRY], route(1000), 0.0, 0.0)
    (anew,) = meter.take([ENTRY], route(10), 1.0, 1.0)
    assert anew.values["bitrate_bps"] == 10 * 1316 * 8
    (gone,) = meter.take([ENTRY], {}, 2.0, 2.0)
    assert gone.values == {"bitrate_bps": 0.0, "packets": 0.0, "age_ms": 1000.0, "wanted": 0.0}


def test_what_the_kernel_counts_without_an_output_is_not_forwarded() -> None:
    meter = TreeMeter()
    flooded = {KEY: MulticastRoute(*KEY, packets=500, octets=500 * 1344, wrong_if=0, outputs=())}
    meter.take([ENTRY], {}, 0.0, 0.0)
    (idle,) = meter.take([ENTRY], flooded, 1.0, 1.0)
    assert idle.values == {"bitrate_bps": 0.0, "packets": 0.0, "wanted": 0.0}


def test_what_is_withdrawn_is_forgotten() -> None:
    meter = TreeMeter()
    meter.take([ENTRY], route(1000), 0.0, 0.0)
    assert meter.take([], route(1000), 1.0, 1.0) == ()
    (again,) = meter.take([ENTRY], route(2000), 2.0, 2.0)
    assert again.values["bitrate_bps"] == 0.0
