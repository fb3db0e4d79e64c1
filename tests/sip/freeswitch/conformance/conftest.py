"""Whom the suite talks to: the lab's model of FreeSWITCH, or a real one at FS_ESL; and with which client.

Each is reached by a cutter too, which hands on what FreeSWITCH says octet by octet.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

import pytest

from tests.sip.freeswitch.conformance.clients import Client, Genesis, Ours
from tests.sip.freeswitch.daemons import BIN, ESL, UNVERIFIED, VERIFIED, label
from tests.sip.freeswitch.other_client import here
from tests.sip.freeswitch.running import started
from tests.sip.freeswitch.samples import PASSWORD


class Target(NamedTuple):
    """`ours`: it may be paused and set, as nobody else uses it."""

    host: str
    port: int
    password: str
    ours: bool


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """FS_ESL=host:port[:password]; the password is that which FreeSWITCH comes with, unless another is named."""
    if ESL:
        host, port, *password = ESL.split(":", 2)
        yield Target(host, int(port), password[0] if password else "ClueCon", ours=False)
        return
    if not (BIN / "freeswitch").is_file():
        pytest.skip("needs FS_ESL=host:port, or the program freeswitch in NF_FREESWITCH_BIN")
    with started(BIN, tmp_path_factory.mktemp("freeswitch")) as found:
        yield Target("127.0.0.1", found.control, PASSWORD, ours=True)


@pytest.fixture(autouse=True)
def _labelled(target: Target, record_property: Callable[[str, object], None]) -> None:
    real = VERIFIED if not target.ours else label()
    record_property("conformance", real if real == VERIFIED else UNVERIFIED)


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: int) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            for at in range(0, len(data), piece):
                writer.write(data[at : at + piece])
                if at % 64 == 0:
                    await writer.drain()
                    await asyncio.sleep(0)
    writer.close()


@contextlib.asynccontextmanager
async def _cutter(target: Target) -> AsyncIterator[Target]:
    serving: set[asyncio.Task[None]] = set()

    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(target.host, target.port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(_hand_on(reader, far_writer, 65_536), _hand_on(far_reader, writer, 1))
        for one in (writer, far_writer):
            with contextlib.suppress(OSError):
                await one.wait_closed()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(both(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield target._replace(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.gather(*serving)


@pytest.fixture(params=["ours", "ours, octet by octet", "genesis"])
async def client(request: pytest.FixtureRequest, target: Target) -> AsyncIterator[Client]:
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "genesis":
            if not here():
                pytest.skip("needs genesis: `make setup` puts it into .venv/genesis")
            yield await stack.enter_async_context(Genesis(*target[:3]))
            return
        place = await stack.enter_async_context(_cutter(target)) if request.param != "ours" else target
        yield await stack.enter_async_context(Ours(*place[:3]))
