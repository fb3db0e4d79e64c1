"""What is published of a packager's directory, and what is taken away: with an origin that is a dictionary."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nf.errors import UnavailableError
from nf.media.hls import MediaPlaylist, Segment, parse_media, render_media
from nf.media.origin.client import S3, Upload
from nf.media.packager import uploader
from nf.media.packager.command import Packaging, playlist_of, renditions_of
from nf.media.packager.publish import Publisher, number_of
from nf.media.packager.uploader import Uploader, parse_arguments

MASTER = '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI="audio.m3u8",GROUP-ID="a"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nvideo.m3u8\n'
MIB = 2**20
RENDITIONS = renditions_of(None)
PLAYLISTS = tuple(map(playlist_of, RENDITIONS))


@dataclass
class Bucket:
    """`puts`: names in the order in which they came. `down`: nothing answers."""

    objects: dict[str, bytes] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    down: bool = False
    down_after: int | None = None
    """With this many more objects asked, the last one is refused; None: there is no limit."""

    def _answer(self) -> None:
        if self.down:
            raise UnavailableError("nothing answers", where="s3")

    async def keys(self, _bucket: str, prefix: str = "") -> list[str]:
        self._answer()
        return sorted(key for key in self.objects if key.startswith(prefix))

    async def get(self, _bucket: str, key: str) -> bytes | None:
        self._answer()
        return self.objects.get(key)

    async def put(self, _bucket: str, upload: Upload) -> None:
        self._answer()
        if self.down_after is not None:
            if self.down_after <= 1:
                raise UnavailableError("nothing answers", where="s3")
            self.down_after -= 1
        self.objects[upload.key] = upload.body
        self.puts.append(upload.key.removeprefix("ch1/"))

    async def delete(self, _bucket: str, keys: Iterable[str]) -> int:
        self._answer()
        gone = list(keys)
        for key in gone:
            del self.objects[key]
        return len(gone)

    def numbers(self, rendition: str = "video") -> list[int]:
        """Of the segments that are there."""
        names = [key.removeprefix("ch1/") for key in self.objects]
        segments = [name for name in names if name.startswith(f"{rendition}/") and name.endswith(".m4s")]
        return sorted(number for name in segments if (number := number_of(name)) is not None)

    def playlist(self, name: str = "video.m3u8") -> MediaPlaylist:
        return parse_media(self.objects[f"ch1/{name}"].decode())


@dataclass
class Shaka:
    """Writes what a packager writes whose segments last ten seconds; it lists the last three."""

    directory: Path
    first: int = 1
    tags: dict[int, tuple[str, ...]] = field(default_factory=dict)
    renditions: tuple[str, ...] = RENDITIONS

    def writes(self, upto: int) -> None:
        for rendition in self.renditions:
            (self.directory / rendition / f"init-{self.first}.mp4").write_bytes(b"init")
            for number in range(self.first, upto + 1):
                path = self.directory / rendition / f"{number}.m4s"
                if not path.exists():
                    path.write_bytes(b"x" * 100)
                    os.utime(path, (number * 10.0, number * 10.0))
            listed = range(max(self.first, upto - 2), upto + 1)
            segments = tuple(
                Segment(
                    n, f"{rendition}/{n}.m4s", 10.0, f"{rendition}/init-{self.first}.mp4", tags=self.tags.get(n, ())
                )
                for n in listed
            )
            text = render_media(MediaPlaylist(10, segments, listed[0]))
            (self.directory / f"{rendition}.m3u8").write_text(text)
        (self.directory / "master.m3u8").write_text(MASTER)

    def drops(self, *numbers: int) -> None:
        for rendition in RENDITIONS:
            for number in numbers:
                (self.directory / rendition / f"{number}.m4s").unlink()


def publisher(directory: Path, window_s: int = 30, renditions: tuple[str, ...] = RENDITIONS) -> Publisher:
    made = Publisher(directory, "media", "ch1", renditions, segment_ms=10_000, window_ms=window_s * 1000)
    made.clear()
    return made


def s3(bucket: Bucket) -> S3:
    return cast("S3", bucket)


async def test_nothing_is_named_before_it_is_there(tmp_path: Path) -> None:
    bucket, made = Bucket(), publisher(tmp_path)
    Shaka(tmp_path).writes(2)
    assert await made.publish(s3(bucket))
    assert bucket.puts == [
        *("video/init-1.mp4", "video/1.m4s", "video/2.m4s", "video.m3u8"),
        *("audio/init-1.mp4", "audio/1.m4s", "audio/2.m4s", "audio.m3u8", "master.m3u8"),
    ]
    assert not await made.publish(s3(bucket)), "nothing is new"
    assert len(bucket.puts) == 9


async def test_what_left_the_window_stays_half_a_minute_and_goes(tmp_path: Path) -> None:
    bucket, made, shaka = Bucket(), publisher(tmp_path), Shaka(tmp_path)
    for number in range(1, 11):
        shaka.writes(number)
        await made.publish(s3(bucket))
    assert [segment.number for segment in bucket.playlist().segments] == [8, 9, 10]
    for rendition in RENDITIONS:
        assert bucket.numbers(rendition) == [5, 6, 7, 8, 9, 10]
        assert f"ch1/{rendition}/init-1.mp4" in bucket.objects, "its run goes on"
    assert made.figures.deleted == 8
    made.clear()
    assert made.next_number() == 11
    again = Shaka(tmp_path, first=11)
    for number in range(11, 21):
        again.writes(number)
        await made.publish(s3(bucket))
    assert bucket.numbers() == [15, 16, 17, 18, 19, 20]
    assert "ch1/video/init-1.mp4" not in bucket.objects
    assert set(PLAYLISTS) < {key.removeprefix("ch1/") for key in bucket.objects}


async def test_what_waited_while_the_origin_was_down_is_published_without_a_gap(tmp_path: Path) -> None:
    bucket, made, shaka = Bucket(), publisher(tmp_path, 120), Shaka(tmp_path)
    shaka.writes(1)
    await made.publish(s3(bucket))
    bucket.down = True
    for number in range(2, 9):
        shaka.writes(number)
        with pytest.raises(UnavailableError):
            await made.publish(s3(bucket))
    bucket.down = False
    assert await made.publish(s3(bucket))
    for name in PLAYLISTS:
        playlist = bucket.playlist(name)
        assert [number_of(segment.uri) for segment in playlist.segments] == list(range(1, 9))
        assert not any(segment.discontinuity for segment in playlist.segments)
        assert [segment.at for segment in playlist.segments] == [10.0 * n for n in range(8)]


@given(outages=st.lists(st.integers(0, 8), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
async def test_no_outage_loses_a_segment_whose_file_is_kept(
    outages: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`outages`: which object of a pass the origin refuses, the first is 1; 0: it takes all."""
    directory = tmp_path_factory.mktemp("packager")
    bucket, made, shaka = Bucket(), publisher(directory, 1000), Shaka(directory)
    for number, after in enumerate([*outages, 0], start=1):
        shaka.writes(number)
        bucket.down_after = after or None
        with contextlib.suppress(UnavailableError):
            await made.publish(s3(bucket))
    for name in PLAYLISTS:
        playlist = bucket.playlist(name)
        assert [number_of(segment.uri) for segment in playlist.segments] == list(range(1, len(outages) + 2))
        assert not any(segment.discontinuity for segment in playlist.segments)


