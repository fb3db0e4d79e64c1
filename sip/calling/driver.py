"""Driver of section `voice-calls`: the test calls of this appliance, and one call's signalling on demand.

The section is a file: nothing runs by it. Its calls are placed by the probe every minute and by operators when they
ask; `voice-test-call` takes `call` (an id), and for once another number, `to`, and another length, `seconds`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from nf.clock import Clock
from nf.contracts.driver import (
    Checkpoint,
    Context,
    Drift,
    DriverContext,
    Event,
    Operation,
    Ownership,
    State,
    Step,
    Undo,
)
from nf.contracts.json import JsonObject
from nf.documents.model import DocumentModel
from nf.errors import InputError, NotFoundError, RefusedError
from sip.calling.documents import SECTION, TestCallPlan, VoiceCallsSection
from sip.calling.placing import place
from sip.operations import TEST_CALL, TRACE
from sip.tracing.operation import Trace

SET, RESTORE = "voice-calls.set", "voice-calls.restore"
Know = Callable[[], VoiceCallsSection]


class VoiceCallsDriver:
    name = "voice-calls"
    section = SECTION

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._clock = context.clock
        self._file = context.state_dir / "voice-calls" / "section.json"
        self.owns = Ownership(paths=frozenset({self._file.parent}))
        self.operations: Mapping[str, Operation] = {
            TEST_CALL: PlaceCall(self.current, context.clock),
            TRACE: Trace(lambda: self.current().traced),
        }

    def current(self) -> VoiceCallsSection:
        """What is applied; an empty one where nothing is, or a hand has written something else."""
        text = self._read()
        try:
            return VoiceCallsSection.model_validate_json(text) if text is not None else VoiceCallsSection()
        except ValueError:
            return VoiceCallsSection()

    def _read(self) -> str | None:
        try:
            return self._file.read_text()
        except FileNotFoundError:
            return None

    def _write(self, text: str | None) -> None:
        """Whole or not at all."""
        if text is None:
            self._file.unlink(missing_ok=True)
            return
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        candidate = self._file.with_suffix(".new")
        with candidate.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        candidate.replace(self._file)

    async def observe(self) -> State:
        text = self._read()
        if text is None:
            return State(None)
        try:
            return State(VoiceCallsSection.model_validate_json(text).to_json())
        except ValueError:
            return State({"altered": "its file was changed by hand"})

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = VoiceCallsSection.narrowed(want)
        value = None if section is None else section.to_json()
        if have.value == value:
            return ()
        count = 0 if section is None else len(section.calls)
        summary = f"{count} test call{'s' * (count != 1)}"
        return (Step(id=SET, kind=SET, arguments={"section": value}, summary=summary),)

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        """Nothing can refuse it: a secret that is missing is what the calls' probe tells."""

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the file before is the undo of any step
        return Undo(RESTORE, {"text": self._read()})

    async def apply(self, step: Step, context: Context) -> None:  # noqa: ARG002 - the contract's
        """Raises InputError for a strange step."""
        if (step.kind, step.version) != (SET, 1):
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)
        section = step.arguments["section"]
        self._write(None if section is None else VoiceCallsSection.model_validate(section).model_dump_json())

    async def undo(self, undo: Undo, context: Context) -> None:  # noqa: ARG002 - the contract's
        text = undo.data.get("text")
        if undo.kind != RESTORE or not (text is None or isinstance(text, str)):
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        self._write(text)

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:  # noqa: ARG002 - nothing to wait for
        section = VoiceCallsSection.narrowed(want)
        have = await self.observe()
        same = have.value == (None if section is None else section.to_json())
        return Drift(() if same else ("the file of test calls says something else",))

    async def events(self) -> AsyncIterator[Event]:
        """None: its probes tell."""
        nothing: tuple[Event, ...] = ()
        for event in nothing:
            yield event


class PlaceCall:
    """Operation `voice-test-call`."""

    def __init__(self, know: Know, clock: Clock) -> None:
        self._know = know
        self._clock = clock

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        """The outcome of the call, whatever it is. Raises NotFoundError, InputError, RefusedError."""
        plan = self._plan(arguments)
        if context.resolve_secret is None:
            raise RefusedError("there is nobody who resolves secrets", where=TEST_CALL, remedy="upgrade the agent")
        context.progress(0.1, f"calling {plan.called} as {plan.caller}")
        return (await place(plan, context.resolve_secret, self._clock)).to_json()

    def _plan(self, arguments: JsonObject) -> TestCallPlan:
        known = {one.id: one for one in self._know().calls}
        found = known.get(str(arguments.get("call", "")))
        if found is None:
            remedy = f"one of: {', '.join(sorted(known))}" if known else "add one to the fleet's equipment voice: tests"
            raise NotFoundError("no such test call here", where=str(arguments.get("call", ""))[:60], remedy=remedy)
        changed: JsonObject = {}
        if arguments.get("to"):
            changed |= {"called": arguments["to"], "answered": "other"}
        if arguments.get("seconds"):
            changed["seconds"] = arguments["seconds"]
        try:
            return TestCallPlan.model_validate(found.to_json() | changed)
        except ValueError as error:
            remedy = "`to` is a number or an account; `seconds` a whole number from 1 to 60"
            raise InputError("no call can be placed so", where=TEST_CALL, remedy=remedy) from error


def create(context: DriverContext) -> VoiceCallsDriver:
    """Entry point of the group `nf.drivers`."""
    return VoiceCallsDriver(context)
