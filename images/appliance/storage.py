"""`nf-data.service`: the data partition made at the first boot, opened at every other, mounted as /var.

Runs before anything that writes. When the data cannot be had, /var is memory, `data-failed` says why, and nothing
that serves starts; the console does.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from images.appliance import storage_plan as plans
from images.appliance.disk import Disk, own_disk
from images.appliance.places import DATA_LABEL, ESP_LABEL, MAPPED, Places, remove_durable, shred, write_durable
from images.appliance.storage_plan import Action, Course, Fill, Remove, Shred, Write, Zero
from images.appliance.system import Executor, Program, System, program
from nf.errors import DriverError, IntegrityError, NfError, StorageError

_log = logging.getLogger("nf-data")

_TPM_TABLE: Final = Path("sys/firmware/acpi/tables/TPM2")
_TPM_NODE: Final = Path("dev/tpmrm0")
_TPM_WAIT_S: Final = 20.0
_OPEN: Final = ("cryptsetup", "open")
_TRIES: Final = 4
_CIPHERS: Final = ("dm_crypt", "xts", "aesni_intel")
_STAMP: Final = "lib/nf/.image"
_REFRESHED: Final = ("lib/dpkg",)
"""Below /var, and yet the image's own: what stands in them is replaced when the image is another."""


