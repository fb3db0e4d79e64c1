"""One output: its feeds, what of them goes out, and where. The choice itself is in `merge` and `switch`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

from headend.multicast.output.config import MERGE, OutputConfig
from headend.multicast.output.merge import Merge
from headend.multicast.output.ring import LAG_S, Buffer, Take
from headend.multicast.output.switch import Beat, Switch
from headend.multicast.output.tap import Flow
from headend.multicast.outputs import Outputs
from headend.multicast.rtp import payload_of
from headend.transport.continuity import CounterCheck
from headend.transport.packet import NULL_PID, PACKET_SIZE, SYNC_BYTE


class Merged:
    """Both feeds are one RTP stream."""

    def __init__(self, config: OutputConfig, emit: Callable[[bytes], object]) -> None:
        self._merge = Merge(len(config.feeds), emit, config.window_s)

    @property
    def beats(self) -> tuple[Beat, ...]:
        return ()

    def take(self, feed: int) -> Take:
        return partial(self._merge.take, feed)

    def tick(self, now: float) -> None:
        self._merge.tick(now - LAG_S)

    def close(self) -> None:
        self._merge.flush()

    def status(self, now: float) -> dict[str, object]:
        merge = self._merge
        return {
            "continuity_errors": merge.lost,
            "active": None,
            "switches": 0,
            "resets": merge.resets,
            "legs": [asdict(leg.counters(now)) for leg in merge.legs],
        }


class Switched:
    """One feed, or two of which one is in use."""

    def __init__(self, config: OutputConfig, emit: Callable[[bytes], object]) -> None:
        self._switch = Switch(len(config.feeds))
        self._rtp = tuple(feed.rtp for feed in config.feeds)
        self._foreign = [0 for _ in config.feeds]
        self._emit = emit
        self._check = CounterCheck()

    @property
    def beats(self) -> tuple[Beat, ...]:
        return self._switch.beats

    def take(self, feed: int) -> Take:
        return partial(self._take, feed)

    def _take(self, feed: int, data: Buffer, start: int, end: int, at: float) -> None:
        if not self._switch.take(feed, at):
            return
        payload: bytes | None = bytes(data[start:end])
        if self._rtp[feed]:
            payload = payload_of(payload or b"")
            if payload is None:
                self._foreign[feed] += 1
                return
        self._count(payload or b"")
        self._emit(payload or b"")

    def _count(self, payload: bytes) -> None:
        for offset in range(0, len(payload) - PACKET_SIZE + 1, PACKET_SIZE):
            pid = (payload[offset + 1] & 0x1F) << 8 | payload[offset + 2]
            if payload[offset] == SYNC_BYTE and pid != NULL_PID:
                self._check.check(pid, payload, offset)

    def tick(self, now: float) -> None:
        """A switch is decided as packets come: without any there is nothing to switch to."""

    def close(self) -> None:
        """Nothing waits here."""

    def status(self, now: float) -> dict[str, object]:
        legs = [
            {
                "received": beat.packets,
                "silences": beat.silences,
                "foreign": foreign,
                "age_ms": None if beat.last_at is None else max(0.0, now - beat.last_at) * 1000,
            }
            for beat, foreign in zip(self._switch.beats, self._foreign, strict=True)
        ]
        return {
            "continuity_errors": self._check.errors,
            "active": self._switch.active,
            "switches": self._switch.switches,
            "resets": 0,
            "legs": legs,
        }


class Channel:
    """`octets`: of what was sent, counted once however many addresses it is sent from."""

    def __init__(self, config: OutputConfig) -> None:
        self.config = config
        self.octets = 0
        self.outputs = Outputs(config.group, config.port, config.dscp)
        self._sent = 0
        self._sent_at: float | None = None
        self._core: Merged | Switched = (Merged if config.mode == MERGE else Switched)(config, self._send)

    @property
    def beat(self) -> Beat | None:
        """Of a single feed that is not merged."""
        beats = self._core.beats
        return beats[0] if len(beats) == 1 else None

    def flows(self) -> Iterator[tuple[Flow, Take]]:
        for number, feed in enumerate(self.config.feeds):
            yield feed.flow, self._core.take(number)

    def _send(self, payload: bytes) -> None:
        self.octets += len(payload)
        self.outputs.send(payload)

    def tick(self, now: float) -> None:
        self._core.tick(now)
        if self.octets != self._sent:
            self._sent, self._sent_at = self.octets, now

    def close(self) -> None:
        self._core.close()
        self.outputs.close()

    def status(self, now: float) -> dict[str, object]:
        self.tick(now)
        return {
            "channel": self.config.channel,
            "path": self.config.path,
            "mode": self.config.mode,
            "packets": self.octets // PACKET_SIZE,
            "age_ms": None if self._sent_at is None else max(0.0, now - self._sent_at) * 1000,
            "send_errors": self.outputs.send_errors,
            "last_send_error": self.outputs.last_error,
            **self._core.status(now),
        }
