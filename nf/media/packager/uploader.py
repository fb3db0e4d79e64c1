"""A channel's packager: runs Shaka, and uploads what it writes. A process of its own.

`python -m nf.media.packager.uploader --channel ch1 --path ott --port 6011 --rate 1000000 --endpoint http://10.1.0.20:8333
--bucket media --credentials secret:origin-writer --segment-ms 2000 --window-ms 30000 --directory DIR --status SOCKET`.
A connection to its status socket is answered by one line of JSON. Shaka that ends is started again with the next number
and a declared discontinuity; an origin that refuses is asked again and again, with growing pauses.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from nf.errors import DeniedError, IntegrityError, NfError, NotFoundError, StorageError, UnavailableError
from nf.media.answering import serve_unit
from nf.media.documents import Pathways, Protection, Rung
from nf.media.origin.client import S3, SkewError
from nf.media.packager.command import Packaging, program, renditions_of
from nf.media.packager.keys import flags_fd, key_flags
from nf.media.packager.marks import Marks
from nf.media.packager.publish import Publisher
from nf.media.packager.run import Run
from nf.media.packager.steered import Steered
from nf.trust.secrets import SECRETS_DIR, Credentials, SecretFiles

_PAUSE_FIRST_S, _PAUSE_LAST_S = 0.5, 8.0
_RESTART_PAUSE_S = 0.5
_STALLED_SEGMENTS, _STALLED_LEAST_S = 4, 8.0
LEAST_FREE_OCTETS = 32 << 20
"""On the packager's disk: with less, the next segments may find no room."""


