"""An appliance image from its build to its fall-back: one machine in one network, which the tests take step by step."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console as Terminal

from lab.machine.driven import DrivenMachine
from lab.scenarios import bootstrap
from lab.scenarios.appliance import Place, place_up
from lab.scenarios.console import Console
from lab.scenarios.image_set import Image, ImageSet
from lab.scenarios.verdicts import Verdicts

BUILD = Path(os.environ.get("NF_IMAGE_TEST", "build/image-test"))
PROGRAMS = ("qemu-system-x86_64", "qemu-img", "swtpm", "mksquashfs", "veritysetup", "mcopy", "sbsign", "rauc", "ffmpeg")


@dataclass(slots=True)
class Stage:
    """What the steps hand on to each other. A step that needs one that failed fails at once, and says which."""

    images: ImageSet
    verdicts: Verdicts
    aloud: Callable[[], AbstractContextManager[None]]
    place: Place | None = None
    machine: DrivenMachine | None = None
    made: dict[str, Image] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    _mark: float = field(default_factory=time.monotonic)

    def step(self, name: str, figure: str = "", target: str = "seen", *, good: bool = True) -> None:
        """Print the step with its time and what was seen. Fails the test when it is not good."""
        now = time.monotonic()
        self.done[name] = now - self._mark
        self._mark = now
        self.saw(name, f"{figure + ', ' if figure else ''}{self.done[name]:.1f} s", target, good=good)
        assert good, f"{name}: {figure}, target: {target}"

    def saw(self, name: str, figure: str, target: str, *, good: bool) -> None:
        """Print it for whoever waits, past pytest's capture, and keep it."""
        with self.aloud():
            self.verdicts.add(name, figure, target, good=good)

    def note(self, text: str) -> None:
        with self.aloud():
            self.verdicts.note(text)

    def needs(self, *names: str) -> None:
        missing = [name for name in names if name not in self.done]
        if missing:
            pytest.fail(f"an earlier step did not get there: {', '.join(missing)}")

    @property
    def pop(self) -> DrivenMachine:
        assert self.machine is not None
        return self.machine

    @property
    def network(self) -> Place:
        assert self.place is not None
        return self.place


@pytest.fixture(scope="session")
def images(require_root: Callable[[], None], require_programs: Callable[..., None]) -> ImageSet:
    """The images of these tests, below build/image-test; what was built of the same commit is taken."""
    require_root()
    require_programs(*PROGRAMS)
    BUILD.mkdir(parents=True, exist_ok=True)
    made = ImageSet.below(
        Console("image-builder"),
        BUILD.resolve(),
        built=Path("build/images").resolve(),
        keys=Path("build/keys").resolve(),
        role="pop",
        version=version("streamverse-nf"),
    )
    made.prepare()
    return made


@pytest.fixture(scope="module")
def stage(images: ImageSet, request: pytest.FixtureRequest) -> Iterator[Stage]:
    name = Path(str(request.module.__file__)).stem.removeprefix("test_")
    aloud = request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled
    made = Stage(images, Verdicts(Terminal(width=150), BUILD / f"{name}.json"), aloud)
    with made.stack:
        yield made


@pytest.fixture(scope="module")
def network(stage: Stage) -> Iterator[Place]:
    """The lab of appliance.clab.yml with everybody enrolled but pop1."""
    console = Console(f"nf-image-{os.getpid()}")
    try:
        stage.place = place_up(console)
        yield stage.place
    finally:
        stage.stack.close()  # the machine before the network that it is in
        bootstrap.down(console)


@pytest.fixture
def machine_folder(stage: Stage) -> Path:
    """Empty; the console's log stays there afterwards."""
    folder = BUILD / "machine"
    if stage.machine is None:
        shutil.rmtree(folder, ignore_errors=True)
    return folder.resolve()
