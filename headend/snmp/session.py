"""A kept session with one agent: readings with quality, and walks.

An answer with nothing in it may mean "I have none of these" or "I cannot answer such a question"; it is asked again
in parts until it is clear what is missing and what the agent chokes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from headend.snmp import walk as walks
from headend.snmp.engine import EngineTime, EngineWatch
from headend.snmp.errors import AgentSilentError, SnmpError, SnmpSecurityError
from headend.snmp.fast import SYS_UP_TIME, FastAgent, UnreadableAnswerError
from headend.snmp.stack import Stack
from headend.snmp.target import Community, Target, Usm
from headend.snmp.values import Quality, Reading, Varbind, plain_oid
from nf.clock import Clock
from nf.errors import NfError

CHUNK: Final = 32
"""OIDs in one GET: the answer fits one Ethernet frame unless there are long texts in it."""
ENGINE_CHECK_S: Final = 60.0
"""So often the engine's id, boots and time are read under its digest; well within the time window of 150 s."""
ENGINE_ID, ENGINE_BOOTS, ENGINE_TIME = (f"1.3.6.1.6.3.10.2.1.{number}.0" for number in (1, 2, 3))
_WIRE: Final = (int, str, bytes)


@lru_cache(maxsize=4096)
def _question(oids: tuple[str, ...]) -> tuple[list[str], frozenset[str]]:
    """What to ask for: each once, without leading dots; and the OIDs as the caller wrote them."""
    return list(dict.fromkeys(map(plain_oid, oids))), frozenset(oids)


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
        self.release()

    def release(self) -> None:
        """What `close` does; a `get` under way ends unreachable."""
        self._agent.close()
        if self._own_stack:
            self._stack.close()

    async def get(self, oids: Sequence[str]) -> dict[str, Reading]:
        """A reading for every OID asked for; what the agent does not have or say is in the quality.

        Raises InputError for what is no OID or no address, and nothing that an agent can cause.
        """
        names, wanted = _question(tuple(oids))
        found: dict[str, Reading] = {}
        async with self._lock:
            at = self._clock.monotonic()
            self.error = None
            try:
                if len(names) <= CHUNK:
                    found = await self._chunk(names, at)
                else:
                    for first in range(0, len(names), CHUNK):
                        found.update(await self._chunk(names[first : first + CHUNK], at))
                if self._watch is not None:
                    await self._check_engine(self._watch, at)
            except (AgentSilentError, SnmpSecurityError) as error:
                self.error = error
        if found.keys() == wanted:
            return found
        missing = Reading(None, Quality.UNREACHABLE if self.error else Quality.MISSING, at)
        return {oid: found.get(plain_oid(oid), missing) for oid in oids}

    async def walk(self, root: str, rows_max: int = walks.ROWS_MAX) -> list[Varbind]:
        """Everything beneath `root` with its wire type, each OID once; see `headend.snmp.walk`."""
        async with self._lock:
            return await walks.walk(self._stack, self.target, root, rows_max)

    async def _chunk(self, oids: list[str], at: float) -> dict[str, Reading]:
        """What the agent says of these; OIDs that it does not have are left out."""
        if self._in_context:
            return await self._chunk_in_context(oids, at)
        try:
            values = await self._agent.get_many(oids)
            if values:
                return {
                    oid: Reading(value, Quality.GOOD, at) if isinstance(value, _WIRE) else _reading(value, at)
                    for oid, value in values.items()
                }
            if len(oids) > 1 and await self._agent.get_many([SYS_UP_TIME, *oids]):
                return {}  # it does answer such questions: these are not there
        except UnreadableAnswerError:
            pass
        if len(oids) == 1:
            return await self._single(oids[0], at)
        middle = len(oids) // 2
        return await self._chunk(oids[:middle], at) | await self._chunk(oids[middle:], at)

    async def _single(self, oid: str, at: float) -> dict[str, Reading]:
        try:
            value = await self._agent.get_one(oid)
        except KeyError:
            return {}
        except UnreadableAnswerError:
            value = None
        else:
            credentials = self.target.credentials
            if value is None and isinstance(credentials, Community) and credentials.version == "v1":
                return {}  # noSuchName: v1 cannot say it otherwise
        return {oid: _reading(value, at)}

    async def _chunk_in_context(self, oids: list[str], at: float) -> dict[str, Reading]:
        """gufo-snmp knows no contexts."""
        try:
            answers = await walks.get(self._stack, self.target, oids)
        except SnmpError:
            if len(oids) == 1:
                return {oids[0]: Reading(None, Quality.UNREADABLE, at)}
            middle = len(oids) // 2
            return await self._chunk_in_context(oids[:middle], at) | await self._chunk_in_context(oids[middle:], at)
        return {oid: _reading(answer.varbind.value, at) for oid, answer in answers.items() if not answer.exception}

    async def _check_engine(self, watch: EngineWatch, now: float) -> None:
        """Remember the engine: every minute, and whenever it took a resynchronisation to be understood."""
        if self._checked and self._checked[0] == self._agent.resynchronised and now - self._checked[1] < ENGINE_CHECK_S:
            return
        self._checked = (self._agent.resynchronised, now)
        found = await self._chunk([ENGINE_ID, ENGINE_BOOTS, ENGINE_TIME], now)
        said = [found[oid].value for oid in (ENGINE_ID, ENGINE_BOOTS, ENGINE_TIME) if oid in found]
        match said:
            case [bytes(engine_id), int(boots), int(time_s)]:
                watch.observe(self._name, EngineTime(engine_id, boots, time_s, authentic=True))
            case _:  # an agent without SNMP-FRAMEWORK-MIB
                watch.observe(self._name, await self._agent.discovered())


def _reading(value: object, at: float) -> Reading:
    if isinstance(value, _WIRE):
        return Reading(value, Quality.GOOD, at)
    if isinstance(value, float):
        return Reading(str(value).encode(), Quality.GOOD, at)
    return Reading(None, Quality.UNREADABLE, at)
