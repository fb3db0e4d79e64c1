"""sendmsg: what a client makes a channel do."""

from __future__ import annotations

import asyncio

from lab.voice.freeswitch.causes import NUMBERS
from lab.voice.freeswitch.channel import Channel, MovedError

_LOOPS = 1000
_running: set[asyncio.Task[None]] = set()


def message(channel: Channel, headers: dict[str, str], body: str = "") -> None:
    """call-command: execute, hangup, nomedia and unicast (taken, without effect)."""
    command = headers.get("call-command", "").lower()
    if command == "hangup":
        cause = headers.get("hangup-cause", "NORMAL_CLEARING")
        channel.hangup(cause if cause in NUMBERS else "NORMAL_CLEARING")
    elif command == "execute":
        name = headers.get("execute-app-name", "")
        data = headers.get("execute-app-arg", "") or body
        loops = headers.get("loops", "1")
        task = asyncio.ensure_future(_execute(channel, name, data, int(loops) if loops.isdecimal() else 1))
        _running.add(task)
        task.add_done_callback(_running.discard)


async def _execute(channel: Channel, name: str, data: str, loops: int) -> None:
    """Beside what it does: as an application that reads frames lets private events in."""
    work = asyncio.ensure_future(_repeated(channel, name, data, loops))
    gone = asyncio.ensure_future(channel.gone.wait())
    await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    for one in (work, gone):
        one.cancel()
    await asyncio.gather(work, gone, return_exceptions=True)


async def _repeated(channel: Channel, name: str, data: str, loops: int) -> None:
    try:
        for _ in range(min(loops or _LOOPS, _LOOPS)):
            await channel.switch.execute(channel, name, data)
    except MovedError:
        return
