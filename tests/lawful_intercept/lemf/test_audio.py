"""WAV files against what was sent, judged by other decoders: audioop, ffmpeg, ffprobe."""

from __future__ import annotations

import json
import struct
import subprocess
import warnings
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.handover.ps_pdu import CcTemplate, IriTemplate
from lawful_intercept.lemf.audio import Recording, record
from lawful_intercept.lemf.codecs import STATIC, Encoding, decoder, encodings, read_rtp
from lawful_intercept.lemf.g722 import Decoder
from nf.errors import NotFoundError
from tests.lawful_intercept.lemf.parts import (
    AT_NS,
    HEADER,
    INVITE,
    TWENTY_MS,
    Certificates,
    open_archive,
    open_store,
    rtp,
    settings,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

RATE, STEP = 8000, 160
NOISE = np.random.default_rng(7)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("li"))


def tone(hz: float, packets: int, rate: int = RATE) -> Any:
    count = packets * rate // 50
    return (9000 * np.sin(2 * np.pi * hz * np.arange(count) / rate) + NOISE.normal(0, 100, count)).astype(np.int16)


def played(tmp_path: Path, certificates: Certificates, iri: list[bytes], cc: list[bytes], **more: Any) -> Recording:
    chosen = settings(tmp_path, certificates)
    store = open_store(chosen)
    store.take(2, AT_NS, iri)
    store.take(3, AT_NS, cc)
    store.close()
    into = tmp_path / "wav"
    into.mkdir()
    with open_archive(chosen) as archive:
        return record(archive, 1, into, **more)


def samples(path: Path) -> Any:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def packets(
    payloads: list[bytes], direction: int = 0, kind: int = 8, ssrc: int = 1, start: int = 0
) -> list[tuple[int, int, bytes]]:
    """(when, direction, packet)"""
    return [
        (AT_NS + start + n * TWENTY_MS, direction, rtp(n, payload, kind, ssrc, STEP))
        for n, payload in enumerate(payloads)
    ]


def encoded(made: list[tuple[int, int, bytes]]) -> list[bytes]:
    template = CcTemplate(HEADER, 7)
    ordered = sorted(made, key=lambda one: one[0])
    return [template.encode(n, at, direction, packet) for n, (at, direction, packet) in enumerate(ordered)]


@pytest.mark.parametrize("code", ["ulaw", "alaw"])
def test_g711_of_every_code_word(code: str) -> None:
    octets = bytes(range(256))
    wanted = getattr(audioop, f"{code}2lin")(octets, 2)
    decode = decoder(STATIC[0 if code == "ulaw" else 8])
    assert decode is not None
    assert decode(octets).astype("<i2").tobytes() == wanted


