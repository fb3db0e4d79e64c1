"""A kept session with one agent: readings with quality, and walks.

An answer with nothing in it may mean "I have none of these" or "I cannot answer such a question"; it is asked again
in parts until it is clear what is missing and what the agent chokes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from headend.snmp import walk as walks
from headend.snmp.engine import EngineTime, EngineWatch
from headend.snmp.errors import AgentSilentError, SnmpError, SnmpSecurityError
from headend.snmp.fast import SYS_UP_TIME, FastAgent, UnreadableAnswerError
from headend.snmp.stack import Stack
from headend.snmp.target import Community, Target, Usm
from headend.snmp.values import Quality, Reading, Varbind, Wire, plain_oid
from nf.clock import Clock
from nf.errors import NfError

CHUNK: Final = 32
"""OIDs in one GET: the answer fits one Ethernet frame unless there are long texts in it."""
ENGINE_CHECK_S: Final = 60.0
"""So often the engine's id, boots and time are read under its digest; well within the time window of 150 s."""
ENGINE_ID, ENGINE_BOOTS, ENGINE_TIME = (f"1.3.6.1.6.3.10.2.1.{number}.0" for number in (1, 2, 3))

_Found = dict[str, tuple[Wire, Quality]]


class Session:
    """Reads from one agent; one request at a time, the others wait for it.

    `name` and `watch`: where the engine of a v3 agent is remembered. `error` says why the last `get` got nothing.
    """

    def __init__(
        self,
        target: Target,
        clock: Clock,
        *,
        name: str = "",
        watch: EngineWatch | None = None,
        stack: Stack | None = None,
    ) -> None:
        self.target = target
        self.error: NfError | None = None
        self._clock = clock
        self._name = name or str(target)
        self._watch = watch if isinstance(target.credentials, Usm) else None
        self._own_stack = stack is None
        self._stack = stack or Stack()
        self._agent = FastAgent(target, self._stack)
        self._in_context = isinstance(target.credentials, Usm) and target.credentials.context != ""
        self._lock = asyncio.Lock()
        self._checked: tuple[int, float] | None = None  # the agent's resynchronisations and our time, then

    async def close(self) -> None:
        """Let go of sockets; the session may be used again."""
        self._agent.close()
        if self._own_stack:
            self._stack.close()

    async def get(self, oids: Sequence[str]) -> dict[str, Reading]:
        """A reading for every OID asked for; what the agent does not have or say is in the quality.

        Raises InputError for what is no OID or no address, and nothing that an agent can cause.
        """
        names = list(dict.fromkeys(map(plain_oid, oids)))
        found: _Found = {}
        async with self._lock:
            at = self._clock.monotonic()
            self.error = None
            try:
                for first in range(0, len(names), CHUNK):
                    found |= await self._chunk(names[first : first + CHUNK])
                await self._check_engine(at)
            except (AgentSilentError, SnmpSecurityError) as error:
                self.error = error
        missing = (None, Quality.UNREACHABLE if self.error else Quality.MISSING)
        return {oid: Reading(*found.get(plain_oid(oid), missing), at) for oid in oids}

    async def walk(self, root: str, rows_max: int = walks.ROWS_MAX) -> list[Varbind]:
        """Everything beneath `root` with its wire type, each OID once; see `headend.snmp.walk`."""
        async with self._lock:
            return await walks.walk(self._stack, self.target, root, rows_max)

    async def _chunk(self, oids: list[str]) -> _Found:
        """What the agent says of these; OIDs that it does not have are left out."""
        if self._in_context:
            return await self._chunk_in_context(oids)
        try:
            values = await self._agent.get_many(oids)
            if values:
                return {oid: _plain(value) for oid, value in values.items()}
            if len(oids) > 1 and await self._agent.get_many([SYS_UP_TIME, *oids]):
                return {}  # it does answer such questions: these are not there
        except UnreadableAnswerError:
            pass
        if len(oids) == 1:
            return await self._single(oids[0])
        middle = len(oids) // 2
        return await self._chunk(oids[:middle]) | await self._chunk(oids[middle:])

    async def _single(self, oid: str) -> _Found:
        try:
            value = await self._agent.get_one(oid)
        except KeyError:
            return {}
        except UnreadableAnswerError:
            return {oid: (None, Quality.UNREADABLE)}
        credentials = self.target.credentials
        if value is None and isinstance(credentials, Community) and credentials.version == "v1":
            return {}  # noSuchName: v1 cannot say it otherwise
        return {oid: (None, Quality.UNREADABLE) if value is None else _plain(value)}

    async def _chunk_in_context(self, oids: list[str]) -> _Found:
        """gufo-snmp knows no contexts."""
        try:
            answers = await walks.get(self._stack, self.target, oids)
        except SnmpError:
            if len(oids) == 1:
                return {oids[0]: (None, Quality.UNREADABLE)}
            middle = len(oids) // 2
            return await self._chunk_in_context(oids[:middle]) | await self._chunk_in_context(oids[middle:])
        return {oid: (answer.varbind.value, Quality.GOOD) for oid, answer in answers.items() if not answer.exception}

    async def _check_engine(self, now: float) -> None:
        """Remember the engine: every minute, and whenever it took a resynchronisation to be understood."""
        if self._watch is None:
            return
        if self._checked and self._checked[0] == self._agent.resynchronised and now - self._checked[1] < ENGINE_CHECK_S:
            return
        self._checked = (self._agent.resynchronised, now)
        found = await self._chunk([ENGINE_ID, ENGINE_BOOTS, ENGINE_TIME])
        engine_id, boots, time_s = (found.get(oid, (None,))[0] for oid in (ENGINE_ID, ENGINE_BOOTS, ENGINE_TIME))
        if isinstance(engine_id, bytes) and isinstance(boots, int) and isinstance(time_s, int):
            self._watch.observe(self._name, EngineTime(engine_id, boots, time_s, authentic=True))
        else:  # an agent without SNMP-FRAMEWORK-MIB
            self._watch.observe(self._name, await self._agent.discovered())


def _plain(value: object) -> tuple[Wire, Quality]:
    if isinstance(value, float):
        return str(value).encode(), Quality.GOOD
    return (value, Quality.GOOD) if isinstance(value, int | str | bytes) else (None, Quality.UNREADABLE)