async def test_what_the_packager_dropped_meanwhile_is_a_gap_that_is_declared(tmp_path: Path) -> None:
    bucket, made, shaka = Bucket(), publisher(tmp_path, 120), Shaka(tmp_path)
    shaka.writes(1)
    await made.publish(s3(bucket))
    bucket.down = True
    for number in range(2, 9):
        shaka.writes(number)
        with pytest.raises(UnavailableError):
            await made.publish(s3(bucket))
    shaka.drops(2, 3, 4)
    bucket.down = False
    await made.publish(s3(bucket))
    playlist = bucket.playlist()
    assert [number_of(segment.uri) for segment in playlist.segments] == [1, 5, 6, 7, 8]
    assert [segment.discontinuity for segment in playlist.segments] == [False, True, False, False, False]


async def test_another_life_goes_on_where_the_bucket_ends(tmp_path: Path) -> None:
    bucket, made = Bucket(), publisher(tmp_path)
    Shaka(tmp_path).writes(3)
    await made.publish(s3(bucket))
    made = publisher(tmp_path)
    await made.recover(s3(bucket))
    assert made.next_number() == 4
    Shaka(tmp_path, first=4).writes(4)
    await made.publish(s3(bucket))
    playlist = bucket.playlist()
    assert [(s.number, s.uri, s.discontinuity) for s in playlist.segments] == [
        (2, "video/2.m4s", False),
        (3, "video/3.m4s", False),
        (4, "video/4.m4s", True),
    ]


async def test_cues_of_a_packager_are_published(tmp_path: Path) -> None:
    bucket, made = Bucket(), publisher(tmp_path)
    cue = '#EXT-X-DATERANGE:ID="7",START-DATE="2026-11-23T01:34:16.067Z",SCTE35-OUT=0xFC302500'
    Shaka(tmp_path, tags={2: (cue,)}).writes(2)
    await made.publish(s3(bucket))
    assert [segment.tags for segment in bucket.playlist().segments] == [(), (cue,)]


@given(st.integers(0, 200_000_000), st.integers(500, 10_000))
def test_a_packagers_disk_is_bounded(rate_bps: int, segment_ms: int) -> None:
    packaging = Packaging(6011, segment_ms, 30_000, Path("/d"), 1, rate_bps)
    assert 30.0 <= packaging.buffered_s <= 300.0
    octets = packaging.buffered_s * rate_bps / 8
    assert octets <= 64 * MIB * 1.000001 or packaging.buffered_s == 30.0
    argv = packaging.argv("packager")
    kept = int(argv[argv.index("--preserved_segments_outside_live_window") + 1])
    assert 0 <= kept * segment_ms / 1000 - packaging.buffered_s <= segment_ms / 1000 + 1e-6


def test_a_disk_that_fills_is_said_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"channel": "ch1", "path": "ott", "port": 6011, "rate": 1, "endpoint": "http://127.0.0.1:1", "bucket": "b"}
    given |= {"credentials": "secret:s", "segment-ms": 2000, "window-ms": 30_000, "directory": tmp_path}
    given |= {"status": tmp_path / "sock"}
    made = Uploader(parse_arguments([text for key, value in given.items() for text in (f"--{key}", str(value))]))
    monkeypatch.setattr(uploader, "LEAST_FREE_OCTETS", 0)
    assert made.status()["fault"] == ""
    monkeypatch.setattr(uploader, "LEAST_FREE_OCTETS", 1 << 62)
    status = made.status()
    assert status["fault"] == "packager-disk-full"
    assert str(tmp_path) in str(status["fault_text"])
    assert status["fault_remedy"]
