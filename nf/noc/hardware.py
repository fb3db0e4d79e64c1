"""Which machine carries an appliance's name: the serial of the fleet document, or what was put in its place.

A replacement is kept beside the documents, old serial to new. So no file in an engineer's hands brings a dead machine
back: a later commit of a fleet that still names the old serial, and a rollback, both mean the new machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from nf.contracts.json import canonical
from nf.documents.fleet import Appliance, Fleet
from nf.errors import InputError, RefusedError
from nf.noc.lineups import LineUps
from nf.noc.maintenance import require_reason
from nf.noc.records import APPLIANCES, HARDWARE, Book
from nf.store.contract import Change, Delete, Put
from nf.trust.enrolment import Enrolment


@dataclass(frozen=True, slots=True)
class Replaced:
    """`was_enrolled`: an identity was there, and is dead now."""

    serial: str
    replaced_serial: str
    was_enrolled: bool


class Hardware:
    def __init__(self, book: Book, enrolment: Enrolment, lineups: LineUps) -> None:
        self._book = book
        self._enrolment = enrolment
        self._lineups = lineups
        self._replaced: dict[str, dict[str, str]] = {}

    async def start(self) -> None:
        for entry in await self._book.store.list(HARDWARE):
            self._replaced[entry.key] = json.loads(entry.value)

    def serial(self, appliance: Appliance) -> str:
        """Of the machine that carries the name now."""
        return follow(self._replaced.get(appliance.id, {}), appliance.serial)

    async def replace(self, name: str, serial: str, reason: str, author: str) -> Replaced:
        """The identity of the old machine ends in the same write. Whoever calls it cuts its streams.

        Raises NotFoundError, InputError, RefusedError (it is that machine already; another appliance is).
        """
        current = self._lineups.current
        appliance, reason = current.appliance(name), require_reason(reason)
        if not 0 < len(serial) <= 64 or not serial.isprintable() or serial != serial.strip():
            raise InputError(
                "a hardware serial has 1 to 64 printable characters",
                where=f"serial {serial!r}"[:100],
                remedy="enter the serial on the new machine's label",
            )
        before = self.serial(appliance)
        enrolled = await self._enrolment.enrolled(name)
        known = enrolled.hardware_serial if enrolled is not None else before
        if serial == before == known:
            raise RefusedError(
                f"it is serial {serial} already", where=name, remedy=f"for the same machine: nf appliance enroll {name}"
            )
        self._require_free(current.fleet, name, serial)
        replaced = substituted(self._replaced.get(name, {}), before, serial)
        changes: list[Change] = [Put(HARDWARE, name, canonical(replaced).encode()), Delete(APPLIANCES, name)]
        detail = {"serial": serial, "replaced_serial": known, "reason": reason}
        was_enrolled = await self._enrolment.replace(name, author, changes, {**detail})
        self._replaced[name] = replaced
        return Replaced(serial, known, was_enrolled)

    def _require_free(self, fleet: Fleet, name: str, serial: str) -> None:
        for other in fleet.spec.appliances:
            if other.id != name and self.serial(other) == serial:
                raise RefusedError(
                    f"serial {serial} is {other.id}", where=name, remedy="enter the serial on the new machine's label"
                )


def follow(replaced: dict[str, str], serial: str) -> str:
    """The last of the chain that begins with `serial`. Pure."""
    while serial in replaced:
        serial = replaced[serial]
    return serial


def substituted(replaced: dict[str, str], old: str, new: str) -> dict[str, str]:
    """With `new` in the place of `old`; a machine that comes back is no longer replaced by anything. Pure."""
    kept = {serial: by for serial, by in replaced.items() if serial != new}
    return kept if old == new else {**kept, old: new}
