"""Whoever asks the observation point, in a process of its own: what it takes costs the phones of a test no time.

`python -m tests.sip.interception.asker RUN_DIR`; each line of its input is answered by one of its output.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nf.contracts.interception import Content, EventKind, Loss
from sip.interception.process import yielding
from tests.sip.interception.world import Taker, asking, order, until


async def serve(run_dir: Path) -> None:
    yielding()
    loop = asyncio.get_running_loop()
    async with asking(SimpleNamespace(run_dir=run_dir)) as taker:  # type: ignore[arg-type] # it needs no more of it
        print("ready", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(await _done(taker, *line.split()), flush=True)


async def _done(taker: Taker, verb: str, *words: str) -> str:
    if verb == "activate":
        await taker.point.activate(order(words[1], words[0], content="media"))
    elif verb == "deactivate":
        await taker.point.deactivate(words[0])
    elif verb == "ended":
        await until(lambda: len(taker.events(EventKind.SESSION_END, words[0])) >= int(words[1]))
    elif verb == "told":
        copies = Counter(one.reference for one in taker.of(Content))
        return f"{copies[words[0]]} {len(taker.of(Loss))}"
    return "ok"


class Asker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, *words: Any) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        await self._process.stdin.drain()
        answer = (await self._process.stdout.readline()).decode().strip()
        assert answer, "whoever asks the observation point has ended"
        return answer


@asynccontextmanager
async def another(run_dir: Path) -> AsyncIterator[Asker]:
    argv = (sys.executable, "-m", "tests.sip.interception.asker", str(run_dir))
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, cwd=Path.cwd())
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield Asker(process)
    finally:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
