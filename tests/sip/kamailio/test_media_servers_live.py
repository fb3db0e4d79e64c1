"""Two media servers behind a proxy as it is rendered; one is killed, with calls coming in and without.

The media servers are the lab's model of FreeSWITCH, or the program of NF_FREESWITCH_BIN.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from sip.freeswitch.live import read_calls
from tests.sip.freeswitch.daemons import BIN, label
from tests.sip.freeswitch.running import Running, started
from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay, running, section, until
from tests.sip.kamailio.load import Callers

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(300)]

ADDRESSES: Final = ("127.0.0.11", "127.0.0.12")
ECHO: Final = "9000"
PING_S, ANSWER_S = 2.0, 2.0
"""The interval of dispatcher's OPTIONS, and for how long a server may leave an INVITE unanswered (`fr_timer`)."""
MARGIN_S: Final = 3.0
"""For a busy machine."""


@pytest.fixture(autouse=True)
def _labelled(record_property: Callable[[str, object], None]) -> None:
    record_property("conformance", label())


@contextmanager
def servers(folder: Path) -> Iterator[list[Running]]:
    with ExitStack() as stack:
        found = []
        for address in ADDRESSES:
            (folder / address).mkdir()
            found.append(stack.enter_context(started(BIN, folder / address, address, 5080)))
        yield found


def state(proxy: Proxy, address: str) -> str:
    found = re.search(rf"'sip:{re.escape(address)}:5080', 'FLAGS': '(..)'", str(proxy.rpc("dispatcher.list")))
    return found[1] if found else ""


def both_answer(proxy: Proxy) -> bool:
    return [state(proxy, address) for address in ADDRESSES] == ["AP", "AP"]


def calls_of(server: Running) -> int:
    async def ask() -> int:
        async with server.talk() as esl:
            return await read_calls(esl)

    return asyncio.run(ask())


def test_a_media_server_is_killed_while_calls_come_in(relay: Relay, tmp_path: Path) -> None:
    """What began afterwards is answered, and none of it hangs; what the other server has goes on."""
    wanted = section(services=[{"number": ECHO, "kind": "echo"}], limits={"calls_per_subscriber": 1000})
    load = Callers("127.0.0.1", 6200, 16, f"alice@{DOMAIN}", f"sip:{ECHO}@{DOMAIN}", PASSWORD, 0.8)
    with servers(tmp_path) as (one, other), running(tmp_path, wanted) as proxy:
        until(lambda: both_answer(proxy))
        with load:
            until(lambda: len(load.placed) >= 40)
            one.kill()
            killed = time.monotonic()
            until(lambda: state(proxy, ADDRESSES[0]) == "IP")
            out = time.monotonic()
            until(lambda: [each for each in load.placed if each.at > out + 1.0])
            load.stop()
            assert load.hung == []
            before = [each for each in load.placed if each.at < killed]
            after = [each for each in load.placed if each.at >= killed]
            assert len(after) >= 20
            assert {each.call.code for each in before + after} == {200}
            assert max(each.took_s for each in after) < ANSWER_S + MARGIN_S
            assert max(each.took_s for each in after if each.at > out) < MARGIN_S
            kept = calls_of(other)
            with ThreadPoolExecutor(16) as pool:  # what is dead says so after a while
                goodbyes = [*pool.map(lambda each: each.call.bye().code, load.placed)]
            assert goodbyes.count(200) == kept
            assert kept > len(after)
            until(lambda: calls_of(other) == 0)
        until(lambda: not relay.sessions())


def test_a_dead_media_server_is_out_within_three_pings(relay: Relay, tmp_path: Path) -> None:
    """Without a call that could tell."""
    with servers(tmp_path) as (one, _), running(tmp_path, section()) as proxy:
        until(lambda: both_answer(proxy))
        one.kill()
        until(lambda: state(proxy, ADDRESSES[0]) == "IP", 3 * PING_S + MARGIN_S)
        assert state(proxy, ADDRESSES[1]) == "AP"
