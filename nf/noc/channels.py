"""The chain of a channel: every place where it is measured, and what was seen there last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nf.control.v1 import noc_pb2
from nf.documents.lineup import Channel
from nf.noc.records import HopRecord
from nf.noc.telemetry import Telemetry
from nf.telemetry.samples import Quality, Sample

STALE_S: Final = 5.0
"""A sample older than this says nothing any more."""

_RECEIVER: Final = "receiver"


def verdict(sample: Sample | None, now: float) -> str:
    """up, down, idle or unknown. A probe says itself whether its path is up; elsewhere bits must flow. Pure.

    Idle: nobody downstream asks for it here, such as a router on the other of two equal paths.
    """
    if sample is None or now - sample.at > STALE_S or sample.quality is Quality.STALE:
        return "unknown"
    values = sample.values
    if "up" in values:
        return "up" if values["up"] > 0 else "down"
    if values.get("wanted", 1.0) == 0:
        return "idle"
    if values.get("age_ms", 0.0) > STALE_S * 1000:
        return "down"
    return "up" if values.get("bitrate_bps", values.get("packets", 0.0)) > 0 else "down"


def hop_state(hop: HopRecord, sample: Sample | None, now: float) -> noc_pb2.HopState:
    state = noc_pb2.HopState(
        path=hop.path,
        order=hop.order,
        appliance=hop.appliance,
        point=hop.point,
        verdict=verdict(sample, now),
        age_ms=-1.0,
        join_ms=-1.0,
    )
    if sample is None:
        state.detail = "never measured"
        return state
    values = sample.values
    state.bitrate_bps = values.get("bitrate_bps", 0.0)
    state.packets = round(values.get("packets", 0.0))
    state.has_continuity = "continuity_errors" in values
    state.continuity_errors = round(values.get("continuity_errors", 0.0))
    state.age_ms = values.get("age_ms", -1.0)
    state.join_ms = values.get("join_ms", -1.0)
    state.sampled_at = sample.at
    state.detail = sample.text
    if now - sample.at > STALE_S:
        state.detail = f"no sample for {now - sample.at:.0f} s"
    return state


def channel_states(
    channels: Sequence[Channel], hops: Sequence[HopRecord], telemetry: Telemetry, now: float
) -> list[noc_pb2.ChannelState]:
    """Those of the line-up by their number; then what is proved beside it, such as `voice`, which has no number."""
    listed = sorted(channels, key=lambda channel: channel.lcn)
    beside = {hop.channel for hop in hops} - {channel.id for channel in channels}
    named = [(one.id, one.name, one.lcn) for one in listed] + [(one, one, 0) for one in sorted(beside)]
    return [_state(one, hops, telemetry, now) for one in named]


def _state(
    channel: tuple[str, str, int], hops: Sequence[HopRecord], telemetry: Telemetry, now: float
) -> noc_pb2.ChannelState:
    """`up`: every receiver of every path is up; without receivers, every hop; without hops, not."""
    identity, name, lcn = channel
    own = sorted((hop for hop in hops if hop.channel == identity), key=lambda hop: (hop.path, hop.order, hop.appliance))
    states = [hop_state(hop, telemetry.hop(hop.appliance, hop.channel, hop.path, hop.point), now) for hop in own]
    proofs = [state for state in states if state.point == _RECEIVER] or states
    return noc_pb2.ChannelState(
        id=identity,
        name=name,
        lcn=lcn,
        up=bool(proofs) and all(state.verdict == "up" for state in proofs),
        hops=states,
    )
