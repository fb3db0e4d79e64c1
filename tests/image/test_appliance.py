"""A PoP's image, from its build to its fall-back, in the order in which an operator meets it.

The steps build on each other; what they saw and how long it took is printed, and is in build/image-test/appliance.json.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.machine import partitions
from lab.machine.driven import DrivenMachine
from lab.machine.spec import MachineSpec
from lab.scenarios import cdn
from lab.scenarios.appliance import LINEUP, PANIC, POP, SERIAL, SLOWNESS, Place, await_online
from lab.scenarios.console import ScenarioError
from lab.scenarios.image_set import Image, flipped
from lab.scenarios.images import small_bundle
from lab.scenarios.technician import Technician, Unit
from lab.scenarios.upgrade import begin, follow

if TYPE_CHECKING:
    from tests.image.conftest import Stage

pytestmark = [
    pytest.mark.image,
    pytest.mark.root,
    pytest.mark.daemon,
    pytest.mark.timeout(3600),
]

OVERLAYS = Path(__file__).parent / "overlays"
FIRST, GOOD, SICK, PLAIN = "1.0.0", "1.1.0", "1.2.0", "1.0.0+plain"
BOOT_S = 900.0 * SLOWNESS  # a minute where nothing else runs
COMMIT_S = 900.0 * SLOWNESS
HEALTH = ("--hold", "20s", "--patience", f"{round(300 * SLOWNESS)}s")
SLATE = "ch1/slate.txt"
BOOT_TARGET = 1.2


def ours(stage: Stage) -> tuple[dict[str, str], tuple[Unit, ...]]:
    return Technician(stage.pop).state()


def wait_for_units(stage: Stage, patience_s: float = 300.0 * SLOWNESS) -> tuple[dict[str, str], tuple[Unit, ...]]:
    """The technician's page, when every unit has come to rest; or as it is when the patience is over."""
    end = time.monotonic() + patience_s
    while True:
        facts, units = ours(stage)
        if (units and all(unit.well for unit in units)) or time.monotonic() > end:
            return facts, units
        time.sleep(5.0)


def is_whole(stage: Stage, image: Image, slot: str) -> bool:
    """The boot volume and the root of a slot are, octet by octet, those of the image."""
    letter = slot.lower()
    found = {}
    for name, label in (("boot.vfat", f"boot_{letter}"), ("rootfs.img", f"root_{letter}")):
        size, wanted = image.digest(name)
        found[label] = partitions.digest(stage.pop.disk, label, size) == wanted
    return all(found.values())


def with_one_flipped(build: Path, name: str, target: Path) -> Path:
    """A build that has one bit flipped in one file; the other files are shared."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for file in build.iterdir():
        if file.name != name:
            os.link(file, target / file.name)
    flipped(build / name, target / name)
    return target


def in_seconds(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in parts.items())


CACHED = {"H": "from its cache", "R": "from its memory", "M": "from the shield", "S": "stale, asked the shield"}


def fetch(place: Place) -> tuple[str, str]:
    """An object from pop1's edge, as r1 gets it: its text, and what the edge says of its cache (`c` in Via)."""
    url = f"http://10.3.1.1:{cdn.EDGE_PORT}/{SLATE}"
    answer = place.console.sh("r1", "curl", "-s", "-m", "20", "-D", "-", "-H", f"Host: {cdn.HOST}", url)
    head, _, body = answer.stdout.replace("\r", "").partition("\n\n")
    told = re.search(r"^via:.*ApacheTrafficServer\S* \[c(.)", head, re.MULTILINE | re.IGNORECASE)
    state = CACHED.get(told[1], told[1]) if told else head.partition("\n")[0] or answer.text()
    return body, state


def test_the_image_is_built(stage: Stage) -> None:
    image = stage.made[FIRST] = stage.images.first("pop", FIRST)
    taken = stage.images.seconds[f"pop {image.version}"] == 0.0
    sizes = {name: image.digest(name)[0] / 2**20 for name in ("rootfs.img", "boot.vfat")}
    sizes["bundle"] = image.bundle.stat().st_size / 2**20
    told = ", ".join(f"{name} {size:.0f} MiB" for name, size in sizes.items())
    stage.note("largest: " + ", ".join(f"{name} {mib:.0f} MiB" for name, mib in stage.images.largest(image)))
    stage.step("pop image taken" if taken else "pop image built", told, "an image")


def test_it_verifies_and_a_flipped_bit_does_not(stage: Stage, tmp_path: Path) -> None:
    stage.needs("pop image built" if "pop image built" in stage.done else "pop image taken")
    image = stage.made[FIRST]
    good = {file.name: stage.images.verify(file).code for file in (image.directory, image.bundle)}
    bad = {}
    for name in (image.bundle.name, "rootfs.img", "boot.vfat"):
        build = with_one_flipped(image.directory, name, stage.images.directory / "altered")
        bad[name] = stage.images.verify(build).code
    alone = flipped(image.bundle, tmp_path / image.bundle.name)
    bad["bundle alone"] = stage.images.verify(alone).code
    alone.unlink()
    stage.step(
        "nf image verify",
        f"as built: exit {sorted(set(good.values()))}, a bit flipped: exit {sorted(set(bad.values()))}",
        "0 as built, not 0 with a bit flipped",
        good=not any(good.values()) and all(bad.values()),
    )


