"""HI2 and HI3 over TLS (ETSI TS 102 232-1 clause 6): what comes is stored, and only then answered."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from lawful_intercept.handover import tri
from lawful_intercept.handover.decoder import PsPdu, Tri
from lawful_intercept.handover.reading import PduError
from lawful_intercept.handover.splitter import Splitter
from lawful_intercept.lemf.store import Store
from lawful_intercept.tls import require
from nf.errors import IdentityError, NfError, UnavailableError

CHUNK: Final = 256 * 1024
HANDSHAKE_S: Final = 10.0
WRITE_S: Final = 30.0
CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where an interface listens. `interface`: 2 or 3."""

    interface: int
    address: str
    port: int


class Receiver:
    """`domain`: whose elements may deliver. `clock_ns`: UTC now. `failed`: gets a failure's class, never its words."""

    def __init__(
        self,
        store: Store,
        context: ssl.SSLContext,
        places: Iterable[Place],
        *,
        domain: str,
        acknowledge: bool,
        clock_ns: Callable[[], int],
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store, self._context, self._places = store, context, tuple(places)
        self._domain, self._acknowledge, self._clock_ns, self._failed = domain, acknowledge, clock_ns, failed
        # One thread writes: connections wait for it in the order in which they came.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="lemf-store")
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused = 0
        """Connections that ended because of what came on them, or of who it was."""

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(int(server.sockets[0].getsockname()[1]) for server in self._servers)

    async def start(self) -> None:
        """Raises UnavailableError."""
        for place in self._places:
            try:
                server = await asyncio.start_server(
                    self._accept(place.interface),
                    place.address,
                    place.port,
                    ssl=self._context,
                    ssl_handshake_timeout=HANDSHAKE_S,
                    limit=CHUNK,
                )
            except OSError as error:
                raise UnavailableError(
                    "cannot listen", where=f"{place.address}:{place.port}", remedy="name a free address and port"
                ) from error
            self._servers.append(server)

    async def close(self) -> None:
        """What is being stored is stored; nothing else is read."""
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._writer.shutdown)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _accept(self, interface: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._tasks) >= CONNECTIONS:
                self.refused += 1
                writer.transport.abort()
                return
            task = asyncio.get_running_loop().create_task(self._serve(interface, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return accepted

    async def _serve(self, interface: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            require(writer, self._domain, "element")
            await self._take(interface, reader, writer)
        except (IdentityError, PduError) as error:
            self.refused += 1
            self._failed(type(error).__name__)
        except NfError as error:  # the store cannot keep it: the sender has to keep it
            self._failed(type(error).__name__)
        except (OSError, TimeoutError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await writer.wait_closed()

    async def _take(self, interface: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter, loop = Splitter(), asyncio.get_running_loop()
        while True:
            octets = await reader.read(CHUNK)
            if not octets:
                return
            pdus = splitter.feed(octets)
            if pdus:
                storing = loop.run_in_executor(self._writer, self._store.take, interface, self._clock_ns(), pdus)
                read = await asyncio.shield(storing)
                answers = b"".join(self._answers(read))
                if answers:
                    writer.write(answers)
                    async with asyncio.timeout(WRITE_S):
                        await writer.drain()
            if splitter.broken:
                raise PduError("came after one that could not be read")

    def _answers(self, pdus: Iterable[PsPdu | None]) -> Iterable[bytes]:
        for pdu in pdus:
            if pdu is None or pdu.tri is None:
                continue
            if pdu.tri is Tri.KEEP_ALIVE:
                yield tri.answer(pdu, Tri.KEEP_ALIVE_RESPONSE)
            elif pdu.tri is Tri.OPTION_REQUEST:
                yield tri.option_response(pdu, [tri.ACKNOWLEDGEMENT] if self._acknowledge else [])
            elif pdu.tri is Tri.ACKNOWLEDGEMENT_REQUEST and self._acknowledge:
                yield tri.acknowledgement_response(pdu)
