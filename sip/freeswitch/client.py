"""The client of FreeSWITCH's event socket: stays connected, asks again for its events, runs jobs in the background."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, Self
from uuid import uuid4

from nf.errors import DeniedError, IdentityError, NfError
from sip.freeswitch.codec import Event, Reply, subscription
from sip.freeswitch.connection import MOST_EVENTS, TIMEOUT_S, EslConnection, accepted
from sip.freeswitch.errors import CommandTimeout, ConnectionLost

JOB: Final = "BACKGROUND_JOB"
FIRST_S: Final = 0.2
LAST_S: Final = 15.0
JOB_S: Final = 60.0

Format = Literal["plain", "json"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Between two events: some are missing. `count` None: as many as happened while there was no connection."""

    count: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """names    of events; `CUSTOM sofia::register` for a subclass; `ALL`
    filters  (header, value): only events that match one of them; empty: all
    """

    names: tuple[str, ...] = ()
    form: Format = "json"
    filters: tuple[tuple[str, str], ...] = ()


class EslClient:
    """`async with EslClient(host, port, password) as client:` Every call waits for the connection, no longer than its
    own time-out; with a wrong password or address it says so at once.

    `password` is asked for at every connection, so that a changed one is found.
    """

    def __init__(
        self,
        host: str,
        port: int,
        password: str | Callable[[], str],
        *,
        user: str = "",
        wanted: Subscription | None = None,
        timeout_s: float = TIMEOUT_S,
        most_events: int = MOST_EVENTS,
        backoff_s: tuple[float, float] = (FIRST_S, LAST_S),
    ) -> None:
        self.where = f"{host}:{port}"
        self._host, self._port, self._user = host, port, user
        self._password = password if callable(password) else (lambda: password)
        self._wanted = wanted or Subscription()
        self._timeout_s = timeout_s
        self._most = most_events
        self._backoff = backoff_s
        self._connection: EslConnection | None = None
        self._changed = asyncio.Event()
        self._trouble: NfError | None = None
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._hears_jobs = False
        self._setting = asyncio.Lock()
        self._out: asyncio.Queue[Event | Gap] = asyncio.Queue(maxsize=1)
        self._task: asyncio.Task[None] | None = None
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._drop(ConnectionLost("the client was closed", where=self.where))

    @property
    def connected(self) -> bool:
        return self._connection is not None and self._connection.is_open

    @property
    def trouble(self) -> NfError | None:
        """Why it is not connected; None while it is."""
        return self._trouble

    # -- the connection -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        delay = self._backoff[0]
        while True:
            connection: EslConnection | None = None
            try:
                connection = await EslConnection.open(
                    self._host,
                    self._port,
                    self._password(),
                    user=self._user,
                    timeout_s=self._timeout_s,
                    most_events=self._most,
                    taker=self._job_ended,
                )
                self._hears_jobs = False
                await self._ask(connection)
                self._connection, self._trouble = connection, None
                self.connections += 1
                self._tell()
                delay = self._backoff[0]
                await self._read(connection)
            except NfError as error:
                self._trouble = error
            finally:
                if connection is not None:
                    connection.close()
                self._drop(self._trouble or ConnectionLost("the connection broke", where=self.where))
            # Full jitter, so that a herd does not come back at once.
            await asyncio.sleep(random.uniform(0, delay))  # noqa: S311 - no secret
            delay = min(self._backoff[1], delay * 2)

    def _drop(self, error: NfError) -> None:
        self._connection = None
        for job in self._jobs.values():
            if not job.done():
                job.set_exception(ConnectionLost(f"its end was not heard: {error.message}", where=self.where))
        self._jobs.clear()
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _read(self, connection: EslConnection) -> None:
        if self.connections > 1 and self._wanted.names:
            await self._out.put(Gap(None, "it was connected anew"))
        lost = 0
        while True:
            event = await connection.next_event()
            if connection.lost > lost:
                await self._out.put(Gap(connection.lost - lost, "they were not taken in time"))
                lost = connection.lost
            await self._out.put(event)

    def _job_ended(self, event: Event) -> bool:
        """Told at once, whatever else waits. Its event is taken unless it was asked for too."""
        if event.name != JOB:
            return False
        job = self._jobs.pop(event.headers.get("Job-UUID", ""), None)
        if job is not None and not job.done():
            job.set_result(event.body)
        return self._wanted.names == () or not {JOB, "ALL"} & {*self._wanted.names}

    async def _ask(self, connection: EslConnection) -> None:
        """For what is wanted, on a new connection."""
        for header, value in self._wanted.filters:
            await connection.command(f"filter {header} {value}", timeout_s=self._timeout_s)
        if self._wanted.names:
            await connection.command(subscription(self._wanted.names, self._wanted.form), timeout_s=self._timeout_s)

    async def _ready(self) -> EslConnection:
        """Raises what makes waiting useless. The caller bounds it."""
        while True:
            changed, connection = self._changed, self._connection
            if connection is not None and connection.is_open:
                return connection
            if isinstance(self._trouble, IdentityError | DeniedError):
                raise type(self._trouble)(self._trouble.message, where=self.where, remedy=self._trouble.remedy)
            await changed.wait()

    @contextlib.asynccontextmanager
    async def _within(self, timeout_s: float) -> AsyncIterator[EslConnection]:
        """The connection, before the time is over. Raises ConnectionLost with why there is none."""
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._ready()
        except TimeoutError:
            told = self._trouble.message if self._trouble is not None else "no connection yet"
            raise ConnectionLost(told, where=self.where, remedy="see whether FreeSWITCH runs") from None
        yield connection

    # -- commands -----------------------------------------------------------------------------------------------------

    async def api(self, command: str, timeout_s: float | None = None) -> str:
        """What the command prints.

        Raises CommandRefused, CommandTimeout, ConnectionLost (a command may have been done all the same), LoginRefused,
        AddressRefused.
        """
        limit = self._timeout_s if timeout_s is None else timeout_s
        async with self._within(limit) as connection:
            return await connection.api(command, limit)

    async def command(
        self, command: str, headers: Iterable[tuple[str, str]] = (), body: str = "", timeout_s: float | None = None
    ) -> Reply:
        """Anything but `api`, such as `sendevent NAME` or `sendmsg UUID`. Raises as `api` does."""
        limit = self._timeout_s if timeout_s is None else timeout_s
        async with self._within(limit) as connection:
            return await connection.command(command, headers, body, timeout_s=limit)

    async def bgapi(self, command: str, timeout_s: float = JOB_S) -> str:
        """What the command prints, run beside all others; other commands do not wait for it. Raises as `api` does."""
        async with self._within(timeout_s) as connection:
            await self._hear_jobs(connection)
            job = str(uuid4())
            ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._jobs[job] = ended
            connection.awaited += 1
            try:
                async with asyncio.timeout(timeout_s):
                    # The end may come before the reply does.
                    await connection.command(f"bgapi {command}", (("Job-UUID", job),), timeout_s=timeout_s)
                    text = await ended
            except TimeoutError:
                told = f"`{command.partition(' ')[0]}` did not end in {timeout_s:g} s"
                raise CommandTimeout(
                    told, where=self.where, remedy="it may yet end: see before it is repeated"
                ) from None
            finally:
                self._jobs.pop(job, None)
                connection.awaited -= 1
                if ended.done() and not ended.cancelled():
                    ended.exception()
        return accepted(text, command, self.where)

    async def _hear_jobs(self, connection: EslConnection) -> None:
        async with self._setting:
            if self._hears_jobs or connection is not self._connection:
                return
            if self._wanted.filters:
                await connection.command(f"filter Event-Name {JOB}", timeout_s=self._timeout_s)
            if not {JOB, "ALL"} & {*self._wanted.names}:
                await connection.command(subscription((JOB,), self._wanted.form), timeout_s=self._timeout_s)
            self._hears_jobs = True

    # -- events -------------------------------------------------------------------------------------------------------

    async def subscribe(self, wanted: Subscription) -> None:
        """In place of what was wanted before; also after every new connection."""
        async with self._within(self._timeout_s) as connection:
            async with self._setting:
                before, self._wanted = self._wanted, wanted
                gone = {*before.names} - {*wanted.names}
                if gone:
                    named = subscription(gone, "").split(maxsplit=1)[1]
                    await connection.command(f"nixevent {named}", timeout_s=self._timeout_s)
                if before.filters:
                    await connection.command("filter delete all", timeout_s=self._timeout_s)
                await self._ask(connection)
                self._hears_jobs = False
            if self._jobs:
                await self._hear_jobs(connection)

    async def events(self) -> AsyncIterator[Event | Gap]:
        """As they come, for one reader. Who does not take them stops what is read, and is told what was dropped."""
        while True:
            yield await self._out.get()
