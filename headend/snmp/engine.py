"""Engines of SNMPv3 agents: who they are, how often they started, what time they keep (RFC 3414 clause 2.2).

Boots that go down, or another engine id at a known place, is what a replaced device, a factory reset and an impostor
have in common: a person must look. It never stops the polling; managers that stay broken are worse.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from headend.snmp import header
from headend.snmp.ber import BerError
from headend.snmp.errors import AgentSilentError
from headend.snmp.target import Target
from nf.clock import Clock
from nf.telemetry.alarms import AlarmEvent, Severity

TIME_WINDOW_S: Final = 150.0
"""RFC 3414 clause 2.2.3."""
BOOTS_LATCHED: Final = 2**31 - 1
_REMEDY: Final = "make sure that it is the device you know, and nobody else at its address; then accept its engine"


@dataclass(frozen=True, slots=True)
class EngineTime:
    """What an engine said of itself. `authentic`: under its digest, not just in a REPORT that anybody can send."""

    engine_id: bytes
    boots: int
    time_s: int
    authentic: bool = False


class EngineChange(Enum):
    FIRST_SEEN = "first-seen"
    REBOOTED = "rebooted"
    BOOTS_DOWN = "boots-down"
    ENGINE_REPLACED = "engine-replaced"
    CLOCK_JUMP = "clock-jump"
    LATCHED = "latched"


@dataclass(frozen=True, slots=True)
class EngineState:
    """The last that is known of an engine; `at`: monotonic seconds."""

    time: EngineTime
    at: float
    suspect: bool = False

    def expected_time_s(self, now: float) -> float:
        return self.time.time_s + (now - self.at)


class EngineWatch:
    """One engine for each device. What people must know goes to `on_alarm`, once for each change.

    Alarms: snmp-engine-boots-down and snmp-engine-replaced (critical, until `accept`), snmp-engine-latched (major).
    Rebooting and a clock that jumps cost a resynchronisation; the return value tells the caller.
    """

    def __init__(self, clock: Clock, on_alarm: Callable[[AlarmEvent], None]) -> None:
        self._clock = clock
        self._on_alarm = on_alarm
        self._states: dict[str, EngineState] = {}

    def state(self, name: str) -> EngineState | None:
        return self._states.get(name)

    def forget(self, name: str) -> None:
        self._states.pop(name, None)

    def restore(self, name: str, known: EngineTime) -> None:
        """What was known before this process started, so that boots cannot go down unseen while it is off."""
        self._states.setdefault(name, EngineState(known, self._clock.monotonic()))

    def observe(self, name: str, seen: EngineTime) -> EngineChange | None:
        """Compare with what is known, remember, raise the alarm if there is one."""
        now = self._clock.monotonic()
        known = self._states.get(name)
        change = self._compare(known, seen, now)
        alarming = change in (EngineChange.BOOTS_DOWN, EngineChange.ENGINE_REPLACED)
        self._states[name] = EngineState(seen, now, alarming or (known is not None and known.suspect))
        if known is not None and alarming:
            self._alarm(name, change, known.time, seen)
        elif change is EngineChange.LATCHED and (known is None or known.time.boots != BOOTS_LATCHED):
            text = "its boots counter is at the end: it refuses every authenticated message (RFC 3414 clause 2.2.2)"
            remedy = "give the device a new engine id"
            self._on_alarm(
                AlarmEvent("snmp-engine-latched", name, Severity.MAJOR, self._clock.now(), text, remedy=remedy)
            )
        return change

    def accept(self, name: str) -> bool:
        """A person has looked: the engine as it is now is the right one. False when there was nothing to accept."""
        state = self._states.get(name)
        if state is None or not state.suspect:
            return False
        self._states[name] = EngineState(state.time, state.at)
        for cause in ("snmp-engine-boots-down", "snmp-engine-replaced"):
            self._on_alarm(AlarmEvent(cause, name, Severity.CLEARED, self._clock.now()))
        return True

    @staticmethod
    def _compare(known: EngineState | None, seen: EngineTime, now: float) -> EngineChange | None:
        if seen.boots == BOOTS_LATCHED:
            return EngineChange.LATCHED
        if known is None:
            return EngineChange.FIRST_SEEN
        if seen.engine_id != known.time.engine_id:
            return EngineChange.ENGINE_REPLACED
        if seen.boots != known.time.boots:
            return EngineChange.BOOTS_DOWN if seen.boots < known.time.boots else EngineChange.REBOOTED
        drift = seen.time_s - known.expected_time_s(now)
        return EngineChange.CLOCK_JUMP if abs(drift) > TIME_WINDOW_S else None

    def _alarm(self, name: str, change: EngineChange | None, known: EngineTime, seen: EngineTime) -> None:
        how = "under its digest" if seen.authentic else "unauthenticated"
        if change is EngineChange.BOOTS_DOWN:
            cause, text = "snmp-engine-boots-down", f"its boots went from {known.boots} down to {seen.boots} ({how})"
        else:
            cause = "snmp-engine-replaced"
            text = f"engine {known.engine_id.hex()} is now {seen.engine_id.hex()} ({how})"
        self._on_alarm(AlarmEvent(cause, name, Severity.CRITICAL, self._clock.now(), text, remedy=_REMEDY))


class _Discovery(asyncio.DatagramProtocol):
    """Waits for the REPORT that belongs to our question; everything else is no answer."""

    def __init__(self, message_id: int) -> None:
        self._message_id = message_id
        self.found: asyncio.Future[EngineTime] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _source: object) -> None:
        try:
            head = header.parse(data)
        except BerError:
            return
        ours = isinstance(head, header.UsmHead) and head.message_id == self._message_id and head.engine_id
        if ours and isinstance(head, header.UsmHead) and head.pdu == header.REPORT and not self.found.done():
            self.found.set_result(EngineTime(head.engine_id, head.boots, head.time_s))

    def error_received(self, _error: Exception) -> None:
        """An ICMP error says no more than the silence that follows."""


async def discover(target: Target) -> EngineTime:
    """Ask an agent for its engine (RFC 3414 clause 4). The answer is not authenticated. Raises AgentSilentError."""
    message_id = secrets.randbelow(2**31 - 1) + 1
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Discovery(message_id), remote_addr=(target.address, target.port)
    )
    try:
        for _ in range(1 + target.retries):
            transport.sendto(header.discovery_request(message_id))
            done, _ = await asyncio.wait([protocol.found], timeout=target.timeout_s)
            if done:
                return protocol.found.result()
    finally:
        protocol.found.cancel()
        transport.close()
    raise AgentSilentError("no SNMPv3 engine answers", where=str(target), remedy="is the device up, is v3 on in it?")
