"""Playlists: read, written, continued; hostile text is refused, never worse."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import InputError
from nf.media.hls import (
    MediaPlaylist,
    Segment,
    continued,
    parse_media,
    parse_multivariant,
    render_media,
)

SHAKA = """#EXTM3U
#EXT-X-VERSION:6
## Generated with https://github.com/shaka-project/shaka-packager version v3.8.0
#EXT-X-TARGETDURATION:3
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-MAP:URI="video/init-7.mp4"
#EXT-X-DISCONTINUITY
#EXT-X-PROGRAM-DATE-TIME:2026-11-23T01:34:15.067Z
#EXTINF:1.000,
video/7.m4s
#EXTINF:2.000,
video/8.m4s
"""
MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,URI="audio.m3u8",GROUP-ID="audio",NAME="main",CHANNELS="2"
#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="avc1.4d400d,mp4a.40.2",AUDIO="audio"
high.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=545176,CODECS="avc1.4d400d,mp4a.40.2",AUDIO="audio"
video.m3u8
"""


def run(first: int, count: int, *, run_number: int = 1) -> MediaPlaylist:
    """What a packager started at `first` lists: two-second segments, the first one a discontinuity."""
    segments = tuple(
        Segment(first + n, f"video/{run_number}-{first + n}.m4s", 2.0, f"init-{run_number}.mp4", discontinuity=n == 0)
        for n in range(count)
    )
    return MediaPlaylist(2, segments, first)


def test_what_shaka_writes_is_read() -> None:
    playlist = parse_media(SHAKA)
    first, second = playlist.segments
    assert (playlist.media_sequence, playlist.next_number, playlist.target_duration_s) == (7, 9, 3)
    assert (first.number, first.uri, first.init_uri, first.discontinuity) == (
        7,
        "video/7.m4s",
        "video/init-7.mp4",
        True,
    )
    assert first.at is not None
    assert (second.number, second.at, second.discontinuity) == (8, first.at + 1.0, False)


def test_a_player_with_least_bandwidth_reads_one_variant_and_its_audio() -> None:
    assert parse_multivariant(MASTER).media_uris == ("video.m3u8", "audio.m3u8")
    alone = MASTER.replace('URI="audio.m3u8",', "")
    assert parse_multivariant(alone).media_uris == ("video.m3u8",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "#EXTM3U\nvideo.m4s\n",
        "#EXTM3U\n#EXTINF:2,\na\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:nan,\na\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:-1\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PROGRAM-DATE-TIME:yesterday\n",
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:99999999999999999999999\n",
    ],
)
def test_what_is_no_playlist_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not an HLS playlist"):
        parse_media(text)


_TAGS = st.sampled_from(
    [
        "#EXTM3U",
        "#EXT-X-TARGETDURATION:",
        "#EXT-X-MEDIA-SEQUENCE:",
        "#EXT-X-DISCONTINUITY-SEQUENCE:",
        "#EXT-X-DISCONTINUITY",
        '#EXT-X-MAP:URI="',
        "#EXT-X-PROGRAM-DATE-TIME:",
        "#EXTINF:",
        "#EXT-X-ENDLIST",
        "#EXT-X-STREAM-INF:BANDWIDTH=",
        "#EXT-X-MEDIA:TYPE=AUDIO,URI=",
        "",
    ]
)
_VALUES = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.datetimes().map(lambda moment: moment.isoformat()),
)


@given(st.lists(st.tuples(_TAGS, _VALUES).map("".join), max_size=15), st.booleans())
def test_any_text_is_read_or_refused(lines: list[str], headed: bool) -> None:
    text = "\n".join(["#EXTM3U", *lines] if headed else lines)
    for parse in (parse_media, parse_multivariant):
        with contextlib.suppress(InputError):
            parse(text)


@given(st.text(max_size=200))
def test_what_is_read_is_written_and_read_again_alike(junk: str) -> None:
    try:
        playlist = parse_media(SHAKA + junk)
    except InputError:
        return
    assert parse_media(render_media(playlist)).media_sequence == playlist.media_sequence
    assert [s.uri for s in parse_media(render_media(playlist)).segments] == [s.uri for s in playlist.segments]
    assert [s.tags for s in parse_media(render_media(playlist)).segments] == [s.tags for s in playlist.segments]


