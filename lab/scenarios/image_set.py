"""The images of one test: signing material and builds, made with `nf image` as an integrator would, and kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.scenarios.console import Answer, Console, ScenarioError

BUILD_S = 3600.0
_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


@dataclass(frozen=True, slots=True)
class Image:
    """A build's output directory."""

    directory: Path
    manifest: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def at(cls, directory: Path) -> Image | None:
        """None when there is no complete build."""
        try:
            manifest = json.loads((directory / "manifest.json").read_bytes())
        except (OSError, ValueError):
            return None
        made = cls(directory, manifest)
        return made if made.disk.is_file() and made.bundle.is_file() else None

    @property
    def role(self) -> str:
        return str(self.manifest["role"])

    @property
    def version(self) -> str:
        return str(self.manifest["version"])

    @property
    def disk(self) -> Path:
        return self.directory / "disk.img"

    @property
    def bundle(self) -> Path:
        return self.directory / f"streamverse-nf-{self.role}-{self.version}.raucb"

    def digest(self, name: str) -> tuple[int, str]:
        """Octets and SHA-256 of one of its files."""
        entry = self.manifest["files"][name]
        return int(entry["size"]), str(entry["sha256"])


@dataclass(slots=True)
class ImageSet:
    """Everything below `directory`. `kernel`, `keys`: of every image built here. `given`: built before, by role."""

    console: Console
    directory: Path
    keys: Path
    kernel: str = "cloud"
    cache: Path = Path("build/cache")
    given: dict[str, Image] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def below(cls, console: Console, directory: Path, *, built: Path, keys: Path, role: str, version: str) -> ImageSet:
        """With what `make image` built of this commit into `built`, signed with `keys`; else with nothing as yet."""
        found = Image.at(built / f"{role}-{version}")
        if found is not None and (keys / "policy.json").is_file() and is_of_this_tree(found):
            return cls(console, directory, keys, str(found.manifest["kernel"]), given={role: found})
        return cls(console, directory, directory / "keys")

    @property
    def variables(self) -> Path:
        """A firmware's variables with our keys in them: Secure Boot is on."""
        return self.directory / "firmware" / "OVMF_VARS.fd"

    def prepare(self) -> None:
        """Throw-away signing material, and the firmware that trusts it; what is there already stays."""
        if not (self.keys / "policy.json").is_file():
            self.console.must(self.console.host("image", "keys", "init", str(self.keys), "--organisation", "Lab"))
        if not self.variables.is_file():
            made = ("--output", str(self.variables.parent), "--vars", str(_VARIABLES))
            self.console.must(self.console.host("image", "keys", "firmware", str(self.keys), *made))

    def first(self, role: str, version: str) -> Image:
        """The one that was built before, or one of this version."""
        if role in self.given:
            self.seconds[f"{role} {self.given[role].version}"] = 0.0
            return self.given[role]
        return self.image(role, version)

    def image(self, role: str, version: str, *, overlay: Path | None = None) -> Image:
        """Built from this tree as it is, or taken if it was built from this very commit. Raises ScenarioError."""
        target = self.directory / f"{role}-{version}"
        found = Image.at(target)
        if found is not None and is_of_this_tree(found):
            self.seconds[f"{role} {version}"] = 0.0
            return found
        shutil.rmtree(target, ignore_errors=True)
        start = time.monotonic()
        extra = ("--overlay", str(overlay)) if overlay else ()
        answer = self.console.host(
            *("image", "build", "--role", role, "--version", version, "--kernel", self.kernel),
            *("--keys", str(self.keys), "--output", str(self.directory), "--cache", str(self.cache), *extra),
            timeout_s=BUILD_S,
        )
        self.console.must(answer)
        made = Image.at(target)
        if made is None:
            raise ScenarioError(f"nf image build left no image in {target}\n{answer.text()[-2000:]}")
        self.seconds[f"{role} {version}"] = time.monotonic() - start
        return made

    def verify(self, file: Path) -> Answer:
        """`nf image verify` on a file or a build's directory."""
        return self.console.host("image", "verify", str(file), "--keys", str(self.keys), timeout_s=600.0)

    def largest(self, image: Image, count: int = 10) -> list[tuple[str, float]]:
        """Packages and their MiB in the root, the largest first."""
        packages = sorted(image.manifest["packages"], key=lambda one: -int(one["octets"]))
        return [(str(one["name"]), int(one["octets"]) / 2**20) for one in packages[:count]]


def is_of_this_tree(image: Image) -> bool:
    """Whether it was built from the commit that is checked out, without changes."""
    source = image.manifest.get("source", {})
    return not source.get("modified", True) and source.get("commit") == _head()


def _head() -> str:
    """The commit that is checked out; empty outside of a repository."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def flipped(file: Path, target: Path, *, at: float = 0.5) -> Path:
    """A copy with one bit flipped, at this part of its length."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
    with target.open("r+b") as copy:
        position = int(target.stat().st_size * at)
        copy.seek(position)
        octet = copy.read(1)[0]
        copy.seek(position)
        copy.write(bytes([octet ^ 1]))
    return target
