"""Where sessions and registrations are learnt: the PFCP proxy's event socket, and info APIs of SMFs and AMFs.

Nothing here writes anywhere: a source that cannot be read is `up = False` in the status that the caller may ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from core5g import info_api
from core5g.observation.documents import InfoApi
from core5g.observation.sessions import gnb_addresses, n4_session, pdu_sessions, registrations
from core5g.observation.tracker import N4, Addressed, Tracker
from nf.clock import Clock
from nf.contracts.json import Json, JsonObject
from nf.errors import UnavailableError

POLL_S: Final = 1.0
_SHARE: Final = 3.0
_RETRY_S: Final = 0.5
_SILENCE_S: Final = 1.0
"""After which the proxy has told all that stands, when nothing happens."""
_TIMEOUT_S: Final = 5.0
_LONGEST_LINE: Final = 1 << 20

Taken = Callable[[list[Addressed]], None]
"""Called after every change, with the events that it made, which may be none."""


class Source(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def up(self) -> bool: ...

    async def run(self) -> None:
        """For ever."""


class N4Source:
    """The proxy's stream: lines of JSON. What stands comes first, with `"standing": true`, then what happens."""

    name = N4

    def __init__(self, path: Path, tracker: Tracker, taken: Taken, clock: Clock) -> None:
        self._path, self._tracker, self._taken, self._clock = path, tracker, taken, clock
        self.up = False

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
                await self._follow()
            self.up = False
            await self._clock.sleep(_RETRY_S)

    async def _follow(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._path), limit=_LONGEST_LINE)
        self.up = True
        before = self._tracker.sessions_of(N4)
        try:
            standing = True
            while True:
                try:
                    async with asyncio.timeout(_SILENCE_S if standing else None):
                        line = await reader.readline()
                except TimeoutError:
                    line = None
                if line == b"":
                    return
                event = _json(line) if line is not None else {}
                key = str(event.get("seid"))
                if standing and event.get("standing") is True:
                    before.discard(key)
                elif standing:
                    standing = False
                    self._ended_meanwhile(before)
                self._taken(self._apply(event, key))
        finally:
            writer.close()

    def _ended_meanwhile(self, keys: set[str]) -> None:
        for gone in sorted(keys):
            self._taken(self._tracker.session_gone((N4, gone), self._clock.now()))

    def _apply(self, event: JsonObject, key: str) -> list[Addressed]:
        at = event.get("at")
        now = float(at) if isinstance(at, int | float) else self._clock.now()
        if event.get("event") == "session-end":
            return self._tracker.session_gone((N4, key), now)
        if event.get("event") not in {"session-begin", "session-modify"}:
            return []
        try:
            _, session = n4_session(event)
        except ValueError:
            return []
        return self._tracker.session((N4, key), session, now)


class _Polled:
    """An info API, asked page by page."""

    def __init__(self, api: InfoApi, clock: Clock, poll_s: float) -> None:
        self._api, self._clock, self._poll_s = api, clock, poll_s
        self.up = False

    async def run(self) -> None:
        while True:
            begun = self._clock.monotonic()
            try:
                await self._poll()
                self.up = True
            except UnavailableError:
                self.up = False
            # Of many sessions there are many pages: the function has the greater part of the time for its own work.
            await self._clock.sleep(max(self._poll_s, _SHARE * (self._clock.monotonic() - begun)))

    async def _poll(self) -> None:
        raise NotImplementedError

    async def _items(self, path: str) -> list[Json]:
        """Raises UnavailableError."""
        return [*await info_api.items(f"{self._api.address}:{self._api.port}", path, _TIMEOUT_S)]


class SmfSource(_Polled):
    """`/pdu-info`. A session that is missing once may have slipped between two pages: twice, and it is over."""

    def __init__(self, api: InfoApi, tracker: Tracker, taken: Taken, clock: Clock, poll_s: float = POLL_S) -> None:
        super().__init__(api, clock, poll_s)
        self.name = f"{'smf-local' if api.local else 'smf'}:{api.address}:{api.port}"
        self._tracker, self._taken = tracker, taken
        self._missing: set[str] = set()

    async def _poll(self) -> None:
        found = dict(pdu_sessions(await self._items("/pdu-info")))
        now = self._clock.now()
        absent = self._tracker.sessions_of(self.name) - found.keys()
        # First who is gone: its address may be another's by now.
        for key in sorted(absent & self._missing):
            self._taken(self._tracker.session_gone((self.name, key), now))
        self._missing = absent
        for key, session in found.items():
            self._taken(self._tracker.session((self.name, key), session, now))


class AmfSource(_Polled):
    """`/ue-info`, with the addresses of gNBs from `/gnb-info`."""

    def __init__(self, api: InfoApi, tracker: Tracker, taken: Taken, clock: Clock, poll_s: float = POLL_S) -> None:
        super().__init__(api, clock, poll_s)
        self.name = f"amf:{api.address}:{api.port}"
        self._tracker, self._taken = tracker, taken
        self._known: set[str] = set()
        self._missing: set[str] = set()

    async def _poll(self) -> None:
        gnbs = gnb_addresses(await self._items("/gnb-info"))
        found = dict(registrations(await self._items("/ue-info"), gnbs))
        now = self._clock.now()
        absent = self._known - found.keys()
        over = absent & self._missing
        for supi in sorted(over):
            self._taken(self._tracker.deregistered(supi, now))
        self._missing = absent - over
        self._known = found.keys() | self._missing
        for registration in found.values():
            self._taken(self._tracker.registration(registration, now))


def _json(data: bytes) -> JsonObject:
    """Raises ValueError."""
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004 - bad data
    return value


def by_name(sources: tuple[Source, ...]) -> Mapping[str, bool]:
    return {source.name: source.up for source in sources}
