"""What running functions say, as samples and alarms. Numbers only: no subscriber is in them.

Samples: `core5g.upf` (sessions, qos_flows, establishments), `core5g.smf` (sessions, ues, upfs), `core5g.amf`
(ues, connected, gnbs), `core5g.dnn` (sessions of a DNN and how many are active), `core5g.n6` (uplink_bps, downlink_bps
of a TUN device), `core5g.n4` (refused: packets of strangers that were dropped). Throughput is that of the TUN devices:
the UPF's own counters of N3 packets stay at zero.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from core5g.open5gs import guard
from core5g.open5gs.documents import ManagedFunction
from core5g.open5gs.n6.tun import Tun, open_tuns
from core5g.open5gs.poller import InfoClient, PduSession, RegisteredUe, session_count
from core5g.open5gs.units import info_address
from nf.contracts.driver import Event
from nf.errors import DriverError, UnavailableError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

POLL_S, DETAIL_S = 5.0, 30.0
"""How often metrics, and how often the info API with its pages of sessions and UEs, are asked."""
SILENT, NO_UPF, NO_GNB = "core5g-function-silent", "core5g-upf-lost", "core5g-no-gnb"
REFUSED = "core5g-n4-refused"
QUIET_S = 300.0
"""Without another packet of a stranger, before the alarm is taken back."""

_POLLED: Final = frozenset({"upf", "smf", "amf", "mme"})


@dataclass(frozen=True, slots=True)
class Reading:
    """Of one function. `metrics` None: it does not answer; `sessions`, `ues`, `gnbs` None: it has no such thing."""

    metrics: Mapping[str, float] | None = None
    sessions: tuple[PduSession, ...] | None = None
    ues: tuple[RegisteredUe, ...] | None = None
    gnbs: int | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """`tuns`: DNN by device is told by the UPF's file. `refused`: packets that strangers sent to the UPF's N4."""

    functions: Mapping[str, Reading] = field(default_factory=dict)
    tuns: tuple[Tun, ...] = ()
    refused: int = 0


async def read_all(functions: Iterable[ManagedFunction], *, detail: bool = True) -> Readings:
    """All at once, without `detail` the metrics alone; a silent function keeps no other waiting."""
    asked = [function for function in functions if function.kind in _POLLED and info_address(function)]
    found = await asyncio.gather(*(_read(function, detail=detail) for function in asked))
    has_upf = any(function.kind == "upf" for function in asked)
    readings: dict[str, Reading] = {function.kind: reading for function, reading in zip(asked, found, strict=True)}
    return Readings(readings, await _tuns(), await _refused()) if has_upf else Readings(readings)


async def _read(function: ManagedFunction, *, detail: bool) -> Reading:
    client = InfoClient(info_address(function))
    try:
        metrics = await client.metrics()
    except UnavailableError:
        return Reading()
    try:
        if not detail:
            return Reading(metrics)
        if function.kind == "smf":
            return Reading(metrics, sessions=await client.pdu_sessions())
        if function.kind == "amf":
            return Reading(metrics, ues=await client.registered(), gnbs=len(await client.gnbs()))
    except UnavailableError:
        return Reading(metrics)  # an Open5GS before 2.7.6 has no info API
    return Reading(metrics)


async def _tuns() -> tuple[Tun, ...]:
    try:
        async with open_tuns() as kernel:
            return tuple(link for link in (await kernel.links()).values() if link.ours)
    except (DriverError, OSError):
        return ()


async def _refused() -> int:
    try:
        return await guard.refused()
    except DriverError:
        return 0


class CoreWatch:
    """Turns readings into samples, and what lasts into alarms that are said once."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[tuple[str, str], AlarmEvent] = {}
        self._counters: dict[str, tuple[float, int, int]] = {}
        self._had_gnb = False
        self._refused, self._refused_at = 0, -QUIET_S

    def take(self, functions: Sequence[ManagedFunction], readings: Readings, at: float) -> Iterator[Event]:
        """`at`: seconds since the epoch."""
        raised: dict[tuple[str, str], AlarmEvent] = {}
        for function in functions:
            reading = readings.functions.get(function.kind)
            if reading is None:
                continue
            yield from _samples(function, reading, at)
            for alarm in self._alarms(function, reading, at):
                raised[alarm.cause, alarm.object] = alarm
        upf = next((function for function in functions if function.kind == "upf"), None)
        if upf is not None:
            yield from self._throughput(upf, readings.tuns, at)
            if (told := self._strangers(upf, readings.refused, at)) is not None:
                raised[told.cause, told.object] = told
            if upf.peers:
                yield Sample("core5g.n4", at, {"point": "n4", "upf": upf.name}, {"refused": float(readings.refused)})
        yield from self._change(raised, at)

    def _alarms(self, function: ManagedFunction, reading: Reading, at: float) -> Iterator[AlarmEvent]:
        place = f"{self._appliance}/{function.name}"
        if reading.metrics is None:
            remedy = f"read the log of the unit open5gs-{function.kind}d"
            text = f"{function.kind.upper()} {function.name} does not answer"
            yield AlarmEvent(SILENT, place, Severity.MAJOR, at, text, remedy)
            return
        peers = _peers(function)
        associated = reading.metrics.get("pfcp_peers_active")
        if function.kind == "smf" and associated is not None and associated < peers:
            text = f"the SMF has an association with {associated:.0f} of {peers} UPFs"
            remedy = "look for the UPF or classifier that is down, or for UDP port 8805 being closed to the SMF"
            yield AlarmEvent(NO_UPF, place, Severity.CRITICAL if associated == 0 else Severity.MAJOR, at, text, remedy)
        gnbs = reading.gnbs if reading.gnbs is not None else reading.metrics.get("gnb")
        if function.kind == "amf" and gnbs is not None:
            self._had_gnb |= gnbs > 0
            if self._had_gnb and gnbs == 0:
                remedy = "see whether the gNBs reach SCTP port 38412 of the AMF"
                yield AlarmEvent(NO_GNB, place, Severity.CRITICAL, at, "no gNB is left at the AMF", remedy)

    def _strangers(self, upf: ManagedFunction, refused: int, at: float) -> AlarmEvent | None:
        """The count begins anew with the table."""
        if refused > self._refused:
            self._refused_at = at
        self._refused = refused
        if at - self._refused_at >= QUIET_S:
            return None
        text = f"somebody who is no SMF of it sends PFCP to UPF {upf.name}; it is dropped"
        remedy = "find who reaches its N4 address: nft list table inet nf_pfcp, tcpdump udp port 8805"
        return AlarmEvent(REFUSED, f"{self._appliance}/{upf.name}", Severity.MAJOR, at, text, remedy)

    def _change(self, raised: Mapping[tuple[str, str], AlarmEvent], at: float) -> Iterator[AlarmEvent]:
        for key, alarm in raised.items():
            known = self._said.get(key)
            if known is None or (known.severity, known.text) != (alarm.severity, alarm.text):
                yield alarm
        for key, alarm in self._said.items():
            if key not in raised:
                yield replace(alarm, severity=Severity.CLEARED, at=at)
        self._said = dict(raised)

    def _throughput(self, upf: ManagedFunction, tuns: Iterable[Tun], at: float) -> Iterator[Sample]:
        dnns = dict(_devices(upf))
        for tun in tuns:
            before, self._counters[tun.name] = self._counters.get(tun.name), (at, tun.rx_bytes, tun.tx_bytes)
            if before is None or at <= before[0] or tun.rx_bytes < before[1] or tun.tx_bytes < before[2]:
                continue  # the first reading, or a device that was made anew
            seconds = at - before[0]
            values = {
                "uplink_bps": (tun.rx_bytes - before[1]) * 8 / seconds,
                "downlink_bps": (tun.tx_bytes - before[2]) * 8 / seconds,
            }
            labels = {"point": "n6", "upf": upf.name, "tun": tun.name, "dnn": dnns.get(tun.name, "")}
            yield Sample("core5g.n6", at, labels, values)


