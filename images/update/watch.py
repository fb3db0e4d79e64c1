"""The health service: notes each start, judges a new system, and goes back when it does not do well.

A process of its own: it also runs when the agent, or anything that it needs, does not. `nf-health.service` runs it
before the agent; a start that nobody settles in time is ended by `nf-boot-deadline.timer`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, Final

from images.update import slots
from images.update.health import Health, Judge, in_words, load_signs
from images.update.machine import Machine, this_machine
from images.update.manager import SIGNS
from images.update.record import Journal, Record
from images.update.states import REPEATED, Effect, Input, State
from images.update.transfer import BundleFile
from nf.clock import Clock, RealClock
from nf.errors import NfError

_log = logging.getLogger(__name__)

SETTLED: Final = "image-settled"
"""In the run directory: this start is accounted for, nothing is to be ended any more."""
_LOOK_S: Final = 1.0
_RETRY_S: Final = 3.0
_NOTE_S: Final = 5.0


class Watch:
    def __init__(self, machine: Machine, state_dir: Path, run_dir: Path, clock: Clock) -> None:
        self._machine = machine
        self._journal = Journal(state_dir / "update")
        self._run_dir = run_dir
        self._clock = clock

    def note(self) -> tuple[Record, tuple[Effect, ...]]:
        """Write this start down; what follows from it is done again when the service itself starts again."""
        record, release = self._journal.read(), self._machine.release
        if record.boot_id == release.boot_id:
            return record, REPEATED.get(record.state, ())
        came_up = Input.BOOTED_HOME
        if record.target == release.slot:
            came_up = Input.BOOTED_TARGET if record.written else Input.BOOTED_OTHER
        changes: dict[str, Any] = {"boot_id": release.boot_id}
        reason = why_it_ended(record, release.slot, came_up)
        if reason:
            changes |= {"reason": reason}
        if came_up is Input.BOOTED_HOME and reason:
            changes |= {"fell_back": f"fell back from {record.to_version} in slot {record.target}: {reason}"[:1000]}
            changes |= {"fell_back_at": self._clock.now()}
        if record.state in {State.GIVING_UP, State.FELL_BACK} and came_up is Input.BOOTED_TARGET:
            changes |= {"gave_up": record.gave_up + 1}  # the other slot does not start
        return self._journal.take(came_up, self._clock.now(), **changes)

    async def _effect(self, effect: Effect, record: Record) -> None:
        if effect is Effect.MARK_SELF_GOOD:
            await self._insist("mark this slot good", lambda: slots.mark_good(self._machine.rauc))
        elif effect is Effect.MARK_OTHER_BAD:
            await self._insist("mark the other slot bad", lambda: slots.mark_other_bad(self._machine.rauc))
        elif effect is Effect.DROP and record.sha256:
            BundleFile(self._journal.directory, record.sha256, record.size).drop()

    async def _insist(self, what: str, work: Any) -> Any:
        """RAUC may start late, the ESP be slow: it is tried until it is done."""
        told = ""
        while True:
            try:
                return await work()
            except NfError as error:
                if str(error) != told:
                    _log.warning("cannot %s: %s; it is tried again", what, error)
                told = str(error)
            await self._clock.sleep(_RETRY_S)

    async def judge(self, record: Record) -> Record:
        """Return when the trial is over: marked good, or given up and restarting. Until then nothing is settled."""
        patience_s = record.patience_s if not record.gave_up else float("inf")
        judge = Judge(
            hold_s=record.hold_s, patience_s=patience_s, baseline=record.baseline, now=self._clock.monotonic()
        )
        noted_at = float("-inf")
        while True:
            now = self._clock.monotonic()
            health = judge.look(self._signs(now), now)
            if health is Health.GOOD:
                await self._insist("mark this slot good", lambda: slots.mark_good(self._machine.rauc))
                changes: dict[str, Any] = {"problems": {}, "reason": "", "fell_back": "", "fell_back_at": 0.0}
                return self._journal.take(Input.HELD, self._clock.now(), **changes)[0]
            if health is Health.GIVEN_UP:
                return await self._give_up(judge.problems)
            if now - noted_at >= _NOTE_S:
                noted_at = now  # a system that dies without a word has at least said this
                self._journal.note(problems=judge.problems)
            await self._clock.sleep(_LOOK_S)

    def _signs(self, now: float) -> Any:
        try:
            return load_signs((self._run_dir / SIGNS).read_bytes(), now)
        except OSError:
            return None

    async def _give_up(self, problems: dict[str, str]) -> Record:
        """Back to the other slot, if the boot loader may take it; else here is better than nowhere."""
        try:
            back = (await self._machine.rauc.status()).other.good
        except NfError as error:
            _log.warning("RAUC does not answer (%s); the boot loader has its own memory of the one try", error)
            back = True
        if not back:
            _log.error("this system does not do well, and there is no other to go back to: %s", in_words(problems))
            record = self._journal.note(problems=problems, gave_up=1)
            return await self.judge(record)
        reason = in_words(problems)
        _log.error("this system does not do well, going back: %s", reason)
        record, _ = self._journal.take(Input.PATIENCE_OVER, self._clock.now(), problems=problems, reason=reason)
        return await self.leave(record)

    async def leave(self, record: Record) -> Record:
        try:
            await slots.other_first(self._machine.rauc)
        except NfError as error:
            _log.warning("cannot put the other slot first: %s; this one's try is used all the same", error)
        await self._insist("restart", self._machine.reboot)
        return record

    def settle(self) -> None:
        try:
            self._run_dir.mkdir(parents=True, exist_ok=True)
            (self._run_dir / SETTLED).touch()
        except OSError as error:
            _log.error("cannot write %s: %s", self._run_dir / SETTLED, error)

    async def run(self, ready: Any = lambda: None) -> None:
        """One start, to its settled end. `ready` is called when it is written down: nothing waits for RAUC."""
        record, effects = self.note()
        ready()
        for effect in effects:
            await self._effect(effect, record)
        if record.state is State.TRIAL:
            record = await self.judge(record)
        elif record.state is State.GIVING_UP:
            record = await self.leave(record)
        if record.state is not State.GIVING_UP:
            self.settle()


def why_it_ended(record: Record, slot: str, came_up: Input) -> str:
    """Why the target does not run (any more), as well as it can be known; empty when nothing is wrong."""
    if came_up is Input.BOOTED_OTHER:
        return f"the appliance started from slot {slot} meanwhile"
    if came_up is Input.BOOTED_TARGET:
        return ""
    seen = in_words(record.problems)
    last = f"; last seen: {seen}" if seen else ""
    early = "it did not start: boot loader, kernel, root verification, /var or the health service"
    return {
        State.ACTIVATING: early,
        State.ACTIVATED: early,
        State.TRIAL: f"it ended during its trial without a word (power, crash or watchdog){last}",
        State.GIVING_UP: record.reason or seen or "it was not healthy",
        State.HEALTHY: "it was good, and did not start again",
    }.get(record.state, "")


def notify_ready() -> None:
    """sd_notify(3), when systemd wants to hear it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)


async def _main(state_dir: Path, run_dir: Path) -> None:
    machine = this_machine()
    if machine is None:
        _log.error("this machine runs from no image")
        return
    task = asyncio.create_task(Watch(machine, state_dir, run_dir, RealClock()).run(notify_ready))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    began = time.monotonic()
    asyncio.run(_main(Path("/var/lib/nf"), Path("/run/nf")))
    _log.info("settled after %.0f s", time.monotonic() - began)


if __name__ == "__main__":
    main()
