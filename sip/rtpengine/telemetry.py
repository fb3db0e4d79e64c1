"""What a relay says, as samples `voice.relay` and alarms. Numbers only: no call and no party is in them.

Values: sessions, foreign (the partner's calls that are held ready), packets and bytes (since it started), packets_s,
errors, ports_used_share, transcoded, refused (packets that strangers sent to its control port), and, when RTCP told
any since the last sample, mos (1 to 5). rtpengine gives no jitter but in a call's own answer to `query`. Of its calls
at the last look (`sip.rtpengine.leaks`): without_dialog, untold; since the agent runs: leaks_deleted, without_keys.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from nf.contracts.driver import Event
from nf.errors import NfError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from sip.rtpengine import guard, http
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.leaks import NO_LEAKS, Tally
from sip.rtpengine.naming import PORTS_PER_CALL

POLL_S: Final = 5.0
SILENT, FULL, TAKEN, AWAY = "voice-relay-silent", "voice-relay-full", "voice-relay-taken-over", "voice-relay-away"
REFUSED, POOR = "voice-relay-control-refused", "voice-relay-poor-quality"
FULL_SHARE: Final = 0.8
POOR_MOS: Final = 3.0
QUIET_S: Final = 300.0

_ADDRESSES: Final = Path("/proc/thread-self/net/fib_trie")


@dataclass(frozen=True, slots=True)
class Reading:
    """`metrics` None: it does not answer. `own_here`, `partner_here`: whose media addresses this appliance has."""

    metrics: Mapping[str, float] | None = None
    refused: int = 0
    own_here: bool = True
    partner_here: bool = False
    leaks: Tally = NO_LEAKS


def is_here(address: str) -> bool:
    """Whether this appliance has the address now."""
    try:
        lines = _ADDRESSES.read_text().splitlines()
    except OSError:
        return False
    return any(
        line.strip() == f"|-- {address}" and after.strip() == "/32 host LOCAL"
        for line, after in itertools.pairwise(lines)
    )


async def read_relay(section: RtpengineSection) -> Reading:
    try:
        metrics = await http.metrics()
    except NfError:
        metrics = None
    try:
        refused = await guard.refused()
    except NfError:
        refused = 0
    partner = section.pair is not None and is_here(str(section.pair.address))
    return Reading(metrics, refused, is_here(str(section.relay.address)), partner)


@dataclass(slots=True)
class RelayWatch:
    """Turns readings into samples, and what lasts into alarms that are said once."""

    appliance: str
    _said: dict[str, AlarmEvent] = field(default_factory=dict)
    _before: tuple[float, Mapping[str, float]] | None = None
    _refused: int = 0
    _refused_at: float = float("-inf")

    def take(self, section: RtpengineSection, reading: Reading, at: float) -> Iterator[Event]:
        """`at`: seconds since the epoch."""
        values = self._values(section, reading, at)
        if values:
            labels = {"point": "relay", "relay": section.relay.id, "region": section.relay.region}
            yield Sample("voice.relay", at, labels, values)
        place = f"{self.appliance}/{section.relay.id}"
        raised = dict(self._alarms(section, reading, values, place, at))
        for cause, alarm in raised.items():
            known = self._said.get(cause)
            if known is None or (known.severity, known.text) != (alarm.severity, alarm.text):
                yield alarm
        for cause, alarm in self._said.items():
            if cause not in raised:
                yield replace(alarm, severity=Severity.CLEARED, at=at)
        self._said = raised

    def _values(self, section: RtpengineSection, reading: Reading, at: float) -> dict[str, float]:
        metrics = reading.metrics
        before, self._before = self._before, (at, metrics) if metrics is not None else None
        if metrics is None:
            return {}
        own = metrics.get('rtpengine_sessions{type="own"}', 0.0)
        foreign = metrics.get('rtpengine_sessions{type="foreign"}', 0.0)
        first, last = section.relay.ports
        values = {
            "sessions": own,
            "foreign": foreign,
            "packets": metrics.get("rtpengine_packets_total", 0.0),
            "bytes": metrics.get("rtpengine_bytes_total", 0.0),
            "errors": metrics.get("rtpengine_packet_errors_total", 0.0),
            "transcoded": metrics.get("rtpengine_transcoded_media", 0.0),
            "ports_used_share": own * PORTS_PER_CALL / (last - first + 1),
            "refused": float(reading.refused),
            "without_dialog": float(reading.leaks.without_dialog),
            "untold": float(reading.leaks.untold),
            "leaks_deleted": float(reading.leaks.deleted),
            "without_keys": float(reading.leaks.without_keys),
        }
        if before is None or before[0] >= at:
            return values
        packets = values["packets"] - before[1].get("rtpengine_packets_total", 0.0)
        count, total = (
            metrics.get(name, 0.0) - before[1].get(name, 0.0)
            for name in ("rtpengine_mos_samples_total", "rtpengine_mos_total")
        )
        if packets >= 0:  # else it began anew
            values["packets_s"] = packets / (at - before[0])
        if count > 0 and total >= 0:
            values["mos"] = total / count
        return values

    def _alarms(
        self, section: RtpengineSection, reading: Reading, values: Mapping[str, float], place: str, at: float
    ) -> Iterator[tuple[str, AlarmEvent]]:
        name, pair = section.relay.id, section.pair

        def alarm(cause: str, severity: Severity, text: str, remedy: str) -> tuple[str, AlarmEvent]:
            return cause, AlarmEvent(cause, place, severity, at, text, remedy)

        if reading.metrics is None:
            remedy = "read the log of the unit rtpengine"
            yield alarm(SILENT, Severity.CRITICAL, f"relay {name} does not answer", remedy)
        if values.get("ports_used_share", 0.0) >= FULL_SHARE:
            remedy = "give it more ports, or another relay to its region"
            yield alarm(FULL, Severity.MAJOR, f"relay {name} has used {FULL_SHARE:.0%} of its ports or more", remedy)
        if values.get("mos", 5.0) < POOR_MOS:
            remedy = "look for loss and jitter between the relay and its callers"
            yield alarm(POOR, Severity.MINOR, f"callers of relay {name} report a MOS below {POOR_MOS}", remedy)
        if pair is not None and reading.partner_here:
            remedy = f"see why {pair.partner} does not answer; nf sip relay-report lists calls that it cost"
            yield alarm(TAKEN, Severity.MAJOR, f"relay {name} serves the calls of {pair.partner} too", remedy)
        if pair is not None and not reading.own_here:
            remedy = "read the logs of the units rtpengine and rtpengine-vrrp"
            yield alarm(AWAY, Severity.MAJOR, f"the address of relay {name} is not here", remedy)
        for one in reading.leaks.alarms(name, place, at):
            yield one.cause, one
        if reading.refused > self._refused:
            self._refused_at = at
        self._refused = reading.refused
        if at - self._refused_at < QUIET_S:
            remedy = f"find who it is: tcpdump udp port {section.relay.control}"
            text = f"somebody who is no proxy speaks to the control port of relay {name}; it is dropped"
            yield alarm(REFUSED, Severity.MAJOR, text, remedy)
