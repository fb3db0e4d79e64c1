"""One run of ffmpeg: fragmented MP4 of each rendition in, a transport stream out; nothing is encoded again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from typing import BinaryIO

from nf.errors import UnavailableError

_END_S = 2.0
_CHUNK_OCTETS = 64 * 1024
PCR_PERIOD_MS = 20
PSI_PERIOD_S = 0.1


def program() -> str:
    """Path of ffmpeg. Raises UnavailableError."""
    found = shutil.which("ffmpeg")
    if found is None:
        raise UnavailableError("ffmpeg is missing", where="ffmpeg", remedy="install the package ffmpeg")
    return found


def argv(ffmpeg: str, inputs: Sequence[int], version: int) -> list[str]:
    """`inputs`: file descriptors of the renditions. `version`: of PAT and PMT, another one for another run."""
    # Tied to this process: one that is killed and started again must not send twice.
    command = ["setpriv", "--pdeathsig", "KILL", "--", ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "error"]
    for number in inputs:
        command += ["-f", "mp4", "-i", f"pipe:{number}"]
    for index in range(len(inputs)):
        command += ["-map", f"{index}"]
    return [
        *command,
        *("-c", "copy", "-copyts", "-muxpreload", "0"),
        *("-f", "mpegts", "-pcr_period", str(PCR_PERIOD_MS)),
        *("-pat_period", str(PSI_PERIOD_S), "-tables_version", str(version % 32), "-flush_packets", "1", "pipe:1"),
    ]


class Remux:
    """A running ffmpeg. `take` hears what comes out of it.

    Each rendition has a writer of its own: ffmpeg takes packets in order of their times and leaves one rendition alone
    as long as it waits for another, so that no write may wait for the end of one before.
    """

    def __init__(self, process: asyncio.subprocess.Process, pipes: Sequence[BinaryIO]) -> None:
        self._process = process
        self._pipes = tuple(pipes)
        self._queues: tuple[asyncio.Queue[bytes | None], ...] = tuple(asyncio.Queue() for _ in pipes)
        self._writing: tuple[asyncio.Task[None], ...] = ()
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, renditions: int, version: int, take: Callable[[bytes], None]) -> Remux:
        """Raises UnavailableError without ffmpeg, OSError when it cannot be started."""
        ffmpeg = program()
        ends = [os.pipe() for _ in range(renditions)]
        try:
            inputs = [reading for reading, _ in ends]
            process = await asyncio.create_subprocess_exec(
                *argv(ffmpeg, inputs, version),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=inputs,
            )
        except OSError:
            for _, writing in ends:
                os.close(writing)
            raise
        finally:
            for reading, _ in ends:
                os.close(reading)
        made = cls(process, [os.fdopen(writing, "wb", buffering=0) for _, writing in ends])
        made._reading = asyncio.create_task(made._read(take))
        made._writing = tuple(
            asyncio.create_task(made._write(*each)) for each in zip(made._pipes, made._queues, strict=True)
        )
        return made

    @property
    def pid(self) -> int | None:
        """None when it has ended."""
        return self._process.pid if self._process.returncode is None else None

    async def _read(self, take: Callable[[bytes], None]) -> None:
        output = self._process.stdout
        while output is not None and (data := await output.read(_CHUNK_OCTETS)):
            take(data)

    def write(self, parts: Sequence[bytes]) -> None:
        """What is new of each rendition. One that ffmpeg does not take waits; who listens notices the silence."""
        for queue, part in zip(self._queues, parts, strict=True):
            if part:
                queue.put_nowait(part)

    async def _write(self, pipe: BinaryIO, queue: asyncio.Queue[bytes | None]) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended, which `pid` tells
            while (part := await queue.get()) is not None:
                await asyncio.to_thread(_write_all, pipe, part)
        with contextlib.suppress(OSError):
            pipe.close()

    async def end(self) -> None:
        """Nothing more comes in; what is inside still comes out."""
        for queue in self._queues:
            queue.put_nowait(None)
        if self._reading is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._reading), _END_S)
        await self.stop()

    async def stop(self) -> None:
        """At once."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        for queue in self._queues:
            queue.put_nowait(None)
        tasks = {task for task in (*self._writing, self._reading) if task is not None}
        if tasks:  # they end by themselves, since nobody is at the other end any more
            await asyncio.wait(tasks)


def _write_all(pipe: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) :]
