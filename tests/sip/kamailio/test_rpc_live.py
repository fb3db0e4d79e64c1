"""The client against a real Kamailio: small and large answers, many at once, one that hangs, one that is gone."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from nf.errors import DeadlineError, UnavailableError
from sip.kamailio.jsonrpc import RpcRefused
from sip.kamailio.rpc import RpcClient, open_rpc
from tests.sip.kamailio.bare import Bare, kamailio

pytestmark = [pytest.mark.daemon, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]) -> Iterator[Bare]:
    require_programs("kamailio")
    with kamailio(tmp_path_factory.mktemp("kamailio")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def client(bare: Bare, tmp_path: Path) -> AsyncIterator[RpcClient]:
    async with open_rpc(bare.path, tmp_path / "clients", bare.url, whole=True) as made:
        await answering(made)
        yield made


async def answering(client: RpcClient) -> None:
    async with asyncio.timeout(60.0):
        while True:
            try:
                await client.call("core.uptime")
            except (UnavailableError, DeadlineError):
                await asyncio.sleep(0.1)
            else:
                return


async def test_it_answers_and_refuses(client: RpcClient) -> None:
    uptime = await client.call("core.uptime")
    assert isinstance(uptime, dict)
    assert isinstance(uptime["uptime"], int)
    with pytest.raises(RpcRefused) as refused:
        await client.call("no.such_method")
    assert refused.value.code in {-32601, 404, 500}


async def test_many_at_once_each_get_their_own_answer(client: RpcClient) -> None:
    numbers = range(300)
    await asyncio.gather(*(client.call("htable.sets", "t", f"k{n}", f"v{n}", timeout_s=60.0) for n in numbers))
    found = await asyncio.gather(*(client.call("htable.get", "t", f"k{n}", timeout_s=60.0) for n in numbers))
    assert [one["item"]["value"] for one in found] == [f"v{n}" for n in numbers]  # type: ignore[index,call-overload]


async def test_what_does_not_fit_a_datagram_comes_by_http(client: RpcClient) -> None:
    long = "x" * 900
    for batch in range(0, 2000, 100):
        await asyncio.gather(
            *(client.call("htable.sets", "t", f"big{n}", long, timeout_s=60.0) for n in range(batch, batch + 100))
        )
    found = await client.call("htable.dump", "t", timeout_s=60.0)
    assert isinstance(found, list)
    values = [str(slot["value"]) for entry in found for slot in entry["slot"]]  # type: ignore[index,call-overload,union-attr]
    assert values.count(long) == 2000
    assert sum(map(len, values)) > 1_700_000


async def test_by_datagram_alone_it_is_a_deadline(client: RpcClient) -> None:
    alone = RpcClient(client.path, client.clients, whole=True)
    try:
        with pytest.raises(DeadlineError, match="was not answered"):
            await alone.call("htable.dump", "t", timeout_s=2.0)
        await alone.call("core.uptime", timeout_s=30.0)
    finally:
        alone.close()


async def test_a_daemon_that_hangs_costs_its_time_and_no_more(client: RpcClient, bare: Bare) -> None:
    bare.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        asked = [client.call("core.uptime", timeout_s=2.0) for _ in range(60)]  # more than its queue holds
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(one) for one in found} <= {DeadlineError}
        assert time.monotonic() - began < 20.0
    finally:
        bare.signal(signal.SIGCONT)
    await answering(client)


async def test_a_socket_that_was_taken_away_is_made_again(client: RpcClient) -> None:
    await client.call("core.uptime")
    for one in client.clients.iterdir():
        one.unlink()
    assert await client.call("core.uptime", timeout_s=30.0)


async def test_nothing_there(tmp_path: Path) -> None:
    async with open_rpc(tmp_path / "rpc.sock", tmp_path / "clients") as client:
        with pytest.raises(UnavailableError, match="does not answer"):
            await client.call("core.uptime")
    assert [*(tmp_path / "clients").iterdir()] == []
