"""What a media server says, as samples and alarms. Numbers only: nobody who calls is in them.

Samples: `voice.media` (sessions, most, share of them in use, rate, idle, since_start) and `voice.rooms` (conferences,
members).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from nf.contracts.driver import Event
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from sip.freeswitch.documents import FreeswitchSection
from sip.freeswitch.live import Live

POLL_S: Final = 5.0
SILENT, NO_SIP, FULL, PAUSED = "voice-media-silent", "voice-media-no-sip", "voice-media-full", "voice-media-paused"
NEARLY: Final = 0.9
"""Share of its calls from which on it is said to be full soon."""


class MediaWatch:
    """Keeps what was said, so that an alarm is said when it changes."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[tuple[str, str], AlarmEvent] = {}

    def take(self, section: FreeswitchSection | None, live: Live | None, *, held: bool, at: float) -> Iterator[Event]:
        """`live` None: it does not answer; `held`: an operation keeps calls off. `at`: seconds since the epoch."""
        raised: dict[tuple[str, str], AlarmEvent] = {}
        if section is not None:
            if live is not None:
                yield from _samples(section, live, at)
            for alarm in self._alarms(section, live, at, held=held):
                raised[alarm.cause, alarm.object] = alarm
        yield from self._change(raised, at)

    def _alarms(self, section: FreeswitchSection, live: Live | None, at: float, *, held: bool) -> Iterator[AlarmEvent]:
        server = section.server
        place = f"{self._appliance}/{server.id}"
        if live is None:
            remedy = "read the log of the unit freeswitch"
            yield AlarmEvent(SILENT, place, Severity.MAJOR, at, f"media server {server.id} does not answer", remedy)
            return
        if not live.profile_state.startswith("RUNNING"):
            told = live.profile_state or "not there"
            remedy = f"see whether {server.address} is there and its port {server.port} is free"
            yield AlarmEvent(NO_SIP, place, Severity.CRITICAL, at, f"the SIP profile of {server.id} is {told}", remedy)
        if live.paused and not server.drained and not held:
            remedy = "nf sip undrain, or wait: the agent takes it back"
            yield AlarmEvent(PAUSED, place, Severity.WARNING, at, f"somebody keeps calls off {server.id}", remedy)
        used = _share(live)
        if used >= NEARLY:
            severity = Severity.MAJOR if used >= 1 else Severity.WARNING
            text = (
                f"{server.id} has {live.status.most:,} calls at most and {'all' if used >= 1 else 'nearly all'} of them"
            )
            yield AlarmEvent(FULL, place, severity, at, text, "add a media server, or raise its `sessions`")

    def _change(self, raised: Mapping[tuple[str, str], AlarmEvent], at: float) -> Iterator[AlarmEvent]:
        for key, alarm in raised.items():
            known = self._said.get(key)
            if known is None or (known.severity, known.text) != (alarm.severity, alarm.text):
                yield alarm
        for key, alarm in self._said.items():
            if key not in raised:
                yield replace(alarm, severity=Severity.CLEARED, at=at)
        self._said = dict(raised)


def _share(live: Live) -> float:
    return live.status.sessions / live.status.most if live.status.most else 0.0


def _samples(section: FreeswitchSection, live: Live, at: float) -> Iterator[Sample]:
    status = live.status
    labels = {"point": "media", "server": section.server.id}
    values = {
        "sessions": float(status.sessions),
        "most": float(status.most),
        "share": _share(live),
        "rate": float(status.rate),
        "since_start": float(status.since_start),
    }
    if status.idle is not None:
        values["idle"] = status.idle
    yield Sample("voice.media", at, labels, values)
    rooms = {"conferences": float(len(live.rooms)), "members": float(sum(one.members for one in live.rooms))}
    yield Sample("voice.rooms", at, labels, rooms)
