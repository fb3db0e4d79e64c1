"""One phase on many appliances: sent to all at once, waited for by all, and taken up again by those that went away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from nf.control.v1 import fleet_pb2 as pb
from nf.errors import NfError, RefusedError
from nf.noc.sessions import PhaseKey, Session, SessionLost, Sessions

_ENDS_IT: Final = frozenset({"undo", "abort"})

Answer = pb.PhaseResult | NfError
Progress = Callable[[str, str, int, int, str], None]
"""(phase, appliance, done, total, text): without text it finished the phase, with text a step of it went on."""


class Phases:
    """The appliances of one transaction."""

    def __init__(self, transaction: str, sessions: Sessions, progress: Progress) -> None:
        self._transaction = transaction
        self._sessions = sessions
        self._progress = progress
        self._met: dict[str, Session] = {}

    async def everywhere(
        self, phase: str, commands: Mapping[str, tuple[pb.NocMessage, int]], *, answer_by: float, absent_until: float
    ) -> dict[str, Answer]:
        """Send `commands` (appliance -> message, stage) and wait for all: the barrier.

        answer_by      monotonic seconds: who has not answered by then has failed
        absent_until   monotonic seconds: who is not there by then is not waited for
        """
        done = 0

        async def one(appliance: str) -> tuple[str, Answer]:
            nonlocal done
            message, stage = commands[appliance]
            answer: Answer
            try:
                key = PhaseKey(self._transaction, phase, stage)
                answer = await self._one(appliance, message, key, answer_by, absent_until)
            except NfError as error:
                answer = error
            done += 1
            self._progress(phase, appliance, done, len(commands), "")
            return appliance, answer

        def hear(appliance: str, progress: pb.Progress) -> None:
            if appliance in commands:
                self._progress(phase, appliance, done, len(commands), _words(progress))

        with self._sessions.listening(self._transaction, hear):
            return dict(await asyncio.gather(*(one(appliance) for appliance in sorted(commands))))

    async def _one(
        self, appliance: str, message: pb.NocMessage, key: PhaseKey, answer_by: float, absent_until: float
    ) -> pb.PhaseResult:
        while True:
            session = await self._sessions.wait_online(appliance, absent_until - time.monotonic())
            known = self._resume(session, key)
            if known is not None:
                return known
            command = pb.NocMessage()
            command.CopyFrom(message)
            try:
                return await session.phase(command, key, answer_by - time.monotonic())
            except SessionLost:
                await asyncio.sleep(0)  # the next session of it is waited for

    def _resume(self, session: Session, key: PhaseKey) -> pb.PhaseResult | None:
        """On a session that is new to this transaction, what its hello already answers.

        None: send the command; the engine resumes a stage that was begun. Raises RefusedError when the transaction
        ended there by itself.
        """
        before = self._met.get(session.appliance)
        self._met[session.appliance] = session
        if before is None or before is session:
            return None
        standing = session.standing
        if standing.in_flight == self._transaction:
            return None
        ended = standing.last_outcome if standing.last_transaction == self._transaction else None
        done = pb.PhaseResult(transaction=key.transaction, phase=key.phase, stage=key.stage, ok=True)
        if key.phase in _ENDS_IT and ended != pb.TRANSACTION_STATE_CONFIRMED:
            return done
        if key.phase == "confirm" and ended == pb.TRANSACTION_STATE_CONFIRMED:
            return done
        raise RefusedError(
            "came back without the transaction: it ended there by itself",
            where=session.appliance,
            remedy="commit again when it is up",
        )


def _words(progress: pb.Progress) -> str:
    """A step that is over by what it did; one that runs by its name, how far it is and what it is at."""
    if progress.fraction >= 1 and progress.text:
        return progress.text
    return f"{progress.step} {progress.fraction:.0%}" + (f": {progress.text}" if progress.text else "")


def failures(answers: Mapping[str, Answer]) -> dict[str, NfError]:
    return {appliance: answer for appliance, answer in answers.items() if isinstance(answer, NfError)}


def same(appliances: Iterable[str], message: pb.NocMessage) -> dict[str, tuple[pb.NocMessage, int]]:
    return dict.fromkeys(appliances, (message, 0))


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
