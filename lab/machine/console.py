"""A machine's serial console: everything is kept with its time, patterns are waited for, lines are typed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from lab.machine.sockets import end
from lab.machine.transcript import Transcript
from nf.errors import DeadlineError, DriverError, UnavailableError


class SerialConsole:
    """The end of the serial line at which qemu arrives. `log` gets every line with its seconds since power on.

    `lasting`: another qemu may arrive when one has gone, until `conclude`.
    """

    def __init__(
        self, socket: Path, log: Path, *, now: Callable[[], float] = time.monotonic, lasting: bool = False
    ) -> None:
        self.transcript = Transcript()
        self._socket = socket
        self._log = log
        self._now = now
        self._lasting = lasting
        self._power_on = now()
        self._written = 0
        self._position = 0
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._changed = asyncio.Condition()
        self._ended = False

    async def __aenter__(self) -> Self:
        self._power_on = self._now()
        self._server = await asyncio.start_unix_server(self._serve, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._server, self._writer)
        self._socket.unlink(missing_ok=True)

    async def conclude(self) -> None:
        """No other qemu comes: who waits is told."""
        self._ended = True
        await self._tell()

    def age(self) -> float:
        """Seconds since power on."""
        return self._now() - self._power_on

    async def await_pattern(
        self, pattern: str, *, patience_s: float, unless: str = "", since: int | None = None
    ) -> re.Match[str]:
        """The next match after the last one (or after position `since` of the transcript), now or when it comes.

        `unless`: what means that it will not come. Raises DriverError for that and when the machine ends before,
        DeadlineError after `patience_s` seconds; both show the last lines.
        """
        start = self._position if since is None else since
        try:
            async with asyncio.timeout(patience_s), self._changed:
                while True:
                    found = self.transcript.find(pattern, start)
                    bad = self.transcript.find(unless, start) if unless else None
                    if bad is not None and (found is None or bad.start() < found.start()):
                        self._position = bad.end()
                        raise DriverError(
                            f"{bad[0]!r} came before {pattern!r}\n{self.transcript.tail()}", where="console"
                        )
                    if found is not None:
                        self._position = found.end()
                        return found
                    if self._ended:
                        raise DriverError(f"it ended before {pattern!r}\n{self.transcript.tail()}", where="console")
                    await self._changed.wait()
        except TimeoutError:
            text = f"no {pattern!r} within {patience_s:.0f} s\n{self.transcript.tail()}"
            raise DeadlineError(text, where="console") from None

    async def send(self, text: str) -> None:
        """Type. A line ends with \\r, as a keyboard's does. Raises UnavailableError."""
        if self._writer is None or self._ended:
            raise UnavailableError("no machine is at this console", where="console", remedy="start it")
        self._writer.write(text.encode())
        await self._writer.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            writer.close()
            return
        self._writer = writer
        try:
            while data := await reader.read(65536):
                self.transcript.feed(data, self.age())
                self._keep()
                await self._tell()
        except OSError:
            pass  # a killed machine resets its line
        finally:
            writer.close()
            self._writer = None
            if not self._lasting:
                await self.conclude()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _keep(self) -> None:
        lines = self.transcript.lines[self._written :]
        if lines:
            with self._log.open("a", encoding="utf-8") as file:
                file.writelines(f"{line.at:9.3f} {line.text}\n" for line in lines)
            self._written += len(lines)
