"""The proxy, as its observation point sees it: what it is told to look for, and what it tells.

A mark among its settings says that it has been told. A proxy that has started again has none: it is told anew before
anything else, and whoever opens a proxy waits for the mark (`sip.kamailio.pushing`). A process that finds the mark of
an earlier one takes up what that had told: the proxy has gone on by it, and what waits in the queue is fetched when the
orders are here again, or half a minute later. Nothing but the queue tells, for it numbers and counts. It is asked when
the proxy's bell has rung (`sip.interception.bell`), fifty times a second from then on for as long as the proxy takes to
ring again, and every now and then, for a ring may be lost. While there is no bell, or something was found that it has
not rung for, it is fifty times a second always.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nf.clock import Clock
from nf.contracts.interception import Identity
from nf.contracts.json import Json
from nf.errors import DeadlineError, NfError
from nf.interception.desk import KEPT_S
from sip.interception.bell import Bell
from sip.interception.board import Addressed, Board, Token
from sip.interception.identities import account, keys, spellings
from sip.interception.items import Item, read_item
from sip.interception.standing import Contact, Dialog, contacts, dialogs
from sip.kamailio.jsonrpc import RpcRefused
from sip.kamailio.pushing import OBSERVED_MARK
from sip.kamailio.rpc import RpcClient
from sip.kamailio.tables import CONTROL, NUMBERS, OWN
from sip.naming import rpc_socket, rpc_url

SOUGHT, CALLS, COUNTS, QUEUE = "obt", "obc", "obs", "obq"
"""Of `fragments/interception.cfg`."""
WORDS, WORD = "obw", "word"
POLL_S: Final = 0.02
BELL_AGAIN_S: Final = 1.0
RUNG_S: Final = 0.15
"""After a ring the proxy rings no more for a tenth of a second."""
MARK_S: Final = 0.1
LOOK_S: Final = 30.0
_AT_ONCE: Final = 256
_ALL: Final = 10_000
"""More than the queue holds."""
_ANSWER_S: Final = 3.0
_FEW: Final = 64
"""Calls that the proxy tells of in one datagram: some 1.5 kB each, of 200 kB."""


class Link:
    def __init__(
        self, board: Board, run_dir: Path, rpc_port: int, sink: Callable[[list[Addressed]], None], clock: Clock
    ) -> None:
        clients = run_dir / "sip-interception" / "clients"
        self._rpc = RpcClient(rpc_socket(run_dir), clients, rpc_url(rpc_port), _ANSWER_S, whole=True)
        # A request by HTTP is counted by the proxy among its requests, where everybody may read it; a datagram is not.
        self._uncounted = RpcClient(rpc_socket(run_dir), clients, "", _ANSWER_S, whole=True)
        self._board, self._sink, self._clock = board, sink, clock
        self._mark = secrets.token_hex(8)
        self._told: dict[str, dict[str, str]] = {SOUGHT: {}, CALLS: {}}
        self._lock = asyncio.Lock()
        self._awake = asyncio.Event()
        self._bell = Bell(rpc_port, self._rings)
        self._rung_at, self._unrung = float("-inf"), 0
        self._began = False
        self._waits, self._waits_until, self._settling = False, 0.0, False
        self._seen = asyncio.Event()
        self._unasked: set[Token] = set()
        self.up = False

    async def run(self) -> None:
        marked = looked = listened = float("-inf")
        while True:
            now = self._clock.monotonic()
            try:
                if now - marked >= MARK_S:
                    marked = now
                    self._sink(self._board.overdue(self._clock.now()))
                    await self._keep()
                if self.up and not self._bell.open and now - listened >= BELL_AGAIN_S:
                    listened = now
                    await self._listen()
                if self._waits and now >= self._waits_until:
                    await self.settle()
                if self.up and not self._waits and now - looked >= LOOK_S:
                    looked = now
                    await self._look()
                if self.up and not self._waits and self._board.orders():
                    await self._emptied()
            except NfError:
                self.up = False
            self._seen.set()
            # Without an order there is nothing in the queue.
            fast = self.up and self._board.orders() and (self._just_rung() or not self._bell.heard)
            await self._pause(POLL_S if fast else MARK_S)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        self._awake.clear()

    def _rings(self) -> None:
        self._rung_at = self._clock.monotonic()
        self._awake.set()

    def _just_rung(self) -> bool:
        return self._clock.monotonic() - self._rung_at < RUNG_S

    async def _listen(self) -> None:
        word = secrets.token_hex(16)
        await self._rpc.call("htable.sets", WORDS, WORD, word)
        self._bell.listen(word)

    def close(self) -> None:
        self._bell.close()
        self._rpc.close()
        self._uncounted.close()

    # -- telling ----------------------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """What is sought and the calls that are up; a proxy that is away is told when it is back."""
        async with self._lock:
            if self.up:
                try:
                    await self._tell()
                except NfError:
                    self.up = False
        self._awake.set()

    async def _tell(self) -> None:
        """What goes before what comes: nobody is looked for a moment longer than wanted."""
        while self._board.dropped:
            key = self._board.dropped.pop()
            self._told[CALLS].pop(key, None)
            with contextlib.suppress(RpcRefused):
                await self._rpc.call("htable.delete", CALLS, key)
        for table, wanted in ((SOUGHT, self._board.sought()), (CALLS, self._board.calls())):
            told = self._told[table]
            for key in [key for key in told if key not in wanted]:
                with contextlib.suppress(RpcRefused):
                    await self._rpc.call("htable.delete", table, key)
                del told[key]
            for key, value in wanted.items():
                # Calls that the proxy began to follow by itself are written as it has written them.
                if told.get(key) != value:
                    await self._rpc.call("htable.sets", table, key, value)
                    told[key] = value

    async def seen(self) -> None:
        """The proxy has been looked at: orders that come find what an earlier process has left."""
        await self._seen.wait()

    async def _keep(self) -> None:
        """Raises what the client raises when the proxy is away."""
        mark = str(await self._value(CONTROL, OBSERVED_MARK))
        if mark == self._mark:
            if not self.up:  # it did not answer for a while: what was wanted of it meanwhile it does not know
                self.up = True
                await self.sync()
            for token in [*self._unasked]:
                await self.standing(token)
            return
        if mark and not self._seen.is_set() and await self._take_up():
            return
        waited, self._waits = self._waits, False
        async with self._lock:
            self.up = False
            for table in (SOUGHT, CALLS, COUNTS):
                await self._rpc.call("htable.flush", table)
            await self._drained()
            self._board.settle(self._clock.now())
            self._told = {SOUGHT: {}, CALLS: {}}
            self.up = True
            await self._resolve()
            await self._tell()
            await self._rpc.call("htable.sets", CONTROL, OBSERVED_MARK, self._mark)
        if self._began:
            self._sink(self._board.anew(self._clock.now()))
            await self._look()
        if waited:
            for token in [*self._board.orders()]:
                await self.standing(token)
        self._began = True

    async def _take_up(self) -> bool:
        """False: it cannot be known whom the proxy looks for."""
        async with self._lock:
            try:
                sought, calls, counts = [await self._dump(table) for table in (SOUGHT, CALLS, COUNTS)]
            except (RpcRefused, DeadlineError):
                return False
            self._told = {SOUGHT: sought, CALLS: calls}
            self._waits = self._board.inherit(sought, calls, counts)
            self._waits_until = self._clock.monotonic() + KEPT_S
            if not self._waits:
                await self._drained()
                self._board.settle(self._clock.now())
            self.up = self._began = True
            await self._tell()
            await self._rpc.call("htable.sets", CONTROL, OBSERVED_MARK, self._mark)
        return True

    async def settle(self) -> None:
        """No order comes any more that takes up what was left: what the queue has is told, and the rest forgotten."""
        if not self._waits or self._settling:
            return
        self._settling = True
        tokens = {*self._board.orders()}
        try:
            items = await self._drained()
            lost, followed = self._board.settle(self._clock.now())
            self._sink(lost)
            begun = {(one.call_id, one.from_tag) for one in items if one.what == "invite"}
            up = [one for one in await self._dialogs() if one.key not in begun]
            for token in tokens:
                registered = await self._contacts(token)
                if token in self._board.orders():
                    self._sink(self._board.standing(token, up, registered, self._clock.now(), followed))
            for one in items:
                self._sink(self._board.take(one))
        except NfError:
            self.up = False
        finally:
            self._waits = self._settling = False
        await self.sync()
        for token in {*self._board.orders()} - tokens:
            await self.standing(token)

    async def _dump(self, table: str) -> dict[str, str]:
        found = await self._uncounted.call("htable.dump", table)  # by HTTP there are no such tables
        slots = [one.get("slot") for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        entries = [entry for slot in slots if isinstance(slot, list) for entry in slot if isinstance(entry, dict)]
        return {str(entry.get("name")): str(entry.get("value")) for entry in entries}

    async def _drained(self) -> list[Item]:
        found = []
        while (one := await self._next()) is not None:
            with contextlib.suppress(ValueError):
                found.append(read_item(*one))
        return found

    # -- being told -------------------------------------------------------------------------------------------------

    async def _next(self) -> tuple[str, str] | None:
        try:
            found = await self._rpc.call("mqueue.fetch", QUEUE)
        except RpcRefused:
            return None
        return (str(found.get("key")), str(found.get("val"))) if isinstance(found, dict) else None

    async def _emptied(self) -> None:
        rung = self._just_rung()
        found = await self._fetch()
        if found == _AT_ONCE:  # there is more
            self._rings()
        # Once it may be on its way.
        self._unrung = self._unrung + 1 if found and not rung else 0
        if self._unrung > 1 and self._bell.heard:
            self._bell.close()

    async def _fetch(self, most: int = _AT_ONCE) -> int:
        for number in range(most):
            found = await self._next()
            if found is None:
                return number
            try:
                item = read_item(*found)
            except ValueError:
                continue  # its number is missing in the count, and is told as lost
            self._sink(self._board.take(item))
        return most

    async def keys(self, identity: Identity) -> tuple[str, ...]:
        """The proxy knows which number leads to whom; one that is away is asked when it is back."""
        lines: dict[str, str] = {}
        if self.up:
            with contextlib.suppress(NfError):
                for number in spellings(identity):
                    found = str(await self._value(NUMBERS, number))
                    if found.startswith("u|"):
                        lines[number] = found.removeprefix("u|")
                own = str(await self._value(OWN, account(identity))) if account(identity) else ""
                if own.count("|") == 2 and own.rpartition("|")[2]:
                    lines[own.rpartition("|")[2]] = account(identity)
        return keys(identity, lines)

    async def _value(self, table: str, key: str) -> Json:
        try:
            found = await self._rpc.call("htable.get", table, key)
        except RpcRefused:
            return ""
        item = found.get("item") if isinstance(found, dict) else None
        return item.get("value") if isinstance(item, dict) else ""

    async def _resolve(self) -> None:
        for token, order in [*self._board.orders().items()]:
            found = await self.keys(order.identity)
            if token in self._board.orders() and found != self._board.keys_of(token):
                self._board.known_by(token, found)

    async def standing(self, token: Token) -> None:
        """For a new order, after `sync`: what is there already. While others may come, that is told later, and so it
        is of a proxy that does not answer."""
        if self._waits:
            return
        self._unasked.add(token)
        if not self.up:
            return
        try:
            up, registered = await self._dialogs(), await self._contacts(token)
        except NfError:
            return
        self._unasked.discard(token)
        if token in self._board.orders():
            self._sink(self._board.standing(token, up, registered, self._clock.now()))
        await self.sync()

    async def _contacts(self, token: Token) -> list[Contact]:
        found: list[Contact] = []
        for key in self._board.keys_of(token):
            if "@" in key:
                with contextlib.suppress(RpcRefused):  # it is not registered
                    found += contacts(await self._rpc.call("ul.lookup", "location", key))
        return found

    async def _dialogs(self) -> list[Dialog]:
        try:
            active = await self._rpc.call("dlg.stats_active")
            count = active.get("all") if isinstance(active, dict) else None
            few = isinstance(count, int) and count <= _FEW
            found: Json = await (self._uncounted if few else self._rpc).call("dlg.list")
        except RpcRefused:
            return []
        return [*dialogs(found)]

    async def _look(self) -> None:
        """Calls whose end was not told, as when they ended while the proxy had forgotten whom it looks for."""
        await self._resolve()
        if self._board.calls():
            asked = self._clock.now()
            there = [one.key for one in await self._dialogs()]
            await self._fetch(_ALL)  # what ended since is told by the queue
            self._sink(self._board.gone(there, asked, self._clock.now()))
        await self.sync()
