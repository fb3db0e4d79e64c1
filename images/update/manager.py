"""The agent's side of an image: takes orders (updates, a wipe) and carries them out; tells how a trial goes.

Starts and health belong to the health service (`images.update.watch`), which also runs when no agent does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from images.appliance.wipe import Wipe
from images.update import slots
from images.update.health import SignsFile
from images.update.machine import Machine, this_machine
from images.update.record import Journal, Record, write_durably
from images.update.states import BEFORE_ACTIVATION, Effect, Input, State
from images.update.transfer import BundleFile
from nf.contracts.image import ImageContext, ImageReport
from nf.contracts.json import Json
from nf.errors import BusyError, DriverError, InputError, IntegrityError, NfError, RefusedError, StorageError
from nf.telemetry.alarms import AlarmEvent, Severity

_log = logging.getLogger(__name__)

FELL_BACK: Final = "image-fell-back"
UNHEALTHY: Final = "image-on-trial"
SIGNS: Final = "health.json"
"""In the agent's run directory: how the appliance does."""
_LOOK_S: Final = 1.0
_ASK_S: Final = 3.0
_FETCH_RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
_BOUNDS: Final = {"hold_s": (0.0, 300.0), "patience_s": (1.0, 1_200.0)}
"""Together less than nf-boot-deadline.timer has."""


