"""Many calls at once, held while something happens to the network: `python -m lab.voice.crowd --help`.

One phone calls another of the same process, or a number, so many times. What became of each call is told in the end, in
one JSON object: `answered`, `refused`, `dropped` (over before we hung up), and of those that talk `silent` (nothing
heard in the last second) and the greatest `gap_ms`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from lab.voice.phone import Call, CallError, Phone

TONES = (440, 700)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.voice.crowd", description="Many calls at once.")
    parser.add_argument("--domain", required=True)
    for party in ("caller", "called"):
        ours = party == "caller"
        parser.add_argument(f"--{party}", required=ours, metavar="USER:PASSWORD")
        parser.add_argument(f"--{party}-address", required=ours, help="of ours")
        parser.add_argument(f"--{party}-proxy", required=ours, metavar="HOST:PORT")
    parser.add_argument("--number", help="that is called, where no called party is ours")
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--talking", type=int, default=4, help="so many of them send and measure")
    parser.add_argument("--apart", type=float, default=0.1, help="seconds between two calls")
    parser.add_argument("--ready", type=Path, help="file that is made when all calls are up")
    parser.add_argument("--until", type=Path, help="file; when it is there we hang up")
    parser.add_argument("--seconds", type=float, default=600, help="or when these are over")
    chosen = parser.parse_args(arguments)
    if bool(chosen.called) == bool(chosen.number):
        parser.error("takes one of --called and --number")
    return chosen


async def _answering(phone: Phone, answered: list[Call], talking: int) -> None:
    while True:
        call = await phone.incoming()
        await call.answer()
        if len(answered) < talking:
            call.media.tone(TONES[1])
        answered.append(call)


async def _end(chosen: argparse.Namespace) -> None:
    async with asyncio.timeout(chosen.seconds):
        while chosen.until is None or not chosen.until.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def _registered(account: str, address: str, proxy: str, domain: str) -> AsyncIterator[Phone]:
    user, _, password = account.partition(":")
    async with Phone(address, 0, user, domain, password, proxy) as phone:
        await phone.register()
        yield phone
        await phone.register(0)


async def run(chosen: argparse.Namespace) -> dict[str, object]:
    async with contextlib.AsyncExitStack() as stack:
        caller = await stack.enter_async_context(
            _registered(chosen.caller, chosen.caller_address, chosen.caller_proxy, chosen.domain)
        )
        ours: list[Call] = []
        theirs: list[Call] = []
        target: str = chosen.number
        answering: asyncio.Task[None] | None = None
        if chosen.called:
            called = await stack.enter_async_context(
                _registered(chosen.called, chosen.called_address, chosen.called_proxy, chosen.domain)
            )
            answering = asyncio.create_task(_answering(called, theirs, chosen.talking))
            target = called.user
        refused: Counter[str] = Counter()
        for _ in range(chosen.calls):
            call = await caller.call(target)
            try:
                async with asyncio.timeout(30):
                    await call.answered()
            except (CallError, TimeoutError) as error:
                refused[str(error) or "not answered in time"] += 1
                continue
            if len(ours) < chosen.talking:
                call.media.tone(TONES[0])
            ours.append(call)
            await asyncio.sleep(chosen.apart)
        if chosen.ready:
            chosen.ready.touch()
        with contextlib.suppress(TimeoutError):
            await _end(chosen)
        told = _told(ours, theirs, refused, chosen.talking)
        await asyncio.gather(*(call.hangup() for call in ours if call.over is None))
        if answering is not None:
            answering.cancel()
    return told


def _told(ours: list[Call], theirs: list[Call], refused: Counter[str], talking: int) -> dict[str, object]:
    up = [call for call in ours if call.over is None]
    measured = [*ours[:talking], *theirs[:talking]]
    return {
        "answered": len(ours),
        "refused": dict(refused),
        "dropped": len(ours) - len(up),
        "silent": sum(not call.media.hears(TONES, 1.0) for call in measured),
        "gap_ms": round(max((call.media.stats().gap_ms for call in measured), default=0.0), 1),
        "lost": sum(call.media.stats().lost for call in measured),
    }


def main() -> None:
    sys.stdout.write(json.dumps(asyncio.run(run(options()))) + "\n")


if __name__ == "__main__":
    main()