@pytest.mark.daemon
def test_g722_against_ffmpeg() -> None:
    sound = (tone(440, 10, 16_000) // 2 + tone(5300, 10, 16_000) // 3).astype("<i2").tobytes()
    pcm = ["-f", "s16le", "-ar", "16000", "-ac", "1"]
    code = ["ffmpeg", "-v", "error", *pcm, "-i", "-", "-c:a", "g722", "-f", "g722", "-"]
    octets = subprocess.run(code, input=sound, capture_output=True, check=True, timeout=30).stdout
    back = ["ffmpeg", "-v", "error", "-f", "g722", "-i", "-", *pcm, "-"]
    wanted = subprocess.run(back, input=octets, capture_output=True, check=True, timeout=30).stdout
    assert Decoder().decode(octets).tobytes() == wanted


@given(st.binary(max_size=200))
def test_g722_of_rubbish(octets: bytes) -> None:
    assert len(Decoder().decode(octets)) == 2 * len(octets)


def test_both_directions_on_one_time_line(tmp_path: Path, certificates: Certificates) -> None:
    near, far = tone(440, 50), tone(1000, 40)
    a_law = audioop.lin2alaw(near.tobytes(), 2)
    mu_law = audioop.lin2ulaw(far.tobytes(), 2)
    made = packets([a_law[n : n + STEP] for n in range(0, len(a_law), STEP)])
    made += packets([mu_law[n : n + STEP] for n in range(0, len(mu_law), STEP)], 1, 0, 2, start=200_000_000)
    recording = played(tmp_path, certificates, [], encoded(made))
    assert [path.name for path in recording.files] == ["from-target.wav", "to-target.wav", "mixed.wav"]
    heard_near, heard_far, both = map(samples, recording.files)
    assert np.array_equal(heard_near, np.frombuffer(audioop.alaw2lin(a_law, 2), np.int16))
    offset = RATE // 5
    assert not heard_far[:offset].any(), "silence until the other one speaks"
    assert np.array_equal(heard_far[offset:], np.frombuffer(audioop.ulaw2lin(mu_law, 2), np.int16))
    wanted = np.zeros(len(both), np.int32)
    wanted[: len(heard_near)] += heard_near
    wanted[: len(heard_far)] += heard_far
    assert np.array_equal(both, np.clip(wanted, -32768, 32767))
    assert all((one.lost, one.again, one.jumps) == (0, 0, 0) for one in recording.streams)


def test_loss_disorder_and_repetition(tmp_path: Path, certificates: Certificates) -> None:
    sound = audioop.lin2alaw(tone(440, 20).tobytes(), 2)
    made = packets([sound[n : n + STEP] for n in range(0, len(sound), STEP)])
    lost = made.pop(5)
    jitter = 60_000_000
    made[7] = (made[7][0] + jitter, *made[7][1:])
    made.append(made[12])
    recording = played(tmp_path, certificates, [], encoded(made))
    (told,) = recording.streams
    assert (told.packets, told.lost, told.again) == (19, 1, 1)
    heard = samples(recording.files[0])
    wanted = np.frombuffer(audioop.alaw2lin(sound, 2), np.int16).copy()
    wanted[5 * STEP : 6 * STEP] = 0
    assert np.array_equal(heard, wanted)
    assert lost


def test_a_sender_that_begins_anew(tmp_path: Path, certificates: Certificates) -> None:
    cc, template = [], CcTemplate(HEADER, 7)
    for n in range(10):
        at = AT_NS + n * TWENTY_MS + (0 if n < 5 else 3_000_000_000)
        timestamp = n * STEP if n < 5 else 3_000_000_000 + n * STEP
        cc.append(template.encode(n, at, 0, struct.pack("!BBHII", 0x80, 8, n, timestamp, 9) + b"\x80" * STEP))
    recording = played(tmp_path, certificates, [], cc)
    assert recording.streams[0].jumps == 1
    heard = samples(recording.files[0])
    assert len(heard) == 10 * STEP + 3 * RATE
    assert not heard[5 * STEP : 5 * STEP + 3 * RATE].any()


def test_wide_audio_from_sdp(tmp_path: Path, certificates: Certificates) -> None:
    sound = tone(440, 10, 16_000)
    body = b"v=0\r\nm=audio 4000 RTP/AVP 97 96\r\na=rtpmap:97 telephone-event/8000\r\na=rtpmap:96 L16/16000\r\n"
    iri = [IriTemplate(HEADER, 7).sip(0, AT_NS, 1, "192.0.2.1", "192.0.2.2", INVITE + body)]
    made = [
        (AT_NS + n * TWENTY_MS, 0, rtp(n, sound[n * 320 : n * 320 + 320].astype(">i2").tobytes(), 96, 1, 320))
        for n in range(10)
    ]
    made.append((AT_NS + 300_000_000, 0, rtp(11, b"\1\0\0\0", 97, 1, 320)))
    recording = played(tmp_path, certificates, iri, encoded(made))
    assert np.array_equal(samples(recording.files[0]), sound)
    assert {(one.encoding, one.decoded) for one in recording.streams} == {("L16", True), ("TELEPHONE-EVENT", False)}


def test_different_rates_are_mixed(tmp_path: Path, certificates: Certificates) -> None:
    narrow = packets([b"\x80" * STEP] * 5)
    wide = packets([bytes(STEP)] * 5, 1, 9, 2)
    recording = played(tmp_path, certificates, [], encoded(narrow + wide))
    with wave.open(str(recording.files[-1])) as file:
        assert (file.getframerate(), file.getnframes()) == (16_000, 1600)


def test_what_is_too_late_is_counted(tmp_path: Path, certificates: Certificates) -> None:
    made = [*packets([b"\x80" * STEP]), (AT_NS + 10**13, 0, rtp(9, b"\x80" * STEP))]
    recording = played(tmp_path, certificates, [], encoded(made), longest_s=60)
    assert recording.streams[0].late_s == 1
    assert len(samples(recording.files[0])) == STEP


@pytest.mark.parametrize("cc", [[], [(AT_NS, 0, b"no RTP")], [(AT_NS, 0, rtp(0, b"x", 111))]])
def test_no_audio(tmp_path: Path, certificates: Certificates, cc: list[tuple[int, int, bytes]]) -> None:
    iri = [IriTemplate(HEADER, 7).sip(0, AT_NS, 1, "192.0.2.1", "192.0.2.2", INVITE)]
    with pytest.raises(NotFoundError):
        played(tmp_path, certificates, iri, encoded(cc))


@pytest.mark.daemon
def test_ffprobe_reads_it(tmp_path: Path, certificates: Certificates) -> None:
    recording = played(tmp_path, certificates, [], encoded(packets([b"\x80" * STEP] * 50)))
    for path in recording.files:
        command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", str(path)]
        told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
        (stream,) = told["streams"]
        assert (stream["codec_name"], stream["sample_rate"], stream["channels"]) == ("pcm_s16le", "8000", 1)
        assert float(told["format"]["duration"]) == pytest.approx(1.0)


@given(st.binary(max_size=80))
def test_rubbish_is_no_rtp(octets: bytes) -> None:
    packet = read_rtp(octets)
    assert packet is None or len(packet.payload) < len(octets)


def test_rtp_with_extension_padding_and_sources() -> None:
    head = struct.pack("!BBHII", 0x80 | 0x20 | 0x10 | 2, 0x80 | 8, 1, 2, 3)
    packet = read_rtp(head + bytes(8) + b"\xbe\xde\0\1" + bytes(4) + b"sound" + b"\0\0\3")
    assert packet is not None
    assert (packet.kind, packet.payload) == (8, b"sound")
    assert read_rtp(struct.pack("!BBHII", 0x80, 200, 1, 2, 3)) is None, "RTCP"


def test_encodings_are_bounded() -> None:
    found = encodings([b"a=rtpmap:200 X/8000\r\na=rtpmap:98 OPUS/48000/2\r\na=rtpmap:99 L16/0\r\n"])
    assert 200 not in found
    assert 99 not in found
    assert found[98] == Encoding("OPUS", 48_000, 2)
