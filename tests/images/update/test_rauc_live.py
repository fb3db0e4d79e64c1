"""The client against the real RAUC: its daemon on a bus of its own, slots that are files, bundles that it made.

The machine that runs the tests may have no device-mapper: bundles are of format plain, so that RAUC can mount them
without it. What only format verity has (payload checked while it is read) is tested in an image, not here.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from images.update import manager, slots, watch
from images.update.machine import Machine
from images.update.manager import Updater
from images.update.rauc import Rauc
from images.update.release import Release
from nf.clock import RealClock
from nf.contracts.image import ImageContext, Signs
from nf.errors import DriverError, RefusedError, UnavailableError
from tests.support.machine import order

pytestmark = [pytest.mark.root, pytest.mark.daemon]

BOOTS = itertools.count()
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
ROLE, OTHER_ROLE = "streamverse-nf-pop-amd64", "streamverse-nf-core-amd64"
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={0}/bus.sock</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>
"""
SYSTEM = """[system]
compatible={1}
bootloader=grub
activate-installed=false
grubenv={0}/grubenv
statusfile={0}/status.raucs
mountprefix={0}/mnt
[keyring]
path={0}/ca.crt
"""
SLOT = """[slot.rootfs.{1}]
device={0}/root_{2}
type=raw
bootname={3}
[slot.boot.{1}]
device={0}/boot_{2}
type=raw
parent=rootfs.{1}
"""
MANIFEST = """[update]
compatible={0}
version={1}
[bundle]
format=plain
[image.rootfs]
filename=rootfs.img
[image.boot]
filename=boot.vfat
"""


def run(*arguments: str) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def signer(directory: Path, name: str) -> None:
    """A CA and a certificate under it: name-ca.crt, name.crt, name.key."""
    ca, own = directory / f"{name}-ca", directory / name
    run("openssl", "req", "-x509", *EC, "-keyout", f"{ca}.key", "-out", f"{ca}.crt",
        "-subj", f"/CN={name} CA", "-days", "2")  # fmt: skip
    run("openssl", "req", *EC, "-keyout", f"{own}.key", "-out", f"{own}.csr",
        "-subj", f"/CN={name}")  # fmt: skip
    run("openssl", "x509", "-req", "-in", f"{own}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial",
        "-out", f"{own}.crt", "-days", "2")  # fmt: skip


def bundle(directory: Path, name: str, *, by: str = "ours", role: str = ROLE, version: str = "0.2.0") -> Path:
    content, out = directory / f"{name}.d", directory / f"{name}.raucb"
    content.mkdir()
    (content / "rootfs.img").write_bytes(os.urandom(2_000_000))
    (content / "boot.vfat").write_bytes(os.urandom(200_000))
    (content / "manifest.raucm").write_text(MANIFEST.format(role, version))
    run("rauc", f"--cert={directory / by}.crt", f"--key={directory / by}.key", "bundle", str(content), str(out))
    return out


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, require_root: Callable[[], None], require_programs: Callable[..., None]
) -> Path:
    """Signers and bundles, for all tests of this file."""
    require_root()
    require_programs("rauc", "dbus-daemon", "openssl", "grub-editenv", "mksquashfs", "unshare")
    directory = tmp_path_factory.mktemp("rauc")
    signer(directory, "ours")
    signer(directory, "theirs")
    bundle(directory, "good")
    bundle(directory, "foreign", by="theirs")
    bundle(directory, "role", role=OTHER_ROLE)
    altered = bytearray((directory / "good.raucb").read_bytes())
    altered[100_000] ^= 1
    (directory / "altered.raucb").write_bytes(altered)
    return directory


