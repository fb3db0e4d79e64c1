"""A test call, from the registration to the verdict."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final
from weakref import WeakValueDictionary

from nf.clock import Clock
from nf.errors import InputError, NfError, RefusedError
from sip.calling import dialogs
from sip.calling.dialogs import Call
from sip.calling.digest import account_of
from sip.calling.documents import AnswerPlan, TestCallPlan
from sip.calling.leg import Leg
from sip.calling.media import network_delay_ms
from sip.calling.outcome import BUFFER_MS, Direction, Outcome, describe, heard, told
from sip.calling.rtp import CLOCK_HZ, PACKET_MS

_EXPIRES_S: Final = 120
_REGISTER_S: Final = 10.0
_SETUP_S: Final = 20.0
_SETTLE_S: Final = 0.5
_REPORTED_S: Final = 1.2
"""After the last packet: for those that are under way; and for the last report of a far end that is elsewhere."""

Resolve = Callable[[str], str]
_busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


@asynccontextmanager
async def _alone(account: str) -> AsyncIterator[None]:
    """Two test calls that answer one account would answer each other's."""
    lock = _busy.get(account)
    if lock is None:
        lock = _busy[account] = asyncio.Lock()
    async with lock:
        yield


async def place(plan: TestCallPlan, resolve: Resolve, clock: Clock) -> Outcome:
    """Never raises NfError: what went wrong is the outcome's text."""
    began = clock.now()
    caller, called = f"{plan.caller}@{plan.domain}", f"{plan.called}@{plan.domain}"
    try:
        if plan.called in plan.emergency:
            raise RefusedError(f"{plan.called} is an emergency number: no test calls it", where=plan.id)
        async with _alone(called if plan.answered == "here" else caller):
            return await _place(plan, resolve, clock)
    except NfError as error:
        text = f"{error.message} ({error.where})" if error.where else error.message
        return Outcome(plan.id, began, caller, called, up=False, text=text)


async def _place(plan: TestCallPlan, resolve: Resolve, clock: Clock) -> Outcome:
    secret, proxy = resolve(plan.credentials), (str(plan.proxy), plan.port)
    account = account_of(secret, plan.caller, plan.domain, where=plan.credentials)
    async with AsyncExitStack() as stack:
        caller = await stack.enter_async_context(Leg(plan.caller, plan.domain, account, proxy=proxy, clock=clock))
        answerer: Leg | None = None
        if plan.answered == "here":
            own = account_of(secret, plan.called, plan.domain, where=plan.credentials)
            answerer = await stack.enter_async_context(Leg(plan.called, plan.domain, own, proxy=proxy, clock=clock))
            await answerer.register(expires_s=_EXPIRES_S, timeout_s=_REGISTER_S)
        try:
            return await _TestCall(plan, caller, answerer, clock).run()
        finally:
            if answerer is not None:
                with contextlib.suppress(NfError):
                    await answerer.register(expires_s=0, timeout_s=2.0)


