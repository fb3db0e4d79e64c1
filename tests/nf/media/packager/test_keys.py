"""Content keys from a file, a secret and a token; where they show, and where they must not."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nf.errors import DeniedError, InputError, IntegrityError, NfError, NotFoundError, UnavailableError
from nf.media.documents import PackagerChannel, Protection
from nf.media.hls import parse_media, render_media
from nf.media.packager.command import Packaging, program
from nf.media.packager.keys import ContentKey, flags_fd, key_flags, read_key
from nf.media.packager.units import channel_of, unit_spec
from nf.media.packager.uploader import parse_arguments

KEY_ID, KEY = "00112233445566778899aabbccddeeff", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


def written(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return written(tmp_path / "ch1-key", f'{{"key_id": "{KEY_ID}", "key": "{KEY}"}}')


def test_a_file_and_a_secret_hold_the_key_and_repr_does_not(key_file: Path) -> None:
    found = read_key(f"file:{key_file}", key_file.parent)
    assert found == ContentKey(bytes.fromhex(KEY_ID), bytes.fromhex(KEY))
    assert read_key("secret:ch1-key", key_file.parent) == found
    assert KEY not in repr(found)
    assert repr(bytes.fromhex(KEY)) not in repr(found)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"key_id": 1, "key": 2}', f'{{"key_id": "{KEY_ID}", "key": "12"}}']
)
def test_what_is_no_key_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "k", text)
    with pytest.raises(IntegrityError) as refused:
        read_key(f"file:{path}", tmp_path)
    assert refused.value.remedy
    assert KEY_ID not in str(refused.value)


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("file:/nonexistent/key", NotFoundError),
        ("secret:absent", NotFoundError),
        ("http://key", InputError),
        ("pkcs11:token=nf", InputError),
        ("pkcs11:object=x?module-path=/nonexistent.so", UnavailableError),
    ],
)
def test_a_key_that_cannot_be_had_says_why(tmp_path: Path, reference: str, error: type[NfError]) -> None:
    with pytest.raises(error):
        read_key(reference, tmp_path)


def test_the_line_up_takes_no_pin() -> None:
    with pytest.raises(ValueError, match="PIN"):
        Protection(key="pkcs11:object=x?module-path=/x.so&pin-value=1234")


def protected(key: str) -> PackagerChannel:
    return PackagerChannel.model_validate(
        {
            "channel": "ch1",
            "path": "ott",
            "contribution_port": 6011,
            "rate": "1M",
            "endpoint": "http://127.0.0.1:8333",
            "bucket": "media",
            "credentials": "secret:origin-writer",
            "segment": "1s",
            "window": "6s",
            "protection": {"scheme": "cenc", "key": key},
        }
    )


def test_a_unit_names_the_key_and_is_read_back(key_file: Path) -> None:
    channel = protected(f"file:{key_file}")
    spec = unit_spec(channel, Path("/run/nf"), Path("/etc/nf/secrets"))
    assert channel_of(spec) == channel
    assert KEY not in str(spec)
    assert key_file in spec.sandbox.readable
    given = parse_arguments(spec.argv[3:])
    assert given.protection == channel.protection
    assert given.stream["protection"] == {"scheme": "cenc", "key": f"file:{key_file}"}


@pytest.mark.daemon
@pytest.mark.parametrize("scheme", ["cenc", "cbcs"])
def test_what_is_packaged_plays_with_the_key_alone(
    tmp_path: Path, key_file: Path, scheme: str, require_programs: Callable[..., None]
) -> None:
    """ffmpeg is the judge: it decrypts by the boxes `tenc` and `senc` (ISO/IEC 23001-7, 8.2 and 7.2)."""
    require_programs("ffmpeg", "ffprobe")
    source = tmp_path / "in.ts"
    made = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25", "-f", "lavfi", "-i", "sine", "-t", "4"]
    coded = ["-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "mpegts", str(source)]
    subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", *made, *coded], check=True)
    for rendition in ("video", "audio"):
        (tmp_path / rendition).mkdir()
    protection = Protection(scheme=scheme, key=f"file:{key_file}")
    packaging = Packaging(6011, 1000, 6000, tmp_path, 1, 1_000_000, protection)
    fd = flags_fd(key_flags(protection, tmp_path))
    try:
        argv = [
            a.replace("udp://0.0.0.0:6011?reuse=1&buffer_size=2000000", str(source))
            for a in packaging.argv(program(), fd)
        ]
        assert not any(KEY in argument for argument in argv)
        subprocess.run(argv, check=True, pass_fds=(fd,))
    finally:
        os.close(fd)
    whole = tmp_path / "whole.mp4"
    whole.write_bytes(b"".join((tmp_path / "video" / n).read_bytes() for n in ("init-1.mp4", "1.m4s", "2.m4s")))
    assert b"tenc" in whole.read_bytes()
    assert b"senc" in whole.read_bytes()
    assert bytes.fromhex(KEY_ID) in (tmp_path / "video/init-1.mp4").read_bytes()

    def decoded(key: str) -> tuple[int, str]:
        ran = subprocess.run(
            [
                "ffmpeg",
                "-nostdin",
                "-loglevel",
                "error",
                "-decryption_key",
                key,
                "-i",
                str(whole),
                "-f",
                "framemd5",
                "-",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return len([line for line in ran.stdout.splitlines() if line and line[0] != "#"]), ran.stderr

    assert decoded(KEY) == (50, "")
    assert decoded("ff" * 16)[1], "with another key it is noise"
    playlist = parse_media((tmp_path / "video.m3u8").read_text())
    # Shaka writes no EXT-X-KEY for a raw key of scheme cenc: RFC 8216 has no method for it.
    assert all(bool(segment.keys) is (scheme == "cbcs") for segment in playlist.segments)
    assert parse_media(render_media(playlist)).segments[0].keys == playlist.segments[0].keys
    assert KEY not in "".join(path.read_text() for path in tmp_path.glob("*.m*") if path.suffix in (".m3u8", ".mpd"))


def _token(directory: Path, *, extractable: bool) -> None:
    import pkcs11

    token = pkcs11.lib(str(MODULE)).get_token(token_label="nf")
    with token.open(user_pin="4321", rw=True) as session:
        session.create_object(
            {
                pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
                pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.AES,
                pkcs11.Attribute.VALUE: bytes.fromhex(KEY),
                pkcs11.Attribute.ID: bytes.fromhex(KEY_ID),
                pkcs11.Attribute.LABEL: "open" if extractable else "closed",
                pkcs11.Attribute.SENSITIVE: not extractable,
                pkcs11.Attribute.EXTRACTABLE: extractable,
                pkcs11.Attribute.TOKEN: True,
            }
        )


@pytest.mark.daemon
def test_a_token_gives_the_key_to_who_has_its_pin(
    monkeypatch: pytest.MonkeyPatch, require_programs: Callable[..., None]
) -> None:
    require_programs("softhsm2-util")
    directory = Path(tempfile.mkdtemp())
    (directory / "tokens").mkdir()
    (directory / "softhsm2.conf").write_text(f"directories.tokendir = {directory}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(directory / "softhsm2.conf"))
    made = ["softhsm2-util", "--init-token", "--free", "--label", "nf", "--so-pin", "1234", "--pin", "4321"]
    subprocess.run(made, check=True, capture_output=True)
    _token(directory, extractable=True)
    _token(directory, extractable=False)
    written(directory / "hsm-pin", "4321\n")
    written(directory / "wrong-pin", "9999")

    def reference(name: str, pin: str = "hsm-pin", label: str = "nf") -> str:
        return f"pkcs11:object={name};token={label}?module-path={MODULE}&pin-source=secret:{pin}"

    assert read_key(reference("open"), directory) == ContentKey(bytes.fromhex(KEY_ID), bytes.fromhex(KEY))
    for refused, error in (
        (reference("closed"), DeniedError),
        (reference("open", "wrong-pin"), DeniedError),
        (reference("absent"), NotFoundError),
        (reference("open", label="other"), NotFoundError),
    ):
        with pytest.raises(error) as told:
            read_key(refused, directory)
        assert "4321" not in str(told.value)
        assert "9999" not in str(told.value)
