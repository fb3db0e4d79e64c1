"""One end of a call on the network: a user agent on a UDP socket, with its media."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from typing import Self

from nf.clock import Clock
from nf.errors import RefusedError, UnavailableError
from sip.calling import dialogs, sdp
from sip.calling.agent import UserAgent
from sip.calling.dialogs import Address, Call, Event
from sip.calling.digest import Account
from sip.calling.media import Media, drain, open_socket


def source_address(proxy: Address) -> str:
    """Ours, by which the proxy is reached. Raises UnavailableError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(proxy)
        except OSError as error:
            where = f"{proxy[0]}:{proxy[1]}"
            raise UnavailableError(
                f"there is no way to the proxy: {error.strerror}", where=where, remedy="see nf appliance show"
            ) from error
        return str(sock.getsockname()[0])


class Leg:
    """`async with`. Its user agent is driven by the event loop; `wait` tells what comes of it."""

    def __init__(self, user: str, domain: str, account: Account | None, *, proxy: Address, clock: Clock) -> None:
        """Raises UnavailableError."""
        host = source_address(proxy)
        self._socket = open_socket(host, 0)
        local = (host, int(self._socket.getsockname()[1]))
        self.agent = UserAgent(user, domain, local=local, proxy=proxy, account=account)
        self.media = Media(host, clock)
        self.host = host
        self.where = f"{proxy[0]}:{proxy[1]}"
        self._clock = clock
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._readable)
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._timers())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self.media.close()

    def offer(self) -> sdp.Description:
        return sdp.offer(self.host, self.media.port, session=secrets.randbits(31), rtcp_port=self.media.port + 1)

    # -- what a caller does -------------------------------------------------------------------------------------------

    async def register(self, *, expires_s: int, timeout_s: float) -> int:
        """Seconds for which it holds. Raises RefusedError, UnavailableError."""
        self.agent.register(self._clock.monotonic(), expires_s=expires_s)
        self.pump()
        found = await self.wait(dialogs.Registered, dialogs.NotRegistered, timeout_s=timeout_s)
        if isinstance(found, dialogs.Registered):
            return found.expires_s
        if not isinstance(found, dialogs.NotRegistered) or found.status == 408:
            remedy = "nf sip nodes tells whether it runs"
            raise UnavailableError("the proxy does not answer REGISTER", where=self.where, remedy=remedy)
        text = f"{self.agent.address} is not let in: {found.status} {found.reason}"
        raise RefusedError(text, where=self.where, remedy="compare the secret's HA1 with the accounts'")

    def call(self, target: str) -> Call:
        made = self.agent.call(target, self.offer(), self._clock.monotonic())
        self.pump()
        return made

    def answer(self, call: Call) -> None:
        """180, then 200. Raises InputError when the offer has nothing for us: then it is refused."""
        now = self._clock.monotonic()
        if call.remote is None:
            return
        try:
            port = self.media.port
            given = sdp.answer(call.remote, self.host, port, session=secrets.randbits(31), rtcp_port=port + 1)
        except Exception:
            self.agent.refuse(call, 488, "Not Acceptable Here", now)
            raise
        finally:
            self.pump()
        self.agent.ring(call, now)
        self.agent.answer(call, given, now)
        self.pump()

    def hang_up(self, call: Call) -> None:
        self.agent.hang_up(call, self._clock.monotonic())
        self.pump()

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def wait(self, *kinds: type[Event], timeout_s: float) -> Event | None:
        """The next event of these kinds; others are passed over. None when the time is over."""
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                while True:
                    event = await self._events.get()
                    if isinstance(event, kinds):
                        return event
        except TimeoutError:
            return None

    def pump(self) -> None:
        """Sends what is to be sent, and tells what has come of it."""
        for data, address in self.agent.data_to_send():
            with contextlib.suppress(OSError):  # retransmissions are the remedy, and the time-out the end
                self._socket.sendto(data, address)
        while (event := self.agent.next_event()) is not None:
            self._events.put_nowait(event)
        self._wake.set()

    def _readable(self) -> None:
        def take(data: bytes, source: Address, arrival: float) -> None:
            self.agent.receive(data, source, arrival)

        drain(self._socket, self._clock, take)
        self.pump()

    async def _timers(self) -> None:
        while True:
            self._wake.clear()
            at = self.agent.next_timeout()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if at is None else max(0.0, at - self._clock.monotonic())):
                    await self._wake.wait()
            self.agent.handle_timeout(self._clock.monotonic())
            self.pump_out()

    def pump_out(self) -> None:
        """As `pump`, without waking the timers that just ran."""
        self.pump()
        self._wake.clear()
