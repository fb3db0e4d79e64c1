"""One run of ffmpeg: a contribution in through a pipe, an encoded transport stream of constant rate out of another."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess

from lab.devices.ts import PACKET, pcr_at, pid_of
from nf.errors import UnavailableError

_PIPE_OCTETS = 1 << 20
_AT_ONCE = 1 << 16
# What a stream has beside its pictures: sound, tables, clock references, headers.
_OTHERS_BPS = 140_000
_PICTURES_SHARE = 0.93


def command(name: str, rate_bps: int) -> list[str]:
    """How a channel is encoded. Time stamps are the contribution's own, so that one run goes on where another ended."""
    pictures = int((rate_bps - _OTHERS_BPS) * _PICTURES_SHARE)
    return [
        # Tied to this process: a device that is killed leaves no encoder behind.
        *("setpriv", "--pdeathsig", "KILL", "--", "nice", "-n", "-10"),
        *("ffmpeg", "-hide_banner", "-loglevel", "fatal", "-analyzeduration", "1000000", "-probesize", "200000"),
        *("-copyts", "-f", "mpegts", "-i", "pipe:0", "-map", "0:v:0", "-map", "0:a:0?", "-threads", "1"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-vf", "scale=320:180"),
        *("-pix_fmt", "yuv420p", "-g", "25", "-sc_threshold", "0"),
        *("-b:v", str(pictures), "-maxrate", str(pictures), "-bufsize", str(pictures // 4), "-c:a", "copy"),
        *("-metadata", f"service_name={name}", "-metadata", "service_provider=StreamVerse lab"),
        *("-f", "mpegts", "-muxrate", str(rate_bps), "-pcr_period", "35", "-pat_period", "0.1"),
        *("-muxdelay", "0.7", "-muxpreload", "0", "-flush_packets", "1", "pipe:1"),
    ]


class Coder:
    """Never waits: what the process does not take is lost, what it has not made yet comes later."""

    def __init__(self, name: str, rate_bps: int) -> None:
        """Raises UnavailableError without ffmpeg."""
        if shutil.which("ffmpeg") is None:
            raise UnavailableError("ffmpeg is missing", where="lab.devices", remedy="install the package ffmpeg")
        self.rate_bps = rate_bps
        self.key = name, rate_bps
        self._rest = b""
        self._process = subprocess.Popen(command(name, rate_bps), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018 - both are pipes
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        for pipe in (self._input, self._output):
            os.set_blocking(pipe, False)
            with contextlib.suppress(PermissionError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_OCTETS)

    def alive(self) -> bool:
        return self._process.poll() is None

    def write(self, datagram: bytes) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._input, datagram)

    def read(self) -> list[bytes]:
        """The packets that are ready."""
        try:
            whole = self._rest + os.read(self._output, _AT_ONCE)
        except BlockingIOError:
            return []
        end = len(whole) // PACKET * PACKET
        self._rest = whole[end:]
        return [whole[start : start + PACKET] for start in range(0, end, PACKET)]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Splice:
    """One stream out of several that follow each other: continuity counters without a gap.

    The first clock reference after a splice carries the discontinuity flag (ISO/IEC 13818-1, 2.4.3.5).
    """

    def __init__(self) -> None:
        self._counters: dict[int, int] = {}
        self._jumped = False

    def begin(self) -> None:
        """What is stamped from now on is another stream."""
        self._jumped = bool(self._counters)

    def stamp(self, packet: bytes) -> bytes:
        pid = pid_of(packet)
        counter = self._counters.get(pid, packet[3] - 1 & 0x0F if packet[3] & 0x10 else packet[3] & 0x0F)
        if packet[3] & 0x10:
            counter = counter + 1 & 0x0F
        self._counters[pid] = counter
        third = packet[3] & 0xF0 | counter
        flags = pcr_at(packet) if self._jumped else 0
        if flags:
            self._jumped = False
            return packet[:3] + bytes((third, packet[4], packet[5] | 0x80)) + packet[6:]
        return packet if third == packet[3] else packet[:3] + bytes((third,)) + packet[4:]
