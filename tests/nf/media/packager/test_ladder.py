"""The ladder: what is refused, how the encoder is run, and how renditions come and go in the bucket."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.media.documents import CdnPath, PackagerChannel, Rung
from nf.media.packager.command import Packaging, renditions_of
from nf.media.packager.encoder import Pace, argv, encoded_s
from nf.media.packager.units import channel_of, unit_spec
from nf.media.packager.uploader import parse_arguments
from nf.media.purge.tags import parse_tag
from tests.nf.media.packager.test_publish import RENDITIONS, Bucket, Shaka, publisher, s3

HD = {"id": "hd", "height": 720, "bitrate": "3M"}
SD = {"id": "sd", "height": 360, "bitrate": "800k"}
LADDER = tuple(Rung.model_validate(rung) for rung in (HD, SD))
AS_BEFORE = """
packager --quiet --minloglevel 2 --stderrthreshold 2
 in=udp://0.0.0.0:6011?reuse=1&buffer_size=2000000,stream=video,init_segment=/run/x/video/init-7.mp4,segment_template=/run/x/video/$Number$.m4s,playlist_name=video.m3u8
 in=udp://0.0.0.0:6011?reuse=1&buffer_size=2000000,stream=audio,init_segment=/run/x/audio/init-7.mp4,segment_template=/run/x/audio/$Number$.m4s,playlist_name=audio.m3u8,hls_group_id=audio,hls_name=main
 --segment_duration 2 --time_shift_buffer_depth 30 --preserved_segments_outside_live_window 150
 --start_segment_number 7 --hls_media_sequence_number 7 --hls_playlist_type LIVE
 --hls_master_playlist_output /run/x/master.m3u8 --mpd_output /run/x/manifest.mpd
 --minimum_update_period 2 --suggested_presentation_delay 6
