"""The encoder of a ladder: one ffmpeg that makes all renditions of a contribution, as one transport stream on a pipe.

All renditions are of the same decoded pictures, and begin a group of pictures at the same ones: the first of every
segment duration. So they have segments with the same time stamps, between which a player may change (ISO/IEC 23009-1,
5.3.3.2; RFC 8216, 6.2.4). The sound is not encoded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from nf.errors import UnavailableError
from nf.media.documents import Rung
from nf.media.intake.remux import program
from nf.media.processes import ask_program

CODEC: Final = "libx264"
_PRESET: Final = "veryfast"
_NO_OTHER_KEY_FRAMES: Final = "100000"
_SOCKET_BUFFER_OCTETS: Final = 2_000_000
_STOP_S: Final = 1.0
_ASK_S: Final = 10.0

_WINDOW_S: Final = 10.0
_SILENT_S: Final = 3.0
_LEAST_SPEED: Final = 0.95


def argv(ffmpeg: str, port: int, segment_ms: int, ladder: Sequence[Rung], outputs: tuple[int, int]) -> list[str]:
    """`outputs`: file descriptors, for the transport stream and for what ffmpeg says of itself."""
    output, progress = outputs
    segment_s = segment_ms / 1000
    splits = "".join(f"[s{index}]" for index in range(len(ladder)))
    scaled = [
        # Never larger than what comes: that would cost bits and show nothing more.
        f"[s{index}]scale=-2:'min({rung.height},ih)',format=yuv420p[v{index}]"
        for index, rung in enumerate(ladder)
    ]
    graph = ";".join([f"[0:v:0]yadif=deint=interlaced,split={len(ladder)}{splits}", *scaled])
    # By the time stamps, not by counting: a gap in the contribution moves no boundary.
    key_frames = f"expr:if(isnan(prev_forced_t),1,gt(floor(t/{segment_s:g}),floor(prev_forced_t/{segment_s:g})))"
    rates: list[str] = []
    for index, rung in enumerate(ladder):
        for option in ("b", "maxrate", "bufsize"):
            rates += [f"-{option}:v:{index}", str(rung.bitrate_bps)]
    return [
        # Tied to this process: one that is killed and started again must not encode twice.
        *("setpriv", "--pdeathsig", "KILL", "--", ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "error"),
        *("-progress", f"pipe:{progress}", "-stats_period", "1"),
        *("-f", "mpegts", "-i", f"udp://0.0.0.0:{port}?reuse=1&buffer_size={_SOCKET_BUFFER_OCTETS}"),
        *("-filter_complex", graph),
        *(word for index in range(len(ladder)) for word in ("-map", f"[v{index}]")),
        *("-map", "0:a:0", "-c:a", "copy"),
        *("-c:v", CODEC, "-preset", _PRESET, *rates),
        *("-g", _NO_OTHER_KEY_FRAMES, "-sc_threshold", "0", "-forced-idr", "1", "-force_key_frames", key_frames),
        *("-muxdelay", "0", "-muxpreload", "0", "-flush_packets", "1", "-f", "mpegts", f"pipe:{output}"),
    ]


async def check_encoder() -> None:
    """Raises UnavailableError when this machine cannot encode, DriverError when its ffmpeg does not answer."""
    _, told = await ask_program([program(), "-hide_banner", "-encoders"], timeout_s=_ASK_S)
    if CODEC not in told.split():
        raise UnavailableError(f"this ffmpeg has no {CODEC}", where="ffmpeg", remedy="install Debian's package ffmpeg")


@dataclass(slots=True)
class Pace:
    """Whether an encoder keeps up with the contribution, by what it says of itself. Pure; times in seconds.

    A contribution that is silent lets it say nothing: what comes after a silence is judged anew.
    """

    _told: deque[tuple[float, float]] = field(default_factory=deque)

    def tell(self, at: float, encoded_s: float) -> None:
        """At the moment `at` so much of the programme was encoded."""
        if self._told and at - self._told[-1][0] > _SILENT_S:
            self._told.clear()
        self._told.append((at, encoded_s))
        while at - self._told[0][0] > 2 * _WINDOW_S:
            self._told.popleft()

    @property
    def speed(self) -> float | None:
        """1 = as fast as it comes; None: not known yet."""
        if not self._told:
            return None
        (began, before), (now, done) = self._told[0], self._told[-1]
        return (done - before) / (now - began) if now - began >= _WINDOW_S else None

    @property
    def behind(self) -> bool:
        speed = self.speed
        return speed is not None and speed < _LEAST_SPEED


def encoded_s(line: str) -> float | None:
    """What a line of ffmpeg's `-progress` says of how much is encoded; None: it says something else."""
    name, _, value = line.strip().partition("=")
    if name != "out_time_us":
        return None
    with contextlib.suppress(ValueError):
        return int(value) / 1e6
    return None


class Encoder:
    """A running ffmpeg; a life ends once, and with it the packager's run."""

    def __init__(self, process: asyncio.subprocess.Process, progress: asyncio.Task[None], pace: Pace) -> None:
        self._process = process
        self._progress = progress
        self.pace = pace

    @classmethod
    async def start(cls, port: int, segment_ms: int, ladder: Sequence[Rung]) -> tuple[Encoder, int]:
        """The encoder, and the descriptor that its stream is read from, which whoever gets it closes.

        Raises UnavailableError without ffmpeg, OSError when it cannot be started.
        """
        ffmpeg = program()
        reading, writing = os.pipe()
        telling, told = os.pipe()
        given = (writing, told)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv(ffmpeg, port, segment_ms, ladder, given), stdin=asyncio.subprocess.DEVNULL, pass_fds=given
            )
        except BaseException:
            os.close(reading)
            os.close(telling)
            raise
        finally:
            for fd in given:
                os.close(fd)
        pace = Pace()
        progress = asyncio.create_task(_follow(telling, lambda done: pace.tell(time.monotonic(), done)))
        return cls(process, progress, pace), reading

    @property
    def pid(self) -> int | None:
        """None when it has ended."""
        return self._process.pid if self._process.returncode is None else None

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> None:
        await self._process.wait()

    async def stop(self) -> None:
        """It gives out what it still has, as far as somebody takes it."""
        try:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), _STOP_S)
        finally:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.wait()
            await self._progress


async def _follow(fd: int, take: Callable[[float], None]) -> None:
    """Until who writes has ended."""
    reader = asyncio.StreamReader()
    pipe = os.fdopen(fd, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        while line := await reader.readline():
            done = encoded_s(line.decode(errors="replace"))
            if done is not None:
                take(done)
    finally:
        transport.close()