class _TestCall:
    def __init__(self, plan: TestCallPlan, caller: Leg, answerer: Leg | None, clock: Clock) -> None:
        self._plan = plan
        self._caller = caller
        self._answerer = answerer
        self._clock = clock
        self._at = clock.now()

    async def run(self) -> Outcome:
        plan, caller = self._plan, self._caller
        answering = asyncio.create_task(self._answer()) if self._answerer is not None else None
        call = caller.call(f"sip:{plan.called}@{plan.domain}")
        try:
            event = await caller.wait(dialogs.Answered, dialogs.Failed, timeout_s=_SETUP_S)
            if isinstance(event, dialogs.Failed):
                return self._outcome(call, f"refused: {event.status} {event.reason}".rstrip(), status=event.status)
            if event is None:
                return self._outcome(
                    call, f"not answered within {_SETUP_S:.0f} s", status=max(call.statuses, default=0)
                )
            return await self._talk(call)
        finally:
            caller.hang_up(call)
            if answering is not None:
                await self._over(answering)
            await self._hung_up(call)

    async def _answer(self) -> None:
        """The called: the first that comes, till it is hung up."""
        answerer = self._answerer
        if answerer is None:
            return
        event = await answerer.wait(dialogs.Incoming, timeout_s=_SETUP_S)
        if not isinstance(event, dialogs.Incoming) or event.call.remote is None:
            return
        answerer.answer(event.call)
        # Before the ACK the answer may not have come to the relay, which would drop what is said.
        if isinstance(await answerer.wait(dialogs.Answered, dialogs.Ended, timeout_s=_SETUP_S), dialogs.Answered):
            answerer.media.start(event.call.remote)
            await answerer.wait(dialogs.Ended, timeout_s=_SETUP_S + self._plan.seconds)

    @staticmethod
    async def _over(answering: asyncio.Task[None]) -> None:
        done, _ = await asyncio.wait({answering}, timeout=2.0)
        if not done:
            answering.cancel()
        with contextlib.suppress(asyncio.CancelledError, InputError):
            await answering

    async def _hung_up(self, call: Call) -> None:
        """Until the BYE or the CANCEL is answered: who goes away before leaves a call behind in the network."""
        ends = self._clock.monotonic() + 4.0
        while self._caller.agent.busy(call) and self._clock.monotonic() < ends:
            await self._clock.sleep(0.02)

    async def _talk(self, call: Call) -> Outcome:
        caller, began = self._caller, self._clock.monotonic()
        if call.remote is not None:
            caller.media.start(call.remote)
        hung_up = await caller.wait(dialogs.Ended, timeout_s=self._plan.seconds)
        talked_s = self._clock.monotonic() - began
        await caller.media.stop()
        if self._answerer is not None:
            await self._answerer.media.stop()
        await self._clock.sleep(_SETTLE_S if self._answerer is not None else _REPORTED_S)
        to_called, to_caller = self._directions()
        text = self._fault(to_called, to_caller)
        if hung_up is not None:
            text = f"the far end hung up after {talked_s:.1f} s"
        return self._outcome(call, text, status=200, seconds=talked_s, to_called=to_called, to_caller=to_caller)

    def _directions(self) -> tuple[Direction | None, Direction | None]:
        near = self._caller.media
        trip_ms = None if near.round_trip_s is None else near.round_trip_s * 500
        if self._answerer is not None:
            far = self._answerer.media
            return (
                heard(
                    far.receiver.report(buffer_ms=BUFFER_MS, expected=near.sender.count),
                    delay_ms=network_delay_ms(near.sender, far.receiver),
                    measured="receiver",
                ),
                heard(
                    near.receiver.report(buffer_ms=BUFFER_MS, expected=far.sender.count),
                    delay_ms=network_delay_ms(far.sender, near.receiver),
                    measured="receiver",
                ),
            )
        to_called = None
        if near.far is not None:
            to_called = told(near.far, near.sender.count, clock_hz=CLOCK_HZ, delay_ms=trip_ms)
        echo = self._plan.answered == "echo"
        # An echo gives back all that comes: what is missing was lost on one of the two ways.
        report = near.receiver.report(buffer_ms=BUFFER_MS, expected=near.sender.count if echo else None)
        return to_called, heard(report, delay_ms=trip_ms, measured="echo" if echo else "receiver")

    def _fault(self, to_called: Direction | None, to_caller: Direction | None) -> str:
        """Why it is not up; empty when it is."""
        for name, one in (("to the called", to_called), ("to the caller", to_caller)):
            if one is not None and one.received == 0:
                return f"no sound {name}: none of {one.sent} packets came"
            if one is not None and one.mos < self._plan.least_mos:
                return f"MOS {one.mos:.2f} {name}, less than {self._plan.least_mos}: {describe(one)}"
        if to_called is None and self._plan.answered == "there":
            return "the appliance that answers tells nothing by RTCP"
        return ""

    def _outcome(
        self,
        call: Call,
        fault: str,
        *,
        status: int,
        seconds: float = 0.0,
        to_called: Direction | None = None,
        to_caller: Direction | None = None,
    ) -> Outcome:
        plan = self._plan
        ringing_ms = None if call.ringing_at is None else (call.ringing_at - call.invited_at) * 1000
        made = Outcome(
            test=plan.id,
            at=self._at,
            caller=f"{plan.caller}@{plan.domain}",
            called=f"{plan.called}@{plan.domain}",
            up=not fault,
            text=fault,
            status=status,
            setup_ms=call.setup_ms,
            ringing_ms=ringing_ms,
            seconds=seconds,
            call_id=call.id,
            to_called=to_called,
            to_caller=to_caller,
        )
        return made if fault else _told(made)


def _told(made: Outcome) -> Outcome:
    parts = [f"answered in {made.setup_ms or 0:.0f} ms", f"MOS {made.mos or 0:.2f}"]
    parts += [f"{name}: {describe(one)}" for name, one in (("there", made.to_called), ("back", made.to_caller)) if one]
    return replace(made, text="; ".join(parts))


class Answerer:
    """Keeps an account registered, and answers it: for test calls of other appliances. Speaks while it is spoken to."""

    def __init__(self, plan: AnswerPlan, resolve: Resolve, clock: Clock) -> None:
        self._plan, self._resolve, self._clock = plan, resolve, clock
        self.answered = 0
        self.fault = "not registered yet"

    async def run(self) -> None:
        """Until it is cancelled. Raises NfError when the account is not let in; the caller begins anew."""
        plan = self._plan
        account = account_of(self._resolve(plan.credentials), plan.user, plan.domain, where=plan.credentials)
        proxy = (str(plan.proxy), plan.port)
        while True:  # each call has media of its own
            async with Leg(plan.user, plan.domain, account, proxy=proxy, clock=self._clock) as leg:
                try:
                    await self._answer(leg)
                except InputError:
                    continue  # an offer that has nothing for us was refused
                finally:
                    with contextlib.suppress(NfError):
                        await leg.register(expires_s=0, timeout_s=2.0)

    async def _answer(self, leg: Leg) -> None:
        """One call; the registration is renewed until it comes."""
        call: Call | None = None
        while call is None:
            held_s = await leg.register(expires_s=_EXPIRES_S, timeout_s=_REGISTER_S)
            self.fault = ""
            event = await leg.wait(dialogs.Incoming, timeout_s=max(5.0, held_s / 2))
            call = event.call if isinstance(event, dialogs.Incoming) else None
        if call.remote is None:
            return
        leg.answer(call)
        self.answered += 1
        confirmed = await leg.wait(dialogs.Answered, dialogs.Ended, timeout_s=_REGISTER_S)
        if isinstance(confirmed, dialogs.Answered):
            leg.media.start(call.remote)
            await leg.wait(dialogs.Ended, dialogs.Failed, timeout_s=_EXPIRES_S)
        await leg.media.stop()
        leg.hang_up(call)
        await self._clock.sleep(PACKET_MS / 1000)
