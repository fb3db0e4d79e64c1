"""SCTE 35 from a contribution into playlists and DASH manifest. threefive, which is not ours, reads what comes out."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import threefive
from hypothesis import given
from hypothesis import strategies as st

from nf.media.documents import PackagerChannel
from nf.media.hls import Segment
from nf.media.ingest.ts import later, pcr_base
from nf.media.packager.command import Packaging, program, renditions_of
from nf.media.packager.cues import Cue, CueReader, Kind, crc32, parse_cue
from nf.media.packager.marks import SCHEME, Marks, presentation_start
from nf.media.packager.publish import Publisher
from nf.media.packager.run import Run
from nf.media.packager.units import channel_of, unit_spec
from nf.media.packager.uploader import parse_arguments
from tests.nf.media.packager.test_publish import Bucket, s3

CUE_PID = 500
RANGE = re.compile(
    r'#EXT-X-DATERANGE:ID="([^"]+)",START-DATE="([^"]+)"(?:,[A-Z-]+=[0-9.]+)?,SCTE35-(\w+)=(0x[0-9A-F]+)'
)


def whole(head: bytes, body: bytes, flags: int = 0x3000) -> bytes:
    """A section with its length and CRC."""
    data = head + (flags | len(body) + 4).to_bytes(2, "big") + body
    return data + crc32(data).to_bytes(4, "big")


def insert(event: int, pts: int | None, *, out: bool = True, duration: int | None = None, adjustment: int = 0) -> bytes:
    """A splice_insert; `pts` None: immediate."""
    flags = (0x80 if out else 0) | 0x40 | (0x20 if duration is not None else 0) | (0x10 if pts is None else 0) | 0x0F
    command = event.to_bytes(4, "big") + b"\x7f" + bytes([flags])
    if pts is not None:
        command += (0xFE << 32 | pts).to_bytes(5, "big")
    if duration is not None:
        command += (0xFE << 32 | duration).to_bytes(5, "big")
    command += b"\0\1\0\0"
    head = b"\0" + adjustment.to_bytes(5, "big") + b"\0" + (0xFFF << 12 | len(command)).to_bytes(3, "big") + b"\5"
    return whole(b"\xfc", head + command + b"\0\0")


def packet(section: bytes, counter: int) -> bytes:
    return (bytes([0x47, 0x40 | CUE_PID >> 8, CUE_PID & 0xFF, 0x10 | counter & 15, 0]) + section).ljust(188, b"\xff")


def with_cue_pid(pmt: bytes) -> bytes:
    """A packet with a PMT of one packet, and in it one stream more."""
    size = (pmt[6] & 0x0F) << 8 | pmt[7]
    body = pmt[8 : 5 + 3 + size - 4] + bytes([0x86, 0xE0 | CUE_PID >> 8, CUE_PID & 0xFF, 0xF0, 0])
    return (pmt[:5] + whole(b"\x02", body, 0xB000)).ljust(188, b"\xff")


def judged(data: bytes | str) -> dict[str, Any]:
    """What threefive reads of a section."""
    cue = threefive.Cue(data)
    assert cue.decode()
    command = cue.command
    return {
        "event": int(command.splice_event_id), "out": command.out_of_network_indicator, "pts": command.pts_time,
        "duration": command.break_duration,
    }  # fmt: skip


def test_sections_mean_to_us_what_they_mean_to_others() -> None:
    for section in (insert(7, 900_000, duration=2_700_000), insert(8, 123_456_789, out=False), insert(9, None)):
        cue = parse_cue(section, 42)
        assert cue is not None
        told = judged(section)
        assert (cue.event, cue.kind) == (told["event"], Kind.OUT if told["out"] else Kind.IN)
        assert cue.pts == (42 if told["pts"] is None else round(told["pts"] * 90_000))
        assert cue.duration == (None if told["duration"] is None else round(told["duration"] * 90_000))
    adjusted = parse_cue(insert(7, (1 << 33) - 10, adjustment=30), 0)
    assert adjusted is not None
    assert adjusted.pts == 20
    time_signal = bytes.fromhex("fc302700000000000000fff00506fe000dbba00011020f43554549000000017fbf000030010140ee84c1")[
        :-4
    ]
    signal = parse_cue(time_signal + crc32(time_signal).to_bytes(4, "big"), 0)
    assert signal is not None
    assert (signal.kind, signal.pts) == (Kind.OTHER, 900_000)


def test_what_says_nothing_is_passed_over() -> None:
    good = insert(7, 900_000)
    encrypted = bytearray(good)
    encrypted[4] |= 0x80
    for wrong in (bytearray(good[:-1] + b"\0"), encrypted, bytearray(good[:10])):
        assert parse_cue(bytes(wrong), 0) is None
        resealed = bytes(wrong[:-4]) + crc32(bytes(wrong[:-4])).to_bytes(4, "big")
        assert resealed == good or parse_cue(resealed, 0) is None


@given(st.binary(max_size=120))
def test_nothing_in_a_section_is_too_odd(body: bytes) -> None:
    section = whole(b"\xfc", body)
    parse_cue(section, 0)
    parse_cue(body, 0)
    five = whole(b"\xfc", b"\0" * 10 + b"\5" + body)
    parse_cue(five, 0)


@given(st.lists(st.binary(min_size=187, max_size=187), max_size=12))
def test_nothing_in_a_stream_is_too_odd(bodies: list[bytes]) -> None:
    reader = CueReader()
    reader.read(b"".join(b"\x47" + body for body in bodies))
    reader.read(b"".join(b"\x47\x40\0\x10" + body[4:] + b"\0" for body in bodies)[: 188 * len(bodies)])


def cue(event: int, pts: int, kind: Kind = Kind.OUT, duration: int | None = None) -> Cue:
    return Cue(insert(event, pts, out=kind is Kind.OUT, duration=duration), kind, pts, event, duration)


def test_a_cue_stands_before_its_segment_in_every_rendition_and_closes_its_range() -> None:
    marks = Marks()
    marks.note(cue(7, 270_000, duration=180_000))
    marks.note(cue(7, 450_000, Kind.IN))
    for rendition in ("video", "audio"):
        lines = []
        for number in range(7):
            segment = Segment(number, f"{rendition}/{number}.m4s", 1.0, at=1000.0 + number)
            marks.mark(segment, number * 90_000)
            assert marks.tags(segment) == marks.tags(segment)
            lines.append(marks.tags(segment))
        assert [len(tags) for tags in lines] == [0, 0, 0, 1, 0, 1, 0]
        (out,), (back,) = lines[3], lines[5]
        assert 'ID="7-270000",START-DATE="1970-01-01T00:16:43.000Z",PLANNED-DURATION=2.000,SCTE35-OUT=0xFC' in out
        assert 'ID="7-270000",START-DATE="1970-01-01T00:16:43.000Z",DURATION=2.000,SCTE35-IN=0xFC' in back


def test_a_cue_that_comes_late_is_told_late_and_one_of_another_run_is_not() -> None:
    marks = Marks()
    for number in range(3):
        marks.mark(Segment(number, f"video/{number}.m4s", 1.0, at=10.0 + number), (1 << 33) + number * 90_000)
    marks.note(cue(7, 90_000))
    late = Segment(3, "video/3.m4s", 1.0, at=13.0)
    marks.mark(late, (1 << 33) + 270_000)
    assert 'START-DATE="1970-01-01T00:00:11.000Z"' in marks.tags(late)[0]
    mpd = '<MPD><Period id="0" start="PT0S"><AdaptationSet/></Period></MPD>'
    assert f'presentationTime="{(1 << 33) + 90_000}"' in marks.presentation(mpd, 30)
    assert marks.presentation(mpd, 1) == mpd, "it has left the window"
    marks.begin()
    again = Segment(4, "video/4.m4s", 1.0, at=14.0)
    marks.mark(again, 0)
    assert marks.tags(again) == ()
    assert marks.presentation(mpd, 30) == mpd


def cancel(event: int) -> bytes:
    command = event.to_bytes(4, "big") + b"\xff"
    return whole(b"\xfc", b"\0" * 7 + (0xFFF << 12 | len(command)).to_bytes(3, "big") + b"\5" + command + b"\0\0")


def test_a_splice_that_is_cancelled_in_time_is_not_told() -> None:
    taken_back = parse_cue(cancel(7), 0)
    assert taken_back is not None
    assert (taken_back.kind, taken_back.event) == (Kind.CANCEL, 7)
    other = threefive.Cue(cancel(7))
    assert other.decode()
    assert other.command.splice_event_cancel_indicator
    marks = Marks()
    for one in (cue(7, 180_000), cue(8, 180_000), cue(8, 180_000), taken_back):
        marks.note(one)
    segment = Segment(2, "video/2.m4s", 1.0, at=12.0)
    marks.mark(segment, 180_000)
    assert [match[1] for tag in marks.tags(segment) if (match := RANGE.match(tag))] == ["8-180000"]
    marks.note(replace(taken_back, event=8))
    audio = Segment(2, "audio/2.m4s", 1.0, at=12.0)
    marks.mark(audio, 180_000)
    assert len(marks.tags(audio)) == 1, "what one playlist has, all have"


def test_what_is_sent_again_counts_once_and_after_a_cancellation_again() -> None:
    pat = whole(b"\0", b"\0\1\xc1\0\0\0\1\xf0\x00", 0xB000)
    pmt = whole(b"\2", b"\0\1\xc1\0\0\xe1\0\xf0\0\x1b\xe1\0\xf0\0\x86\xe1\xf4\xf0\0", 0xB000)
    pes = b"\0\0\1\xe0\0\0\x80\x80\5\x21\0\1\0\1" + b"\xff" * 170
    head = [
        (b"\x47\x40\0\x10\0" + pat).ljust(188, b"\xff"),
        (b"\x47\x50\0\x10\0" + pmt).ljust(188, b"\xff"),
        b"\x47\x41\0\x10" + pes,
    ]
    reader = CueReader()
    assert reader.read(packet(insert(7, 90_000), 0)) == [], "no table has named its PID yet"
    assert reader.read(b"".join(head)) == []
    sections = [insert(7, 90_000), insert(7, 90_000), cancel(7), cancel(7), insert(7, 90_000)]
    found = [one.kind for section in sections for one in reader.read(packet(section, 0))]
    assert found == [Kind.OUT, Kind.CANCEL, Kind.OUT]


def test_a_unit_is_told_of_cues_and_read_back() -> None:
    data = {
        "channel": "ch1", "path": "ott", "contribution_port": 6011, "rate": "1M", "endpoint": "http://127.0.0.1:8333",
        "bucket": "media", "credentials": "secret:w", "segment": "1s", "window": "6s",
    }  # fmt: skip
    for cues in (True, False):
        channel = PackagerChannel.model_validate(data | {"cues": cues})
        spec = unit_spec(channel, Path("/run/nf"), Path("/etc/nf/secrets"))
        assert channel_of(spec) == channel
        assert parse_arguments(spec.argv[3:]).cues is cues


def programme(directory: Path, seconds: int) -> list[bytes]:
    """Packets of a contribution that begins at 100 s; nothing in it is a cue yet."""
    made = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=48000"]
    coded = ["-t", str(seconds), "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p"]
    sound = ["-c:a", "aac", "-output_ts_offset", "100", "-f", "mpegts", str(directory / "in.ts")]
    subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", *made, *coded, *sound], check=True)
    data = (directory / "in.ts").read_bytes()
    found = [data[at : at + 188] for at in range(0, len(data), 188)]
    return [with_cue_pid(one) if one[1] & 0x1F == 0x10 and one[2] == 0 and one[1] & 0x40 else one for one in found]


async def sent(packets: list[bytes], port: int, cues: dict[float, bytes]) -> None:
    """In real time, by the stream's own clock; cues by how many seconds after the beginning they are sent, twice."""
    loop = asyncio.get_running_loop()
    began, first, waiting, counter = loop.time(), None, sorted(cues.items()), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        for one in packets:
            pcr = pcr_base(one)
            if pcr is not None:
                first = pcr if first is None else first
                passed = later(pcr, first) / 90_000
                await asyncio.sleep(max(0.0, began + passed - loop.time()))
                while waiting and waiting[0][0] <= passed:
                    section = waiting.pop(0)[1]
                    for _ in range(2):
                        sender.send(packet(section, counter))
                        counter += 1
            sender.send(one)


