"""`genesis`, told what to do on standard input; under the interpreter that has it. See `clients.Genesis`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from uuid import uuid4

from genesis import Inbound


class Driven:
    def __init__(self, host: str, port: int) -> None:
        self.place = (host, port)
        self.events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.jobs: dict[str, asyncio.Future[str]] = {}

    async def connect(self, password: str) -> bool:
        self.client = Inbound(*self.place, password, 30)
        await self.client.start()
        self.client.on("BACKGROUND_JOB", self.ended)
        await self.client.send("event plain BACKGROUND_JOB")
        return True

    async def api(self, command: str) -> str:
        return (await self.client.send(f"api {command}")).body or ""

    async def at_once(self, commands: list[str]) -> list[str]:
        return [*await asyncio.gather(*map(self.api, commands))]

    async def ended(self, event: Any) -> None:
        waiting = self.jobs.get(event.get("Job-UUID", ""))
        if waiting is not None and not waiting.done():
            waiting.set_result(event.body or "")

    async def job(self, command: str) -> str:
        job = str(uuid4())
        self.jobs[job] = asyncio.get_running_loop().create_future()
        await self.client.send(f"bgapi {command}\nJob-UUID: {job}")
        return await asyncio.wait_for(self.jobs[job], 60)

    async def hear(self, form: str, subclass: str, filters: list[list[str]]) -> bool:
        self.client.on(subclass, self.took)
        for header, value in filters:
            await self.client.send(f"filter {header} {value}")
        await self.client.send(f"event {form} CUSTOM {subclass}")
        return True

    async def took(self, event: Any) -> None:
        await self.events.put({**dict(event), "_body": event.body or ""})

    async def send(self, subclass: str, headers: dict[str, str], body: str) -> bool:
        lines = ["sendevent CUSTOM", f"Event-Subclass: {subclass}", *(f"{k}: {v}" for k, v in headers.items())]
        tail = f"content-length: {len(body.encode())}\n\n{body}" if body else ""
        await self.client.send("\n".join((*lines, tail)) if tail else "\n".join(lines))
        return True

    async def heard(self, count: int) -> list[dict[str, str]]:
        return [await asyncio.wait_for(self.events.get(), 60) for _ in range(count)]


async def main() -> None:
    driven = Driven(sys.argv[1], int(sys.argv[2]))
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, *arguments = json.loads(line)
        print(json.dumps(await getattr(driven, name)(*arguments)), flush=True)
    await driven.client.stop()


asyncio.run(main())
