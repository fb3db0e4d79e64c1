"""One service: its two inputs, the choice between them, and its output. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headend.satellite.feed.config import ServiceConfig
from headend.satellite.feed.output import Output
from headend.satellite.feed.policy import FALLBACK, Policy, Seen, lasting
from headend.satellite.feed.programme import Programme
from headend.satellite.feed.streams import remap
from headend.satellite.feed.switch import Input, State, step
from nf.contracts.json import JsonObject
from nf.policy.model import Rules

_PATIENCE_S = 5.0
_PATIENCE_SILENT_S = 0.35
"""So long a cut waits for a random access point while the old input still sends, or does not; then any PES packet of
the picture will do. With the silence that was waited for before, and the turns of the process, a gap is below 1 s."""
_BEGINNING_S = 0.5


class Service:
    """Packets come in by its two programmes; `tick` lets time pass. `emit`: gets the datagrams that go out."""

    def __init__(
        self,
        config: ServiceConfig,
        emit: Callable[[bytes], None],
        now: float,
        remembered: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.switched_at: float | None = None
        self.satellite = Programme(config.service_id, self._packet, self._mapped)
        self.fallback = Programme(None, self._packet, self._mapped) if config.fallback is not None else None
        self.output = Output(config.transport_stream_id, config.service_id, emit)
        self.policy = Policy(config.rules, now, remembered if self.fallback is not None else None)
        self.state = State.FALLBACK if self.policy.on_fallback else State.SATELLITE
        self._active = self.fallback if self.fallback is not None and self.policy.on_fallback else self.satellite
        self._wanted: Programme | None = None
        self._wanted_at = now
        self._lead: int | None = None
        self._reception = True
        self._begun_at = now
        self._sound_since: float | None = None
        self._noted = lasting(self.policy.state)

    @property
    def switches(self) -> int:
        return self.policy.state.number

    @property
    def on_fallback(self) -> bool:
        return self._active is not self.satellite

    def reception(self, *, good: bool, now: float) -> None:
        """What the receiver's figures say; it comes again and again."""
        self._reception = good
        self._judge(now)

    def tick(self, now: float) -> None:
        """Every 50 ms or so, after all that has arrived was handed in."""
        self._judge(now)
        self.output.flush(now, stale=True)

    def use(self, rules: Rules) -> None:
        """Other limits, from now on."""
        self.policy.rules = rules

    def approve(self) -> bool:
        """An operator lets it return to the satellite; whether there is something to approve."""
        return self.fallback is not None and self.policy.approve()

    def news(self) -> JsonObject | None:
        """What has to outlive the process, when that is other than at the last call."""
        noted = lasting(self.policy.state)
        if noted == self._noted:
            return None
        self._noted = noted
        return self.policy.to_json()

    def _judge(self, now: float) -> None:
        if self.fallback is None:
            return
        silence_s = self.policy.silence_s()
        beginning = self.satellite.last_at is None and now - self._begun_at <= _BEGINNING_S
        seen = Seen(
            satellite=None if beginning else self.satellite.present(now, silence_s),
            reception=self._reception,
            lost=self.satellite.sound_since != self._sound_since,
            fallback=self.fallback.present(now, silence_s),
        )
        self._sound_since = self.satellite.sound_since
        wanted = self.policy.wanted(seen, now)
        self._step(Input.WANT_FALLBACK if wanted == FALLBACK else Input.WANT_SATELLITE, now)

    def _step(self, given: Input, now: float) -> None:
        before, self.state = self.state, step(self.state, given)
        if self.state is not before:
            self._want({State.LEAVING: self.fallback, State.RETURNING: self.satellite}.get(self.state), now)

    def _want(self, programme: Programme | None, now: float) -> None:
        self._wanted, self._wanted_at = programme, now
        pmt = programme.pmt if programme is not None else None
        self._lead = remap(pmt).lead if pmt is not None else None

    def _mapped(self, programme: Programme) -> None:
        if programme is self._active:
            self.output.take_from(programme, switch=False)
        elif programme is self._wanted:
            self._want(programme, self._wanted_at)

    def _packet(self, programme: Programme, pid: int, datagram: bytes, offset: int, now: float) -> None:
        if programme is not self._active:
            if programme is not self._wanted or not self._entry(pid, datagram, offset, now):
                return
            self._cut(programme, now)
        self.output.forward(programme, pid, datagram, offset, now)

    def _entry(self, pid: int, datagram: bytes, offset: int, now: float) -> bool:
        """Whether a decoder that is given this packet first can begin with it."""
        if pid != self._lead or not datagram[offset + 1] & 0x40:
            return False
        patience_s = _PATIENCE_S if self._active.present(now) else _PATIENCE_SILENT_S
        if now - self._wanted_at >= patience_s:
            return True
        return bool(datagram[offset + 3] & 0x20 and datagram[offset + 4] and datagram[offset + 5] & 0x40)

    def _cut(self, programme: Programme, now: float) -> None:
        self._active = programme
        self.policy.cut(now)
        self.switched_at = now
        self.output.take_from(programme, switch=True)
        self._step(Input.ENTRY, now)
