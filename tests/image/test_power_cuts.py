"""The plug is pulled at twenty random points of an update: it always boots, never a mixed system, nothing forgotten.

One update runs from its beginning to its end. At each point the machine stands still for a moment, and what a power
cut would leave of it then (disk, firmware variables, TPM) is copied. Each copy is then a machine of its own that has
to come up as one whole image of the two, enrolled, on the revision that it had. Then the plug is pulled for real: the
update goes on where it was.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.machine import partitions
from lab.machine.driven import DrivenMachine
from lab.scenarios.appliance import LINEUP, POP, SLOWNESS, Place, await_online
from lab.scenarios.image_set import Image
from lab.scenarios.upgrade import ENDED, Progress, Sample, begin, follow, look

if TYPE_CHECKING:
    from tests.image.conftest import Stage

pytestmark = [
    pytest.mark.image,
    pytest.mark.soak,
    pytest.mark.root,
    pytest.mark.daemon,
    pytest.mark.timeout(6 * 3600),
]

CUTS = int(os.environ.get("NF_POWER_CUTS", "20"))
SEED = int(os.environ.get("NF_POWER_CUT_SEED", "2026"))
VERSIONS = ("1.0.0", "1.1.0")
BOOT_S = 1200.0 * SLOWNESS
HEALTH = ("--hold", "10s", "--patience", "10m", "--again", "--allow-downgrade")


@dataclass(frozen=True, slots=True)
class Point:
    """Where in an update: a state as the NOC shows it, and so many seconds later."""

    name: str
    state: str
    after_s: float


# States and how long they last, roughly: a random moment of each is somewhere in there.
SPREAD = (
    ("transfer", "transfer", 8.0),
    ("install", "install", 25.0),
    ("activate", "activate", 3.0),
    ("reboot", "reboot", 6.0),
    ("first boot", "reboot", 45.0),
    ("health", "trial", 9.0),
)


def points(count: int, seed: int) -> list[Point]:
    """Spread evenly over the states, at random within each, in random order; the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311  # no secret
    made = []
    for number in range(count):
        name, state, lasts = SPREAD[number % len(SPREAD)]
        made.append(Point(name, state, dice.uniform(0.0, lasts)))
    dice.shuffle(made)
    return made


ORDER = ("pending", "transfer", "install", "installed", "drain", "activate", "reboot", "trial")


def reached(state: str) -> Callable[[Sample], bool]:
    def there(sample: Sample) -> bool:
        return sample.state in ENDED or (sample.state in ORDER and ORDER.index(sample.state) >= ORDER.index(state))

    return there


@dataclass(frozen=True, slots=True)
class Cut:
    """What the machine was at a point of the update. `state`: as the NOC showed it then."""

    point: Point
    state: str
    folder: Path


def cuts_of(stage: Stage, place: Place, progress: Progress, planned: list[Point], folder: Path) -> list[Cut]:
    """Follows the update through all points, in the order in which they come."""
    made = []
    names = [name for name, _, _ in SPREAD]
    began: dict[str, float] = {}
    for number, point in enumerate(sorted(planned, key=lambda one: (names.index(one.name), one.after_s)), 1):
        follow(place, progress, BOOT_S, until=reached(point.state))
        began.setdefault(point.name, time.monotonic())
        time.sleep(max(0.0, began[point.name] + point.after_s - time.monotonic()))
        there = folder / f"cut-{number}"
        stage.pop.left_by_a_power_cut(there)
        made.append(Cut(point, look(place, progress).state, there))
    return made


def settle(place: Place, progress: Progress) -> str:
    """How the upgrade ends by itself: it goes on where the power went. One that is paused, for a failure, is ended."""
    end = time.monotonic() + 2 * BOOT_S
    while time.monotonic() < end:
        sample = look(place, progress)
        answer = place.console.nf("upgrade", "status", progress.id, "--json")
        state = answer.json()["state"] if answer.code == 0 else ""
        if state in ("done", "cancelled") and sample.state in ENDED:
            return sample.state
        if state == "paused" and sample.state in ENDED:
            place.console.nf("upgrade", "cancel", progress.id, "--reason", "the next cut")
            return sample.state
        time.sleep(1.0)
    return f"still {progress.last.state}"