def _samples(function: ManagedFunction, reading: Reading, at: float) -> Iterator[Sample]:
    metrics = reading.metrics
    if metrics is None:
        return
    kind = function.kind
    labels = {"point": kind, "function": function.name}
    if values := _values(kind, reading, metrics):
        yield Sample(f"core5g.{kind}", at, labels, values)
    if reading.sessions is not None:
        total = Counter(session.dnn for session in reading.sessions)
        active = Counter(session.dnn for session in reading.sessions if session.state == "active")
        for dnn, count in sorted(total.items()):
            found = {"sessions": float(count), "active": float(active[dnn])}
            yield Sample("core5g.dnn", at, {**labels, "dnn": dnn}, found)


def _values(kind: str, reading: Reading, metrics: Mapping[str, float]) -> dict[str, float]:
    count = session_count(kind, metrics)
    counted = "sessions" if kind in {"upf", "smf"} else "ues"
    values = {counted: float(count)} if count is not None else {}
    values |= {name: metrics[metric] for name, metric in _METRICS.get(kind, {}).items() if metric in metrics}
    if reading.ues is not None:
        values |= {"ues": float(len(reading.ues)), "connected": float(sum(ue.connected for ue in reading.ues))}
    if reading.gnbs is not None:
        values["gnbs"] = float(reading.gnbs)
    return values


_METRICS: Final[Mapping[str, Mapping[str, str]]] = {
    "upf": {
        "qos_flows": "fivegs_upffunction_upf_qosflows",
        "establishments": "fivegs_upffunction_sm_n4sessionestabreq",
    },
    "smf": {"ues": "ues_active", "upfs": "pfcp_peers_active"},
    "amf": {"gnbs": "gnb"},
    "mme": {"enbs": "enb"},
}


def _peers(function: ManagedFunction) -> int:
    try:
        return len(function.config[function.kind]["pfcp"]["client"]["upf"])
    except (KeyError, TypeError):
        return 0


def _devices(upf: ManagedFunction) -> Iterator[tuple[str, str]]:
    body: Any = upf.config.get("upf")
    for session in body.get("session", ()) if isinstance(body, Mapping) else ():
        yield str(session.get("dev", "")), str(session.get("dnn", ""))
