"""What the player of the lab asks for, and what it says of its waits."""

from __future__ import annotations

from lab.playing import Watch, media_playlists, uris

MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",URI="audio.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",URI="//pop1.cdn.test/ch1/audio.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1000000,AUDIO="a"
video.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1000000,AUDIO="a",PATHWAY-ID="pop1"
//pop1.cdn.test/ch1/video.m3u8
"""


def test_it_follows_every_playlist_of_this_server_once() -> None:
    assert media_playlists(MASTER) == ("video.m3u8", "audio.m3u8")
    assert list(uris("#EXTM3U\n#EXTINF:2,\nvideo/1.m4s\n\nvideo/2.m4s\n")) == ["video/1.m4s", "video/2.m4s"]


def test_a_request_that_never_ends_is_a_wait_too() -> None:
    watch = Watch()
    with watch.asking():
        watch.to_json()
        under_way = watch.seen.longest_wait_ms
    watch.answered(good=True, segment=True)
    watch.answered(good=False, segment=True)
    assert 0 <= under_way <= watch.seen.longest_wait_ms
    assert (watch.seen.answers, watch.seen.segments, watch.seen.failures) == (1, 1, 1)
