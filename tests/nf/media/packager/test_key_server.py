"""Keys of a key server: Shaka asks the lab's model, and ffmpeg plays with the keys that the model gave."""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from lab.key_server import KeyServer as Model
from lab.key_server import keys_of
from nf.errors import IntegrityError
from nf.media.documents import PackagerChannel, Protection
from nf.media.packager.command import Packaging, program
from nf.media.packager.keys import flags_fd, key_flags, read_signing_key
from nf.media.packager.units import channel_of, unit_spec
from nf.media.packager.uploader import Uploader, parse_arguments

SIGNING_KEY, SIGNING_IV, MASTER = bytes(range(32)), bytes(range(16)), b"master key model"


@pytest.fixture
def model() -> Iterator[tuple[Model, str]]:
    """A key server, and where it answers."""
    made = Model("streamverse", SIGNING_KEY, SIGNING_IV, MASTER)
    with made.serve("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made, f"http://127.0.0.1:{server.server_address[1]}/cenc"
        finally:
            server.shutdown()
            thread.join()


def secret(directory: Path, text: str) -> None:
    file = directory / "signing-key"
    file.touch(mode=0o600)
    file.write_text(text)


def protection(url: str, scheme: str = "cbcs", **changes: Any) -> Protection:
    server = {
        "url": url,
        "content_id": "ch1",
        "signer": "streamverse",
        "signing_key": "secret:signing-key",
        "signing_iv": SIGNING_IV.hex(),
    }
    return Protection.model_validate({"scheme": scheme, "key_server": server | changes})


def source(directory: Path) -> Path:
    made = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25", "-f", "lavfi", "-i", "sine", "-t", "4"]
    coded = ["-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "mpegts"]
    subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", *made, *coded, str(directory / "in.ts")], check=True)
    for rendition in ("video", "audio"):
        (directory / rendition).mkdir()
    return directory / "in.ts"


def packaged(directory: Path, given: Protection, file: Path) -> subprocess.CompletedProcess[str]:
    fd = flags_fd(key_flags(given, directory))
    try:
        argv = Packaging(6011, 1000, 6000, directory, 1, 1_000_000, given).argv(program(), fd)
        argv = [word.replace("udp://0.0.0.0:6011?reuse=1&buffer_size=2000000", str(file)) for word in argv]
        assert SIGNING_KEY.hex() not in shlex.join(argv)
        return subprocess.run(argv, pass_fds=(fd,), capture_output=True, text=True, check=False)
    finally:
        os.close(fd)


@pytest.mark.daemon
@pytest.mark.parametrize("scheme", ["cenc", "cbcs"])
def test_what_is_packaged_plays_with_the_keys_that_the_server_gave(
    model: tuple[Model, str], tmp_path: Path, scheme: str, require_programs: Callable[..., None]
) -> None:
    require_programs("ffmpeg")
    server, url = model
    secret(tmp_path, f'{{"key": "{SIGNING_KEY.hex()}"}}')
    file = source(tmp_path)
    assert packaged(tmp_path, protection(url, scheme), file).returncode == 0
    (request,) = server.asked
    assert base64.b64decode(request["content_id"]) == b"ch1"
    for rendition, track in (("video", "SD"), ("audio", "AUDIO")):
        key_id, key = keys_of(MASTER, b"ch1", track)
        whole = tmp_path / f"{rendition}.mp4"
        whole.write_bytes(b"".join((tmp_path / rendition / n).read_bytes() for n in ("init-1.mp4", "1.m4s", "2.m4s")))
        assert key_id in (tmp_path / rendition / "init-1.mp4").read_bytes()
        for used, plays in ((key, True), (bytes(16), False)):
            argv = ["ffmpeg", "-nostdin", "-loglevel", "error", "-decryption_key", used.hex(), "-i", str(whole)]
            ran = subprocess.run([*argv, "-f", "null", "-"], capture_output=True, text=True, check=False)
            assert (ran.stderr == "") is plays
        assert key.hex() not in "".join(path.read_text() for path in tmp_path.glob("*.m3u8"))
    key_id = keys_of(MASTER, b"ch1", "SD")[0]
    playlist, manifest = ((tmp_path / name).read_text() for name in ("video.m3u8", "manifest.mpd"))
    method = {"cenc": "SAMPLE-AES-CTR", "cbcs": "SAMPLE-AES"}[scheme]
    assert f"METHOD={method}," in playlist
    assert "edef8ba9-79d6-4ace-a3c8-27dcd51d21ed" in playlist
    assert f"KEYID=0x{key_id.hex()}" in playlist
    assert "urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed" in manifest


@pytest.mark.daemon
def test_who_signs_with_another_key_gets_none_and_nothing_is_made_or_told(
    model: tuple[Model, str], tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("ffmpeg")
    server, url = model
    secret(tmp_path, f'{{"key": "{bytes(32).hex()}"}}')
    ran = packaged(tmp_path, protection(url), source(tmp_path))
    assert ran.returncode > 0
    assert ran.stderr == "", "what a server answered may be keys"
    assert (server.asked, server.refused) == ([], 1)
    assert not list((tmp_path / "video").iterdir())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"url": "http://10.0.0.1/cenc"}, "which http shows to everybody"),
        ({"url": "ftp://keys.example"}, "a key server is https"),
        ({"url": "https://me@keys.example/"}, "a key server is https"),
        ({"url": "https://keys.example:x/"}, "a key server is https"),
        ({"signing_iv": "12"}, "16 octets"),
        ({"signing_key": "00" * 16}, "never written into a document"),
        ({"signing_key": "pkcs11:object=x?module-path=/x.so&pin-value=1"}, "PIN"),
        ({"content_id": "a b"}, "1 to 100 letters"),
    ],
)
def test_a_server_that_cannot_be_meant_is_refused(changes: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        protection(**{"url": "https://keys.example/cenc/getcontentkey/me"} | changes)


def test_a_key_and_a_server_exclude_each_other() -> None:
    whole = protection("https://keys.example/cenc").to_json()
    for wrong in ({}, {"scheme": "cbcs"}, whole | {"key": "secret:k"}):
        with pytest.raises(ValueError, match="with a key or with those"):
            Protection.model_validate(wrong)
    with pytest.raises(ValueError, match="where a licence is had"):
        Protection.model_validate(whole | {"key_uri": "skd://x"})


@pytest.mark.parametrize("text", ["", "[]", '{"key": 1}', '{"key": "00"}', '{"key": "zz"}', '{"k": "00"}'])
def test_what_is_no_signing_key_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    secret(tmp_path, text)
    with pytest.raises(IntegrityError) as refused:
        read_signing_key("secret:signing-key", tmp_path)
    assert "64 hex digits" in refused.value.remedy


def test_a_unit_names_the_signing_key_and_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "signing-key"
    given = protection("https://keys.example/cenc", signing_key=f"file:{file}")
    channel = PackagerChannel.model_validate(
        {
            "channel": "ch1",
            "path": "ott",
            "contribution_port": 6011,
            "rate": "1M",
            "endpoint": "http://127.0.0.1:8333",
            "bucket": "media",
            "credentials": "secret:w",
            "segment": "1s",
            "window": "6s",
            "protection": given.to_json(),
        }
    )
    spec = unit_spec(channel, Path("/run/nf"), Path("/etc/nf/secrets"))
    assert channel_of(spec) == channel
    assert file in spec.sandbox.readable
    assert parse_arguments(spec.argv[3:]).protection == given


@pytest.mark.daemon
async def test_a_server_that_gives_no_keys_is_the_packager_s_fault_key_missing(
    tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("setpriv")
    secret(tmp_path, f'{{"key": "{SIGNING_KEY.hex()}"}}')
    given = protection("http://127.0.0.1:9/cenc")
    options = {
        "--channel": "ch1", "--path": "ott", "--port": "6011", "--rate": "1000000", "--endpoint": "http://127.0.0.1:9",
        "--bucket": "media", "--credentials": "secret:w", "--segment-ms": "1000", "--window-ms": "6000",
        "--directory": str(tmp_path / "out"), "--status": str(tmp_path / "s"), "--secrets": str(tmp_path),
        "--protection": given.model_dump_json(by_alias=True, exclude_none=True),
    }  # fmt: skip
    uploader = Uploader(parse_arguments([word for option in options.items() for word in option]))

    async def taken(_work: object) -> None:
        """An origin that is not asked."""

    uploader._until_done = taken  # type: ignore[assignment]
    await uploader._one_run(program())
    uploader._server_error = uploader._refused_keys()
    status = uploader.status()
    assert (status["fault"], status["packager_pid"]) == ("key-missing", None)
    assert "the key server gives no keys" in str(status["fault_text"])
    assert "streamverse" in str(status["fault_remedy"])


@given(st.binary(max_size=200))
def test_the_model_answers_whatever_it_is_asked(body: bytes) -> None:
    server = Model("streamverse", SIGNING_KEY, SIGNING_IV, MASTER)
    assert set(server.answer(body)) == {"response"}
    assert server.refused == 1


def test_the_model_s_signature_is_the_encrypted_digest() -> None:
    """Undone with another library call than the one that made it."""
    from lab.key_server import signature

    decryptor = Cipher(algorithms.AES(SIGNING_KEY), modes.CBC(SIGNING_IV)).decryptor()
    plain = decryptor.update(signature(SIGNING_KEY, SIGNING_IV, b"x")) + decryptor.finalize()
    assert plain == bytes.fromhex("11f6ad8ec52a2984abaafd7c3b516503785c2072") + b"\x0c" * 12
