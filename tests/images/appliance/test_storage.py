"""The data partition under power cuts: at any moment of any boot, and whatever was cut off, the next boot goes on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.appliance import places, reset, storage, storage_plan
from images.appliance.disk import Disk, Partition
from images.appliance.places import Places, remove_durable, replace_secret, shred, write_durable
from images.appliance.storage import Storage
from images.appliance.storage_plan import Content, Course, Facts
from images.appliance.system import Program
from images.builder.order import FILES
from nf.errors import DriverError, IntegrityError, NfError, StorageError

_HEAD = 4096
_MAGIC = b"LUKS\xba\xbe"


class PowerCut(BaseException):
    pass


class Box:
    """A machine in a directory: the header of LUKS and its slots in a partition file, file systems in directories.

    Every change to what outlives a power cut is counted; `cut_after` of them the power goes, also in the midst of one.
    """

    def __init__(self, top: Path, *, tpm: bool = False, seals: bool = True) -> None:
        self.places = Places(top / "root")
        self.tpm, self.seals = tpm, seals
        self.partition, self.systems = top / "part", top / "systems"
        self.skeleton = top / "skeleton"
        for directory in (self.places.esp / "nf", self.systems, self.places.root / "etc/nf", self.skeleton / "log/app"):
            directory.mkdir(parents=True)
        (self.skeleton / "lib/dpkg").mkdir(parents=True)
        (self.skeleton / "lib/dpkg/status").write_text("image 1")
        (self.skeleton / "run").symlink_to("/run")
        (self.places.root / "etc/machine-id").write_text("")
        self.partition.write_bytes(bytes(2 * _HEAD))
        self.size = 8 << 20
        self.formatted: list[Content] = []
        self.left = -1
        self.boots = 0
        self.power_on()

    # ---- the machine ----

    def power_on(self) -> None:
        for passing in ("run", "dev", "var"):
            path = self.places.root / passing
            if path.is_symlink():
                path.unlink()
            shutil.rmtree(path, ignore_errors=True)
        self.places.var.symlink_to(self.skeleton)
        (self.places.root / "dev/mapper").mkdir(parents=True)
        (self.places.root / "run/nf").mkdir(parents=True)
        if self.tpm:
            (self.places.root / "dev/tpmrm0").touch()
        self.boots += 1
        (self.places.root / "etc/machine-id").write_text(f"{self.boots:032x}")

    def find(self) -> Disk:
        data = Partition(self.partition, 6, "data", 1 << 20, self.size)
        return Disk(Path("/dev/disk"), 1 << 30, (Partition(Path("/dev/disk1"), 1, "ESP", 0, 1 << 20), data))

    def change(self) -> bool:
        """True when the power goes in the midst of it."""
        self.left -= 1
        return self.left == 0

    def header(self) -> dict[str, object]:
        data = self.partition.read_bytes()
        if not data.startswith(_MAGIC):
            raise DriverError("not a LUKS device", where="cryptsetup")
        return dict(json.loads(data[6:].rstrip(b"\0") or b"{}"))

    def write_header(self, header: dict[str, object]) -> None:
        self.partition.write_bytes((_MAGIC + json.dumps(header).encode()).ljust(2 * _HEAD, b"\0"))

    def run(self, program: Program) -> bytes:  # noqa: PLR0912, PLR0915, C901 - one branch for each program
        argv = program.argv
        key = next((Path(one) for before, one in pairwise(argv) if before == "--key-file"), None)
        mapped = self.places.root / "dev/mapper/nf-data"
        if argv[0] == "sfdisk":
            if self.change():
                raise PowerCut
            assert program.stdin == b", 1046528KiB\n"
            self.size = (1 << 30) - (2 << 20)
        elif argv[:2] == ("cryptsetup", "luksFormat"):
            assert key is not None
            self.formatted.append(storage_plan.classify(self.partition.read_bytes()))
            if self.change():
                self.partition.write_bytes(_MAGIC.ljust(2 * _HEAD, b"\0"))  # a header without a slot
                raise PowerCut
            name = hashlib.sha256(key.read_bytes()).hexdigest()
            self.write_header({"slots": [name], "token": "", "system": name[:8]})
        elif argv[:2] == ("cryptsetup", "open"):
            self._open(argv, key, mapped)
        elif argv[:2] == ("cryptsetup", "close"):
            mapped.unlink(missing_ok=True)
        elif argv[:2] == ("cryptsetup", "luksRemoveKey"):
            header = self.header()
            if self.change():
                raise PowerCut
            self.write_header({**header, "slots": []})
        elif argv[:2] == ("cryptsetup", "erase"):
            if self.partition.read_bytes().startswith(_MAGIC):
                if self.change():
                    raise PowerCut
                self.write_header({**self.header(), "slots": [], "token": ""})
        elif argv[0] == "systemd-cryptenroll":
            if not self.seals:
                raise DriverError("the TPM says no", where=argv[0])
            if self.change():
                raise PowerCut
            self.write_header({**self.header(), "token": "sealed"})
        elif argv[0] == "mkfs.ext4":
            system = self.systems / mapped.read_text()
            shutil.rmtree(system, ignore_errors=True)
            if self.change():
                raise PowerCut
            system.mkdir()
            (system / "lost+found").mkdir()
        elif argv[0] == "mount":
            self._mount(argv, mapped)
        elif argv[0] == "umount":
            Path(argv[1]).unlink()
        elif argv[0] == "cp":
            if self.change():
                raise PowerCut
            shutil.copytree(argv[-2], argv[-1], symlinks=True) if not Path(argv[-2]).is_symlink() else Path(
                argv[-1]
            ).symlink_to(Path(argv[-2]).readlink())
        return b""

    def _open(self, argv: tuple[str, ...], key: Path | None, mapped: Path) -> None:
        header = self.header()
        if "--token-only" in argv:
            good = self.tpm and header.get("token") == "sealed"
        else:
            assert key is not None
            slots = header.get("slots")
            good = isinstance(slots, list) and hashlib.sha256(key.read_bytes()).hexdigest() in slots
        if not good:
            raise DriverError("no key available", where="cryptsetup")
        if "--test-passphrase" not in argv:
            mapped.write_text(str(header["system"]))

    def _mount(self, argv: tuple[str, ...], mapped: Path) -> None:
        source, target = Path(argv[-2]), Path(argv[-1])
        if "ext4" in argv:
            system = self.systems / mapped.read_text()
            assert system.is_dir(), "mounted what has no file system"
            target.rmdir()
            target.symlink_to(system)
        elif target == self.places.var:
            target.unlink()
            target.symlink_to(source.resolve())
        elif "tmpfs" in argv:
            (self.systems / "memory").mkdir()
            target.rmdir()
            target.symlink_to(self.systems / "memory")

    # ---- boots ----

    @contextmanager
    def counted(self) -> Iterator[None]:
        def count(call: Callable[..., None]) -> Callable[..., None]:
            def counting(*arguments: object, **more: object) -> None:
                if self.change():
                    raise PowerCut
                call(*arguments, **more)

            return counting

        with (
            patch.object(storage, "write_durable", count(write_durable)),
            patch.object(storage, "remove_durable", count(remove_durable)),
            patch.object(storage, "shred", count(shred)),
            patch.object(storage, "_zero", count(self.zero)),
            patch.object(reset, "write_durable", count(write_durable)),
            patch.object(reset, "remove_durable", count(remove_durable)),
            patch.object(reset, "shred", count(shred)),
            patch.object(reset, "replace_secret", count(replace_secret)),
            patch.object(places, "shred", count(shred)),
            patch.object(os, "fsync", lambda _descriptor: None),
            patch.object(os, "sync", lambda: None),
            patch.object(storage_plan, "HEAD_OCTETS", _HEAD),
        ):
            yield

    def zero(self, path: Path, length: int) -> None:
        data = self.partition.read_bytes()
        assert path == self.partition
        self.partition.write_bytes(bytes(min(length, len(data))) + data[length:])

    def boot(self, cut_after: int = 0) -> bool:
        """True when it came up; False when the power went."""
        self.power_on()
        self.left = cut_after or -1
        try:
            with self.counted(), patch.object(Storage, "mount_esp", lambda _self: None):
                Storage(self.places, self, self.find, wait=lambda _s: None).start()
        except PowerCut:
            return False
        return True

    @property
    def state(self) -> dict[str, str]:
        return dict(json.loads(self.places.storage_state.read_text()))


def _box(place: str, kind: str) -> Box:
    return Box(Path(place), tpm=kind != "no tpm", seals=kind == "tpm")


@pytest.mark.parametrize("kind", ["no tpm", "tpm", "tpm that refuses"])
@settings(max_examples=40)
@given(cuts=st.lists(st.integers(1, 24), max_size=4), later=st.lists(st.integers(1, 12), max_size=3))
def test_power_cuts_lose_nothing(kind: str, cuts: list[int], later: list[int]) -> None:
    with tempfile.TemporaryDirectory() as place:
        box = _box(place, kind)
        for cut in cuts:
            box.boot(cut)
        assert box.boot()
        assert (box.places.var / "log/app").is_dir()
        assert not box.places.formatting.exists()
        assert box.places.key_file.exists() is (kind != "tpm")
        assert box.state["encryption"] == ("tpm2" if kind == "tpm" else "key-file")
        made = len(box.formatted)
        (box.places.state / "precious").write_text("kept")
        for cut in later:
            box.boot(cut)
        assert box.boot()
        assert (box.places.state / "precious").read_text() == "kept"
        assert len(box.formatted) == made


@pytest.mark.parametrize("how", [reset.Kind.RESET, reset.Kind.WIPE])
@settings(max_examples=30)
@given(kind=st.sampled_from(["no tpm", "tpm"]), cuts=st.lists(st.integers(1, 14), max_size=4))
def test_an_ordered_reset_is_never_half_done(how: reset.Kind, kind: str, cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as place:
        box = _box(place, kind)
        assert box.boot()
        (box.places.state / "precious").write_text("gone")
        write_durable(box.places.esp_seed, b'{"serial": "S1", "enrolment": {"token": "secret"}}')
        old = box.header()
        write_durable(box.places.reset, reset.Order(how, "test", "now").to_bytes())
        for cut in cuts:
            box.boot(cut)
        assert box.boot()
        assert not box.places.reset.exists()
        assert not (box.places.state / "precious").exists()
        assert box.header()["system"] != old["system"]
        assert box.places.wiped.exists() is (how is reset.Kind.WIPE)
        assert box.places.esp_seed.exists() is (how is reset.Kind.RESET)
        if how is reset.Kind.RESET:
            assert json.loads(box.places.esp_seed.read_bytes()) == {"serial": "S1"}


def test_after_the_slots_are_gone_nothing_opens_it(tmp_path: Path) -> None:
    box = Box(tmp_path)
    assert box.boot()
    write_durable(box.places.reset, reset.Order(reset.Kind.WIPE, "noc", "now").to_bytes())
    assert not box.boot(2)  # the key file, and in the midst of the slots
    assert not box.places.key_file.exists()


def test_the_tpm_takes_the_key_alone(tmp_path: Path) -> None:
    box = Box(tmp_path, tpm=True)
    assert box.boot()
    assert box.header()["slots"] == []
    assert box.boot()
    assert box.state == {"encryption": "tpm2"}


def test_a_changed_tpm_is_told_and_nothing_is_formatted(tmp_path: Path) -> None:
    box = Box(tmp_path, tpm=True)
    box.boot()
    box.write_header({**box.header(), "token": "of other firmware"})
    with pytest.raises(IntegrityError, match="cannot be opened"):
        box.boot()
    assert len(box.formatted) == 1


@pytest.mark.parametrize("content", [b"\0" * 1080 + b"\x53\xef", b"somebody's data", b"\0" * 4000 + b"x"])
def test_what_it_did_not_make_is_left_alone(tmp_path: Path, content: bytes) -> None:
    box = Box(tmp_path)
    box.partition.write_bytes(content)
    with pytest.raises(IntegrityError, match="did not make"):
        box.boot()
    assert box.partition.read_bytes() == content
    assert not box.formatted


def test_a_disk_that_is_too_small_says_so(tmp_path: Path) -> None:
    box = Box(tmp_path)
    disk = box.find()
    small = Disk(disk.node, 20 << 20, disk.partitions)
    box.find = lambda: small  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="MiB for data"):
        box.boot()


def test_a_new_image_brings_its_directories_and_replaces_nothing(tmp_path: Path) -> None:
    box = Box(tmp_path)
    (box.places.root / "run/nf").mkdir(parents=True, exist_ok=True)
    box.boot()
    (box.places.var / "log/app/ours").write_text("kept")
    shutil.rmtree(box.places.var / "log/app/none", ignore_errors=True)
    (box.skeleton / "lib/new/below").mkdir(parents=True)
    (box.skeleton / "log/app/theirs").write_text("not brought into a directory that is there")
    (box.skeleton / "lib/dpkg/status").write_text("image 2")
    box.power_on()
    (box.places.run / "roothash").write_text("two\n")
    box.left = -1
    with box.counted(), patch.object(Storage, "mount_esp", lambda _self: None):
        Storage(box.places, box, box.find).start()
    assert (box.places.var / "lib/new/below").is_dir()
    assert (box.places.var / "log/app/ours").read_text() == "kept"
    assert not (box.places.var / "log/app/theirs").exists()
    assert (box.places.var / "lib/dpkg/status").read_text() == "image 2"
    assert (box.places.var / "run").is_symlink()


def test_the_machine_id_is_one_for_life(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.boot()
    first = (box.places.state / "machine-id").read_text()
    box.boot()
    assert (box.places.state / "machine-id").read_text() == first
    assert (box.places.run / "machine-id").read_text() == first


def test_without_data_there_is_a_reason_and_a_var_in_memory(tmp_path: Path) -> None:
    box = Box(tmp_path)
    Storage(box.places, box, box.find).without_data(IntegrityError("no key"))
    assert box.places.storage_failed.read_text() == "no key\n"
    assert (box.places.var / "log/app").is_dir()


def test_a_program_that_fails_ends_it(tmp_path: Path) -> None:
    box = Box(tmp_path)

    run = box.run

    def refuse(program: Program) -> bytes:
        if program.argv[0] == "cryptsetup":
            raise DriverError("broken", where=program.argv[0])
        return run(program)

    with patch.object(box, "run", refuse), pytest.raises(NfError, match="broken"):
        box.boot()
    assert box.places.formatting.exists()
    assert box.boot()


# ---- the plans ----


def _facts(**more: object) -> Facts:
    data = Partition(Path("/dev/vda6"), 6, "data", 100 << 20, 8 << 20)
    return Facts(Disk(Path("/dev/vda"), 1 << 30, (data,)), **{"content": Content.BLANK, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (_facts(), Course.MAKE),
        (_facts(content=Content.LUKS, making=True), Course.MAKE),
        (_facts(content=Content.OTHER, making=True), Course.MAKE),
        (_facts(content=Content.LUKS), Course.OPEN),
        (_facts(content=Content.LUKS, opened=True), Course.MOUNT),
        (_facts(content=Content.LUKS, opened=True, making=True), Course.MAKE),
    ],
)
def test_course(facts: Facts, expected: Course) -> None:
    assert storage_plan.course(facts) is expected


def test_the_key_is_kept_before_anything_depends_on_it_and_never_shown() -> None:
    actions = storage_plan.make(_facts(), Places(), b"k" * 64)
    kinds = [getattr(action, "argv", (type(action).__name__,))[0] for action in actions]
    assert kinds == ["Write", "sfdisk", "resizepart", "Zero", "Write", "cryptsetup", "cryptsetup", "mkfs.ext4"]
    assert "kkkk" not in repr(actions)


def test_nothing_grows_where_there_is_no_room() -> None:
    data = Partition(Path("/dev/vda6"), 6, "data", 100 << 20, 923 << 20)
    full = Facts(Disk(Path("/dev/vda"), 1 << 30, (data,)), Content.BLANK)
    assert not any(
        isinstance(one, Program) and one.argv[0] == "sfdisk" for one in storage_plan.make(full, Places(), b"")
    )


@given(st.binary(max_size=9000))
def test_classify_takes_anything(head: bytes) -> None:
    found = storage_plan.classify(head)
    assert (found is Content.BLANK) == (not head.strip(b"\0"))


def test_a_cipher_that_is_still_being_tested_is_waited_for(tmp_path: Path) -> None:
    box, tried = Box(tmp_path), []
    run = box.run

    def slow(program: Program) -> bytes:
        if program.argv[:2] == ("cryptsetup", "open"):
            tried.append(program)
            if len(tried) < 3:
                raise DriverError("reload ioctl on nf-data (253:0) failed: Connection timed out", where="cryptsetup")
        return run(program)

    with patch.object(box, "run", slow):
        assert box.boot()
    assert len(tried) == 3


def test_a_second_header_is_a_header() -> None:
    assert storage_plan.classify(bytes(0x8000) + b"SKUL\xba\xbe") is Content.LUKS


def test_no_target_mounts_the_esp_before_this_does() -> None:
    """An installer would wait for it on an empty machine, and find the disk in use on one that was installed before."""
    units = FILES / "common/usr/lib/systemd/system"
    mount = (units / "efi.mount").read_text()
    assert "[Install]" not in mount
    assert re.search(r"^After=.*\bnf-data\.service\b", mount, re.MULTILINE)
    assert not [link for place in ("wants", "requires") for link in units.glob(f"*.{place}/efi.mount")]