"""


def path(ladder: list[dict[str, Any]], rate: str = "6M") -> CdnPath:
    return CdnPath.model_validate(
        {
            "id": "ott",
            "type": "cdn",
            "rate": rate,
            "host": "cdn.streamverse.test",
            "sites": ["west"],
            "source": "ch1-ott",
            "origin": {"endpoint": "http://10.0.9.10:8333", "bucket": "media", "credentials": "secret:w"},
            "ladder": ladder,
        }
    )


@pytest.mark.parametrize(
    ("ladder", "told"),
    [
        ([], "shows no picture"),
        ([HD, HD | {"bitrate": "2M"}], "are called hd"),
        ([SD, HD], "hd is no step down from sd"),
        ([HD, SD | {"bitrate": "3M"}], "sd is no step down from hd"),
        ([HD, SD | {"height": 1080}], "sd is no step down from hd"),
        ([HD | {"id": "audio"}], "audio is a name of other objects"),
        ([HD | {"id": "master"}], "master is a name of other objects"),
        ([HD | {"height": 719}], "multiple of 2"),
        ([HD | {"bitrate": "6M"}], "the path's rate is 6000000"),
        ([{"id": f"v{n}", "height": 720, "bitrate": f"{500 - n}k"} for n in range(9)], "8 renditions at most"),
    ],
)
def test_a_ladder_that_cannot_be_meant_is_refused(ladder: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        path(ladder)


def test_a_ladder_and_cues_exclude_each_other() -> None:
    whole = path([HD, SD]).to_json()
    with pytest.raises(ValueError, match="time stamps of its own"):
        CdnPath.model_validate(whole | {"cues": True})


def test_a_ladder_may_have_one_height_at_several_rates() -> None:
    assert path([HD, HD | {"id": "hd-low", "bitrate": "2M"}]).ladder is not None


def packaging(**more: Any) -> Packaging:
    return Packaging(6011, 2000, 30_000, Path("/run/x"), 7, 1_000_000, **more)


def test_without_a_ladder_shaka_is_run_as_ever() -> None:
    assert packaging().argv("packager") == AS_BEFORE.split()


def test_with_a_ladder_shaka_reads_every_rendition_from_the_encoder() -> None:
    command = packaging(ladder=LADDER).argv("packager", stream_fd=5)
    streams = [word for word in command if word.startswith("in=")]
    assert [word.split(",")[:2] for word in streams] == [["in=/dev/fd/5", f"stream={index}"] for index in range(3)]
    assert [word.split("playlist_name=")[1].split(",")[0] for word in streams] == ["hd.m3u8", "sd.m3u8", "audio.m3u8"]
    assert not any("6011" in word for word in command)


def test_one_encoder_makes_all_renditions_and_only_the_boundaries_key_frames() -> None:
    command = argv("ffmpeg", 6011, 2000, LADDER, (5, 6))
    told = shlex.join(command)
    assert command.count("-i") == 1
    for index, rung in enumerate(LADDER):
        assert f"scale=-2:'min({rung.height},ih)'" in command[command.index("-filter_complex") + 1]
        assert f"-maxrate:v:{index} {rung.bitrate_bps}" in told
    assert "-sc_threshold 0 -forced-idr 1" in told
    assert "gt(floor(t/2),floor(prev_forced_t/2))" in told


def channel() -> PackagerChannel:
    return PackagerChannel.model_validate(
        {
            "channel": "ch1",
            "path": "ott",
            "contribution_port": 6011,
            "rate": "6M",
            "endpoint": "http://127.0.0.1:8333",
            "bucket": "media",
            "credentials": "secret:w",
            "segment": "2s",
            "window": "30s",
            "ladder": [HD, SD],
        }
    )


def test_a_unit_has_the_ladder_and_is_read_back() -> None:
    spec = unit_spec(channel(), Path("/run/nf"), Path("/etc/nf/secrets"))
    assert channel_of(spec) == channel()
    parsed = parse_arguments(spec.argv[3:])
    assert parsed.ladder == LADDER
    assert parsed.stream["ladder"] == channel().to_json()["ladder"]
    without = channel().model_copy(update={"ladder": None})
    plain = unit_spec(without, Path("/run/nf"), Path("/etc/nf/secrets"))
    assert channel_of(plain) == without
    assert "--ladder" not in plain.argv


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_when_the_renditions_change_all_playlists_begin_anew_in_step_and_the_old_ones_go(tmp_path: Path) -> None:
    bucket, before, shaka = Bucket(), publisher(tmp_path), Shaka(tmp_path)
    for number in range(1, 6):
        shaka.writes(number)
        await before.publish(s3(bucket))
    old = bucket.playlist("audio.m3u8")

    renditions = renditions_of(LADDER)
    after = publisher(tmp_path, renditions=renditions)
    await after.recover(s3(bucket))
    assert after.next_number() == 6
    after.clear()
    assert not files(tmp_path / "video")
    ladder = Shaka(tmp_path, 6, renditions=renditions)
    ladder.writes(6)
    (tmp_path / "sd.m3u8").rename(tmp_path / "later")
    bucket.puts.clear()
    await after.publish(s3(bucket))
    assert "master.m3u8" not in bucket.puts, "it would name a playlist that is not there"
    (tmp_path / "later").rename(tmp_path / "sd.m3u8")
    await after.publish(s3(bucket))
    assert bucket.puts[-1] == "master.m3u8"
    begun = [bucket.playlist(f"{rendition}.m3u8") for rendition in renditions]
    assert {playlist.media_sequence for playlist in begun} == {6}
    assert {playlist.discontinuity_sequence for playlist in begun} == {old.discontinuity_sequence + 1}

    assert bucket.numbers("video"), "who plays the old ones still finds their segments"
    for number in range(7, 14):
        ladder.writes(number)
        await after.publish(s3(bucket))
    assert not [key for key in bucket.objects if key.startswith("ch1/video")]
    assert {"ch1/hd.m3u8", "ch1/sd.m3u8", "ch1/audio.m3u8", "ch1/master.m3u8"} < bucket.objects.keys()
    again = publisher(tmp_path, renditions=renditions)
    await again.recover(s3(bucket))
    assert again.next_number() == 14
    assert renditions_of(None) == RENDITIONS


def test_each_rendition_has_the_tags_that_a_purge_names() -> None:
    names = ["hd/init-6.mp4", "hd/6.m4s", "hd.m3u8", "sd/6.m4s", "sd.m3u8", "audio/6.m4s", "master.m3u8"]
    held = {
        text: [name for name in names if parse_tag(text).holds(name)] for text in ("ch1/hd", "ch1/sd:manifest", "ch1")
    }
    assert held == {"ch1/hd": names[:3], "ch1/sd:manifest": ["sd.m3u8"], "ch1": names}


def test_an_encoder_that_is_too_slow_is_seen_and_a_silence_is_none() -> None:
    pace = Pace()
    for second in range(11):
        assert not pace.behind
        pace.tell(100.0 + second, second * 0.8)
    assert pace.behind
    assert pace.speed == pytest.approx(0.8)
    pace.tell(130.0, 9.0)
    assert pace.speed is None
    for second in range(1, 12):
        pace.tell(130.0 + second, 9.0 + second)
    assert pace.speed == pytest.approx(1.0)
    assert not pace.behind


@given(st.text())
def test_what_ffmpeg_says_of_itself_is_read_or_left(text: str) -> None:
    assert encoded_s(text) is None or text.strip().startswith("out_time_us=")
    assert encoded_s("out_time_us=2500000\n") == 2.5
    assert encoded_s("out_time_us=N/A\n") is None
