"""`--watch`: the same answer until Ctrl-C: redrawn in place on a terminal, in a pipe when it has changed."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nf.cli.client import noc, poll, run
from nf.cli.output import out

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nf.control.v1.noc_pb2_grpc import NocAsyncStub

_Response = TypeVar("_Response")


def watch(
    profile: Path | None,
    method: Callable[[NocAsyncStub], Callable[..., Awaitable[_Response]]],
    request: object,
    interval_s: float,
    *,
    render: Callable[[_Response], RenderableType] | None = None,
    emit: Callable[[_Response], None] | None = None,
) -> _Response | None:
    """Show each answer: by `render` what stands on the screen, or by `emit` a line of a stream.

    Returns the last answer when the person ends it with Ctrl-C; raises the error tree when the NOC goes away.
    """
    from rich.live import Live

    console = out(fits=True)  # what is redrawn in place must not wrap
    live = Live(console=console, auto_refresh=False) if render and sys.stdout.isatty() else None
    last: list[_Response] = []

    async def loop() -> None:
        async with noc(profile) as stub:
            async for answer in poll(stub, method, request, interval_s):
                changed, last[:] = last != [answer], [answer]
                if emit is not None:
                    emit(answer)
                elif render is not None and live is not None:
                    live.update(render(answer), refresh=True)
                elif render is not None and changed:
                    console.print(render(answer))

    with suppress(KeyboardInterrupt), live or nullcontext():
        run(loop())
    return last[0] if last else None
