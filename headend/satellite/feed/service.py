"""One service: its two inputs, the choice between them, and its output. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable

from headend.satellite.feed.config import ServiceConfig
from headend.satellite.feed.output import Output
from headend.satellite.feed.programme import Programme
from headend.satellite.feed.streams import remap
from headend.satellite.feed.switch import Input, State, View, judge, step

SOUND_S = 5.0
_PATIENCE_S = 5.0
_PATIENCE_SILENT_S = 0.5
"""So long a cut waits for a random access point while the old input still sends, or does not; then any PES packet of
the picture will do."""


class Service:
    """Packets come in by its two programmes; `tick` lets time pass. `emit`: gets the datagrams that go out."""

    def __init__(self, config: ServiceConfig, emit: Callable[[bytes], None], now: float) -> None:
        self.config = config
        self.state = State.SATELLITE
        self.switches = 0
        self.switched_at: float | None = None
        self.satellite = Programme(config.service_id, self._packet, self._mapped)
        self.fallback = Programme(None, self._packet, self._mapped) if config.fallback is not None else None
        self.output = Output(config.transport_stream_id, config.service_id, emit)
        self._active = self.satellite
        self._wanted: Programme | None = None
        self._wanted_at = now
        self._lead: int | None = None
        self._reception = True
        self._begun_at = now

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

    def _judge(self, now: float) -> None:
        if self.fallback is None:
            return
        starting = self.satellite.last_at is None and now - self._begun_at <= _PATIENCE_SILENT_S
        view = View(
            self._reception,
            self.satellite.present(now) or starting,
            self.satellite.sound(now, SOUND_S),
            self.fallback.present(now),
        )
        given = judge(self.state, view)
        if given is not None:
            self._step(given, now)

    def _step(self, given: Input, now: float) -> None:
        self.state = step(self.state, given)
        wanted = {State.LEAVING: self.fallback, State.RETURNING: self.satellite}.get(self.state)
        self._want(wanted, now)

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
        self.switches += 1
        self.switched_at = now
        self.output.take_from(programme, switch=True)
        self._step(Input.ENTRY, now)
