"""What a proxy says of itself, as samples and alarms. Numbers only: no subscriber and no call is in them.

Samples: `sip.proxy` (calls, calls_unanswered, calls_failed, registered_users, registrations, registrations_rejected,
refused, memory_used, memory_free: shared memory in bytes; drained; unheard: calls that their relay does not know, and
unheard_ended: those that were ended for it since the agent runs), `sip.relay` and `sip.peer` (up, drained) for each
relay, and for each media server and gateway of a trunk, as the proxy sees them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from nf.contracts.driver import Event
from nf.contracts.json import Json
from nf.errors import NfError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from sip.kamailio import pushing
from sip.kamailio.documents import KamailioSection
from sip.kamailio.live import Calls, Peer, RelayNode, read_calls, read_peers, read_relays
from sip.kamailio.places import Places
from sip.kamailio.rpc import RpcClient
from sip.kamailio.tables import DRAINED, STARTING
from sip.kamailio.unheard import NOTHING, Heard

POLL_S: Final = 5.0
SILENT, CLOSED, DRAINED_ALARM = "voice-proxy-silent", "voice-proxy-not-told", "voice-proxy-drained"
UNHEARD: Final = "voice-calls-unheard"
NO_MEMORY, RELAY_DOWN, PEER_DOWN = "voice-proxy-memory", "voice-relay-down", "voice-peer-down"
QUIET_S: Final = 300.0
LOW: Final = 0.1
"""Of the shared memory: less is an alarm."""

_GROUPS: Final = ("shmem:", "usrloc:", "dialog:", "registrar:", "sl:")
_STATISTICS: Final[Mapping[str, str]] = {
    "calls_failed": "dialog.failed_dialogs",
    "registered_users": "usrloc.registered_users",
    "registrations": "registrar.accepted_regs",
    "registrations_rejected": "registrar.rejected_regs",
    "memory_used": "shmem.real_used_size",
    "memory_free": "shmem.free_size",
}
_REFUSED: Final = ("sl.403_replies", "sl.404_replies", "sl.483_replies", "sl.503_replies", "sl.5xx_replies")


@dataclass(frozen=True, slots=True)
class Reading:
    """`drain`: as `sip.kamailio.tables` has it."""

    calls: Calls
    drain: int
    statistics: Mapping[str, float]
    peers: tuple[Peer, ...] = ()
    relays: tuple[RelayNode, ...] = ()
    heard: Heard = NOTHING


async def read_proxy(rpc: RpcClient, places: Places) -> Reading | None:  # noqa: ARG001 - where it is, is the client's
    """None: it does not answer."""
    try:
        calls = await read_calls(rpc)
        drain = await pushing.read_drain(rpc)
        found = await rpc.call("stats.fetchn", *_GROUPS)
        return Reading(calls, drain, _numbers(found), await read_peers(rpc), await read_relays(rpc))
    except NfError:
        return None


def _numbers(found: Json) -> dict[str, float]:
    table = found if isinstance(found, dict) else {}
    return {name: float(value) for name, value in table.items() if isinstance(value, int | float)}


class ProxyWatch:
    """Turns readings into samples, and what lasts into alarms that are said once."""

    def __init__(self, appliance: str) -> None:
        self._appliance = appliance
        self._said: dict[tuple[str, str], AlarmEvent] = {}

    def take(self, section: KamailioSection | None, reading: Reading | None, at: float) -> Iterator[Event]:
        """`at`: seconds since the epoch. Without a section there is no proxy to speak of."""
        raised: dict[tuple[str, str], AlarmEvent] = {}
        if section is not None:
            if reading is not None:
                yield from _samples(section, reading, at)
            for alarm in self._alarms(section, reading, at):
                raised[alarm.cause, alarm.object] = alarm
        yield from self._change(raised, at)

    def _alarms(self, section: KamailioSection, reading: Reading | None, at: float) -> Iterator[AlarmEvent]:
        name = section.proxy.id
        place = f"{self._appliance}/{name}"
        if reading is None:
            text, remedy = f"proxy {name} does not answer", "read its log: nf supervisor log kamailio"
            yield AlarmEvent(SILENT, place, Severity.CRITICAL, at, text, remedy)
            return
        if reading.drain == STARTING:
            text = f"proxy {name} has not been given its tables: it takes emergency calls alone"
            remedy = "read the log of its keeper: nf supervisor log kamailio-keeper"
            yield AlarmEvent(CLOSED, place, Severity.CRITICAL, at, text, remedy)
        if reading.drain == DRAINED:
            text, remedy = f"proxy {name} is drained: it takes no new calls", f"end it: nf sip undrain {name}"
            yield AlarmEvent(DRAINED_ALARM, place, Severity.WARNING, at, text, remedy)
        free, used = (reading.statistics.get(_STATISTICS[key], 0.0) for key in ("memory_free", "memory_used"))
        if free + used > 0 and free / (free + used) < LOW:
            text = f"proxy {name} has {free / (free + used):.0%} of its shared memory left"
            remedy = "drain it and restart it; look for calls and registrations that do not end"
            yield AlarmEvent(NO_MEMORY, place, Severity.MAJOR, at, text, remedy)
        heard = reading.heard
        if heard.unheard or at - heard.ended_at < QUIET_S:
            text = f"calls of proxy {name} are unknown to their relay: {heard.unheard:,} are up, {heard.ended:,} ended"
            remedy = "see which: nf sip relay-report; and whether relays were restarted or have died: nf alarms"
            yield AlarmEvent(UNHEARD, place, Severity.MAJOR, at, text, remedy)
        yield from self._neighbours(section, reading, at)

    def _neighbours(self, section: KamailioSection, reading: Reading, at: float) -> Iterator[AlarmEvent]:
        relays = _relay_names(section)
        for url in sorted({one.url for one in reading.relays if one.down and not one.drained}):
            text = f"relay {relays.get(url, url)} does not answer proxy {section.proxy.id}"
            remedy = "see whether its unit rtpengine runs, and whether the proxy reaches its control port"
            yield AlarmEvent(RELAY_DOWN, f"{self._appliance}/{relays.get(url, url)}", Severity.MAJOR, at, text, remedy)
        for peer in reading.peers:
            if peer.down:
                what = "media server" if peer.attribute("kind") == "m" else "a gateway of trunk"
                name = peer.attribute("name")
                text = f"{what} {name} does not answer OPTIONS: {peer.uri}"
                remedy = "see whether it runs, and whether SIP comes through to it"
                place = f"{self._appliance}/{name}/{_place(peer)}"
                yield AlarmEvent(PEER_DOWN, place, Severity.MAJOR, at, text, remedy)

    def _change(self, raised: Mapping[tuple[str, str], AlarmEvent], at: float) -> Iterator[AlarmEvent]:
        for key, alarm in raised.items():
            known = self._said.get(key)
            if known is None or (known.severity, known.text) != (alarm.severity, alarm.text):
                yield alarm
        for key, alarm in self._said.items():
            if key not in raised:
                yield replace(alarm, severity=Severity.CLEARED, at=at)
        self._said = dict(raised)


def _place(peer: Peer) -> str:
    """Address and port."""
    return peer.uri.removeprefix("sip:").partition(";")[0]


def _relay_names(section: KamailioSection) -> dict[str, str]:
    return {f"udp:{one.address}:{one.control}": one.id for one in section.relays}


def _samples(section: KamailioSection, reading: Reading, at: float) -> Iterator[Sample]:
    labels = {"point": "proxy", "proxy": section.proxy.id}
    values = {"calls": float(reading.calls.up), "calls_unanswered": float(reading.calls.unanswered)}
    values |= {name: reading.statistics[key] for name, key in _STATISTICS.items() if key in reading.statistics}
    values["refused"] = sum(reading.statistics.get(key, 0.0) for key in _REFUSED)
    values["drained"] = float(reading.drain != 0)
    values |= {"unheard": float(reading.heard.unheard), "unheard_ended": float(reading.heard.ended)}
    yield Sample("sip.proxy", at, labels, values)
    names = _relay_names(section)
    for url, one in sorted({one.url: one for one in reading.relays}.items()):
        found = {"up": float(not one.down), "drained": float(one.drained)}
        yield Sample("sip.relay", at, {**labels, "relay": names.get(url, url)}, found)
    for peer in reading.peers:
        kind = "media_server" if peer.attribute("kind") == "m" else "trunk"
        found = {"up": float(not peer.down), "drained": float(peer.drained)}
        yield Sample("sip.peer", at, {**labels, kind: peer.attribute("name"), "peer": _place(peer)}, found)
