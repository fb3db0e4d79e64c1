"""The session with the NOC: commands to the engine, answers back. The work outlives the stream that brought it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from nf.clock import Clock
from nf.contracts.image import ImageReport
from nf.contracts.json import Json, canonical
from nf.control.convert import image_to_proto, step_to_proto
from nf.control.errors import to_info
from nf.control.queue import CoalescingQueue, QueueClosed
from nf.control.v1 import fleet_pb2 as pb
from nf.documents.appliance import ApplianceConfig
from nf.errors import NfError
from nf.transaction.engine import Engine
from nf.transaction.model import InFlight, Standing, StepProgress

_log = logging.getLogger(__name__)

_QUEUE_LIMIT: Final = 1_024
_BACKWARD: Final = frozenset({"undo", "abort"})

Answer = Callable[[str, Any], Awaitable[Json]]
"""(method, arguments) -> result: what a Request asks for."""


def in_flight_to_proto(in_flight: InFlight) -> pb.InFlight:
    return pb.InFlight(
        transaction=in_flight.transaction,
        revision=in_flight.revision,
        state=in_flight.state.value,  # type: ignore[arg-type]  # same numbers by definition
        stages_applied=in_flight.stages_applied,
        deadline_unix_ms=_unix_ms(in_flight.deadline),
    )


def _unix_ms(seconds: float) -> int:
    """A lock without an end yet has no deadline on the wire."""
    return round(seconds * 1000) if seconds != float("inf") else 0


def state_notice(standing: Standing) -> pb.StateNotice:
    notice = pb.StateNotice(
        confirmed_revision=standing.confirmed_revision,
        confirmed_digest=standing.confirmed_digest,
        last_transaction=standing.last_transaction,
    )
    if standing.in_flight is not None:
        notice.in_flight.CopyFrom(in_flight_to_proto(standing.in_flight))
    if standing.last_outcome is not None:
        notice.last_outcome = standing.last_outcome.value  # type: ignore[assignment]
    return notice


class Commands:
    """Carries out what the NOC sends: forward phases one by one in order, the way back at once, requests beside them.

    The engine itself stops a phase that an undo overtakes. Answers go to whichever session stands when they are ready.
    """

    def __init__(
        self, engine: Engine, clock: Clock, load_config: Callable[[Any], ApplianceConfig], answer: Answer
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._load_config = load_config
        self._answer = answer
        self._forward: asyncio.Queue[pb.NocMessage] = asyncio.Queue()
        self._backward: asyncio.Queue[pb.NocMessage] = asyncio.Queue()
        self._requests: set[asyncio.Task[None]] = set()
        self._outgoing: CoalescingQueue[pb.AgentMessage] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work(self._forward))
                group.create_task(self._work(self._backward))
        finally:
            for task in tuple(self._requests):
                task.cancel()
            await asyncio.gather(*self._requests, return_exceptions=True)

    # ---- sending ----

    def notice(self, standing: Standing) -> None:
        """Where the appliance stands now; only the newest is kept for a NOC that does not read."""
        self._send(pb.AgentMessage(state=state_notice(standing)))

    def image(self, report: ImageReport) -> None:
        """What it runs from, or the update of it, has changed."""
        self._send(pb.AgentMessage(image=image_to_proto(report)), ("image",))

    def progress(self, progress: StepProgress) -> None:
        message = pb.Progress(
            transaction=progress.transaction, step=progress.step, fraction=progress.fraction, text=progress.text
        )
        self._send(pb.AgentMessage(progress=message), ("progress", progress.transaction, progress.step))

    def _send(self, message: pb.AgentMessage, key: tuple[str, ...] | None = None) -> None:
        if self._outgoing is not None and not self._outgoing.put(message, key):
            self._outgoing.close()  # the NOC does not read: the session ends, and its successor begins with a hello

    async def outgoing(self, hello: pb.Hello) -> AsyncIterator[pb.AgentMessage]:
        """The messages of one new session, numbered, the hello first."""
        queue: CoalescingQueue[pb.AgentMessage] = CoalescingQueue(_QUEUE_LIMIT)
        if self._outgoing is not None:
            self._outgoing.close()
        self._outgoing = queue
        queue.put(pb.AgentMessage(hello=hello))
        sequence = 0
        try:
            with contextlib.suppress(QueueClosed):
                while True:
                    for message in (await queue.take()).items:
                        sequence += 1
                        message.sequence = sequence
                        yield message
        finally:
            if self._outgoing is queue:
                self._outgoing = None

    # ---- taking ----

    def take(self, message: pb.NocMessage) -> None:
        body = message.WhichOneof("body")
        if body == "request":
            task = asyncio.create_task(self._request(message.request), name=f"request {message.request.method}")
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
        elif body in _BACKWARD:
            self._backward.put_nowait(message)
        elif body is not None and body != "welcome":
            self._forward.put_nowait(message)

    async def _work(self, queue: asyncio.Queue[pb.NocMessage]) -> None:
        while True:
            message = await queue.get()
            self._send(pb.AgentMessage(result=await self._phase(message)))

    async def _phase(self, message: pb.NocMessage) -> pb.PhaseResult:
        phase = str(message.WhichOneof("body"))
        command = getattr(message, phase)
        result = pb.PhaseResult(transaction=command.transaction, phase=phase)
        if phase in {"apply", "undo"}:
            result.stage = command.stage
        try:
            await self._carry_out(phase, command, result)
            result.ok = True
        except NfError as error:
            result.error.CopyFrom(to_info(error))
        except Exception as error:  # noqa: BLE001 - a driver's own mistake must reach the NOC, not end the agent
            _log.exception("%s of transaction %s failed", phase, command.transaction)
            result.error.CopyFrom(to_info(NfError(f"{type(error).__name__}: {error}", remedy="see the agent's log")))
        standing = self._engine.standing.in_flight
        if standing is not None:
            result.standing.CopyFrom(in_flight_to_proto(standing))
        return result

    async def _carry_out(self, phase: str, command: Any, result: pb.PhaseResult) -> None:
        engine, transaction = self._engine, command.transaction
        if phase == "validate":
            await self._validate(command, result)
        elif phase == "prepare":
            count = max((stage.stage for stage in command.stages), default=-1) + 1
            stages: list[tuple[str, ...]] = [()] * count
            for stage in command.stages:
                stages[stage.stage] = tuple(stage.steps)
            await engine.prepare(transaction, stages, command.deadline_unix_ms / 1000)
        elif phase == "apply":
            await engine.apply(transaction, command.stage)
        elif phase == "verify":
            await engine.verify(transaction)
        elif phase == "hold":
            await engine.hold(transaction, command.deadline_unix_ms / 1000)
        elif phase == "confirm":
            await engine.confirm(transaction)
        elif phase == "undo":
            await engine.undo(transaction, command.stage)
        else:
            await engine.abort(transaction, command.reason)

    async def _validate(self, command: pb.Validate, result: pb.PhaseResult) -> None:
        validated = await self._engine.validate(
            command.transaction,
            command.revision,
            self._load_config(json.loads(command.config_json)),
            accept_irreversible=command.accept_irreversible,
            dry_run=command.dry_run,
            lock_s=command.lock_ms / 1000,
        )
        result.steps.extend(step_to_proto(planned.section, planned.step) for planned in validated.steps)
        result.facts.extend(sorted(validated.facts))
        result.verify_budget_ms = round(validated.verify_budget_s * 1000)

    async def _request(self, request: pb.Request) -> None:
        reply = pb.Reply(id=request.id)
        try:
            result = await self._answer(request.method, json.loads(request.arguments_json or b"{}"))
            reply.result_json = canonical(result).encode()
        except NfError as error:
            reply.error.CopyFrom(to_info(error))
        except Exception as error:  # noqa: BLE001 - whatever a request stumbles on is told to who asked
            _log.exception("request %s failed", request.method)
            reply.error.CopyFrom(to_info(NfError(f"{type(error).__name__}: {error}", remedy="see the agent's log")))
        self._send(pb.AgentMessage(reply=reply))