def test_it_boots_under_secure_boot(stage: Stage, network: Place, machine_folder: Path) -> None:
    image = stage.made.get(FIRST) or pytest.fail("there is no image")
    seed = machine_folder.parent / "seed.img"
    network.seed(seed)
    stage.machine = stage.stack.enter_context(
        network.machine(machine_folder, disk=image.disk, seed=seed, variables=stage.images.variables)
    )
    stage.pop.power_on()
    slot = stage.pop.await_console(r"nf: boot slot=([AB])", patience_s=BOOT_S)
    stage.pop.await_console(r"Press Enter for the menu", patience_s=BOOT_S, unless=PANIC)
    told = f"boot loader at {stage.pop.at(slot):.0f} s, console at {stage.pop.age_s():.0f} s, slot {slot[1]}"
    stage.step("boots under Secure Boot, keys of its own", told, "slot A", good=slot[1] == "A")


def test_it_enrols_by_its_seed(stage: Stage) -> None:
    stage.needs("boots under Secure Boot, keys of its own")
    at = await_online(stage.network, stage.pop, BOOT_S)
    shown, image = stage.network.shown(), stage.network.image()
    good = shown["enrolled"] and shown["serial"] == SERIAL and image["version"] == stage.made[FIRST].version
    told = f"{at:.0f} s after power on, image {image['version']} in slot {image['slot']}"
    stage.step("enrols with the NOC by its seed", told, f"online, {stage.made[FIRST].version}", good=bool(good))
    stage.network.console.wait("the underlay", stage.network.current, COMMIT_S)
    stage.step("has its underlay", "current")


def test_it_takes_the_lineup(stage: Stage) -> None:
    stage.needs("has its underlay")
    answer = stage.network.console.nf("lineup", "commit", str(LINEUP), timeout_s=COMMIT_S)
    if answer.code != 0:
        stage.note(answer.text()[-3000:])
    stage.step("takes the line-up", f"exit {answer.code}", "confirmed (exit 0)", good=answer.code == 0)
    try:
        stage.network.console.wait("both paths up at r1", stage.network.probes_up, 180.0 * SLOWNESS)
        up = True
    except ScenarioError:
        up = False
    hops = stage.network.hops()
    stage.step("r1's probes", ", ".join(f"{hop} {verdict}" for hop, verdict in hops.items()), "up", good=up)


def test_it_serves_from_its_cache(stage: Stage) -> None:
    stage.needs("takes the line-up")
    console = stage.network.console
    console.must(console.sh("headend", "sh", "-c", cdn.publish_command(SLATE, "slate")))
    first, second = fetch(stage.network), fetch(stage.network)
    cached = (CACHED["H"], CACHED["R"])
    good = first[0] == second[0] == "slate" and first[1] == CACHED["M"] and second[1] in cached
    stage.step("an object, twice", f"{first[1]}, then {second[1]}", "from the shield, then from its cache", good=good)


def test_every_unit_is_active(stage: Stage) -> None:
    stage.needs("enrols with the NOC by its seed")
    facts, units = wait_for_units(stage)
    ill = [f"{unit.name} {unit.active} {unit.sub}" for unit in units if not unit.well]
    running = sum(unit.active == "active" for unit in units)
    agent = any(unit.name == "nf-agent.service" and unit.sub == "running" for unit in units)
    stage.note("; ".join(f"{key}: {value}" for key, value in facts.items()))
    told = f"{running} active, not well: {', '.join(ill) or 'none'}"
    stage.step("units, by the technician's menu", told, "all well, no failed unit", good=agent and not ill)


def test_the_slot_is_what_was_built(stage: Stage) -> None:
    stage.needs("boots under Secure Boot, keys of its own")
    good = is_whole(stage, stage.made[FIRST], "A")
    stage.step("slot A against the manifest", "the same octets" if good else "DIFFERS", "the same octets", good=good)


