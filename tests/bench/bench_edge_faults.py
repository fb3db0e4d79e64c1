"""An edge under load: how long a hung shield is felt, with healing and with Traffic Server's own time-outs; reloads."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nf.media.edge.driver import create
from nf.media.edge.render import Places
from tests.bench.bench_edge import PLAIN_PORT, plain, running
from tests.bench.harness import Benchmark
from tests.headend.multicast.tree.network import Node, commit, nodes
from tests.nf.media.cdn import EDGE, EDGE_PORT, HOST, OTHER_SHIELD, SHIELD, SHIELD_PORT, edge_section

LAME = Path(__file__).parents[1] / "nf" / "media" / "lame_shield.py"
PLAIN_SHIELD, PLAIN_OTHER = "127.0.1.21", "127.0.1.22"
START_S = 30.0
RECOVERY_S = 1.0
"""So long an edge may feel a hung shield at most, however long Traffic Server alone would."""
LONGEST_S = 150.0
"""Traffic Server's own time-outs are half a minute and more for each of two attempts."""

PLAYERS = 8
RELOADS, REQUESTS = 12, 52_000


@contextmanager
def _shield(node: Node, address: str) -> Iterator[subprocess.Popen[bytes]]:
    program = ["nsenter", f"--net=/run/netns/{node.namespace}", sys.executable, str(LAME), address, str(SHIELD_PORT)]
    with subprocess.Popen(program) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


async def _get(port: int, name: str) -> int:
    """Without a thread: requests that wait for a minute must not keep others from being sent."""
    async with asyncio.timeout(LONGEST_S):
        reader, writer = await asyncio.open_connection(EDGE, port)
        try:
            writer.write(f"GET /ch1/{name}.m4s HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            return int((await reader.read()).split(maxsplit=2)[1])
        finally:
            writer.close()


async def _serves(port: int) -> None:
    async with asyncio.timeout(START_S):
        while True:
            with contextlib.suppress(OSError, IndexError):  # not yet
                if await _get(port, "first") == 200:
                    return
            await asyncio.sleep(0.1)


async def _longest_wait(port: int, hang: asyncio.Event, over: asyncio.Event) -> float:
    """Of any request for something new that was under way while the shield hung; in seconds."""
    longest = 0.0

    async def play(player: int) -> None:
        nonlocal longest
        number = 0
        while not over.is_set():
            number += 1
            began = time.monotonic()
            status = await _get(port, f"{player}-{number}")
            if status != 200:
                raise RuntimeError(f"port {port} answered {status}")
            if hang.is_set():
                longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(0.02)

    await asyncio.gather(*(play(player) for player in range(PLAYERS)))
    return longest


async def _both(node: Node, hung: list[subprocess.Popen[bytes]]) -> tuple[float, float]:
    await commit(create(node.context()), edge_section("ch1"))
    await asyncio.gather(_serves(EDGE_PORT), _serves(PLAIN_PORT))
    hang, over = asyncio.Event(), asyncio.Event()
    ours, theirs = (asyncio.create_task(_longest_wait(port, hang, over)) for port in (EDGE_PORT, PLAIN_PORT))
    await asyncio.sleep(2)
    hang.set()
    for process in hung:
        process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(5)
    over.set()  # what waits is still waited for
    return await ours, await theirs


def hung_parent() -> float:
    """Longest wait of Traffic Server with its own time-outs over ours, in the same seconds."""
    with nodes("bench") as made, ExitStack() as stack:
        node = made["bench"]
        node.supervise()
        # Shields of its own for the peer: ours ends every request of Traffic Server's user that waits at a hung one.
        hung = [stack.enter_context(_shield(node, address)) for address in (SHIELD, PLAIN_SHIELD)]
        for address in (OTHER_SHIELD, PLAIN_OTHER):
            stack.enter_context(_shield(node, address))
        place = Path(node.run_dir).parent
        places = Places(place / "plain", place / "plain-cache")
        parents = f'parent="{PLAIN_SHIELD}:{SHIELD_PORT};{PLAIN_OTHER}:{SHIELD_PORT}"'
        stack.enter_context(running(node, places, plain(places, parents)))
        ours, theirs = node.call(_both, node, hung, timeout_s=2 * LONGEST_S)
        print(f"edge.hung_parent: longest wait {ours:.2f} s, with Traffic Server's own time-outs {theirs:.1f} s")
        if ours >= RECOVERY_S:
            raise RuntimeError(f"a request waited {ours:.2f} s with healing: {RECOVERY_S:g} s and more is no recovery")
        return theirs / ours


async def _reloads(node: Node) -> float:
    edge = create(node.context())
    await commit(edge, edge_section("ch1"))
    await _serves(EDGE_PORT)
    asked = failed = 0
    over = asyncio.Event()

    async def play() -> None:
        nonlocal asked, failed
        reader, writer = await asyncio.open_connection(EDGE, EDGE_PORT)
        request = f"GET /ch1/first.m4s HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
        while not over.is_set() or asked < REQUESTS:
            asked += 1
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(1000)
                failed += b" 200 " not in head.split(b"\r\n", 1)[0]
            except (OSError, asyncio.IncompleteReadError):
                failed += 1
                reader, writer = await asyncio.open_connection(EDGE, EDGE_PORT)
        writer.close()

    players = [asyncio.create_task(play()) for _ in range(PLAYERS)]
    for number in range(RELOADS):
        await commit(edge, edge_section("ch1", *(["ch2"] if number % 2 == 0 else [])))
    over.set()
    await asyncio.gather(*players)
    print(f"edge.reload: {failed} of {asked} requests failed during {RELOADS} reloads")
    return float(failed)


def reload() -> float:
    if shutil.which("traffic_manager") is None:
        raise FileNotFoundError(2, "not found", "traffic_manager")
    with nodes("bench") as made:
        node = made["bench"]
        node.supervise()
        with _shield(node, SHIELD), _shield(node, OTHER_SHIELD):
            return node.call(_reloads, node, timeout_s=900.0)


BENCHMARKS = [
    Benchmark(
        "edge.hung_parent",
        peer="the longest wait behind Traffic Server with its own time-outs, over ours",
        sense=">=",
        target=50.0,
        run=hung_parent,
        repeats=3,
    ),
    Benchmark(
        "edge.reload",
        peer=f"requests that failed, of {REQUESTS} and more on {PLAYERS} kept connections during {RELOADS} reloads",
        sense="<=",
        target=0.0,
        run=reload,
        repeats=1,
    ),
]
