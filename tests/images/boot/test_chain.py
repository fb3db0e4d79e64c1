"""The chain as a machine runs it: OVMF with Secure Boot and our keys, in qemu without KVM, so that it runs anywhere.

The root is the least that says on the console which slot runs: what is tried here is the way there. Kernel and initial
file system come from a Debian tree: NF_IMAGE_TREE, or made by mmdebstrap once and kept in build/cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from images.builder.bundle import make_bundle
from images.builder.disk import Partition, make_disk
from images.builder.esp import make_boot, make_esp
from images.builder.grub import CONFIGURATION, make_grub
from images.builder.initramfs import kernel_path, make_initramfs
from images.builder.squashfs import make_squashfs
from images.builder.uki import command_line, make_uki, sections
from images.builder.verity import add_verity, salt
from images.signing.firmware import variable_store
from images.signing.keys import Keys

pytestmark = [pytest.mark.image, pytest.mark.root, pytest.mark.timeout(3600)]

REPOSITORY = Path(__file__).parents[3]
OVMF = Path("/usr/share/OVMF")
EPOCH = 1_760_000_000
MIB = 1 << 20
PACKAGES = "busybox,cryptsetup-bin,initramfs-tools,kmod,linux-image-cloud-amd64,udev,zstd"
PATIENCE_S = float(os.environ.get("NF_IMAGE_PATIENCE_S", "900"))

INIT = """\
#!/bin/sh
export PATH=/usr/bin:/usr/sbin:/bin:/sbin
mount -t securityfs securityfs /sys/kernel/security
read lockdown </sys/kernel/security/lockdown
cat /usr/share/ballast >/dev/null
echo "NF-UP slot=$(cat /run/nf/slot) hash=$(cat /run/nf/roothash) lockdown=$lockdown $(cat /proc/cmdline)" >/dev/console
touch /written 2>/dev/null && echo "NF-WRITABLE" >/dev/console
sync
echo b >/proc/sysrq-trigger
"""
"""Says what runs and resets the machine without marking the slot good: the next start takes the other one."""


@dataclass
class Chain:
    """The parts of an image, and the disk that they make."""

    place: Path
    keys: Keys
    partitions: list[Partition]

    @property
    def disk(self) -> Path:
        return self.place / "disk.img"

    def offset(self, name: str) -> int:
        return next(one.offset for one in self.partitions if one.name == name)


class Machine:
    """One qemu on a copy of a disk; `log` is what came over the serial line."""

    def __init__(self, chain: Chain, place: Path) -> None:
        self.disk, self.variables, self.serial = place / "disk.img", place / "vars.fd", place / "serial.log"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", chain.disk, self.disk], check=True)
        self.chain = chain
        empty = (OVMF / "OVMF_VARS_4M.fd").read_bytes()
        self.variables.write_bytes(variable_store(empty, chain.keys, when=datetime.now(UTC)))

    def put(self, name: str, content: bytes, at: int = 0) -> None:
        with self.disk.open("r+b") as file:
            file.seek(self.chain.offset(name) + at)
            file.write(content)

    def put_file(self, name: str, path: str, source: Path) -> None:
        """Replaces a file of a FAT partition."""
        where = f"{self.disk}@@{self.chain.offset(name)}"
        subprocess.run(["mcopy", "-o", "-i", where, source, f"::/{path}"], check=True)

    def grubenv(self) -> dict[str, str]:
        where = f"{self.disk}@@{self.chain.offset('ESP')}"
        text = subprocess.run(
            ["mtype", "-i", where, "::/grub/grubenv"], check=True, capture_output=True, text=True
        ).stdout
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def run(self, *until: str) -> str:
        """Starts the machine and waits until each expression was seen, in this order; what came until then."""
        self.serial.write_bytes(b"")
        command = [
            "qemu-system-x86_64", "-machine", "q35,smm=on", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-smp", "1",
            "-nodefaults", "-no-user-config", "-display", "none", "-serial", f"file:{self.serial}",
            "-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1",
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF}/OVMF_CODE_4M.secboot.fd",
            "-drive", f"if=pflash,format=raw,unit=1,file={self.variables}",
            "-drive", f"file={self.disk},format=raw,if=none,id=d0,cache=unsafe",
            "-device", "virtio-blk-pci,drive=d0,bootindex=1",
        ]  # fmt: skip
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            try:
                return self._await(process, until)
            finally:
                process.terminate()

    def _await(self, process: subprocess.Popen[bytes], until: tuple[str, ...]) -> str:
        end = time.monotonic() + PATIENCE_S
        while True:
            text = re.sub(r"\x1b\[[0-9;=]*[A-Za-z]", "", self.serial.read_text(errors="replace"))
            place = 0
            for pattern in until:
                found = re.compile(pattern).search(text, place)
                if found is None:
                    break
                place = found.end()
            else:
                return text[:place]
            if time.monotonic() > end or process.poll() is not None:
                pytest.fail(f"{pattern!r} was not seen; the console said:\n{text[-3000:]}")
            time.sleep(0.5)


@pytest.fixture(scope="session")
def tree(
    require_root: Callable[[], None], require_programs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A Debian tree with a kernel and our hook."""
    require_root()
    require_programs("qemu-system-x86_64", "mksquashfs", "veritysetup", "osslsigncode", "grub-mkimage", "mcopy")
    given = os.environ.get("NF_IMAGE_TREE")
    root = tmp_path_factory.mktemp("tree") / "root"
    if given:
        subprocess.run(["cp", "-a", "--reflink=auto", given, root], check=True)
    else:
        require_programs("mmdebstrap")
        archive = REPOSITORY / "build/cache/boot-chain.tar"
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            making = archive.with_suffix(".part.tar")
            subprocess.run(
                ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={PACKAGES}", "bookworm", making],
                check=True,
            )
            making.replace(archive)
        root.mkdir()
        subprocess.run(["tar", "-xpf", archive, "-C", root], check=True)
    shutil.copytree(
        REPOSITORY / "images/files/common/etc/initramfs-tools", root / "etc/initramfs-tools", dirs_exist_ok=True
    )
    return root