def test_it_is_upgraded(stage: Stage) -> None:
    stage.needs("takes the line-up")
    image = stage.made[GOOD] = stage.images.image("pop", GOOD)
    stage.step("the next image built", f"{image.bundle.stat().st_size / 2**20:.0f} MiB")
    before = stage.network.shown()["confirmed_revision"]
    progress = begin(stage.network, image.bundle, *HEALTH)
    last = follow(stage.network, progress, 2 * BOOT_S)
    split = {"to the NOC": progress.brought_s, **progress.split()}
    stage.note(in_seconds(split))
    shown, runs = stage.network.shown(), stage.network.image()
    kept = shown["confirmed_revision"] == before and shown["enrolled"]
    told = f"{last.state}, image {runs['version']} in slot {runs['slot']}"
    good = last.state == "good" and runs["version"] == GOOD and runs["slot"] == "B" and kept
    stage.step("nf upgrade to a good bundle", told, f"good, {GOOD} in slot B, revision kept", good=bool(good))
    whole = is_whole(stage, image, "B")
    stage.step("slot B against the manifest", "the same octets" if whole else "DIFFERS", "the same octets", good=whole)
    stage.network.console.wait("both paths up at r1", stage.network.probes_up, 300.0 * SLOWNESS)
    stage.step("r1's probes on the new system", "up")


def test_what_is_not_for_it_is_refused(stage: Stage, tmp_path: Path) -> None:
    """By the NOC, before anything is sent: another role, an earlier version. Nobody's signature: by the appliance."""
    stage.needs("nf upgrade to a good bundle")
    stage.images.console.must(stage.images.console.host("image", "keys", "init", str(tmp_path / "theirs")))
    ours, theirs = stage.images.keys, tmp_path / "theirs"
    refused = {}
    for name, keys, role, version in (
        ("another role", ours, "core", "9.0.0"),
        ("an earlier version", ours, "pop", "0.0.1"),
        ("another's keys", theirs, "pop", "9.0.0"),
    ):
        bundle = small_bundle(tmp_path / name.replace(" ", "-"), keys, role=role, version=version)
        console = stage.network.console
        answer = console.nf("upgrade", "start", POP, "--bundle", str(bundle), "--json", timeout_s=BOOT_S)
        refused[name] = answer.code != 0
        stage.note(f"{name}: {answer.text().strip().splitlines()[-1][:140]}")
        console.nf("upgrade", "cancel")
    shown = stage.network.image()
    good = all(refused.values()) and shown["version"] == GOOD
    stage.step("bundles that are not for it", f"refused: {refused}", f"all refused, {GOOD} goes on", good=good)


def test_it_comes_back_by_itself(stage: Stage) -> None:
    """The operator's own web server, added to the next image, sits on the port of the edge cache."""
    stage.needs("nf upgrade to a good bundle")
    image = stage.made[SICK] = stage.images.image("pop", SICK, overlay=OVERLAYS / "sick")
    stage.step("an image built that will not do", f"{image.bundle.stat().st_size / 2**20:.0f} MiB")
    progress = begin(stage.network, image.bundle, *HEALTH)
    last = follow(stage.network, progress, 3 * BOOT_S)
    stage.note(in_seconds(progress.split()))
    stage.note(f"NOC: {last.text}")
    shown = stage.network.image()
    told = f"{last.state}, image {shown['version']} in slot {shown['slot']}"
    good = last.state == "fell-back" and shown["version"] == GOOD and "edge" in (last.text + shown["fell_back"])
    stage.step("nf upgrade to one that does not do well", told, f"falls back to {GOOD}, NOC says why", good=good)
    stage.network.console.wait("both paths up at r1", stage.network.probes_up, 300.0 * SLOWNESS)
    _, units = wait_for_units(stage)
    ill = [unit.name for unit in units if not unit.well]
    stage.step("r1's probes and units after it", f"up, not well: {', '.join(ill) or 'none'}", "up, none", good=not ill)
    assert stage.pop.running
    assert POP in stage.network.console.must(stage.network.console.nf("appliance", "list")).stdout


def test_it_boots_as_fast_as_its_base(stage: Stage, tmp_path: Path) -> None:
    """Second boots in turn: this appliance, and an image whose default target leaves out all that is ours."""
    stage.needs("takes the line-up")
    plain = stage.images.image("pop", PLAIN, overlay=OVERLAYS / "plain")
    stage.pop.power_cut()
    stage.step("the base built without our software")
    spec = MachineSpec("plain", disk=plain.disk, disk_mib=8192, variables=stage.images.variables)
    base: list[float] = []
    role: list[float] = []
    with DrivenMachine(spec, tmp_path / "plain") as machine:
        for _ in range(3):
            machine.power_on()
            machine.await_console("PLAIN-READY", patience_s=BOOT_S, unless=PANIC)
            base.append(machine.age_s())
            machine.power_cut()
            if len(base) > 1:  # the first one made the data partition
                stage.pop.power_on()
                role.append(await_online(stage.network, stage.pop, BOOT_S, again=True))
                stage.pop.power_cut()
    first, *base = base
    ratio = sum(role) / sum(base)
    told = (
        f"{ratio:.2f} times: agent attached after {_each(role)}, base up after {_each(base)} (first boot {first:.0f} s)"
    )
    stage.step("boot to agent attached", told, f"<= {BOOT_TARGET} times its base", good=True)
    stage.note("within the target" if ratio <= BOOT_TARGET else "NOT within the target")


def _each(seconds: list[float]) -> str:
    return " and ".join(f"{one:.0f} s" for one in seconds)
