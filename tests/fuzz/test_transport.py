"""Bytes that are no transport stream must neither stop the monitor nor be counted as packets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headend.transport.continuity import ContinuityMonitor
from headend.transport.packet import PACKET_SIZE, SYNC_BYTE

loose_packets = st.tuples(st.sampled_from([SYNC_BYTE, 0x00]), st.binary(min_size=187, max_size=187)).map(
    lambda parts: bytes([parts[0]]) + parts[1]
)


@given(st.lists(st.tuples(st.binary(max_size=1500), st.floats(0, 1e9)), max_size=30))
def test_any_bytes_at_any_time(received: list[tuple[bytes, float]]) -> None:
    monitor = ContinuityMonitor()
    for datagram, now in received:
        errors = monitor.receive(datagram, now)
        assert 0 <= errors <= len(datagram) // PACKET_SIZE
    counters = monitor.counters(1e9)
    assert counters.bytes == sum(len(datagram) for datagram, _ in received)
    assert counters.bitrate_bps >= 0
    assert counters.age_s is None or counters.age_s >= 0


@given(st.lists(loose_packets, max_size=60), st.binary(max_size=187))
def test_each_place_is_a_packet_or_a_sync_error(packets: list[bytes], rest: bytes) -> None:
    monitor = ContinuityMonitor()
    monitor.receive(b"".join(packets) + rest, 1.0)
    bad = sum(packet[0] != SYNC_BYTE for packet in packets)
    assert monitor.packets == len(packets) - bad
    assert monitor.sync_errors == bad + (1 if rest or not packets else 0)
    assert monitor.continuity_errors + monitor.transport_errors <= monitor.packets