class Storage:
    """One run at boot. `find`: the disk that the system runs from."""

    def __init__(
        self,
        places: Places,
        executor: Executor,
        find: Callable[[], Disk] = own_disk,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._places = places
        self._executor = executor
        self._find = find
        self._wait = wait

    def start(self) -> None:
        """ESP and /var are mounted when this returns. Raises what makes that impossible."""
        self._places.run.mkdir(parents=True, exist_ok=True)
        self._places.run.chmod(0o755)
        self.mount_esp()
        if self._places.reset.exists():
            self.erase()
        # Ahead of need: a cipher that is still being tested when it is asked for is one that is not there.
        self._executor.run(program("modprobe", "--all", "--quiet", *_CIPHERS, why="load ciphers", accepted=(0, 1)))
        facts = self.facts()
        chosen = plans.course(facts)
        encryption = ""
        if chosen is Course.MAKE:
            encryption = self._make(facts)
        elif chosen is Course.OPEN:
            encryption = self._open(facts)
        self._mount(made=chosen is Course.MAKE)
        if chosen is Course.MAKE:
            remove_durable(self._places.formatting)
        self._show(encryption)

    def mount_esp(self) -> None:
        """By the running system's own disk; any stick may carry a file system labelled ESP."""
        if not os.path.ismount(self._places.esp):
            node = self._find().named(ESP_LABEL).node
            options = "umask=0077,nosuid,nodev,noexec,noatime"
            self._executor.run(program("mount", "-t", "vfat", "-o", options, node, self._places.esp, why="mount ESP"))

    def facts(self) -> plans.Facts:
        """Raises NotFoundError, StorageError."""
        disk, places = self._find(), self._places
        node = disk.named(DATA_LABEL).node
        try:
            with node.open("rb") as file:
                head = file.read(plans.MIB)
                content = plans.classify(head)
                if content is not plans.Content.LUKS:
                    content = plans.classify(head + file.read(max(0, plans.HEAD_OCTETS - len(head))))
        except OSError as error:
            raise StorageError(
                f"cannot be read: {error.strerror}", where=str(node), remedy="replace the disk"
            ) from error
        return plans.Facts(
            disk,
            content,
            making=places.formatting.exists(),
            key_file=places.key_file.exists(),
            tpm=self._tpm(),
            opened=(places.root / "dev/mapper" / MAPPED).exists(),
        )

    def _tpm(self) -> bool:
        """Firmware tells at once whether there is a TPM 2.0; its driver may need a moment."""
        root = self._places.root
        if (root / _TPM_TABLE).exists():
            for _ in range(int(_TPM_WAIT_S / 0.25)):
                if (root / _TPM_NODE).exists():
                    break
                self._wait(0.25)
        return (root / _TPM_NODE).exists()

    def erase(self) -> None:
        """What the order on the ESP says; the order goes last, so that a power cut only repeats it."""
        from images.appliance import reset

        _log.warning("erasing the data of this appliance, as it was ordered")
        self.perform(plans.erase(self.facts(), self._places))
        reset.settle(self._places)
        _log.warning("erased: this appliance is as new")

    # ---- the first boot ----

    def _make(self, facts: plans.Facts) -> str:
        _log.info("first boot: making the data partition %s", facts.data.node)
        grown = facts.data.size + facts.free
        if grown < plans.LEAST_OCTETS:
            raise StorageError(
                f"the disk leaves {grown // plans.MIB} MiB for data, {plans.LEAST_OCTETS // plans.MIB} are needed",
                where=str(facts.disk.node),
                remedy="use a larger disk",
            )
        self.perform(plans.make(facts, self._places, secrets.token_bytes(plans.KEY_OCTETS)))
        return self._seal(facts)

    def _seal(self, facts: plans.Facts) -> str:
        if facts.tpm:
            try:
                self.perform(plans.seal(facts, self._places))
            except NfError as error:
                _log.warning("the TPM does not take the key: %s", error)
                if not self._places.key_file.exists():
                    raise
            else:
                return "tpm2"
        _log.warning(
            "THE DATA KEY LIES ON THE ESP of this disk: encryption protects a disk that is reset before disposal, not "
            "one that is stolen. Enable the TPM and reset to change that."
        )
        return "key-file"

    def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            _log.info("%s", action.why)
            if isinstance(action, Program) and action.argv[:2] == _OPEN:
                self._patiently(action)
            elif isinstance(action, Program):
                self._executor.run(action)
            elif isinstance(action, Write):
                write_durable(action.path, action.data)
            elif isinstance(action, Remove):
                remove_durable(action.path)
            elif isinstance(action, Shred):
                shred(action.path)
            elif isinstance(action, Zero):
                _zero(action.path, action.length)
            else:
                self.fill(action)

    def _patiently(self, opening: Program) -> None:
        """The kernel gives the self-tests of a cipher a minute; a machine that is just starting may need more."""
        for _ in range(_TRIES):
            try:
                self._executor.run(opening)
            except DriverError as error:
                if "Connection timed out" not in error.message:
                    raise
                _log.warning("%s; once more", error)
            else:
                return
        self._executor.run(opening)

    # ---- every boot ----

    def _open(self, facts: plans.Facts) -> str:
        """Raises IntegrityError when no way leads to it."""
        errors: list[NfError] = []
        for way in plans.openings(facts, self._places):
            try:
                self._patiently(way)
            except NfError as error:
                errors.append(error)
            else:
                return "tpm2" if "--token-only" in way.argv else "key-file"
        raise plans.cannot_open(facts, tuple(errors))

    def _mount(self, *, made: bool) -> None:
        places, run, mapped = self._places, self._executor.run, f"/dev/mapper/{MAPPED}"
        if os.path.ismount(places.var):
            return
        if not made:
            self._check(mapped)
        aside = places.run / "data"
        aside.mkdir(mode=0o700, parents=True, exist_ok=True)
        run(program("mount", "-t", "ext4", "-o", "nosuid,nodev,noatime", mapped, aside, why="mount the data"))
        self.perform((Fill(aside),))
        os.sync()
        run(program("mount", "--bind", aside, places.var, why="show the data as /var"))
        run(program("umount", aside, why="leave one place to it"))
        run(program("mount", "--bind", places.etc, places.root / "etc/nf", why="show /etc/nf"))
        self._machine_id()

    def _check(self, mapped: str) -> None:
        try:
            self._executor.run(program("e2fsck", "-p", mapped, why="check the file system", accepted=(0, 1)))
        except DriverError as error:
            _log.warning("%s; repairing what can be repaired", error)
            self._executor.run(program("e2fsck", "-y", mapped, why="repair the file system", accepted=(0, 1, 2)))

    def fill(self, action: Fill) -> None:
        """Directories that the image's /var has and the data has not, with all that is in them.

        What is there stays, whoever changed it, but for what describes the image itself.
        """
        image = self._image()
        stamp = action.target / _STAMP
        if stamp.exists() and stamp.read_text() == image:
            return
        for name in _REFRESHED:
            if (self._places.var / name).is_dir():
                shutil.rmtree(action.target / name, ignore_errors=True)
        for directory in missing(self._places.var, action.target):
            source, target = self._places.var / directory, action.target / directory
            self._executor.run(program("cp", "-a", "-T", source, target, why=f"bring /var/{directory} from the image"))
        # Daemons that are not root pass through the first to what is theirs; they cannot read it.
        for place, mode in (("lib/nf", 0o711), ("lib/nf/etc", 0o700)):
            (action.target / place).mkdir(parents=True, exist_ok=True)
            (action.target / place).chmod(mode)
        write_durable(stamp, image.encode())

    def _image(self) -> str:
        try:
            return (self._places.run / "roothash").read_text().strip()
        except OSError:
            return "unknown"

    def _machine_id(self) -> None:
        """One for life. The root is read-only, so that PID 1 has made up a passing one until now."""
        places, kept, shown = self._places, self._places.state / "machine-id", self._places.root / "etc/machine-id"
        passing = shown.read_text().strip() if shown.exists() else ""
        if not kept.exists():
            write_durable(kept, f"{passing or secrets.token_hex(16)}\n".encode())
        kept.chmod(0o444)
        self._executor.run(program("mount", "--bind", kept, shown, why="show the machine id"))
        if kept.read_text().strip() != passing:
            # It names the journal's directory by the id that it has read when it began.
            # Not waited for: no boot may depend on it.
            restart = ("systemctl", "--no-block", "restart", "systemd-journald")
            self._executor.run(program(*restart, why="keep one journal", accepted=range(256)))
        (places.run / "machine-id").write_text(kept.read_text())

    def _show(self, encryption: str) -> None:
        places = self._places
        if encryption:
            write_durable(places.storage_state, json.dumps({"encryption": encryption}).encode())

    def without_data(self, error: NfError) -> None:
        """A /var in memory, for the console and the journal."""
        places = self._places
        places.run.mkdir(mode=0o755, parents=True, exist_ok=True)
        places.storage_failed.write_text(f"{error}\n")
        if os.path.ismount(places.var):
            return
        aside = places.run / "data"
        aside.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = "mode=0755,nosuid,nodev,size=25%"
        self._executor.run(program("mount", "-t", "tmpfs", "-o", options, "tmpfs", aside, why="use memory as /var"))
        self.fill(Fill(aside))
        self._executor.run(program("mount", "--bind", aside, places.var, why="show it as /var"))
        self._executor.run(program("umount", aside, why="leave one place to it"))
        self._executor.run(program("mount", "--bind", places.etc, places.root / "etc/nf", why="show /etc/nf"))


def missing(source: Path, target: Path) -> list[Path]:
    """Directories and links, relative, that `source` has and `target` has not; none below another of them."""
    found: list[Path] = []
    for place, names, files in os.walk(source):
        here = Path(place).relative_to(source)
        links = [name for name in files if (source / here / name).is_symlink()]
        found += [here / name for name in (*names, *links) if not os.path.lexists(target / here / name)]
        names[:] = [name for name in names if here / name not in found and (target / here / name).is_dir()]
    return sorted(found)


def _zero(path: Path, length: int) -> None:
    try:
        with path.open("r+b") as file:
            size = os.lseek(file.fileno(), 0, os.SEEK_END)
            left = min(length, size)
            file.seek(0)
            while left > 0:
                left -= file.write(bytes(min(left, plans.MIB)))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"cannot be cleared: {error.strerror}", where=str(path), remedy="replace the disk"
        ) from error


def main() -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="nf-data: %(message)s")
    storage = Storage(Places(), System())
    try:
        storage.start()
    except (NfError, OSError) as error:
        told = error if isinstance(error, NfError) else IntegrityError(str(error))
        _log.error("NO DATA: %s", told)
        storage.without_data(told)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
