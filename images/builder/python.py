"""The product in the root: a venv with our wheel and its locked dependencies, installed offline with their hashes.

Everything runs on the Python of the root itself. Compiled files are checked against nothing at run time
(PEP 552, unchecked hash): the root cannot be written, and dm-verity answers for its octets.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from images.builder.packages import TREE_EPOCH, Cache
from images.builder.programs import environment, in_tree, run
from images.builder.tree import remove, size
from images.recipe import PathsEntry
from images.report import Report, silent
from nf.errors import DriverError, InputError, UnavailableError

VENV = "/opt/streamverse"
SITE = f"{VENV}/lib/python3.11/site-packages"
PYTHON = (3, 11)
"""Of Debian 12: wheels are fetched for it, so the builder runs on it too."""

_REQUIREMENT = re.compile(r"(?m)^([A-Za-z0-9._-]+)==(\S+)")
_WORK = "tmp/nf-build"
_SOURCES = ("pyproject.toml", "README.md", "LICENSE")
_KEPT_PROGRAMS = frozenset({"python", "python3", "python3.11"})


@dataclass(frozen=True, slots=True)
class Distribution:
    """A wheel as it is installed. `octets`: of its files."""

    name: str
    version: str
    octets: int
    origin: Literal["python", "product"]


def split_lock(text: str) -> Iterator[tuple[str, str]]:
    """Name -> requirement with its hashes, for each entry of a lock file with hashes."""
    starts = [match.start() for match in _REQUIREMENT.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        entry = text[start:end]
        match = _REQUIREMENT.match(entry)
        if match:
            yield normal(match[1]), entry


def normal(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted_lock(text: str, without: Collection[str]) -> str:
    """The lock without some packages. Raises InputError for one that it does not have."""
    entries = list(split_lock(text))
    unknown = sorted({normal(name) for name in without} - {name for name, _ in entries})
    if unknown:
        raise InputError(
            f"not in the lock: {', '.join(unknown)}",
            where="requirements.lock",
            remedy="take them out of python.without",
        )
    left_out = {normal(name) for name in without}
    return "".join(entry for name, entry in entries if name not in left_out)


def fetch_wheels(lock: str, cache: Cache, *, offline: bool = False, report: Report = silent) -> Path:
    """A directory with exactly the wheels of `lock`, from the cache or fetched with pip's own configuration.

    Raises UnavailableError when they cannot be fetched, or on another Python than the image's.
    """
    place = cache.wheels / hashlib.sha256(lock.encode()).hexdigest()[:32]
    if place.is_dir():
        os.utime(place)
        return place
    if offline:
        raise UnavailableError(
            "the wheels of the lock are not in the cache", where=str(cache.wheels), remedy="build once online"
        )
    if sys.version_info[:2] != PYTHON:
        raise UnavailableError(
            f"this is Python {sys.version_info[0]}.{sys.version_info[1]}; images have {PYTHON[0]}.{PYTHON[1]}",
            where="nf image build", remedy="build on Debian 12: `make setup` there",
        )  # fmt: skip
    report(0.0, "fetching wheels")
    with tempfile.TemporaryDirectory(dir=cache.wheels) as made:
        requirements = Path(made) / "lock.txt"
        requirements.write_text(lock)
        wheels = Path(made) / "wheels"
        _pip(
            "download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", str(wheels),
            "--requirement", str(requirements), remedy="is the package index there? see `pip config list`",
        )  # fmt: skip
        wheels.replace(place)
    return place


def _pip(*arguments: str, remedy: str, epoch: int | None = None) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    settings = dict(os.environ)  # where packages come from is the machine's configuration
    if epoch is not None:
        settings["SOURCE_DATE_EPOCH"] = str(epoch)
    try:
        run(command, where=f"pip {arguments[0]}", env=settings, remedy=remedy)
    except DriverError as error:
        raise UnavailableError(error.message, where=error.where, remedy=remedy) from None


def source_files(source: Path) -> list[Path]:
    """What our wheel is made of: tracked and new files of a checkout, no build's left-overs. Raises InputError."""
    if not (source / "pyproject.toml").is_file():
        raise InputError("is no checkout of the product", where=str(source), remedy="run nf from a checkout")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=source,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = sorted({name for name in listed.stdout.decode(errors="surrogateescape").split("\0") if name})
    else:
        names = sorted(str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
        names = [
            name
            for name in names
            if not any(part.startswith((".", "__pycache__", "build")) for part in Path(name).parts)
        ]
    packages = ("nf/", "headend/", "images/", "lab/", "core5g/", "sip/", "lawful_intercept/")
    return [
        source / name for name in names if name.startswith(packages) or name in _SOURCES if (source / name).is_file()
    ]


def make_wheel(source: Path, out: Path, *, epoch: int) -> Path:
    """Our wheel in the directory `out`. Nothing is fetched. Raises UnavailableError when it cannot be made."""
    with tempfile.TemporaryDirectory() as made:
        copy = Path(made) / "source"
        for path in source_files(source):
            target = copy / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        _pip(
            "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(out), str(copy),
            remedy="`make setup` installs setuptools", epoch=epoch,
        )  # fmt: skip
    found = sorted(out.glob("streamverse_nf-*.whl"))
    if len(found) != 1:
        raise InputError(f"{len(found)} wheels came out", where=str(out))
    return found[0]


def install_dependencies(tree: Path, wheels: Path, lock: str) -> None:
    """A venv in the root with exactly what `lock` names. Raises DriverError."""
    in_tree(tree, "/usr/bin/python3", "-m", "venv", "--without-pip", VENV, where="venv")
    work = tree / _WORK
    try:
        _stage(work, sorted(wheels.glob("*.whl")))
        (work / "lock.txt").write_text(lock)
        _pip_inside(tree, "--require-hashes", "--requirement", f"/{_WORK}/lock.txt")
    finally:
        remove(work)


def install_product(tree: Path, wheel: Path, programs: Sequence[str]) -> None:
    """Our wheel beside its dependencies; `programs` of the venv that stay, each with a link in /usr/bin."""
    work = tree / _WORK
    try:
        _stage(work, [wheel])
        _pip_inside(tree, f"/{_WORK}/wheels/{wheel.name}")
    finally:
        remove(work)
    binaries = tree / VENV[1:] / "bin"
    for path in binaries.iterdir():
        if path.name not in _KEPT_PROGRAMS and path.name not in programs:
            remove(path)
    for name in programs:
        if not (binaries / name).exists():
            raise InputError(f"the venv has no program {name}", where="spec.python.programs")
        link = tree / "usr/bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"{VENV}/bin/{name}")


def _stage(work: Path, wheels: Sequence[Path]) -> None:
    (work / "wheels").mkdir(parents=True)
    for wheel in wheels:
        shutil.copyfile(wheel, work / "wheels" / wheel.name)
    import pip

    # pip itself never enters the image: that of the builder looks in from outside the venv.
    shutil.copytree(Path(pip.__file__).parent, work / "pip", ignore=shutil.ignore_patterns("__pycache__"))


def _pip_inside(tree: Path, *arguments: str) -> None:
    in_tree(
        tree, f"{VENV}/bin/python", "-m", "pip", "--quiet", "--isolated", "--disable-pip-version-check", "--no-input",
        "install", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--root-user-action=ignore",
        "--find-links", f"/{_WORK}/wheels", *arguments,
        where="pip in the image", epoch=TREE_EPOCH,
        extra={"PYTHONPATH": f"/{_WORK}", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def drop(tree: Path, entries: Sequence[PathsEntry]) -> int:
    """Remove what the recipe names below site-packages. Octets freed."""
    site = tree / SITE[1:]
    patterns = [pattern for entry in entries for pattern in entry.paths]
    kept = [pattern for entry in entries for pattern in entry.except_]
    freed = 0
    for path in sorted(site.rglob("*")):
        name = "/" + str(path.relative_to(site))
        if path.is_dir() or not any(fnmatch(name, pattern) for pattern in patterns):
            continue
        if not any(fnmatch(name, pattern) for pattern in kept):
            freed += path.lstat().st_size
            path.unlink()
    for path in sorted((one for one in site.rglob("*") if one.is_dir()), key=lambda one: -len(one.parts)):
        if not any(path.iterdir()):
            path.rmdir()
    return freed


def compile_python(tree: Path, directories: Sequence[str], epoch: int = TREE_EPOCH) -> None:
    """`.pyc` for all of them, by the root's own Python, one process each: the order of the work is in the octets."""
    processes = []
    for directory in directories:
        for cached in sorted((tree / directory[1:]).rglob("__pycache__")):
            remove(cached)
        command = [
            "chroot", str(tree), "/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
            "-x", r"/(lib2to3/tests|test/badsyntax)", directory,
        ]  # fmt: skip
        env = environment(epoch, {"PYTHONHASHSEED": "0"})
        processes.append(
            subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    for process in processes:
        said, _ = process.communicate()
        if process.returncode != 0:
            words = " | ".join(said.decode(errors="replace").strip().splitlines()[-5:])
            raise DriverError(f"compileall failed: {words}", where="the image's Python")


def distributions(tree: Path) -> list[Distribution]:
    """What is installed in the venv, with what its files take now."""
    site = tree / SITE[1:]
    found = []
    for metadata in sorted(site.glob("*.dist-info/METADATA")):
        head = HeaderParser().parsestr(metadata.read_text(errors="replace"))
        name = normal(head["Name"])
        record = metadata.with_name("RECORD")
        files = [line.rsplit(",", 2)[0].strip('"') for line in record.read_text(errors="replace").splitlines()]
        octets = sum(_with_compiled(site / file) for file in files)
        found.append(Distribution(name, head["Version"], octets, "product" if name == "streamverse-nf" else "python"))
    return found


def _with_compiled(path: Path) -> int:
    octets = size(path)
    if path.suffix == ".py":
        octets += size(path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc")
    return octets
