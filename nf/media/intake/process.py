"""The process: follows a channel's HLS at an edge and hands it over as a transport stream, until SIGTERM or SIGINT.

A connection to its status socket is answered by one line of JSON. What ends a run (a cut in the presentation, an edge
that does not answer, an ffmpeg that dies, silence) begins another one; the stream goes on with a marked discontinuity.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nf.errors import NfError, UnavailableError
from nf.media.answering import serve_unit
from nf.media.intake.follower import Follower
from nf.media.intake.pacer import Pacer
from nf.media.intake.remux import Remux

_GATHER_S = 0.005
_IDLE_S = 0.05
_PAUSE_FIRST_S, _PAUSE_LAST_S = 0.25, 2.0
_SILENT_SEGMENTS, _SILENT_LEAST_S = 4, 8.0
_BEHIND_SEGMENTS = 4
_WINDOW_SEGMENTS = 3
_POLLS_PER_SEGMENT = 4


@dataclass(frozen=True, slots=True)
class Arguments:
    channel: str
    path: str
    url: str
    host: str
    segment_ms: int
    outputs: tuple[str, ...]
    status: Path

    @property
    def stream(self) -> dict[str, object]:
        """What it is for, as its status says it; paths of this machine left out."""
        return {k: v for k, v in asdict(self).items() if not isinstance(v, Path)} | {"outputs": list(self.outputs)}


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Of the command line after the module's name. Raises SystemExit with a usage text."""
    parser = argparse.ArgumentParser(prog="stream-intake", description=__doc__)
    for name in ("channel", "path", "url", "host"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--segment-ms", type=int, required=True)
    parser.add_argument("--outputs", required=True, help="TAKER=ADDRESS:PORT, several parted by commas")
    parser.add_argument("--status", type=Path, required=True)
    given = vars(parser.parse_args(argv))
    return Arguments(**{**given, "outputs": tuple(given["outputs"].split(","))})


def place_of(output: str) -> tuple[str, int]:
    """`sat=127.64.1.2:5004` -> address and port. Raises ValueError."""
    address, _, port = output.partition("=")[2].rpartition(":")
    return address, int(port)


class Intake:
    """The run that goes on, and what is known of all of them. Times on the monotonic clock."""

    def __init__(self, arguments: Arguments) -> None:
        self._given = arguments
        self._segment_s = arguments.segment_ms / 1000
        self._places = tuple(map(place_of, arguments.outputs))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._pacer = Pacer(target_s=self._segment_s, window_s=_WINDOW_SEGMENTS * self._segment_s)
        self._started_at = time.monotonic()
        self._pushed_at = self._started_at
        self._sent_at: float | None = None
        self._newest_at: float | None = None
        self._segments = 0
        self._runs = 0
        self._problem = ""
        self._last_cut = ""
        self._cut = False
        self._remux: Remux | None = None
        self._came = asyncio.Event()

    def status(self) -> dict[str, object]:
        """JSON. `reserve_s`: the least that lay ready lately. `latency_s`: from the first sample of what is sent now to
        its sending, by the packager's and this machine's wall clocks; null where the presentation names no times."""
        now = time.monotonic()
        level_s = self._pacer.level_s(now)
        newest = self._newest_at
        return {
            "version": 1,
            "pid": os.getpid(),
            "ffmpeg_pid": None if self._remux is None else self._remux.pid,
            "uptime_s": now - self._started_at,
            "arguments": self._given.stream,
            "runs": self._runs,
            "last_cut": self._last_cut,
            "segments": self._segments,
            "packets": self._pacer.packets,
            "underruns": self._pacer.underruns,
            "age_s": None if self._sent_at is None else now - self._sent_at,
            "level_s": level_s,
            "reserve_s": self._pacer.reserve_s,
            "latency_s": None if newest is None else time.time() - (newest - level_s),
            "problem": self._problem,
        }

    async def run(self) -> None:
        """Until cancelled."""
        sender = asyncio.create_task(self._send())
        pause_s = _PAUSE_FIRST_S
        try:
            while not sender.done():
                before = self._segments
                try:
                    await self._one_run()
                except (NfError, OSError) as error:
                    text = error.message if isinstance(error, NfError) else str(error)
                    if text != self._problem:
                        sys.stderr.write(f"{text}\n")
                    self._problem = self._last_cut = text
                    pause_s = _PAUSE_FIRST_S if self._segments > before else min(2 * pause_s, _PAUSE_LAST_S)
                    await asyncio.sleep(pause_s)
            sender.result()
        finally:
            sender.cancel()
            self._socket.close()

    async def _one_run(self) -> None:
        """From the live edge on until the presentation is cut. Raises NfError and OSError."""
        follower = Follower(self._given.url, self._given.host)
        try:
            renditions = await follower.open()
            self._remux = await Remux.start(renditions, self._runs, self._take)
            self._pacer.begin(afresh=not self._cut)
            self._cut = False
            self._runs += 1
            self._pushed_at = time.monotonic()
            known = self._segments
            while not follower.cut:
                began = time.monotonic()
                parts = await follower.poll()
                if any(parts):
                    self._remux.write(parts)
                    self._segments, self._newest_at = known + follower.segments, follower.newest_at
                    self._problem = ""
                self._check()
                pause_s = self._segment_s / _POLLS_PER_SEGMENT - (time.monotonic() - began)
                await asyncio.sleep(max(0.0, pause_s))
            await self._remux.end()
            self._cut, self._last_cut = True, "the presentation has a discontinuity"
        finally:
            follower.close()
            if self._remux is not None:
                await self._remux.stop()

    def _check(self) -> None:
        """Raises UnavailableError when the run is of no use any more."""
        if self._remux is None or self._remux.pid is None:
            raise UnavailableError("ffmpeg has ended", where="ffmpeg")
        silent_s = time.monotonic() - self._pushed_at
        if silent_s > max(_SILENT_SEGMENTS * self._segment_s, _SILENT_LEAST_S):
            raise UnavailableError(f"nothing new for {silent_s:.0f} s", where=self._given.host)
        reserve_s = self._pacer.reserve_s
        if reserve_s is not None and reserve_s > _BEHIND_SEGMENTS * self._segment_s:
            raise UnavailableError(f"{reserve_s:.0f} s behind the live edge", where=self._given.host)

    def _take(self, data: bytes) -> None:
        self._pushed_at = time.monotonic()
        self._pacer.push(data)
        self._came.set()

    async def _send(self) -> None:
        while True:
            now = time.monotonic()
            for datagram in self._pacer.due(now):
                self._sent_at = now
                for place in self._places:
                    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):  # nobody takes it now
                        self._socket.sendto(datagram, place)
            due = self._pacer.next_at(now)
            self._came.clear()
            if due is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._came.wait(), _IDLE_S)
            else:
                await asyncio.sleep(max(_GATHER_S, min(due - now, _IDLE_S)))


def main() -> int:
    arguments = parse_arguments(sys.argv[1:])
    intake = Intake(arguments)
    return serve_unit("stream-intake", intake.run, intake.status, arguments.status)
