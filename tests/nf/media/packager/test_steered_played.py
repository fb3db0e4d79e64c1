"""Steered manifests with a player that knows no steering: ffmpeg plays HLS and DASH of Shaka as before."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nf.media.documents import DASH_MANIFEST, HLS_MANIFEST, Pathways
from nf.media.packager.command import program
from nf.media.packager.steered import Steered
from tests.nf.media.live import own_namespace

pytestmark = [pytest.mark.root, pytest.mark.daemon]

STEERED = Steered(
    "ch1", "ott", Pathways(server="https://steer.test", host="cdn.streamverse.test", sites=("pop1", "pop2"))
)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def packaged(directory: Path) -> None:
    source = directory / "source.ts"
    subprocess.run(
        [
            *(
                "ffmpeg",
                "-nostdin",
                "-loglevel",
                "error",
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=160x90:rate=25:duration=4",
            ),
            *("-f", "lavfi", "-i", "sine=duration=4", "-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p"),
            *("-c:a", "aac", str(source)),
        ],
        check=True,
    )
    channel = directory / "ch1"
    streams = []
    for kind in ("video", "audio"):
        fields = f"in={source},stream={kind},init_segment={channel / kind}/init.mp4"
        fields += f",segment_template={channel / kind}/$Number$.m4s,playlist_name={kind}.m3u8"
        streams.append(fields + (",hls_group_id=audio,hls_name=main" if kind == "audio" else ""))
    manifests = (
        "--hls_master_playlist_output",
        str(channel / HLS_MANIFEST),
        "--mpd_output",
        str(channel / DASH_MANIFEST),
    )
    subprocess.run(
        [program(), "--quiet", *streams, "--segment_duration", "1", "--generate_static_live_mpd", *manifests],
        check=True,
    )


def test_ffmpeg_plays_it_as_before(tmp_path: Path, require_programs: Callable[..., None]) -> None:
    require_programs("ffmpeg", "ffprobe")
    packaged(tmp_path)
    hls, dash = tmp_path / "ch1" / HLS_MANIFEST, tmp_path / "ch1" / DASH_MANIFEST
    for file, put in ((hls, STEERED.multivariant), (dash, STEERED.presentation)):
        text = put(file.read_text())
        assert text != file.read_text()
        file.write_text(text)
    with own_namespace(), served(tmp_path) as url:
        for name in (HLS_MANIFEST, DASH_MANIFEST):
            asked = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type:packet=pts", "-of", "json"]
            done = subprocess.run(
                [*asked, "-count_packets", f"{url}/ch1/{name}"], capture_output=True, check=True, timeout=90
            )
            found = json.loads(done.stdout)
            kinds = [stream["codec_type"] for stream in found["streams"]]
            assert {"video", "audio"} <= set(kinds), name
