"""One run of a packager: Shaka, and before it the encoder where there is a ladder. They begin and end together.

What an encoder makes has time stamps of its own life, so that Shaka can take up neither another one's stream nor a
stream that began anew: whichever ends, both do, and the next run is declared as a discontinuity.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence

from nf.media.packager.command import Packaging
from nf.media.packager.cues import Cue
from nf.media.packager.encoder import Encoder
from nf.media.packager.relay import Relay

_FINISH_S = 1.0
_STOP_S = 1.5


class Run:
    """What runs. `stop` has to be called, whatever has ended by itself."""

    def __init__(
        self, shaka: asyncio.subprocess.Process, encoder: Encoder | None = None, relay: Relay | None = None
    ) -> None:
        self._shaka = shaka
        self.encoder = encoder
        self._relay = relay

    @classmethod
    async def start(
        cls, packager: str, packaging: Packaging, key_fd: int | None, note: Callable[[Cue], None] | None = None
    ) -> Run:
        """`note`: who hears the cues of the contribution, without an encoder only.

        Raises UnavailableError without ffmpeg when there is a ladder, or without the port when there are cues; OSError
        when something cannot be started.
        """
        if packaging.ladder is None:
            return await cls._as_it_comes(packager, packaging, key_fd, note)
        encoder, encoded_fd = await Encoder.start(packaging.port, packaging.segment_ms, packaging.ladder)
        try:
            shaka = await _shaka(packaging.argv(packager, key_fd, encoded_fd), key_fd, encoded_fd)
        except BaseException:
            await encoder.stop()
            raise
        finally:
            os.close(encoded_fd)
        return cls(shaka, encoder)

    @classmethod
    async def _as_it_comes(
        cls, packager: str, packaging: Packaging, key_fd: int | None, note: Callable[[Cue], None] | None
    ) -> Run:
        if note is None:
            return cls(await _shaka(packaging.argv(packager, key_fd), key_fd))
        relay, stream_fd = Relay.start(packaging.port, note)
        try:
            return cls(await _shaka(packaging.argv(packager, key_fd, stream_fd), key_fd, stream_fd), relay=relay)
        except BaseException:
            relay.close()
            raise
        finally:
            os.close(stream_fd)

    @property
    def shaka_pid(self) -> int | None:
        """None when it has ended."""
        return self._shaka.pid if self._shaka.returncode is None else None

    @property
    def goes_on(self) -> bool:
        return self.shaka_pid is not None and (self.encoder is None or self.encoder.pid is not None)

    @property
    def last_exit(self) -> str:
        """Of what ended by itself first, as far as that can be told."""
        if self.encoder is not None and self.encoder.returncode is not None and self._shaka.returncode == 0:
            return f"encoder exit {self.encoder.returncode}"
        return f"exit {self._shaka.returncode}"

    @property
    def shaka_failed(self) -> bool:
        """It ended by itself and with an error."""
        return (self._shaka.returncode or 0) > 0

    async def wait(self, timeout_s: float) -> None:
        """Until something ends, `timeout_s` at most."""
        ends = [self._shaka.wait(), *([] if self.encoder is None else [self.encoder.wait()])]
        waiting = [asyncio.ensure_future(end) for end in ends]
        try:
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def stop(self) -> None:
        """The encoder first: at the end of its stream Shaka finishes what it has."""
        try:
            if self._relay is not None:
                self._relay.close()
                self._relay = None
            if self.encoder is not None:
                await self.encoder.stop()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._shaka.wait(), _FINISH_S)
        finally:
            await self._stop_shaka()

    async def _stop_shaka(self) -> None:
        if self._shaka.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._shaka.terminate()
        try:
            await asyncio.wait_for(self._shaka.wait(), _STOP_S)
        except TimeoutError:
            self._shaka.kill()
            await self._shaka.wait()


async def _shaka(argv: Sequence[str], *fds: int | None) -> asyncio.subprocess.Process:
    # Tied to this process: one that is killed and started again must not package twice.
    tied = ("setpriv", "--pdeathsig", "KILL", "--")
    given = tuple(fd for fd in fds if fd is not None)
    return await asyncio.create_subprocess_exec(*tied, *argv, stdin=asyncio.subprocess.DEVNULL, pass_fds=given)
