"""The installer's dialogue, and the medium: what boots is signed, what it installs is checked by the key it names."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from images.appliance.system import Program
from images.appliance.terminal import Terminal, TimedOut
from images.flash.installer import KEY_WORD, Installer, key_of
from images.flash.payload import Payload
from images.flash.targets import Target
from images.flash.writer import Report
from nf.cli.main import main
from nf.errors import BusyError, InputError, IntegrityError

_PAYLOAD = Payload(Path("disk.img"), 1 << 30, "0", "pop", "1.2")


class Machine:
    def __init__(self, *disks: dict[str, object]) -> None:
        self._disks = disks
        self.ran: list[str] = []

    def run(self, program: Program) -> bytes:
        self.ran.append(str(program))
        return json.dumps({"blockdevices": list(self._disks)}).encode() if program.argv[0] == "lsblk" else b""


def _disk(name: str, size: int, **more: object) -> dict[str, object]:
    return {"path": f"/dev/{name}", "type": "disk", "size": size, "model": name.upper(), **more}


class Script(Terminal):
    """Answers each question with the next line, and keeps what it was told."""

    def __init__(self, *lines: str) -> None:
        super().__init__(-1, -1)
        self._lines = list(lines)
        self.said = ""

    def say(self, *lines: str) -> None:
        self.said += "".join(f"{line}\n" for line in lines)

    def ask(self, prompt: str) -> str:
        self.say(prompt)
        if not self._lines:
            raise TimedOut
        return self._lines.pop(0)

    def forget(self) -> None:
        return None


class Session:
    def __init__(self, tmp_path: Path, *lines: str, disks: tuple[dict[str, object], ...] | None = None) -> None:
        self.machine = Machine(*(disks or (_disk("sda", 2 << 30), _disk("sdb", 1 << 20), _disk("sdc", 4 << 30))))
        self.terminal = Script(*lines)
        self.written: list[Path] = []

        def write(payload: Payload, target: Target, report: Report) -> None:
            report(0.5, "write")
            self.written.append(target.node)

        self.installer = Installer(
            self.terminal,
            self.machine,
            lambda: _PAYLOAD,
            system=Path("/dev/sdc"),
            write=write,
            lock=tmp_path / "lock",
        )


def test_a_disk_is_chosen_typed_out_and_written(tmp_path: Path) -> None:
    session = Session(tmp_path, "1", "/dev/sda", "reboot")
    session.installer.session()
    said = session.terminal.said
    assert session.written == [Path("/dev/sda")]
    assert "installs: pop 1.2, signature good" in said
    assert "-  /dev/sdb" in said
    assert "this system runs from it" in said
    assert "EVERYTHING ON /dev/sda" in said
    assert "50%  write" in said
    assert session.machine.ran[-1] == "systemctl reboot"


@pytest.mark.parametrize("typed", [["1", "sda"], ["1", ""], ["1", "/dev/sdc"], ["2", "3", "x"]])
def test_nothing_is_written_unless_it_is_typed_out(tmp_path: Path, typed: list[str]) -> None:
    session = Session(tmp_path, *typed)
    with pytest.raises(InputError, match="nothing was written"):
        session.installer.session()
    assert session.written == []


def test_no_disk_fits(tmp_path: Path) -> None:
    session = Session(tmp_path, disks=(_disk("sda", 5),))
    with pytest.raises(InputError, match="no disk can be used"):
        session.installer.session()


def test_one_line_at_a_time(tmp_path: Path) -> None:
    session = Session(tmp_path)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with session.installer._alone():
            entered.set()
            leave.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    entered.wait(30)
    with pytest.raises(BusyError):
        session.installer.session()
    leave.set()
    other.join()


def test_the_key_stands_on_the_signed_command_line() -> None:
    key = bytes(range(32))
    word = KEY_WORD + base64.b64encode(key).decode()
    assert key_of(f"ro {word} quiet") == key
    for line in ("", f"{word} {word}", KEY_WORD, f"{KEY_WORD}AAAA", f"{KEY_WORD}!"):
        with pytest.raises(IntegrityError):
            key_of(line)


def test_flash_onto_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cryptography.hazmat.primitives import serialization

    key, image = Ed25519PrivateKey.generate(), os.urandom(2 << 20)
    build, device, public = tmp_path / "build", tmp_path / "device", tmp_path / "manifest.pub"
    build.mkdir()
    (build / "disk.img").write_bytes(image)
    entry = {"size": len(image), "sha256": hashlib.sha256(image).hexdigest()}
    text = json.dumps({"role": "pop", "version": "1", "files": {"disk.img": entry}}).encode()
    (build / "manifest.json").write_bytes(text)
    (build / "manifest.json.sig").write_bytes(key.sign(text))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    device.write_bytes(bytes(3 << 20))
    arguments = ["image", "flash", str(build), str(device), "--key", str(public)]
    assert main(arguments) != 0  # nobody confirms
    assert device.read_bytes() == bytes(3 << 20)
    assert main([*arguments, "--yes", "--json"]) == 0
    assert device.read_bytes()[: len(image)] == image
    assert json.loads(capsys.readouterr().out)["role"] == "pop"
    bad = tmp_path / "seed.json"
    bad.write_text('{"serial": ""}')
    assert main([*arguments, "--yes", "--seed", str(bad)]) == 2


@pytest.mark.daemon
def test_the_medium(tmp_path: Path, require_programs: Callable[..., None]) -> None:
    require_programs("mksquashfs", "unsquashfs", "sbsign", "sbverify", "mcopy", "mkfs.fat", "sfdisk", "objcopy")
    from images.appliance.fat import Fat, esp_of, make_volume
    from images.builder.uki import STUB, make_uki, sections
    from images.flash.medium import make_medium
    from images.signing.keys import make_keys
    from images.signing.manifest import sign_manifest

    if not STUB.exists():
        pytest.skip("needs systemd-boot-efi")
    keys, build = make_keys(tmp_path / "keys"), tmp_path / "build"
    build.mkdir()
    (build / "kernel").write_bytes(b"kernel" * 100)
    (build / "initrd").write_bytes(b"initrd" * 100)
    make_uki(
        kernel=build / "kernel",
        initramfs=build / "initrd",
        command_line="nf.roothash=" + "0" * 64 + " nf.hashoff=4096 ro",
        os_release=b"ID=nf\n",
        out=build / "nf.efi",
        keys=keys,
    )
    (build / "rootfs.img").write_bytes(b"root" * 100_000)
    (build / "disk.img").write_bytes(os.urandom(1 << 20))
    make_volume(build / "esp.vfat", "ESP", octets=64 << 20).write("grub/grubenv", b"old")
    data = (build / "disk.img").read_bytes()
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (build / "manifest.json").write_text(json.dumps({"role": "pop", "version": "1", "files": {"disk.img": entry}}))
    sign_manifest(build / "manifest.json", keys)
    out = tmp_path / "installer.img"
    seen: list[float] = []
    assert make_medium(build, keys, out, lambda fraction, _text: seen.append(fraction)).role == "pop"
    assert seen == sorted(seen)

    assert b"B_OK=0" in Fat(esp_of(out, label="inst_ESP")).read("grub/grubenv", 2000)
    uki = Fat(esp_of(out, label="inst_boot_a")).read("nf.efi", 1 << 24)
    found = {one.name: uki[one.raw_offset :][: one.virtual_size] for one in sections(uki)}
    command_line = found[".cmdline"].rstrip(b"\0").decode()
    assert command_line.startswith("nf.roothash=" + "0" * 64)
    assert "nf.installer systemd.unit=nf-installer.target" in command_line
    assert len(key_of(command_line)) == 32
    assert found[".linux"] == b"kernel" * 100
    (tmp_path / "uki").write_bytes(uki)
    subprocess.run(["sbverify", "--cert", keys.certificate("db"), tmp_path / "uki"], check=True, capture_output=True)

    foreign = make_keys(tmp_path / "foreign")
    with pytest.raises(IntegrityError, match="signature does not fit"):
        make_medium(build, foreign, tmp_path / "none.img", lambda _f, _t: None)
    assert not (tmp_path / "none.img").exists()
