"""Channels of the line-up, and what is proved beside it, such as voice."""

from __future__ import annotations

from nf.clock import VirtualClock
from nf.control.convert import sample_to_proto
from nf.control.v1 import fleet_pb2 as pb
from nf.documents.lineup import Channel
from nf.noc.channels import channel_states
from nf.noc.records import HopRecord
from nf.noc.telemetry import Telemetry
from nf.telemetry.samples import Sample

HOPS = (
    HopRecord("ch1", "iptv", 1, "r1", "receiver"),
    HopRecord("voice", "edge", 1, "r1", "receiver"),
    HopRecord("voice", "edge", 0, "r2", "receiver"),
)


def channel(name: str, lcn: int) -> Channel:
    return Channel.model_validate(
        {"id": name, "name": f"Channel {name}", "lcn": lcn, "uid": f"tag:x.test,2026:{name}", "source": "s"}
    )


def proved(telemetry: Telemetry, appliance: str, name: str, path: str, *, up: bool) -> None:
    labels = {"channel": name, "path": path, "point": "receiver"}
    sample = Sample(
        "path.probe", telemetry._clock.now(), labels, {"up": float(up), "bitrate_bps": 64_000.0}, "MOS 4.36"
    )
    telemetry.take(appliance, pb.TelemetryBatch(items=[pb.TelemetryItem(sample=sample_to_proto(sample))]))


def test_voice_stands_behind_the_channels_without_a_number() -> None:
    clock = VirtualClock()
    telemetry = Telemetry(clock)
    proved(telemetry, "r1", "voice", "edge", up=True)
    proved(telemetry, "r2", "voice", "edge", up=True)
    states = channel_states((channel("ch2", 2), channel("ch1", 1)), HOPS, telemetry, clock.now())
    assert [(one.id, one.lcn, one.up) for one in states] == [("ch1", 1, False), ("ch2", 2, False), ("voice", 0, True)]
    assert [(hop.appliance, hop.verdict, hop.detail) for hop in states[2].hops] == [
        ("r2", "up", "MOS 4.36"),
        ("r1", "up", "MOS 4.36"),
    ]


def test_one_end_that_is_down_is_enough() -> None:
    clock = VirtualClock()
    telemetry = Telemetry(clock)
    proved(telemetry, "r1", "voice", "edge", up=True)
    proved(telemetry, "r2", "voice", "edge", up=False)
    (state,) = channel_states((), HOPS[1:], telemetry, clock.now())
    assert not state.up


def test_a_line_up_without_voice_has_its_channels_only() -> None:
    clock = VirtualClock()
    states = channel_states((channel("ch1", 1),), HOPS[:1], Telemetry(clock), clock.now())
    assert [one.id for one in states] == ["ch1"]
