"""The kernel image of a slot: its sections as objdump reads them, its signature as sbverify judges it."""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.builder import uki
from images.builder.verity import Verity
from images.signing.keys import Keys
from nf.errors import InputError

VERITY = Verity("ab" * 32, 4096 * 1000)
KERNEL, INITRAMFS = bytes(range(256)) * 3001, b"\x28\xb5\x2f\xfd" * 5003
RELEASE = b"ID=streamverse-nf\nVERSION_ID=1.0\n"


def small_program(room: int = 8) -> bytes:
    """The least that is an EFI program with one section; `room` for further ones in its header."""
    headers = 0x200 + 40 * room
    headers = -(-headers // 512) * 512
    head = bytearray(headers)
    head[:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, 0x80)
    struct.pack_into("<4sHHIIIHH", head, 0x80, b"PE\0\0", 0x8664, 1, 0, 0, 0, 240, 0x206)
    optional = 0x80 + 24
    struct.pack_into("<HBB", head, optional, 0x20B, 2, 40)
    struct.pack_into("<II", head, optional + 32, 512, 512)
    struct.pack_into("<II", head, optional + 56, 0x2000, headers)
    struct.pack_into("<I", head, optional + 108, 16)
    struct.pack_into("<8sIIIIIIHHI", head, optional + 240, b".text", 100, 0x1000, 512, headers, 0, 0, 0, 0, 0x60000020)
    return bytes(head) + bytes(512)


@given(
    st.lists(
        st.tuples(st.from_regex(r"\.[a-z]{1,6}", fullmatch=True), st.binary(min_size=1, max_size=9000)),
        min_size=1,
        max_size=5,
    )
)
def test_sections_never_overlap_and_carry_what_was_given(parts: list[tuple[str, bytes]]) -> None:
    image = uki.add_sections(small_program(), parts)
    made = uki.sections(image)
    assert [one.name for one in made] == [".text", *(name for name, _ in parts)]
    for before, after in itertools.pairwise(made):
        assert after.virtual_address >= before.virtual_address + max(before.virtual_size, before.raw_size)
        assert after.virtual_address % 4096 == 0
        assert after.raw_offset == before.raw_offset + before.raw_size
    for one, (_, content) in zip(made[1:], parts, strict=True):
        assert image[one.raw_offset : one.raw_offset + one.virtual_size] == content
    assert made[-1].raw_offset + made[-1].raw_size == len(image)


def test_without_room_in_the_header_nothing_is_overwritten() -> None:
    with pytest.raises(InputError, match="no room"):
        uki.add_sections(small_program(room=1), [(f".s{number}", b"x") for number in range(40)])


@given(st.binary(max_size=600))
def test_what_is_no_program_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        uki.sections(data)


@given(place=st.integers(0, 0x1FF), value=st.integers(0, 255))
def test_a_broken_header_is_read_or_refused(place: int, value: int) -> None:
    data = bytearray(small_program())
    data[place] = value
    with contextlib.suppress(InputError):
        uki.add_sections(bytes(data), [(".x", b"y")])


def test_the_command_line_names_the_root_and_no_slot() -> None:
    words = uki.command_line(VERITY, further="nf.installer loglevel=4").split()
    assert f"nf.roothash={VERITY.root_hash}" in words
    assert f"nf.hashoff={VERITY.hash_offset}" in words
    assert "panic=5" in words
    assert words[-2:] == ["nf.installer", "loglevel=4"]
    assert not [word for word in words if re.search(r"root_[ab]|slot", word)]
    assert "no_timer_check" not in words
    assert "no_timer_check" in uki.command_line(VERITY, kernel="cloud").split()


@pytest.mark.daemon
class TestSigned:
    """Needs osslsigncode, sbverify (sbsigntool), objdump (binutils) and the stub (systemd-boot-efi)."""

    @pytest.fixture
    def make(self, keys: Keys, tmp_path: Path, require_programs: Callable[..., None]) -> Callable[[str], Path]:
        require_programs("osslsigncode", "sbverify", "objdump")
        (tmp_path / "kernel").write_bytes(KERNEL)
        (tmp_path / "initramfs").write_bytes(INITRAMFS)

        def made(name: str) -> Path:
            uki.make_uki(
                kernel=tmp_path / "kernel", initramfs=tmp_path / "initramfs", command_line=uki.command_line(VERITY),
                os_release=RELEASE, out=tmp_path / name, keys=keys,
            )  # fmt: skip
            return tmp_path / name

        return made

    def test_objdump_reads_the_same_content(self, make: Callable[[str], Path]) -> None:
        image = make("nf.efi")
        expected = {
            ".osrel": RELEASE, ".cmdline": uki.command_line(VERITY).encode() + b"\0", ".initrd": INITRAMFS,
            ".linux": KERNEL,
        }  # fmt: skip
        listed = subprocess.run(["objdump", "-h", image], check=True, capture_output=True, text=True).stdout
        rows = re.findall(
            r"^ +\d+ (\S+) +([0-9a-f]{8}) +([0-9a-f]{16}) +[0-9a-f]{16} +([0-9a-f]{8})", listed, re.MULTILINE
        )
        data = image.read_bytes()
        found = {name: data[int(offset, 16) : int(offset, 16) + int(size, 16)] for name, size, _, offset in rows}
        assert {name: found[name] for name in expected} == expected
        places = [(int(address, 16), int(size, 16)) for _, size, address, _ in rows]
        assert places == sorted(places)
        assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(places))

    def test_sbverify_has_nothing_to_say_but_good(self, make: Callable[[str], Path], keys: Keys) -> None:
        said = verify(make("nf.efi"), keys)
        assert said.returncode == 0
        assert "warning" not in (said.stdout + said.stderr).lower()

    def test_the_same_input_gives_the_same_octets(self, make: Callable[[str], Path]) -> None:
        first = make("1.efi").read_bytes()
        time.sleep(1.1)  # a signing time would be another now
        assert make("2.efi").read_bytes() == first

    @pytest.mark.parametrize("section", [".text", ".osrel", ".cmdline", ".initrd", ".linux"])
    def test_one_bit_in_any_section_is_refused(self, make: Callable[[str], Path], keys: Keys, section: str) -> None:
        image = make("nf.efi")
        place = next(one for one in uki.sections(image.read_bytes()) if one.name == section)
        flip(image, place.raw_offset + place.virtual_size // 2)
        assert verify(image, keys).returncode != 0

    def test_another_command_line_does_not_pass(self, make: Callable[[str], Path], keys: Keys) -> None:
        image = make("nf.efi")
        image.write_bytes(image.read_bytes().replace(b"panic=5", b"panic=0", 1))
        assert verify(image, keys).returncode != 0

    def test_a_strangers_signature_is_not_ours(self, make: Callable[[str], Path], stranger: Keys) -> None:
        assert verify(make("nf.efi"), stranger).returncode != 0

    def test_what_is_signed_takes_no_further_sections(self, make: Callable[[str], Path]) -> None:
        with pytest.raises(InputError):
            uki.add_sections(make("nf.efi").read_bytes(), [(".x", b"y")])

    def test_a_command_line_that_is_none(self, tmp_path: Path, keys: Keys) -> None:
        for words in ("a\nb", "caf\xe9", "a\0b"):
            with pytest.raises(InputError, match="ASCII"):
                uki.make_uki(
                    kernel=tmp_path,
                    initramfs=tmp_path,
                    command_line=words,
                    os_release=b"",
                    out=tmp_path / "x",
                    keys=keys,
                )
        assert shutil.which("sbverify")


def verify(image: Path, keys: Keys) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sbverify", "--cert", keys.certificate("db"), image], capture_output=True, text=True, check=False
    )


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        octet = file.read(1)[0]
        file.seek(place)
        file.write(bytes([octet ^ 1]))
