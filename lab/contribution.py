"""The studio of the lab: short programmes, encoded once, sent for ever as contribution feeds without a break.

Each feed is H.264 and AAC in an MPEG transport stream of constant rate, seven packets of 188 octets in a datagram.
A loop of pictures and sound is seamless because both parts last exactly as long (480 pictures at 25/s, 900 AAC frames
of 1024 samples at 48 kHz, 19.2 s each) and start together; one muxer runs through all loops, so that continuity
counters, PCR and time stamps never jump (ISO/IEC 13818-1, 2.4.3.3 to 2.4.3.7).

`python -m lab.contribution --feed ch1=10.9.0.2:6001 --feed ch2=10.9.0.2:6002`
"""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from nf.errors import DriverError, InputError, NfError, UnavailableError

CACHE = Path("/var/lib/nf/contribution")
MUX_RATE_BPS = 900_000
# A little above the rate of the stream: the pacer never falls behind, and no burst is worth a policer's notice.
PACE_BPS = 920_000
DATAGRAM_OCTETS = 7 * 188

_PICTURES = 480
_PICTURE_RATE = 25
_SOUND_FRAMES = 900
_DURATION_S = _PICTURES / _PICTURE_RATE
_AAC_PRIMING = 1024
_VIDEO_SOURCES = (
    "testsrc2=size=320x180:rate=25",
    "mandelbrot=size=320x180:rate=25:end_scale=0.02:end_pts=480",
    "life=size=320x180:rate=25:mold=10:ratio=0.2:death_color=#204080:life_color=#ffe080,format=yuv420p",
)
_TONES_HZ = (440, 660, 880)
_RESTART_FIRST_S, _RESTART_LAST_S = 0.5, 5.0

log = logging.getLogger("lab.contribution")


@dataclass(frozen=True, slots=True)
class Feed:
    """A channel's contribution and where it goes. Feeds of one name carry the same programme."""

    name: str
    address: IPv4Address
    port: int

    @classmethod
    def parse(cls, text: str) -> Feed:
        """`ch1=10.9.0.2:6001`. Raises InputError."""
        name, _, place = text.partition("=")
        address, _, port = place.rpartition(":")
        try:
            feed = cls(name, IPv4Address(address), int(port))
        except ValueError:
            feed = cls("", IPv4Address(0), 0)
        if not feed.name.replace("-", "").isalnum() or not 0 < feed.port < 65536:
            raise InputError(f"{text} is not a feed", where="--feed", remedy="write it like ch1=10.9.0.2:6001")
        return feed


def programme_command(number: int, path: Path) -> list[str]:
    """How programme `number` (from 0) is made: its own moving pictures, its own tone; written to `path`."""
    video = f"{_VIDEO_SOURCES[number % len(_VIDEO_SOURCES)]},trim=duration={_DURATION_S}"
    tone = _TONES_HZ[number % len(_TONES_HZ)] + 10 * (number // len(_TONES_HZ))
    # Shifted by what the encoder puts before the first sample, so that sound and pictures start together.
    sound = f"sine=frequency={tone}:beep_factor=4:sample_rate=48000:duration={_DURATION_S},asetpts=PTS+{_AAC_PRIMING}"
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-threads", "1"),
        *("-f", "lavfi", "-i", video, "-f", "lavfi", "-i", sound, "-map", "0:v", "-map", "1:a"),
        *("-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-profile:v", "main"),
        *("-pix_fmt", "yuv420p", "-g", str(_PICTURE_RATE), "-keyint_min", str(_PICTURE_RATE), "-sc_threshold", "0"),
        *("-b:v", "450k", "-maxrate", "450k", "-bufsize", "150k", "-frames:v", str(_PICTURES)),
        *("-c:a", "aac", "-b:a", "64k", "-ac", "2", "-frames:a", str(_SOUND_FRAMES), "-f", "nut", str(path)),
    ]


def stream_command(programme: Path, output: str, *, name: str, loops: int = -1, realtime: bool = True) -> list[str]:
    """How a programme becomes a transport stream of constant rate, repeated `loops` times more (-1: for ever)."""
    pace = ["-re"] if realtime else []
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y"),
        *(*pace, "-stream_loop", str(loops), "-i", str(programme), "-map", "0", "-c", "copy"),
        *("-metadata", f"service_name={name}", "-metadata", "service_provider=StreamVerse lab studio"),
        *("-f", "mpegts", "-muxrate", str(MUX_RATE_BPS), "-pcr_period", "20", "-pat_period", "0.1"),
        *("-muxdelay", "0.5", "-muxpreload", "0.3", "-flush_packets", "0", output),
    ]


def feed_url(feed: Feed) -> str:
    pacing = f"bitrate={PACE_BPS}&burst_bits={8 * DATAGRAM_OCTETS}"
    return f"udp://{feed.address}:{feed.port}?pkt_size={DATAGRAM_OCTETS}&{pacing}"


def make_programme(number: int, cache: Path) -> Path:
    """The programme, from `cache` if it was made before. Raises DriverError, UnavailableError without ffmpeg."""
    path = cache / f"programme-{number}.nut"
    if path.exists():
        return path
    if shutil.which("ffmpeg") is None:
        raise UnavailableError("ffmpeg is missing", where="lab.contribution", remedy="install the package ffmpeg")
    cache.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    done = subprocess.run(programme_command(number, fresh), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DriverError(f"ffmpeg ended with {done.returncode}: {done.stderr.strip()[-500:]}", where=path.name)
    fresh.replace(path)
    return path


class Studio:
    """Sends every feed until it is stopped; a sender that dies is started again, with growing pauses."""

    def __init__(self, feeds: Sequence[Feed], cache: Path) -> None:
        self._feeds = tuple(feeds)
        self._cache = cache
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._senders: set[subprocess.Popen[bytes]] = set()

    def run(self) -> None:
        """Returns after `stop`. Raises what `make_programme` raises."""
        names = list(dict.fromkeys(feed.name for feed in self._feeds))
        made = {name: make_programme(number, self._cache) for number, name in enumerate(names)}
        programmes = [made[feed.name] for feed in self._feeds]
        threads = [
            threading.Thread(target=self._send, args=(feed, programme), name=feed.name)
            for feed, programme in zip(self._feeds, programmes, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        self._stopped.set()
        with self._lock:
            for sender in self._senders:
                sender.terminate()

    def _send(self, feed: Feed, programme: Path) -> None:
        pause = _RESTART_FIRST_S
        # Tied to this process: a studio that is killed and started again must not send twice.
        tied = ["setpriv", "--pdeathsig", "KILL", "--"]
        while not self._stopped.is_set():
            command = [*tied, *stream_command(programme, feed_url(feed), name=feed.name)]
            with self._lock:
                if self._stopped.is_set():
                    return
                sender = subprocess.Popen(command)
                self._senders.add(sender)
            log.info("%s: sending to %s:%d", feed.name, feed.address, feed.port)
            code = sender.wait()
            with self._lock:
                self._senders.discard(sender)
            if self._stopped.wait(0):
                return
            log.warning("%s: the sender ended with %d, again in %.1f s", feed.name, code, pause)
            self._stopped.wait(pause)
            pause = min(pause * 2, _RESTART_LAST_S)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lab.contribution", description="Send contribution feeds for ever.")
    parser.add_argument("--feed", action="append", required=True, metavar="NAME=ADDRESS:PORT")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help="where programmes are kept")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        studio = Studio([Feed.parse(text) for text in options.feed], options.cache)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: studio.stop())
        studio.run()
    except NfError as error:
        log.error("%s", error)  # noqa: TRY400  # said to a person, who has no use for a traceback
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