def mixture(machine: DrivenMachine, slot: str, images: dict[str, Image], version: str) -> str:
    """What of the running slot is not, octet by octet, of the image whose version it says; empty = nothing."""
    if version not in images:
        return f"version {version!r} was never built"
    wrong = []
    for name, label in (("boot.vfat", f"boot_{slot.lower()}"), ("rootfs.img", f"root_{slot.lower()}")):
        size, wanted = images[version].digest(name)
        if partitions.digest(machine.disk, label, size) != wanted:
            wrong.append(label)
    return ", ".join(wrong)


@pytest.fixture(scope="module")
def images(stage: Stage) -> dict[str, Image]:
    return {version: stage.images.image("pop", version) for version in VERSIONS}


def test_it_takes_the_lineup(stage: Stage, network: Place, machine_folder: Path, images: dict[str, Image]) -> None:
    seed = machine_folder.parent / "seed.img"
    network.seed(seed)
    stage.machine = stage.stack.enter_context(
        network.machine(machine_folder, disk=images[VERSIONS[0]].disk, seed=seed, variables=stage.images.variables)
    )
    stage.pop.power_on()
    await_online(network, stage.pop, BOOT_S)
    network.console.wait("the underlay", network.current, BOOT_S)
    network.console.must(network.console.nf("lineup", "commit", str(LINEUP), timeout_s=BOOT_S))
    stage.step("enrolled, line-up taken")


def test_it_survives_them(stage: Stage, network: Place, images: dict[str, Image], tmp_path: Path) -> None:
    stage.needs("enrolled, line-up taken")
    revision = network.shown()["confirmed_revision"]
    progress = begin(network, images[VERSIONS[1]].bundle, *HEALTH)
    cuts = cuts_of(stage, network, progress, points(CUTS, SEED), tmp_path)
    last = follow(network, progress, 2 * BOOT_S)
    stage.note(", ".join(f"{name} {seconds:.0f} s" for name, seconds in progress.split().items()))
    stage.step("the update that is cut", last.state, "good", good=last.state == "good")
    stage.pop.power_cut()
    failures = []
    for number, cut in enumerate(cuts, 1):
        network.console.wait("pop1 is missed", lambda: not network.online(), 120.0 * SLOWNESS)
        with DrivenMachine(stage.pop.spec, cut.folder, node=network.node().init(POP)) as machine:
            machine.power_on()
            at = await_online(network, machine, BOOT_S)
            network.console.wait("attached and current", network.current, BOOT_S)
            shown, image = network.shown(), network.image()
            mixed = mixture(machine, image["slot"], images, image["version"])
        shutil.rmtree(cut.folder)
        good = not mixed and shown["enrolled"] and shown["confirmed_revision"] == revision
        told = f"in {cut.state}; up at {at:.0f} s with {image['version']} in {image['slot']}"
        name = f"cut {number}/{CUTS}: {cut.point.name} + {cut.point.after_s:.1f} s"
        stage.saw(name, told + (f", MIXED: {mixed}" if mixed else ""), "boots, whole, kept", good=good)
        if not good:
            failures.append(name)
    stage.step(f"{CUTS} power cuts", f"seed {SEED}, not survived: {', '.join(failures) or 'none'}", good=not failures)


@pytest.mark.parametrize("state", ["transfer", "install"])
def test_the_update_goes_on_after_it(stage: Stage, network: Place, images: dict[str, Image], state: str) -> None:
    stage.needs("the update that is cut")
    if not stage.pop.running:
        stage.pop.power_on()
        await_online(network, stage.pop, BOOT_S)
    network.console.wait("attached and current", network.current, BOOT_S)
    revision, runs = network.shown()["confirmed_revision"], network.image()["version"]
    other = next(version for version in VERSIONS if version != runs)
    progress = begin(network, images[other].bundle, *HEALTH)
    follow(network, progress, BOOT_S, until=reached(state))
    stage.pop.power_cut()
    cut_in = progress.last.state
    stage.pop.power_on()
    at = await_online(network, stage.pop, BOOT_S, again=True)
    ended = settle(network, progress)
    network.console.wait("attached and current", network.current, BOOT_S)
    shown, image = network.shown(), network.image()
    mixed = mixture(stage.pop, image["slot"], images, image["version"])
    good = not mixed and shown["enrolled"] and shown["confirmed_revision"] == revision and ended == "good"
    told = f"in {cut_in}; up at {at:.0f} s, update {ended}, {image['version']} in {image['slot']}{mixed and ', MIXED'}"
    stage.step(f"a power cut in {state}", told, f"goes on by itself, {other}", good=bool(good))
