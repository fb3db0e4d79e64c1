"""What people decide about alarms: acknowledged, shelved; and what maintenance holds back (ISA-18.2, ITU-T X.733).

acknowledged  somebody has taken it up; over when the alarm is cleared, so that it comes anew when it is raised again
shelved       set aside until a time, over clears and raises; comes back by itself
held          its site is under maintenance

None of them ends an alarm, and all survive a restart of the NOC.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from nf.clock import Clock
from nf.contracts.json import JsonObject, canonical
from nf.control.convert import alarm_to_proto
from nf.control.v1 import common_pb2
from nf.errors import InputError, NotFoundError, RefusedError
from nf.noc.due import Due
from nf.noc.maintenance import Maintenance, require_reason, too_long
from nf.noc.records import ALARMS, Book
from nf.noc.tasks import Tasks
from nf.noc.telemetry import NOC, Telemetry
from nf.store.audit import AuditEntry
from nf.store.contract import Change, Delete, Put
from nf.telemetry.alarms import Alarm, Severity

LONGEST_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Mark:
    """Times are seconds since the epoch. `first_at`: of the alarm then; `until` 0: until the alarm is cleared."""

    author: str
    reason: str
    at: float
    first_at: float = 0.0
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Handled:
    """What was decided about one alarm. `appliance` empty: an alarm of the NOC."""

    appliance: str
    cause: str
    object: str
    acknowledged: Mark | None = None
    shelved: Mark | None = None

    @property
    def id(self) -> str:
        return alarm_id(self.appliance, self.cause, self.object)


def alarm_id(appliance: str, cause: str, subject: str) -> str:
    """As `nf alarms` shows it."""
    return f"{appliance}:{cause}:{subject}" if appliance else f"{cause}:{subject}"


class AlarmHandling:
    def __init__(
        self,
        *,
        book: Book,
        telemetry: Telemetry,
        maintenance: Maintenance,
        clock: Clock,
        author: str,
    ) -> None:
        """`author`: SPIFFE id of the NOC, for what ends by itself."""
        self._book = book
        self._telemetry = telemetry
        self._maintenance = maintenance
        self._clock = clock
        self._author = author
        self._handled: dict[str, Handled] = {}
        self._writing = asyncio.Lock()
        self._tasks = Tasks("alarm handling")
        self._due = Due("shelved alarms", clock, self._earliest, self._expire)

    async def start(self) -> None:
        for entry in await self._book.store.list(ALARMS):
            handled = _load(entry.value)
            self._handled[handled.id] = handled
        self._telemetry.on_clear = self._cleared
        self._telemetry.on_complete = self._complete
        self._due.start()

    async def close(self) -> None:
        await self._due.close()
        await self._tasks.close()

    # ---- asking ----

    def message(self, appliance: str, alarm: Alarm) -> common_pb2.Alarm:
        """The alarm with what was decided about it."""
        message = alarm_to_proto(alarm, appliance)
        handling = self._handling(appliance, alarm)
        if handling is not None:
            message.handling.CopyFrom(handling)
        return message

    def raised(self, appliance: str, alarm: Alarm) -> bool:
        """Whether it asks for attention: neither held nor shelved."""
        handling = self._handling(appliance, alarm)
        return handling is None or handling.state == "acknowledged"

    def _handling(self, appliance: str, alarm: Alarm) -> common_pb2.AlarmHandling | None:
        if alarm.severity is Severity.CLEARED:
            return None
        window = self._maintenance.of_appliance(appliance or alarm.object)
        if window is not None:
            return common_pb2.AlarmHandling(
                state="held", author=window.author, reason=window.reason, at=window.opened_at, until=window.until
            )
        handled = self._handled.get(alarm_id(appliance, alarm.cause, alarm.object))
        if handled is None:
            return None
        shelf, mark = handled.shelved, handled.acknowledged
        if shelf is not None and shelf.until > self._clock.now():
            return _message("shelved", shelf)
        # The NOC's own alarms are raised anew after its restart; an appliance's keep the time of their beginning.
        if (
            mark is not None
            and appliance in {NOC, handled.appliance}
            and (appliance == NOC or mark.first_at == alarm.first_at)
        ):
            return _message("acknowledged", mark)
        return None

    def find(self, given_id: str) -> tuple[str, Alarm]:
        """(appliance, alarm) that stands. Raises NotFoundError."""
        for appliance, alarm in self._telemetry.alarms():
            if alarm_id(appliance, alarm.cause, alarm.object) == given_id:
                return appliance, alarm
        raise NotFoundError("no such alarm stands", where=given_id, remedy="see `nf alarms`")

    def about(self, given_id: str) -> str:
        """The appliance that an alarm is about, standing or shelved; it may be none. Raises NotFoundError."""
        handled = self._handled.get(given_id)
        if handled is not None:
            return handled.appliance or handled.object
        appliance, alarm = self.find(given_id)
        return appliance or alarm.object

    # ---- deciding ----

    async def acknowledge(self, given_id: str, reason: str, author: str) -> common_pb2.Alarm:
        """Raises NotFoundError, InputError."""
        appliance, alarm = self.find(given_id)
        mark = Mark(author, require_reason(reason), self._clock.now(), first_at=alarm.first_at)
        changed = replace(self._of(appliance, alarm), acknowledged=mark)
        await self._decide(changed, author, "alarm.acknowledge", {"reason": mark.reason})
        return self.message(appliance, alarm)

    async def shelve(self, given_id: str, for_s: int, reason: str, author: str) -> common_pb2.Alarm:
        """Raises NotFoundError, InputError."""
        if for_s < 1:
            raise InputError("an alarm is shelved for a time", where=f"for {for_s} s", remedy="choose one such as 1h")
        if for_s > LONGEST_S:
            raise too_long(for_s, LONGEST_S)
        appliance, alarm = self.find(given_id)
        now = self._clock.now()
        shelf = Mark(author, require_reason(reason), now, first_at=alarm.first_at, until=now + for_s)
        changed = replace(self._of(appliance, alarm), shelved=shelf)
        await self._decide(changed, author, "alarm.shelve", {"reason": shelf.reason, "until": shelf.until})
        self._due.look_again()
        return self.message(appliance, alarm)

    async def unshelve(self, given_id: str, author: str) -> None:
        """Raises NotFoundError, RefusedError when it is not shelved."""
        handled = self._handled.get(given_id)
        if handled is None or handled.shelved is None:
            self.about(given_id)
            raise RefusedError("it is not shelved", where=given_id, remedy="see `nf alarms`")
        await self._decide(replace(handled, shelved=None), author, "alarm.unshelve", {})

    def _of(self, appliance: str, alarm: Alarm) -> Handled:
        known = self._handled.get(alarm_id(appliance, alarm.cause, alarm.object))
        return known or Handled(appliance, alarm.cause, alarm.object)

    async def _decide(self, changed: Handled, actor: str, action: str, detail: JsonObject) -> None:
        audit = AuditEntry(actor, action, f"alarm/{changed.id}", "done", detail)
        async with self._writing:
            await self._book.store.write([_change(changed)], audit)
            self._keep(changed)

    def _keep(self, handled: Handled) -> None:
        if handled.acknowledged is None and handled.shelved is None:
            self._handled.pop(handled.id, None)
        else:
            self._handled[handled.id] = handled

    # ---- what ends by itself ----

    def _cleared(self, appliance: str, cause: str, subject: str) -> None:
        handled = self._handled.get(alarm_id(appliance, cause, subject))
        if handled is not None and handled.acknowledged is not None:
            self._keep(replace(handled, acknowledged=None))
            self._tasks.start(self._write_down(handled))

    def _complete(self, appliance: str, standing: set[tuple[str, str]]) -> None:
        for handled in tuple(self._handled.values()):
            if handled.appliance == appliance and (handled.cause, handled.object) not in standing:
                self._cleared(appliance, handled.cause, handled.object)

    async def _write_down(self, handled: Handled) -> None:
        """As it stands in memory when the write begins."""
        async with self._writing:
            known = self._handled.get(handled.id) or replace(handled, acknowledged=None, shelved=None)
            await self._book.store.write([_change(known)])

    def _earliest(self) -> float:
        return min((h.shelved.until for h in self._handled.values() if h.shelved is not None), default=math.inf)

    async def _expire(self) -> None:
        now = self._clock.now()
        for handled in tuple(self._handled.values()):
            if handled.shelved is not None and handled.shelved.until <= now:
                await self._decide(
                    replace(handled, shelved=None), self._author, "alarm.unshelve", {"reason": "its time is over"}
                )


def _change(handled: Handled) -> Change:
    """A key of the store takes fewer characters than an alarm's id."""
    key = hashlib.sha256(handled.id.encode()).hexdigest()
    if handled.acknowledged is None and handled.shelved is None:
        return Delete(ALARMS, key)
    return Put(ALARMS, key, canonical(asdict(handled)).encode())


def _load(value: bytes) -> Handled:
    data: dict[str, Any] = json.loads(value)
    for name in ("acknowledged", "shelved"):
        data[name] = Mark(**data[name]) if data[name] is not None else None
    return Handled(**data)


def _message(state: str, decision: Mark) -> common_pb2.AlarmHandling:
    return common_pb2.AlarmHandling(
        state=state, author=decision.author, reason=decision.reason, at=decision.at, until=decision.until
    )