OUT = '#EXT-X-DATERANGE:ID="7",START-DATE="2026-11-23T01:34:16.067Z",PLANNED-DURATION=30,SCTE35-OUT=0xFC302500'
CUED = SHAKA.replace("#EXTINF:2.000,", f"{OUT}\n#EXT-X-CUE-OUT:30.0\n#EXTINF:2.000,") + "#EXT-X-CUE-IN\n"


def test_cues_stay_with_the_segment_that_they_stand_before() -> None:
    first, second = parse_media(CUED).segments
    assert (first.tags, second.tags) == ((), (OUT, "#EXT-X-CUE-OUT:30.0"))
    (again,) = parse_media(render_media(MediaPlaylist(3, (replace(second, number=0),)))).segments
    assert again.tags == second.tags
    later = parse_media(CUED + "#EXTINF:2.000,\nvideo/9.m4s\n")
    published = continued(continued(None, parse_media(CUED), 4.0), later, 4.0)
    assert [s.tags for s in published.segments] == [second.tags, ("#EXT-X-CUE-IN",)]


def test_what_is_of_the_playlist_is_of_no_segment() -> None:
    told = SHAKA.replace(
        "#EXT-X-VERSION:6\n", "#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-PART-INF:PART-TARGET=0.3\n"
    )
    assert all(not segment.tags for segment in parse_media(told).segments)


def test_a_sliding_window_keeps_its_numbers() -> None:
    published = None
    for first in range(1, 12):
        published = continued(published, replace(run(1, first), segments=run(1, first).segments[-4:]), 8.0)
    assert published is not None
    assert [s.number for s in published.segments] == [8, 9, 10, 11]
    assert published.media_sequence == 8
    assert published.discontinuity_sequence == 1


def test_a_packager_that_was_started_again_goes_on_with_a_declared_discontinuity() -> None:
    before = continued(None, run(1, 4), 8.0)
    after = continued(before, run(20, 2, run_number=2), 8.0)
    assert [s.uri for s in after.segments] == ["video/1-3.m4s", "video/1-4.m4s", "video/2-20.m4s", "video/2-21.m4s"]
    assert [s.number for s in after.segments] == [3, 4, 5, 6]
    assert [s.discontinuity for s in after.segments] == [False, False, True, False]
    assert after.discontinuity_sequence == 1
    assert render_media(after).count("#EXT-X-MAP") == 2


def test_segments_lost_in_an_outage_are_a_discontinuity() -> None:
    before = continued(None, run(1, 3), 60.0)
    later = run(1, 9)
    after = continued(before, replace(later, segments=later.segments[6:], media_sequence=7), 60.0)
    assert [s.number for s in after.segments] == [1, 2, 3, 4, 5, 6]
    assert [s.discontinuity for s in after.segments] == [True, False, False, True, False, False]


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=30), st.integers(4, 30))
def test_numbers_and_discontinuities_never_go_back_whatever_happens(
    rounds: list[tuple[int, bool]], window_s: int
) -> None:
    published: MediaPlaylist | None = None
    number, life, made = 1, 1, run(1, 0)
    numbered: dict[str, int] = {}
    for count, restarted in rounds:
        if restarted:
            life, made = life + 1, replace(made, segments=())
        new = [
            Segment(number + n, f"{life}/{number + n}", 2.0, discontinuity=not made.segments and n == 0)
            for n in range(count)
        ]
        number += count
        made = replace(made, segments=(*made.segments, *new)[-20:])
        before, published = published, continued(published, made, float(window_s))
        assert published.next_number == published.segments[-1].number + 1
        assert published.segments[-1].uri == f"{life}/{number - 1}"
        for segment in published.segments:
            assert numbered.setdefault(segment.uri, segment.number) == segment.number
        if before is not None:
            assert published.media_sequence >= before.media_sequence
            assert published.discontinuity_sequence >= before.discontinuity_sequence
            assert published.next_number > before.next_number