@pytest.mark.daemon
async def test_cues_of_a_contribution_come_out_of_shaka_at_their_picture(
    tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    """Out at 104 s of the stream's clock, back at 107 s; immediately out at about 108.5 s."""
    require_programs("ffmpeg")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    packets = await asyncio.to_thread(programme, tmp_path, 14)
    marks, bucket, renditions = Marks(), Bucket(), renditions_of(None)
    publisher = Publisher(tmp_path, "media", "ch1", renditions, segment_ms=1000, window_ms=20_000, marks=marks)
    publisher.clear()
    run = await Run.start(program(), Packaging(port, 1000, 20_000, tmp_path, 1), None, marks.note)
    cues = {
        1.0: insert(7, 104 * 90_000, duration=3 * 90_000),
        4.0: insert(7, 107 * 90_000, out=False),
        8.5: insert(9, None),
    }
    sending = asyncio.create_task(sent(packets, port, cues))
    try:
        while not sending.done():
            await publisher.publish(s3(bucket))
            await asyncio.sleep(0.2)  # there is no event to wait for: it looks at files, as the uploader does
    finally:
        await sending
        await run.stop()
    await publisher.publish(s3(bucket))

    for rendition in renditions:
        playlist = bucket.playlist(f"{rendition}.m3u8")
        found = [(segment, RANGE.match(tag)) for segment in playlist.segments for tag in segment.tags]
        assert [match[3] for _, match in found if match] == ["OUT", "IN", "OUT"]
        (out_at, out), (in_at, back), (_, now) = found
        assert out is not None
        assert back is not None
        assert now is not None
        assert judged(out[4]) == {"event": 7, "out": True, "pts": 104.0, "duration": 3.0}
        assert judged(back[4]) == {"event": 7, "out": False, "pts": 107.0, "duration": None}
        assert judged(now[4])["event"] == 9
        assert (out[1], out[2]) == (back[1], back[2])
        for segment, pts in ((out_at, 104), (in_at, 107)):
            start = presentation_start((tmp_path / segment.uri).read_bytes())
            assert start is not None
            assert 0 <= pts * 90_000 - start < segment.duration_s * 90_000
        start = presentation_start((tmp_path / out_at.uri).read_bytes())
        assert start is not None
        assert out_at.at is not None
        told = datetime.fromisoformat(out[2]).timestamp()
        assert told == pytest.approx(out_at.at + (104 * 90_000 - start) / 90_000, abs=0.002)
    _in_the_dash_manifest(bucket.objects["ch1/manifest.mpd"], list(cues.values()))


def _in_the_dash_manifest(mpd: bytes, cues: list[bytes]) -> None:
    root = ET.fromstring(mpd)  # noqa: S314 - our own packager wrote it
    space = {"d": "urn:mpeg:dash:schema:mpd:2011", "s": "http://www.scte.org/schemas/35/2016"}
    (stream,) = root.findall("d:Period/d:EventStream", space)
    assert (stream.get("schemeIdUri"), stream.get("timescale")) == (SCHEME, "90000")
    events = stream.findall("d:Event", space)
    times = [int(event.get("presentationTime", "")) for event in events]
    assert times[:2] == [104 * 90_000, 107 * 90_000]
    assert all(earlier < following for earlier, following in pairwise(times))
    sections = [base64.b64decode(event.findtext("s:Signal/s:Binary", "", space)) for event in events]
    assert sections == cues
    assert [judged(section)["event"] for section in sections] == [7, 7, 9]
    assert root.find("d:Period", space)[0] is stream  # type: ignore[index]