class Updater:
    """Implements `nf.contracts.image.ImageManager`."""

    def __init__(self, context: ImageContext, machine: Machine, wipe: Wipe | None = None) -> None:
        self._context = context
        self._wipe = wipe or Wipe(context.clock)
        self._machine = machine
        self._clock = context.clock
        self._journal = Journal(context.state_dir / "update")
        self._work: asyncio.Task[None] | None = None
        self._progress: tuple[float, str] = (0.0, "")
        self._good = False
        self._other_version = ""
        self._told: ImageReport | None = None
        self._asked = (State.NONE, float("-inf"))
        self._resumed = False

    # ---- what it says ----

    def report(self) -> ImageReport:
        record, release = self._journal.read(), self._machine.release
        return ImageReport(
            role=release.role,
            version=release.version,
            compatible=release.compatible,
            slot=release.slot,
            good=self._good,
            update="" if record.state is State.NONE else record.state.value,
            update_version=record.to_version,
            update_id=record.id,
            other_version=self._other_version,
            fell_back=record.fell_back,
            fell_back_at=record.fell_back_at,
        )

    def _status(self) -> Json:
        record = self._journal.read()
        fraction, text = self._progress
        return {
            "id": record.id,
            "state": record.state.value,
            "fraction": fraction,
            "text": text,
            "version": record.to_version,
            "sha256": record.sha256,
            "reason": record.reason,
            "problems": dict(record.problems),
            "steps": [[name, at] for name, at in record.steps],
            "running": self._machine.release.version,
            "slot": self._machine.release.slot,
        }

    # ---- orders ----

    async def answer(self, method: str, arguments: Mapping[str, Any]) -> Json:
        if method == "image.status":
            return self._status()
        if method == "image.wipe":  # also in the midst of an update: nothing of it is left
            return await self._wipe.order(str(arguments["code"]))
        if not self._resumed:
            # What is open is gone on with first: an order that comes before that would have it done twice.
            raise BusyError("it has just started", where="update", remedy="ask again")
        if method == "image.fetch":
            self._order(arguments)
        elif method == "image.install":
            self._require(arguments)
            self._take(Input.INSTALL)
        elif method == "image.activate":
            self._require(arguments)
            await self._activate()
        elif method == "image.cancel":
            self._require(arguments)
            await self._cancel()
        else:
            raise InputError("no such request", where=method, remedy="the NOC and the agent may differ in version")
        return self._status()

    def _order(self, arguments: Mapping[str, Any]) -> None:
        record, release = self._journal.read(), self._machine.release
        order = str(arguments["id"])
        if record.id == order and record.state not in {State.NONE, State.FAILED, State.FELL_BACK, State.CANCELLED}:
            return  # asked again: the answer was lost
        if self._work is not None and not self._work.done():
            raise BusyError("what it did before is not over yet", where="update", remedy="ask again")
        sha256, size = str(arguments["sha256"]), int(arguments["size"])
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef") or not 0 < size < 1 << 40:
            raise InputError("names no bundle", where="image.fetch")
        compatible = str(arguments["compatible"])
        if compatible != release.compatible:
            raise RefusedError(
                f"the bundle is for {compatible}, this is {release.compatible}", where="update", remedy="see its role"
            )
        seconds = {name: float(arguments[name]) for name in _BOUNDS}
        for name, (least, most) in _BOUNDS.items():
            if not least <= seconds[name] <= most:
                raise InputError(f"from {least:.0f} to {most:.0f} s", where=name)
        self._take(
            Input.ORDER,
            id=order,
            sha256=sha256,
            size=size,
            compatible=compatible,
            from_version=release.version,
            to_version=str(arguments["version"]),
            home=release.slot,
            target=release.other_slot,
            boot_id=release.boot_id,
            baseline={},
            problems={},
            reason="",
            written={},
            gave_up=0,
            **seconds,
        )

    def _require(self, arguments: Mapping[str, Any]) -> None:
        record = self._journal.read()
        if record.id != str(arguments["id"]):
            raise RefusedError(
                f"the update here is {record.id or 'none'}, not {arguments['id']}",
                where="update",
                remedy="see `nf upgrade status`",
            )

    async def _activate(self) -> None:
        """What is wrong now is not the new system's doing; a transaction that is under way is let finish."""
        if self._journal.read().state in {State.ACTIVATING, State.ACTIVATED}:
            return
        signs = await self._context.signs()
        if signs.busy:
            raise BusyError(signs.busy, where="update", remedy="wait until it has ended")
        self._take(Input.ACTIVATE, baseline=dict(signs.problems))

    async def _cancel(self) -> None:
        if self._journal.read().state is State.CANCELLED:
            return
        record, effects = self._journal.take(Input.CANCEL, self._clock.now())
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        self._begin(record, effects)

    # ---- work ----

    async def run(self) -> None:
        """Go on where it stood, then look at the record, which the health service changes too, for ever."""
        try:
            await self._resume()
            while True:
                await self._look()
                await self._clock.sleep(_LOOK_S)
        finally:
            if self._work is not None:
                self._work.cancel()
                await asyncio.gather(self._work, return_exceptions=True)

    async def _resume(self) -> None:
        record = self._journal.read()
        # A start that the health service has not noted yet is its to judge; what is activated waits for its word.
        while record.boot_id not in {"", self._machine.release.boot_id} and not record.ended:
            await self._clock.sleep(_LOOK_S)
            record = self._journal.read()
        if record.state in BEFORE_ACTIVATION or record.state in {State.ACTIVATING, State.ACTIVATED}:
            self._take(Input.RESUME)
        self._resumed = True

    def _take(self, given: Input, **changes: Any) -> None:
        self._begin(*self._journal.take(given, self._clock.now(), **changes))

    def _begin(self, record: Record, effects: tuple[Effect, ...]) -> None:
        """Effects that take time run beside; one work at a time, since each follows from the state."""
        self._progress = (0.0, "")
        work = [self._effect(effect, record) for effect in effects]
        if work:
            self._work = asyncio.create_task(_one_after_the_other(work), name=f"update {record.id}")
        self._tell()

    async def _effect(self, effect: Effect, record: Record) -> None:
        if effect is Effect.FETCH:
            await self._fetch(record)
        elif effect is Effect.DROP:
            self._bundle(record).drop()
        elif effect is Effect.WRITE:
            await self._write(record)
        elif effect is Effect.MARK_ACTIVE:
            await self._mark_active(record)
        elif effect is Effect.REBOOT:
            self._progressed(1.0, f"restarting into slot {record.target}")
            await self._machine.reboot()

    def _bundle(self, record: Record) -> BundleFile:
        return BundleFile(self._journal.directory, record.sha256, record.size)

    async def _fetch(self, record: Record) -> None:
        """A broken way is tried again, for ever: the NOC gives up. A wrong digest once, from the beginning."""
        bundle, wrong, tries = self._bundle(record), 0, 0
        while True:
            before = self._progress[0]
            try:
                await bundle.fetch(self._context.bundles, self._progressed)
            except IntegrityError as error:
                wrong += 1
                if wrong > 1:
                    self._failed(error)
                    return
            except StorageError as error:
                self._failed(error)
                return
            except NfError as error:
                tries = 0 if self._progress[0] > before else tries + 1
                if not error.retryable and tries > len(_FETCH_RETRY_S):
                    self._failed(error)
                    return
                self._progress = (self._progress[0], f"{error}; it is tried again"[:300])
                await self._clock.sleep(_FETCH_RETRY_S[min(tries, len(_FETCH_RETRY_S) - 1)])
            else:
                self._take(Input.WHOLE)
                return

    async def _write(self, record: Record) -> None:
        bundle = self._bundle(record)
        try:
            status = await self._machine.rauc.status()
            if not status.booted.good:
                raise RefusedError(
                    f"slot {record.home}, which runs, is not marked good: the other one is left alone",
                    where="rauc",
                    remedy="see nf-health.service",
                )
            await self._machine.rauc.install(bundle.path, self._progressed)
            status = await self._machine.rauc.status()
            if any(slot.status != "ok" for slot in status.other.all):
                raise DriverError(f"slot {record.target} is not whole after it was written", where="rauc")
        except NfError as error:
            self._failed(error)
        else:
            self._other_version = status.other.slot.version
            self._take(Input.COMPLETED, written=status.other.fingerprint)

    async def _mark_active(self, record: Record) -> None:
        try:
            await slots.activate(self._machine.rauc, record.written)
        except RefusedError as error:
            self._failed(error)
        except NfError as error:
            # The boot loader may know it all the same: it is made sure that it does not.
            while not await self._forgotten():
                await self._clock.sleep(_ASK_S)
            self._failed(error)
        else:
            self._take(Input.MARKED)

    async def _forgotten(self) -> bool:
        try:
            return await slots.mark_other_bad(self._machine.rauc)
        except NfError as error:
            _log.warning("cannot mark the other slot bad: %s; it is tried again", error)
            return False

    def _failed(self, error: NfError) -> None:
        _log.warning("update %s: %s", self._journal.read().id, error)
        self._take(Input.REFUSED, reason=str(error)[:1000])

    def _progressed(self, fraction: float, text: str) -> None:
        self._progress = (min(max(fraction, 0.0), 1.0), text)

    # ---- what the health service does ----

    async def _look(self) -> None:
        record = self._journal.read()
        if record.on_trial:
            await self._say_how_it_does()
        state, asked_at = self._asked
        now = self._clock.monotonic()
        if state is not record.state or (not self._good and now - asked_at >= _ASK_S):
            self._asked = (record.state, now)
            await self._ask_rauc()
        self._tell()

    async def _say_how_it_does(self) -> None:
        signs = await self._context.signs()
        data = SignsFile(self._clock.monotonic(), signs).dump()
        try:
            await asyncio.to_thread(write_durably, self._context.run_dir / SIGNS, data)
        except OSError as error:
            _log.warning("cannot say how the appliance does: %s", error)

    async def _ask_rauc(self) -> None:
        with contextlib.suppress(NfError):
            status = await self._machine.rauc.status()
            self._good, self._other_version = status.booted.good, status.other.slot.version

    def _tell(self) -> None:
        """To the NOC, what changed; and the alarms that stand by the record."""
        report = self.report()
        if report == self._told:
            return
        self._told = report
        self._context.changed(report)
        record = self._journal.read()
        if report.fell_back:
            self._alarm(
                FELL_BACK, Severity.MAJOR, report.fell_back, "find the cause, then upgrade again: nf upgrade --bundle"
            )
        else:
            self._alarm(FELL_BACK, Severity.CLEARED)
        if record.on_trial and record.gave_up:
            text = f"{record.to_version} does not become healthy, and the other slot does not start"
            self._alarm(UNHEALTHY, Severity.CRITICAL, text, "mend what is wrong, or upgrade to another version")
        else:
            self._alarm(UNHEALTHY, Severity.CLEARED)

    def _alarm(self, cause: str, severity: Severity, text: str = "", remedy: str = "") -> None:
        self._context.alarm(AlarmEvent(cause, self._context.appliance, severity, self._clock.now(), text, remedy))


async def _one_after_the_other(work: list[Coroutine[Any, Any, None]]) -> None:
    try:
        while work:
            await work.pop(0)
    except NfError as error:
        _log.error("update: %s", error)
    finally:
        for one in work:
            one.close()


def create(context: ImageContext) -> Updater | None:
    """Entry point of the group `nf.image`."""
    machine = this_machine()
    return None if machine is None else Updater(context, machine)
