"""The plug is pulled at twenty random points of an update: it always boots, never a mixed system, nothing forgotten.

Two images go to and fro. Each round begins an upgrade, waits for one of its states, lets a random time pass, and kills
the machine. Then it has to come up as one whole image of the two, enrolled, on the revision it had before; the
upgrade goes on where it was, to its end or back.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.machine import partitions
from lab.scenarios.appliance import LINEUP, SLOWNESS, Place, await_online
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


def reached(point: Point) -> Any:
    order = ("pending", "transfer", "install", "installed", "drain", "activate", "reboot", "trial")

    def there(sample: Sample) -> bool:
        if sample.state in ENDED:
            return True
        return sample.state in order and order.index(sample.state) >= order.index(point.state)

    return there


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


def mixture(stage: Stage, slot: str, images: dict[str, Image], version: str) -> str:
    """What of the running slot is not, octet by octet, of the image whose version it says; empty = nothing."""
    if version not in images:
        return f"version {version!r} was never built"
    wrong = []
    for name, label in (("boot.vfat", f"boot_{slot.lower()}"), ("rootfs.img", f"root_{slot.lower()}")):
        size, wanted = images[version].digest(name)
        if partitions.digest(stage.pop.disk, label, size) != wanted:
            wrong.append(label)
    return ", ".join(wrong)


def test_it_survives_them(stage: Stage, network: Place, machine_folder: Path) -> None:
    images = {version: stage.images.image("pop", version) for version in VERSIONS}
    seed = machine_folder.parent / "seed.img"
    network.seed(seed)
    first = images[VERSIONS[0]]
    stage.machine = stage.stack.enter_context(
        network.machine(machine_folder, disk=first.disk, seed=seed, variables=stage.images.variables)
    )
    stage.pop.power_on()
    await_online(network, stage.pop, BOOT_S)
    network.console.wait("the underlay", network.current, BOOT_S)
    network.console.must(network.console.nf("lineup", "commit", str(LINEUP), timeout_s=BOOT_S))
    stage.step("enrolled, line-up taken")
    revision = network.shown()["confirmed_revision"]
    failures = []
    for number, point in enumerate(points(CUTS, SEED), 1):
        runs = network.image()["version"]
        other = images[next(version for version in VERSIONS if version != runs)]
        progress = begin(network, other.bundle, *HEALTH)
        follow(network, progress, BOOT_S, until=reached(point))
        time.sleep(point.after_s)
        look(network, progress)
        stage.pop.power_cut()
        cut_in = progress.last.state
        stage.pop.power_on()
        at = await_online(network, stage.pop, BOOT_S, again=True)
        ended = settle(network, progress)
        network.console.wait("attached and current", network.current, BOOT_S)
        shown, image = network.shown(), network.image()
        mixed = mixture(stage, image["slot"], images, image["version"])
        kept = shown["enrolled"] and shown["confirmed_revision"] == revision
        good = not mixed and kept
        told = f"in {cut_in}; up at {at:.0f} s with {image['version']} in {image['slot']}, update {ended}"
        name = f"cut {number}/{CUTS}: {point.name} + {point.after_s:.1f} s"
        stage.saw(name, told + (f", MIXED: {mixed}" if mixed else ""), "boots, whole, kept", good=good)
        if not good:
            failures.append(name)
    stage.step(f"{CUTS} power cuts", f"seed {SEED}, not survived: {', '.join(failures) or 'none'}", good=not failures)