@dataclass(frozen=True, slots=True)
class Arguments:
    channel: str
    path: str
    port: int
    rate_bps: int
    endpoint: str
    bucket: str
    credentials: str
    segment_ms: int
    window_ms: int
    directory: Path
    status: Path
    secrets: Path
    ladder: tuple[Rung, ...] | None = None
    cues: bool = False
    steering: Pathways | None = None
    protection: Protection | None = None

    @property
    def steered(self) -> Steered | None:
        return None if self.steering is None else Steered(self.channel, self.path, self.steering)

    @property
    def stream(self) -> dict[str, object]:
        """What it is for, as its status says it; paths of this machine left out."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen = {
            "ladder": None if self.ladder is None else [rung.to_json() for rung in self.ladder],
            "steering": None if self.steering is None else self.steering.to_json(),
            "protection": None if self.protection is None else self.protection.to_json(),
        }
        return {k: v for k, v in given.items() if not isinstance(v, Path)} | chosen


def _ladder(text: str) -> tuple[Rung, ...]:
    return tuple(Rung.model_validate(rung) for rung in json.loads(text))


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Of the command line after the module's name. Raises SystemExit with a usage text."""
    parser = argparse.ArgumentParser(prog="packager", description=__doc__)
    for name in ("channel", "path", "endpoint", "bucket", "credentials"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("port", "segment-ms", "window-ms"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True, dest="rate_bps", help="bit/s")
    for name in ("directory", "status"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--secrets", type=Path, default=SECRETS_DIR)
    parser.add_argument("--ladder", type=_ladder, help="renditions, as JSON")
    parser.add_argument("--cues", type=lambda text: text == "yes", default=False, help="yes: SCTE 35 into manifests")
    parser.add_argument("--steering", type=Pathways.model_validate_json, help="pathways, as JSON")
    parser.add_argument("--protection", type=Protection.model_validate_json, default=None, help="JSON; names the key")
    return Arguments(**vars(parser.parse_args(argv)))


def fault_of(error: NfError) -> str:
    """The probable cause that an alarm is given."""
    if isinstance(error, SkewError):
        return "clock-skew"
    if isinstance(error, DeniedError | NotFoundError | IntegrityError):
        return "origin-refuses"
    if isinstance(error, StorageError):
        return "origin-full"
    return "origin-unreachable" if isinstance(error, UnavailableError) else "origin-fails"


class Uploader:
    """Shaka, the publisher, and what is known of both."""

    def __init__(self, arguments: Arguments) -> None:
        self._given = arguments
        self._marks = Marks() if arguments.cues else None
        self._publisher = Publisher(
            arguments.directory,
            arguments.bucket,
            arguments.channel,
            renditions_of(arguments.ladder),
            segment_ms=arguments.segment_ms,
            window_ms=arguments.window_ms,
            steered=arguments.steered,
            marks=self._marks,
        )
        self._started_at = time.time()
        self._published_at: float | None = None
        self._error: NfError | None = None
        self._key_error: NfError | None = None
        self._server_error: NfError | None = None
        self._runs = 0
        self._last_exit = ""
        self._run: Run | None = None
        self._s3: S3 | None = None

    def status(self) -> dict[str, object]:
        """JSON. Ages in seconds, null when there is nothing yet. `runs`: how often Shaka was started."""
        now, figures = time.time(), self._publisher.figures
        newest = self._publisher.newest_at()
        fault, text, remedy = self._fault()
        run = self._run
        return {
            "version": 1,
            "pid": os.getpid(),
            "packager_pid": None if run is None else run.shaka_pid,
            "encoder_pid": None if run is None or run.encoder is None else run.encoder.pid,
            "uptime_s": now - self._started_at,
            "arguments": self._given.stream,
            "runs": self._runs,
            "last_exit": self._last_exit,
            "segment_age_s": None if newest is None else max(0.0, now - newest),
            "published_age_s": None if self._published_at is None else now - self._published_at,
            "sequence": figures.sequence,
            "uploads": figures.uploads,
            "octets": figures.octets,
            "deleted": figures.deleted,
            "rate_bps": figures.rate_bps,
            "fault": fault,
            "fault_text": text,
            "fault_remedy": remedy,
        }

    def _fault(self) -> tuple[str, str, str]:
        """Its probable cause, what it is and what to do; empty when there is none."""
        if (error := self._key_error or self._server_error) is not None:
            told = f"nothing is packaged without its key: {error.where}: {error.message}"
            return "key-missing", told, error.remedy
        directory = self._given.directory
        with contextlib.suppress(OSError):
            if shutil.disk_usage(directory).free < LEAST_FREE_OCTETS:
                told = f"where segments wait for the origin, less than 32 MiB are free: {directory}"
                return (
                    "packager-disk-full",
                    told,
                    "see with du what fills that file system, and remove it or enlarge it",
                )
        if (error := self._error) is not None:
            return fault_of(error), f"bucket {self._given.bucket}: {error.message}", error.remedy
        encoder = None if self._run is None else self._run.encoder
        if encoder is not None and encoder.pace.behind:
            told = f"the encoder makes {encoder.pace.speed:.2f} s of the programme in a second, and pictures are lost"
            return (
                "encoder-behind",
                told,
                "give the appliance more processors, or the ladder fewer or smaller renditions",
            )
        return "", "", ""

    async def run(self) -> None:
        """Until cancelled. Raises UnavailableError when there is no packager on this machine."""
        packager = program()
        try:
            await self._until_done(self._publisher.recover)
            pause_s = _RESTART_PAUSE_S
            while True:
                await self._one_run(packager)
                self._last_exit = "" if self._run is None else self._run.last_exit
                sys.stderr.write(f"the packager ended: {self._last_exit}\n")
                self._server_error = self._refused_keys()
                pause_s = _RESTART_PAUSE_S if self._server_error is None else min(2 * pause_s, _PAUSE_LAST_S)
                await asyncio.sleep(pause_s)
        finally:
            await self._forget_client()

    async def _one_run(self, packager: str) -> None:
        """Shaka from its start until it ends or produces nothing any more; all that it made is published."""
        given = self._given
        first = self._publisher.next_number()
        self._publisher.clear()
        if self._marks is not None:
            self._marks.begin()
        packaging = Packaging(
            *(given.port, given.segment_ms, given.window_ms, given.directory, first, given.rate_bps),
            protection=given.protection,
            ladder=given.ladder,
        )
        key_fd = await self._key_fd()
        try:
            self._run = run = await Run.start(
                packager, packaging, key_fd, None if self._marks is None else self._marks.note
            )
        finally:
            if key_fd is not None:
                os.close(key_fd)
        self._runs += 1
        try:
            while run.goes_on and not self._stalled():
                await self._until_done(self._publish)
                await run.wait(given.segment_ms / 4000)
        finally:
            await run.stop()
        await self._until_done(self._publish)

    async def _key_fd(self) -> int | None:
        """None when nothing is protected. Without its key nothing goes out, and it is asked for again."""
        protection, pause_s = self._given.protection, _PAUSE_FIRST_S
        while protection is not None:
            try:
                fd = flags_fd(await asyncio.to_thread(key_flags, protection, self._given.secrets))
            except NfError as error:
                self._key_error = error
                sys.stderr.write(f"{error}\n")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_LAST_S)
            else:
                self._key_error = None
                return fd
        return None

    def _refused_keys(self) -> NfError | None:
        """Shaka asks a key server before anything else: one that ends with nothing made had no keys, as far as can be
        told from here. It says so itself only with what was answered."""
        server = None if self._given.protection is None else self._given.protection.key_server
        failed = self._run is not None and self._run.shaka_failed
        if server is None or not failed or self._publisher.newest_at() is not None:
            return None
        remedy = f"see whether it answers, knows the signer {server.signer} and has the same signing key"
        return UnavailableError("the key server gives no keys", where=server.url, remedy=remedy)

    def _stalled(self) -> bool:
        """A contribution that stopped: when it comes again its time stamps may be others, so that it is a new run."""
        newest = self._publisher.newest_at()
        limit_s = max(_STALLED_SEGMENTS * self._given.segment_ms / 1000, _STALLED_LEAST_S)
        return newest is not None and time.time() - newest > limit_s

    async def _publish(self, s3: S3) -> None:
        if self._publisher.newest_at() is not None:
            self._server_error = None
        if await self._publisher.publish(s3):
            self._published_at = time.time()

    async def _until_done(self, work: Callable[[S3], Awaitable[None]]) -> None:
        """Repeat `work` until the origin has taken it. Credentials are read anew after each refusal."""
        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                await work(self._client())
            except NfError as error:
                if self._error is None or self._error.message != error.message:
                    sys.stderr.write(f"{error}\n")
                self._error = error
                await self._forget_client()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_LAST_S)
            else:
                self._error = None
                return

    def _client(self) -> S3:
        if self._s3 is None:
            reference = self._given.credentials
            text = SecretFiles(self._given.secrets)(reference)
            self._s3 = S3(self._given.endpoint, Credentials.parse(text, reference))
        return self._s3

    async def _forget_client(self) -> None:
        s3, self._s3 = self._s3, None
        if s3 is not None:
            await s3.close()


def main() -> int:
    arguments = parse_arguments(sys.argv[1:])
    uploader = Uploader(arguments)
    return serve_unit("packager", uploader.run, uploader.status, arguments.status)


if __name__ == "__main__":
    sys.exit(main())
