"""One appliance of an upgrade, from its order to its end: asked where it stands, given what comes next.

Nothing here remembers: after a restart of the NOC the appliance's own record says where to go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from nf.clock import Clock
from nf.contracts.json import JsonObject
from nf.errors import BusyError, DeadlineError, NfError, RefusedError, UnavailableError
from nf.noc.drains import Drains
from nf.noc.emptying import Emptying
from nf.noc.sessions import Session, Sessions
from nf.noc.upgrade_plan import Action, next_action
from nf.noc.upgrade_records import AWAY, ENDED, Member, MemberState, Phase, UpgradeRecord

_log = logging.getLogger(__name__)

AWAY_S: Final = 900.0
"""So long an appliance may be offline before it has left for the other slot."""
BOOT_S: Final = 600.0
"""So long two starts and a fall-back may take beside the patience."""
_ASK_S: Final = 15.0


class MemberRun:
    """`record`: the upgrade as it stands; `tell` keeps a changed member; `held`: why it may not leave now, or empty."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        drains: Drains,
        emptying: Emptying,
        clock: Clock,
        poll_s: float,
        record: Callable[[], UpgradeRecord],
        tell: Callable[[Member], Any],
        held: Callable[[Member], str],
    ) -> None:
        self._sessions = sessions
        self._drains = drains
        self._emptying = emptying
        self._clock = clock
        self._poll_s = poll_s
        self._record = record
        self._tell = tell
        self._held = held

    def _going(self) -> bool:
        """Something new may be begun."""
        return self._record().phase is Phase.RUNNING

    async def run(self, appliance: str) -> None:
        """Until it has ended, or stands where a pause keeps it."""
        seen_at = self._clock.monotonic()
        while (member := self._member(appliance)).state not in ENDED:
            session = self._sessions.get(appliance)
            if session is not None:
                try:
                    if not await self._step(member, session):
                        return
                    seen_at = self._clock.monotonic()
                except (UnavailableError, DeadlineError, BusyError) as error:
                    await self._say(self._member(appliance), text=f"{error.message}; asked again")
                except NfError as error:
                    await self._end(self._member(appliance), MemberState.FAILED, str(error))
            elif not self._going() and member.state not in AWAY:
                return
            else:
                await self._missing(member, self._clock.monotonic() - seen_at)
            await self._clock.sleep(self._poll_s)

    def _member(self, appliance: str) -> Member:
        member = self._record().member(appliance)
        assert member is not None  # noqa: S101 - members never leave a record
        return member

    async def _missing(self, member: Member, away_s: float) -> None:
        restarts = member.state in AWAY
        longest_s = self._record().patience_s + BOOT_S if restarts else AWAY_S
        if away_s > longest_s:
            await self._end(member, MemberState.FAILED, f"it is offline, since {away_s:.0f} s")
        elif member.state is MemberState.TRIAL:
            await self._say(member, text="has no session")
        elif restarts:
            await self._say(member, state=MemberState.REBOOT, text="restarting")
        else:
            await self._say(member, text="is offline; it goes on when it is back")

    async def _step(self, member: Member, session: Session) -> bool:
        """Ask, and do what follows. False: it stays there until the upgrade is resumed."""
        record = self._record()
        status = await _ask(session, "image.status", {})
        order = record.order(member)
        action, state = next_action(order, member.ordered, str(status.get("id", "")), str(status.get("state", "")))
        if action is Action.END:
            lost = str(status.get("id", "")) != order
            text = "it knows nothing of this update any more" if lost else _reason(status, state, record)
            await self._end(member, state, text)
            return True
        if action is Action.WAIT:
            text = _text(status, state)
            await self._say(member, state=state, fraction=_fraction(status), text=text, ordered=True)
            return self._going() or state in AWAY
        if not self._going():
            if member.state in AWAY:
                await self._say(member, state=state, text="")
            return False
        if action is Action.ORDER:
            await self._order(member, session, record)
        elif action is Action.INSTALL:
            await _ask(session, "image.install", {"id": order})
            await self._say(member, state=MemberState.INSTALL, fraction=0.0, text="")
        else:
            await self._leave(member, session, order)
        return True

    async def _order(self, member: Member, session: Session, record: UpgradeRecord) -> None:
        bundle = record.bundle
        question: JsonObject = {
            "id": record.order(member),
            "sha256": bundle.sha256,
            "size": bundle.size,
            "version": bundle.version,
            "compatible": bundle.compatible,
            "hold_s": float(record.hold_s),
            "patience_s": float(record.patience_s),
        }
        await _ask(session, "image.fetch", question)
        began = member.began_at or self._clock.now()
        await self._say(member, state=MemberState.TRANSFER, ordered=True, began_at=began, fraction=0.0, text="")

    async def _leave(self, member: Member, session: Session, order: str) -> None:
        """It is written: when nothing speaks against it, it is drained, and it restarts."""
        if why := self._held(member):
            await self._say(member, state=MemberState.INSTALLED, fraction=1.0, text=f"waits: {why}")
            return
        # Before anything is awaited: a commit that begins meanwhile finds it, and is refused.
        if self._record().drain and not member.drained:
            member = await self._say(member, state=MemberState.DRAIN, fraction=0.0, text="")
            member = await self._say(member, drained=await self._drain(member))
        if self._record().drain:
            member = await self._empty(self._member(member.appliance))
            if not self._going():  # paused meanwhile: it is drained anew when that is over
                await self._emptying.end(member.appliance, self._record().author)
                return
        member = await self._say(member, state=MemberState.ACTIVATE, fraction=0.0, text="")
        await _ask(session, "image.activate", {"id": order})

    async def _empty(self, member: Member) -> Member:
        record, appliance = self._record(), member.appliance

        async def say(text: str) -> None:
            await self._say(self._member(appliance), text=text[:500])

        found = await self._emptying.empty(appliance, record.author, record.patience_s + BOOT_S, say)
        return await self._say(self._member(appliance), drained=member.drained or found)

    async def _drain(self, member: Member) -> bool:
        """Whether there is something to take back."""
        record = self._record()
        seconds = int(record.patience_s + BOOT_S)
        reason = f"upgrade {record.id} of {member.appliance} to {record.bundle.version}"
        try:
            async for event in self._drains.drain(member.site, seconds, reason, record.author):
                await self._say(self._member(member.appliance), text=event.text)
        except RefusedError as error:
            _log.info("%s is not drained: %s", member.site, error)  # no transit there, or drained by somebody
            return False
        return True

    async def _end(self, member: Member, state: MemberState, text: str) -> None:
        if member.drained:
            await self._bring_back(member)
        fraction = 1.0 if state is MemberState.GOOD else member.fraction
        await self._say(
            member, state=state, text=text[:1000], fraction=fraction, ended_at=self._clock.now(), drained=False
        )

    async def _bring_back(self, member: Member) -> None:
        await self._emptying.end(member.appliance, self._record().author)
        try:
            async for _ in self._drains.bring_back(member.site, self._record().author):
                pass
        except RefusedError:
            return  # its site never was, or somebody has brought it back
        except NfError as error:
            _log.warning("%s stays drained until its time: %s", member.site, error)

    async def _say(self, member: Member, **changes: Any) -> Member:
        changed = replace(member, **changes)
        if changed != member:
            await self._tell(changed)
        return changed


async def _ask(session: Session, method: str, question: JsonObject) -> JsonObject:
    answer = await session.request(method, question, _ASK_S)
    return answer if isinstance(answer, dict) else {}


def _fraction(status: JsonObject) -> float:
    value = status.get("fraction")
    return float(value) if isinstance(value, int | float) else 0.0


def _text(status: JsonObject, state: MemberState) -> str:
    if state is MemberState.TRIAL:
        problems = status.get("problems")
        wrong = [f"{key}: {text}" for key, text in sorted(problems.items())] if isinstance(problems, dict) else []
        return ("not well: " + "; ".join(wrong))[:500] if wrong else "it is well; that has to hold for a while"
    return str(status.get("text", ""))[:500]


def _reason(status: JsonObject, state: MemberState, record: UpgradeRecord) -> str:
    if state is MemberState.GOOD:
        return f"runs {status.get('running')} from slot {status.get('slot')}"
    why = str(status.get("reason") or "it does not say why")
    if state is MemberState.FELL_BACK:
        return f"fell back from {record.bundle.version} to {status.get('running')}: {why}"
    return why