@dataclass
class Host:
    directory: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"unix:path={self.directory}/bus.sock"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.directory / f"{Path(arguments[0]).name}.log").open("ab")
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}
        process = subprocess.Popen(arguments, stdout=log, stderr=log, env=environment, start_new_session=True)
        log.close()
        self.processes.append(process)
        return process

    def start_rauc(self, slot: str = "A") -> subprocess.Popen[bytes]:
        """In a mount namespace of its own."""
        return self.start(
            "unshare", "--mount", "--propagation", "private", "--kill-child",
            "rauc", f"--conf={self.directory}/system.conf", "service", f"--override-boot-slot={slot}",
        )  # fmt: skip

    def variables(self) -> dict[str, str]:
        lines = run("grub-editenv", str(self.directory / "grubenv"), "list").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def set(self, *variables: str) -> None:
        run("grub-editenv", str(self.directory / "grubenv"), "set", *variables)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def host(tmp_path: Path, made: Path) -> Iterator[Host]:
    shutil.copy(made / "ours-ca.crt", tmp_path / "ca.crt")
    (tmp_path / "mnt").mkdir()
    (tmp_path / "bus.conf").write_text(BUS.format(tmp_path))
    text = SYSTEM.format(tmp_path, ROLE) + SLOT.format(tmp_path, 0, "a", "A") + SLOT.format(tmp_path, 1, "b", "B")
    (tmp_path / "system.conf").write_text(text)
    for name, size in (("root_a", 3 << 20), ("root_b", 3 << 20), ("boot_a", 1 << 20), ("boot_b", 1 << 20)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    run("grub-editenv", str(tmp_path / "grubenv"), "create")
    one = Host(tmp_path)
    one.set("ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=0", "B_TRY=0")
    one.start("dbus-daemon", f"--config-file={tmp_path}/bus.conf", "--nofork")
    deadline = time.monotonic() + 20
    while not (tmp_path / "bus.sock").exists():
        assert time.monotonic() < deadline, "the bus does not start"
        time.sleep(0.02)
    try:
        yield one
    finally:
        for process in reversed(one.processes):
            one.end(process)


@pytest.fixture
async def rauc(host: Host) -> Rauc:
    host.start_rauc()
    client = Rauc(host.address)
    async with asyncio.timeout(30):
        while True:
            try:
                await client.status()
            except UnavailableError:
                await asyncio.sleep(0.05)
            else:
                break
    return client


def silent(_fraction: float, _text: str) -> None:
    return None


async def test_nobody_there_is_told_as_such(host: Host, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no D-Bus"):
        await Rauc(f"unix:path={tmp_path}/nothing.sock").status()
    with pytest.raises(UnavailableError, match="rauc"):
        await Rauc(host.address).status()


async def test_an_install_writes_the_other_slot_and_starts_nothing(host: Host, rauc: Rauc, made: Path) -> None:
    status = await rauc.status()
    assert (status.compatible, status.boot_slot, status.operation) == (ROLE, "A", "idle")
    assert (status.booted.slot.bootname, status.booted.good, status.other.good) == ("A", True, False)
    assert [one.name for one in status.booted.all] == ["rootfs.0", "boot.0"]
    told: list[tuple[float, str]] = []
    await rauc.install(made / "good.raucb", lambda fraction, text: told.append((fraction, text)))
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert told[-1][0] == 1.0
    assert any("rootfs.1" in text for _, text in told)
    written = (made / "good.d/rootfs.img").read_bytes()
    assert (host.directory / "root_b").read_bytes()[: len(written)] == written
    assert host.variables() == {"ORDER": "A B", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"}
    after = await rauc.status()
    assert {one.status for one in after.other.all} == {"ok"}
    assert (after.other.slot.version, after.other.slot.installs) == ("0.2.0", 1)
    assert (after.primary, after.operation) == ("rootfs.0", "idle")
    await slots.activate(rauc, after.other.fingerprint)
    assert host.variables() == {"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "0"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("foreign", "self.signed certificate|verif"),
        ("altered", "verif"),
        ("role", "ompatible"),
        ("absent", "exist|open"),
    ],
)
async def test_a_bundle_that_does_not_fit_is_refused_and_a_good_one_goes_on(
    host: Host, rauc: Rauc, made: Path, name: str, why: str
) -> None:
    before = (host.directory / "root_b").read_bytes()
    with pytest.raises(RefusedError, match=why):
        await rauc.install(made / f"{name}.raucb", silent)
    assert (host.directory / "root_b").read_bytes() == before
    assert host.variables()["A_OK"] == "1"
    await rauc.install(made / "good.raucb", silent)
    assert (await rauc.status()).other.slot.status == "ok"


async def test_a_slot_whose_install_failed_is_not_activated_though_rauc_would(
    host: Host, rauc: Rauc, made: Path
) -> None:
    with pytest.raises(RefusedError):
        await rauc.install(made / "foreign.raucb", silent)
    with pytest.raises(RefusedError, match="never written"):
        await slots.activate(rauc, {})
    assert host.variables()["B_OK"] == "0"
    await rauc.mark("active", "other")
    assert host.variables()["B_OK"] == "1", "RAUC itself does not look at what a slot holds"
    host.set("ORDER=A B", "B_OK=0")
    await rauc.install(made / "good.raucb", silent)
    first = (await rauc.status()).other.fingerprint
    await rauc.install(made / "good.raucb", silent)
    with pytest.raises(RefusedError, match="something else than what was installed"):
        await slots.activate(rauc, first)


async def test_a_slot_on_trial_counts_as_bad_until_it_is_marked(host: Host, rauc: Rauc) -> None:
    host.set("A_TRY=1")
    assert not (await rauc.status()).booted.good
    assert not await slots.mark_other_bad(rauc), "both slots would be bad"
    await slots.mark_good(rauc)
    assert (host.variables()["A_OK"], host.variables()["A_TRY"]) == ("1", "0")


async def test_after_a_roll_back_the_other_slot_is_marked_bad(host: Host, rauc: Rauc, made: Path) -> None:
    await rauc.install(made / "good.raucb", silent)
    await slots.activate(rauc, (await rauc.status()).other.fingerprint)
    host.set("B_TRY=1", "A_TRY=1")  # B was started and went back to A
    await slots.mark_good(rauc)
    assert host.variables() == {"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "1"}
    assert await slots.mark_other_bad(rauc)
    assert (host.variables()["B_OK"], host.variables()["A_OK"]) == ("0", "1")


async def test_going_back_puts_the_other_first_and_marks_neither_bad(host: Host, rauc: Rauc) -> None:
    assert not await slots.other_first(rauc), "B cannot be started"
    host.set("ORDER=A B", "A_OK=1", "A_TRY=1", "B_OK=1", "B_TRY=0")
    assert await slots.other_first(rauc)
    assert host.variables() == {"ORDER": "B A", "A_OK": "1", "A_TRY": "1", "B_OK": "1", "B_TRY": "0"}


@dataclass
class FromFile:
    """A bundle as the NOC would give it."""

    path: Path

    async def pieces(self, _sha256: str, offset: int) -> AsyncIterator[bytes]:
        yield self.path.read_bytes()[offset:]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for is another process in real life
            await asyncio.sleep(0.02)


async def reached(updater: Updater, state: str) -> None:
    await until(lambda: updater.report().update == state)


@pytest.mark.parametrize("well", [True, False], ids=["well", "ill"])
async def test_a_whole_update_on_the_real_rauc(
    host: Host, rauc: Rauc, made: Path, monkeypatch: pytest.MonkeyPatch, *, well: bool
) -> None:
    """Fetched, written, activated, tried, kept or left: only the restart of the machine is played."""
    for module in (manager, watch):
        monkeypatch.setattr(module, "_LOOK_S", 0.05)
    state, run_dir, restarted = host.directory / "var", host.directory / "run", asyncio.Event()
    run_dir.mkdir()
    data, problems = (made / "good.raucb").read_bytes(), dict[str, str]()

    async def reboot() -> None:
        restarted.set()

    async def signs() -> Signs:
        return Signs(True, "", problems)

    def begin(slot: str, version: str) -> tuple[Updater, watch.Watch, list[asyncio.Task[None]]]:
        for left in run_dir.iterdir():
            left.unlink()  # /run is empty after a start
        machine = Machine(Release("pop", version, ROLE, slot, f"boot {next(BOOTS)}"), rauc, reboot)
        context = ImageContext(
            "pop1", state, run_dir, RealClock(), FromFile(made / "good.raucb"), signs, lambda _: None, lambda _: None
        )
        updater, watching = Updater(context, machine), watch.Watch(machine, state, run_dir, RealClock())
        return updater, watching, [asyncio.create_task(updater.run()), asyncio.create_task(watching.run())]

    async def end(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    updater, _, tasks = begin("A", "0.1.0")
    await until(lambda: updater.report().good)
    digest = hashlib.sha256(data).hexdigest()
    await updater.answer("image.fetch", order("u.1", digest, len(data), "0.2.0", hold_s=0.3, patience_s=3.0))
    await reached(updater, "fetched")
    await updater.answer("image.install", {"id": "u.1"})
    await reached(updater, "installed")
    assert host.variables()["B_OK"] == "0"
    await updater.answer("image.activate", {"id": "u.1"})
    await until(restarted.is_set)
    await end(tasks)
    assert (host.variables()["ORDER"], host.variables()["B_OK"]) == ("B A", "1")

    host.set("B_TRY=1")  # GRUB
    problems |= {} if well else {"driver frr": "not converged"}
    restarted.clear()
    host.end(host.processes.pop())
    host.start_rauc("B")
    updater, _, tasks = begin("B", "0.2.0")
    if well:
        await reached(updater, "healthy")
        await end(tasks)
        assert host.variables() == {"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "0"}
        return
    await until(restarted.is_set)
    await end(tasks)
    assert (host.variables()["ORDER"], host.variables()["A_OK"]) == ("A B", "1")

    host.set("A_TRY=1")  # GRUB
    host.end(host.processes.pop())
    host.start_rauc("A")
    updater, _, tasks = begin("A", "0.1.0")
    await reached(updater, "fell-back")
    await until((run_dir / watch.SETTLED).exists)
    await end(tasks)
    assert updater.report().fell_back == "fell back from 0.2.0 in slot B: driver frr: not converged"
    assert host.variables() == {"ORDER": "A B", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"}


async def test_a_rauc_that_dies_while_it_installs_is_noticed(host: Host, made: Path) -> None:
    service = host.start_rauc()
    client = Rauc(host.address)
    async with asyncio.timeout(30):
        while True:
            try:
                await client.status()
                break
            except UnavailableError:
                await asyncio.sleep(0.05)

    def die(_fraction: float, _text: str) -> None:
        host.end(service)

    with pytest.raises((DriverError, UnavailableError)):
        await client.install(made / "good.raucb", die)