@pytest.fixture(scope="session")
def least(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The initial file system, and the least root: what is in it, and an init of ours."""
    place = tmp_path_factory.mktemp("least")
    make_initramfs(tree, place / "initramfs", epoch=EPOCH)
    root = place / "root"
    root.mkdir()
    subprocess.run(f"zstd -dc {place}/initramfs | cpio -id --quiet", shell=True, cwd=root, check=True)  # noqa: S602
    shutil.rmtree(root / "usr/lib/modules")
    for name in ("dev", "proc", "run", "sys", "tmp"):
        (root / name).mkdir(exist_ok=True)
    (root / "usr/share").mkdir(exist_ok=True)
    (root / "usr/share/ballast").write_bytes(os.urandom(6 * MIB))
    (root / "sbin/init").unlink(missing_ok=True)
    (root / "sbin/init").write_text(INIT)
    (root / "sbin/init").chmod(0o755)
    return place / "initramfs", root


def sign_kernel(tree: Path, initramfs: Path, words: str, out: Path, keys: Keys) -> Path:
    release = (tree / "usr/lib/os-release").read_bytes()
    make_uki(kernel=kernel_path(tree), initramfs=initramfs, command_line=words, os_release=release, out=out, keys=keys)
    return out


@pytest.fixture(scope="session")
def chain(tree: Path, least: tuple[Path, Path], keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    place = tmp_path_factory.mktemp("chain")
    initramfs, source = least
    root, boot, esp = place / "root.img", place / "boot.vfat", place / "esp.vfat"
    make_squashfs(source, root, epoch=EPOCH, level=1)
    verity = add_verity(root, salt=salt("chain"))
    words = command_line(verity, kernel="cloud", consoles=("ttyS0,115200",))
    make_boot(boot, uki=sign_kernel(tree, initramfs, words, place / "nf.efi", keys))
    make_grub(place / "grub.efi", keys)
    make_esp(esp, grub=place / "grub.efi", keys=keys)
    partitions = make_disk(place / "disk.img", esp=esp, boot=boot, root=root, slot_bytes=64 * MIB)
    make_bundle(place / "pop.raucb", role="pop", version="1", root=root, boot=boot, keys=keys)
    return Chain(place, keys, partitions)


@pytest.fixture
def machine(chain: Chain, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(chain, tmp_path)
    yield made
    made.disk.unlink()


def alter(source: Path, target: Path, place: int) -> Path:
    data = bytearray(source.read_bytes())
    data[place] ^= 1
    target.write_bytes(data)
    return target


def test_both_slots_boot_verified_and_a_slot_that_is_not_marked_good_gives_way(machine: Machine) -> None:
    text = machine.run(
        "nf: boot slot=A", "NF-UP slot=A [^\n]*", "nf: boot slot=B", "NF-UP slot=B [^\n]*", "nf: boot slot=A"
    )
    assert "lockdown=none [integrity] confidentiality" in text
    assert "NF-WRITABLE" not in text
    words = re.findall(r"NF-UP slot=\w hash=([0-9a-f]{64}) .*nf\.roothash=([0-9a-f]{64})", text)
    assert len(words) == 2
    assert all(found == signed for found, signed in words)
    assert machine.grubenv()["A_TRY"] == "1"


def test_a_root_that_was_altered_panics_and_the_other_slot_takes_over(machine: Machine) -> None:
    for place in range(8192, 8 * MIB, 65536):  # past what is read to mount it
        machine.put("root_a", b"\xa5" * 4096, at=place)
    text = machine.run("nf: boot slot=A", "nf: boot slot=B", "NF-UP slot=B")
    assert "NF-UP slot=A" not in text
    assert re.search(r"dm-verity.*corrupted|Kernel panic", text)


def test_a_root_of_another_image_is_not_opened(machine: Machine, chain: Chain) -> None:
    tree_at = (chain.place / "root.img").stat().st_size
    machine.put("root_a", bytes(tree_at))
    text = machine.run("nf: boot slot=A", "no root: ", "nf: boot slot=B", "NF-UP slot=B")
    assert "NF-UP slot=A" not in text


def test_what_is_not_our_kernel_image_is_refused_by_firmware_and_the_other_slot_taken(
    machine: Machine, tree: Path, least: tuple[Path, Path], stranger: Keys, tmp_path: Path
) -> None:
    """A: one bit of the initial file system; then another command line; B: signed by a stranger. None starts."""
    good = machine.chain.place / "nf.efi"
    initrd = next(one for one in sections(good.read_bytes()) if one.name == ".initrd")
    machine.put_file("boot_a", "nf.efi", alter(good, tmp_path / "bit.efi", initrd.raw_offset + 5000))
    foreign = sign_kernel(tree, least[0], "console=ttyS0 init=/bin/sh", tmp_path / "foreign.efi", stranger)
    machine.put_file("boot_b", "nf.efi", foreign)
    text = machine.run("boot slot=A", "slot A does not boot", "boot slot=B", "slot B does not boot", "boot slot=A")
    assert "NF-UP" not in text
    assert "Linux version" not in text
    (tmp_path / "words.efi").write_bytes(good.read_bytes().replace(b"panic=5", b"panic=0", 1))
    machine.put_file("boot_a", "nf.efi", tmp_path / "words.efi")
    plain = tmp_path / "plain.efi"
    subprocess.run(["osslsigncode", "remove-signature", "-in", good, "-out", plain], check=True, capture_output=True)
    machine.put_file("boot_b", "nf.efi", plain)
    text = machine.run("slot [AB] does not boot", "slot [AB] does not boot")
    assert "NF-UP" not in text


@pytest.mark.parametrize("how", ["unsigned", "bit", "stranger"])
def test_a_boot_selector_that_is_not_ours_is_not_started(
    machine: Machine, chain: Chain, stranger: Keys, tmp_path: Path, how: str
) -> None:
    good, other = chain.place / "grub.efi", tmp_path / "other.efi"
    if how == "unsigned":
        subprocess.run(
            ["osslsigncode", "remove-signature", "-in", good, "-out", other], check=True, capture_output=True
        )
    elif how == "bit":
        data = good.read_bytes()
        alter(
            good, other, data.index(CONFIGURATION[-40:].encode()) if CONFIGURATION[-40:].encode() in data else 0x20000
        )
    else:
        make_grub(other, stranger)
    machine.put_file("ESP", "EFI/BOOT/BOOTX64.EFI", other)
    text = machine.run("Access Denied|Security Violation")
    assert "nf: boot" not in text
    assert "GRUB" not in text


def test_a_state_of_the_slots_that_is_nonsense_starts_nothing_else(machine: Machine, tmp_path: Path) -> None:
    lines = b"# GRUB Environment Block\nORDER=C; chainloader /x\nprefix=(hd0,gpt6)\nsuperusers=\nB_TRY=$(x)\n"
    lines += b"A_OK=9\nroot=hd1\n"
    (tmp_path / "grubenv").write_bytes(lines.ljust(1024, b"#"))
    machine.put_file("ESP", "grub/grubenv", tmp_path / "grubenv")
    machine.run("nf: boot slot=[AB]", "NF-UP slot=[AB]")
