"""Reconciles this relay's calls for as long as the agent runs: once a minute, and at once after a takeover."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nf.clock import Clock
from nf.errors import NfError
from nf.telemetry.alarms import AlarmEvent, Severity
from sip.findings import DELETED, NO_DIALOG, NO_KEYS, NOT_TOLD, WAITING, Finding, Findings
from sip.rtpengine import http
from sip.rtpengine.asking import ProxyAsker
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.messages import Members
from sip.rtpengine.reconcile import Ng, Reconciler, Round
from sip.rtpengine.takeover import Lost, here_since

PERIOD_S: Final = 60.0
UPTIME: Final = "rtpengine_uptime_seconds"
LEAKED, KEYS_LOST, UNTOLD = "voice-relay-leaks", "voice-relay-keys-lost", "voice-relay-not-reconciled"
QUIET_S: Final = 300.0
_JUMP_S: Final = 3.0
"""By which the beginning of a process, as it tells it in whole seconds, may seem to move."""


@dataclass(frozen=True, slots=True)
class Tally:
    """without_dialog, untold: calls at the last look. deleted, without_keys: since the agent runs, and when last."""

    without_dialog: int = 0
    untold: int = 0
    deleted: int = 0
    without_keys: int = 0
    deleted_at: float = float("-inf")
    without_keys_at: float = float("-inf")

    def alarms(self, relay: str, place: str, at: float) -> Iterator[AlarmEvent]:
        """Those that stand. What was done is told for a while."""
        report = "see which: nf sip relay-report"
        if at - self.deleted_at < QUIET_S:
            text = f"relay {relay} has had calls that no proxy knows, {self.deleted:,} since the agent runs: deleted"
            yield AlarmEvent(LEAKED, place, Severity.WARNING, at, text, report)
        if at - self.without_keys_at < QUIET_S:
            text = f"calls with DTLS have lost their keys at relay {relay}, {self.without_keys:,} since the agent runs"
            yield AlarmEvent(KEYS_LOST, place, Severity.MAJOR, at, f"{text}: ended, to be made anew", report)
        if self.untold:
            text = f"not all proxies tell relay {relay} whether they know its calls: {self.untold:,} are not reconciled"
            yield AlarmEvent(
                UNTOLD, place, Severity.WARNING, at, text, f"{report}, and which proxy is down: nf sip nodes"
            )


NO_LEAKS: Final = Tally()


class _Here:
    """The relay itself: lists go over HTTP on loopback."""

    async def ask(self, members: Members) -> Members:
        return await http.ask(members)


class Leaks:
    """`older_than_s`: as `Reconciler` has it."""

    def __init__(self, clock: Clock, findings: Findings, older_than_s: float, relay: Ng | None = None) -> None:
        self._clock, self._findings, self._older = clock, findings, older_than_s
        self._relay: Ng = relay or _Here()
        self._task: asyncio.Task[None] | None = None
        self._due = float("-inf")
        self._seen: tuple[float, str] = (0.0, "")
        self._since: dict[str, float] = {}
        self._reconciler: tuple[RtpengineSection, Reconciler, ProxyAsker] | None = None
        self.tally = NO_LEAKS

    async def turn(self, section: RtpengineSection, uptime_s: float) -> None:
        """Begins a look when it is due and none is under way. Raises what the last one did not expect."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            task.result()
        now = self._clock.now()
        started = now - uptime_s
        moved = await self._moved(section)
        changed = abs(started - self._seen[0]) > _JUMP_S or moved != self._seen[1]
        self._seen = (started, moved) if changed else self._seen
        if self._task is None and (changed or now >= self._due):
            self._due = now + PERIOD_S
            self._task = asyncio.create_task(self._look(section, self._lost(section, started, moved)))

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _moved(self, section: RtpengineSection) -> str:
        """The partner's address while it is here. One that is put there anew within a look has not been away."""
        if section.pair is None:
            return ""
        own, partner = str(section.relay.address), str(section.pair.address)
        try:
            found = await here_since({own, partner})
        except NfError:
            return self._seen[1]
        self._since = {one: min(at, self._since.get(one, at)) for one, at in found.items()}
        return partner if partner in found else ""

    def _lost(self, section: RtpengineSection, started: float, moved: str) -> Lost:
        own = str(section.relay.address)
        here = own if section.pair is None or own in self._since else ""
        return Lost(started, here, moved, self._since.get(moved, 0.0), paired=section.pair is not None)

    async def _look(self, section: RtpengineSection, lost: Lost) -> None:
        if self._reconciler is None or self._reconciler[0] != section:
            asker = ProxyAsker(section.proxies, str(section.source or section.relay.address))
            self._reconciler = section, Reconciler(self._relay, asker, self._older), asker
        _, reconciler, asker = self._reconciler
        now = self._clock.now()
        try:
            async with asker:
                self._take(await reconciler.look(now, lost), now)
        except NfError:
            return  # the relay does not answer, or is not here: its own alarm says so

    def _take(self, found: Round, now: float) -> None:
        verdict, failed, tally = found.verdict, found.failed or {}, self.tally
        orphans = [one for one in found.deleted if one not in found.lost]
        self._findings.note(Finding(one, NO_DIALOG, DELETED, now) for one in orphans)
        self._findings.note(Finding(one, NO_KEYS, failed.get(one, DELETED), now) for one in found.lost)
        self._findings.standing = (
            *(Finding(one, NO_DIALOG, WAITING, now) for one in verdict.suspects),
            *(Finding(one, NO_DIALOG, failed[one], now) for one in verdict.orphans if one in failed),
            *(Finding(one, NOT_TOLD, WAITING, now) for one in verdict.untold),
        )
        self._findings.checked = now
        self.tally = Tally(
            without_dialog=len(verdict.suspects) + len(verdict.orphans),
            untold=len(verdict.untold),
            deleted=tally.deleted + len(orphans),
            without_keys=tally.without_keys + len(found.lost),
            deleted_at=now if orphans else tally.deleted_at,
            without_keys_at=now if found.lost else tally.without_keys_at,
        )
