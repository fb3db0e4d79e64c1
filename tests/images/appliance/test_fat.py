"""Seeds onto volumes and disk images, read back by the programs that an appliance uses (mtools, dosfstools, fdisk)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.appliance import support
from images.appliance.fat import Fat, Volume, esp_of, geometry, make_volume, sticks
from images.appliance.places import Places
from images.appliance.system import Program, System
from nf.cli.main import main
from nf.errors import DriverError, InputError, NfError, NotFoundError, StorageError


@pytest.fixture
def programs(require_programs: Callable[..., None]) -> None:
    require_programs("mcopy", "mshowfat", "mkfs.fat", "sfdisk")


@pytest.mark.daemon
@pytest.mark.usefixtures("programs")
class TestVolumes:
    def test_files_of_a_volume(self, tmp_path: Path) -> None:
        fat = make_volume(tmp_path / "v.img", "NFSEED")
        assert (tmp_path / "v.img").stat().st_mode & 0o777 == 0o600
        fat.write("seed.json", b"one")
        fat.write("nf/seed/seed.json", b"two")
        fat.write("nf/seed/seed.json", b"three")
        assert fat.read("seed.json", 10) == b"one"
        assert fat.read("nf/seed/seed.json", 10) == b"three"
        assert fat.names("*.json") == ["seed.json"]
        with pytest.raises(InputError, match="larger than 2 octets"):
            fat.read("seed.json", 2)
        fat.remove("seed.json")
        with pytest.raises(NotFoundError):
            fat.read("seed.json", 10)
        with pytest.raises(StorageError):
            fat.write("big", bytes(4 << 20))

    def test_a_shredded_secret_is_nowhere_on_the_volume(self, tmp_path: Path) -> None:
        volume, secret = tmp_path / "v.img", b"0123456789abcdef" * 900
        fat = make_volume(volume, "NFSEED")
        fat.write("before", b"b" * 5000)
        fat.write("seed.json", secret)
        assert secret[:16] in volume.read_bytes()
        fat.shred("seed.json")
        assert secret[:16] not in volume.read_bytes()
        assert fat.read("before", 9000) == b"b" * 5000
        assert not fat.exists("seed.json")

    def test_the_esp_of_a_disk_image(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk.img"
        with disk.open("wb") as file:
            file.truncate(24 << 20)
        table = b"label: gpt\nstart=2048, size=32768, type=U, name=ESP\n"
        subprocess.run(["sfdisk", "--quiet", disk], input=table, check=True)
        made = make_volume(tmp_path / "esp", "ESP", octets=16 << 20)
        made.write("EFI/BOOT/x", b"x")
        with disk.open("r+b") as file:
            file.seek(1 << 20)
            file.write((tmp_path / "esp").read_bytes())
        assert main(["image", "seed", "--serial", "SN1", "--into", str(disk), "--json"]) == 0
        assert json.loads(Fat(esp_of(disk)).read("nf/seed/seed.json", 999))["serial"] == "SN1"
        with pytest.raises(InputError, match="no disk image"):
            esp_of(tmp_path / "esp")

    def test_seed_command_makes_a_stick(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        output = tmp_path / "seed.img"
        options = ["--management", "10.0.0.5/24", "--gateway", "10.0.0.1", "--dns", "10.0.0.2", "--ntp", "ntp.net"]
        names = ["--interface", "52:54:00:00:00:01", "--name", "eth1=52:54:00:00:00:02", "--hostname", "pop1"]
        assert main(["image", "seed", "--serial", "SN1", *options, *names, "--output", str(output)]) == 0
        assert "the seed of SN1 (pop1), without enrolment" in capsys.readouterr().out
        seed = json.loads(Fat(Volume(output)).read("seed.json", 9999))
        assert seed["management"] == {
            "mac": "52:54:00:00:00:01",
            "address": "10.0.0.5/24",
            "gateway": "10.0.0.1",
            "dns": ["10.0.0.2"],
            "ntp": ["ntp.net"],
        }
        assert b"NFSEED" in output.read_bytes()[:512]

    def test_a_support_bundle_goes_onto_a_stick_without_secrets(self, tmp_path: Path) -> None:
        places = Places(tmp_path / "root")
        places.etc.mkdir(parents=True)
        (places.etc / "serial").write_text("SN/1\n")
        stick = tmp_path / "stick"
        make_volume(stick, "STICK")

        class Box(System):
            def run(self, program: Program) -> bytes:
                if program.argv[0] == "journalctl":
                    return b"started with password=hunter2hunter2\n"
                if program.argv[0].startswith(("m", "sfdisk")):
                    return super().run(program)
                raise DriverError("not here", where=program.argv[0])

        name, octets = support.write(Volume(stick), places, Box(), now=datetime(2026, 1, 2, tzinfo=UTC))
        assert name == "nf-support-SN-1-20260102T000000.tar.gz"
        data = Fat(Volume(stick)).read(name, 1 << 20)
        assert len(data) == octets
        (tmp_path / "b.tar.gz").write_bytes(data)
        text = subprocess.run(["tar", "-xzOf", tmp_path / "b.tar.gz"], capture_output=True, check=True).stdout
        assert b"started with" in text
        assert b"hunter2" not in text


def test_seed_into_a_directory(tmp_path: Path) -> None:
    assert main(["image", "seed", "--serial", "SN1", "--output", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "seed.json").read_bytes())["serial"] == "SN1"
    assert (tmp_path / "seed.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--serial", "S 1", "--output", "x.img"], "a serial number is"),
        (["--serial", "S1"], "a seed goes to one place"),
        (["--serial", "S1", "--name", "eth1", "--output", "x.img"], "is no name and MAC address"),
        (["--serial", "S1", "--enrolment", "/nonexistent", "--output", "x.img"], "cannot be read"),
        (["--serial", "S1", "--gateway", "10.0.0.1", "--output", "x.img"], "DHCP brings its own gateway"),
    ],
)
def test_seed_command_says_what_is_wrong(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["image", "seed", *arguments]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_reset_is_for_appliances(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "reset", "--confirm", "unseeded"]) != 0
    assert "this is no appliance" in capsys.readouterr().err


@given(st.binary(max_size=600))
def test_no_boot_sector_breaks_the_reader(data: bytes) -> None:
    try:
        start, cluster = geometry(data)
    except NfError:
        return
    assert start >= 0
    assert cluster > 0


def test_sticks_are_fat_and_not_in_use() -> None:
    part = {"path": "/dev/sda1", "fstype": "vfat", "label": "NFSEED", "mountpoints": [None], "size": 9}
    others = [
        {**part, "path": "/dev/sdb1", "mountpoints": ["/mnt"]},
        {**part, "path": "/dev/sdc1", "fstype": "ext4"},
        {**part, "path": "/dev/sdd1", "label": "X"},
        {**part, "path": "/dev/vda1"},
    ]

    class Lsblk:
        def run(self, program: Program) -> bytes:
            return json.dumps({"blockdevices": [{"path": "/dev/sda", "children": [part]}, *others]}).encode()

    found = sticks(Lsblk(), label="NFSEED", besides=(Path("/dev/vda1"),))
    assert found == [Volume(Path("/dev/sda1"), 0, "NFSEED", 9)]
