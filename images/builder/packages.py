"""Debian packages: where they come from, which exact ones an image gets, and the cache that holds them.

What apt would install is asked first: that list,
with every version and checksum, is the key of the cache, so that a new version upstream is never missed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from images.builder.programs import environment, run
from images.builder.sources import SUITE, Source, with_components
from images.recipe import ARCHITECTURE, PRODUCT, Recipe
from images.report import Report, part, silent
from nf.contracts.json import digest
from nf.errors import DriverError, InputError, IntegrityError

TREE_EPOCH = 1_686_355_200
"""2023-06-10, when Debian 12 came out: the time that packages see when they are set up, so that a cached tree is of no
particular day. A finished image carries the time of its own build."""

_FORMAT = 4  # raised when this module makes another tree from the same packages
_ESSENTIAL = "?and(?essential,?not(?exact-name(apt)))"  # apt takes itself for essential; an appliance has none
_URI = re.compile(r"'([^']+)' (\S+) (\d+) (\S+)")


@dataclass(frozen=True, slots=True)
class Package:
    """One that goes in. `operator`: from a repository of the operator's."""

    name: str
    version: str
    architecture: str
    uri: str
    file: str
    octets: int
    checksum: str
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """All that goes in, and the sources that it comes from. `key` names the tree in the cache."""

    packages: tuple[Package, ...]
    sources: tuple[Source, ...]
    asked: tuple[str, ...]
    key: str

    def names(self) -> frozenset[str]:
        return frozenset(package.name for package in self.packages)


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory that may be thrown away at any time, but not while a build uses it."""

    directory: Path
    archives: Path = field(init=False)
    trees: Path = field(init=False)
    wheels: Path = field(init=False)

    def __post_init__(self) -> None:
        for name in ("archives", "trees", "wheels"):
            object.__setattr__(self, name, self.directory / name)

    def make(self) -> None:
        """Raises InputError when it cannot be made."""
        try:
            for path in (
                self.archives / "partial",
                self.trees,
                self.wheels,
                self.directory / "apt/state/lists/partial",
            ):
                path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot be made: {error.strerror}", where=str(self.directory), remedy="--cache") from None


def select(
    recipe: Recipe,
    sources: Sequence[Source],
    cache: Cache,
    *,
    operator_sources: Sequence[Source] = (),
    operator_packages: Sequence[str] = (),
    offline: bool = False,
    report: Report = silent,
) -> Selection:
    """What apt installs now for `recipe`, downloaded into the cache. `offline`: as the cache last knew the mirror.

    Raises DriverError in apt's words, IntegrityError when it answers what cannot be understood.
    """
    debian = with_components(sources, recipe.components)
    apt = _Apt(cache, [*debian, *operator_sources])
    if not offline:
        report(0.0, "asking the mirror")
        apt.run("update", "--error-on=any", remedy="is the mirror there? --offline uses what the cache holds")
    names = sorted({package.name for package in recipe.packages} | set(operator_packages))
    report(0.2, "choosing versions")
    asked = [_ESSENTIAL, *names]
    hosts = {uri.rstrip("/") for source in operator_sources for uri in source.uris}
    printed = apt.run("install", "--print-uris", *asked, archives="none")
    packages = tuple(sorted(parse_uris(printed, hosts), key=lambda package: package.name))
    _download(apt, asked, part(report, 0.3, 1.0))
    return Selection(packages, (*debian, *operator_sources), tuple(names), _key(recipe, packages))


def parse_uris(text: str, operator_uris: Iterable[str] = ()) -> list[Package]:
    """apt's `--print-uris`: 'URI' FILE OCTETS CHECKSUM. Raises IntegrityError for a line of another form."""
    roots = tuple(f"{_one_slash(uri)}/" for uri in operator_uris)
    found = []
    for line in text.splitlines():
        if not line.strip():
            continue
        match = _URI.fullmatch(line.strip())
        parts = match[2].removesuffix(".deb").split("_") if match else []
        if match is None or len(parts) != 3:
            raise IntegrityError(f"apt answered: {line[:100]}", where="apt-get --print-uris")
        name, version, architecture = parts
        own = _one_slash(match[1]).startswith(roots) if roots else False
        found.append(Package(name, unquote(version), architecture, match[1], match[2], int(match[3]), match[4], own))
    if not found:
        raise IntegrityError("apt would install nothing", where="apt-get --print-uris")
    return found


def _one_slash(uri: str) -> str:
    """apt shortens copy:///x to copy:/x."""
    return re.sub(r"^([a-z]+):/+", r"\1:/", uri)


def _key(recipe: Recipe, packages: Sequence[Package]) -> str:
    names = {package.name for package in packages}
    return digest(
        {
            "format": _FORMAT,
            "packages": [[one.name, one.version, one.architecture, one.checksum] for one in packages],
            "exclude": list(recipe.exclude),
            "include": list(recipe.include),
            "accounts": accounts_script(recipe, names),
        }
    )


@dataclass(frozen=True, slots=True)
class _Apt:
    """apt with a state of its own: nothing of this machine's packages counts, its proxies do."""

    cache: Cache
    sources: Sequence[Source]

    def run(
        self, command: str, *arguments: str, archives: str = "archives", remedy: str = "", report: Report = silent
    ) -> str:
        base, held = self.cache.directory / "apt", self.cache.directory / archives
        (held / "partial").mkdir(parents=True, exist_ok=True)
        (base / "debian.sources").write_text("\n".join(source.text() for source in self.sources))
        settings = {
            "Dir::Etc::main": "/dev/null",  # hooks of this machine's apt are none of ours
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::sourcelist": base / "debian.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": base / "state",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": base,
            "Dir::Cache::archives": held,
            "Dir::Log": base,
            "APT::Architecture": ARCHITECTURE,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::ForceHash": "SHA256",
            "Acquire::Languages": "none",
            **_acquisition(),
        }
        text = "".join(f'{name} "{value}";\n' for name, value in settings.items())
        (base / "apt.conf").write_text(f'{text}APT::Architectures {{ "{ARCHITECTURE}"; }};\n')
        env = environment(extra={"APT_CONFIG": str(base / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"})
        where = f"apt-get {command}"
        if report is silent:
            return run(["apt-get", "-qq", "-y", command, *arguments], where=where, env=env, remedy=remedy)

        def heard(line: str) -> None:
            fields = line.split(":", 3)
            if fields[0] == "dlstatus" and len(fields) == 4:
                report(float(fields[2]) / 100, f"fetching packages: {fields[3].strip()}")

        shown = ["apt-get", "-qq", "-y", "--option=APT::Status-Fd=1", command, *arguments]
        return run(shown, where=where, env=env, remedy=remedy, heard=heard)


def _acquisition() -> dict[str, str]:
    """How this machine's apt fetches: its proxies, and whether it takes a dated snapshot."""
    dumped = run(["apt-config", "dump"], where="apt-config")
    wanted = re.compile(r'(Acquire::(?:[a-z]+::Proxy(?:::[\w.-]+)?|Check-Valid-Until|Check-Date|Retries)) "([^"]*)";')
    return {match[1]: match[2] for line in dumped.splitlines() if (match := wanted.fullmatch(line)) and match[2]}


def _download(apt: _Apt, asked: Sequence[str], report: Report) -> None:
    apt.run("install", "--download-only", *asked, report=report, remedy="is the mirror there?")


def make_tree(recipe: Recipe, selection: Selection, cache: Cache, out: Path, *, report: Report = silent) -> None:
    """`out`, a tar file: the packages of `selection`, set up. Root is needed; mounts are in a name space of their own.

    Raises DriverError in mmdebstrap's words, IntegrityError when other versions came than were selected.
    """
    work = out.with_name(f".{os.getpid()}.work")
    work.mkdir()
    sources = work / "debian.sources"
    sources.write_text("\n".join(source.text() for source in selection.sources))
    names = selection.names()
    files = " ".join(shlex.quote(str(path)) for path in _archives(selection, cache))
    hooks = {
        "setup": f'mkdir -p "$1/var/cache/apt/archives/partial" && cp {files} "$1/var/cache/apt/archives/"',
        "essential": accounts_script(recipe, names),
        "customize": 'rm -rf "$1"/var/cache/apt/archives/*.deb',
    }
    command = [
        "unshare", "--mount", "--propagation", "private",
        "mmdebstrap", "--mode=root", "--variant=essential", "--format=tar",
        f"--architectures={ARCHITECTURE}", f"--include={','.join(selection.asked)}",
        "--skip=download/empty", "--skip=essential/unlink", "--skip=check/empty",
        '--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"',
        *(f'--aptopt={name} "{value}"' for name, value in _acquisition().items()),
        "--dpkgopt=force-unsafe-io",  # a power cut costs a build, not a system
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.exclude),
        *(f"--dpkgopt=path-include={pattern}" for pattern in recipe.include),
        *(f"--{name}-hook={script}" for name, script in hooks.items()), SUITE, str(out), str(sources),
    ]  # fmt: skip
    # The kernel's own initial file system is not wanted: ours is made later, with our hook.
    env = environment(TREE_EPOCH, {"INITRD": "No", "TMPDIR": str(work), "DEBIAN_FRONTEND": "noninteractive"})
    try:
        run(command, where=f"image of {recipe.role}", env=env, heard=_Heard(report))
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    finally:
        remove_tree(work)


_STAGES: Mapping[str, tuple[float, str]] = {
    "running apt-get update": (0.05, "reading the mirror's lists"),
    "downloading packages": (0.10, "taking packages from the cache"),
    "extracting archives": (0.15, "unpacking the essential packages"),
    "installing essential": (0.20, "setting up the essential packages"),
    "installing remaining": (0.30, "installing the role's packages"),
    "cleaning package lists": (0.93, "cleaning up"),
    "creating tarball": (0.95, "packing the tree"),
}


class _Heard:
    """Reads what mmdebstrap and dpkg print: `Setting up NAME (VERSION) ...` moves the bar on."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._fraction = 0.0

    def __call__(self, line: str) -> None:
        for words, (fraction, text) in _STAGES.items():
            if words in line:
                self._fraction = fraction
                self._report(fraction, text)
                return
        if line.startswith("Setting up "):
            self._fraction += (0.92 - self._fraction) * 0.008
            self._report(self._fraction, f"setting up {line.split()[2]}")


def _archives(selection: Selection, cache: Cache) -> list[Path]:
    found = [cache.archives / package.file for package in selection.packages]
    for path in found:
        if not path.is_file():
            raise DriverError(f"{path.name} is not in the cache", where=str(cache.archives), remedy="build again")
    return found


def accounts_script(recipe: Recipe, packages: Iterable[str]) -> str:
    """Shell for a hook (`$1`: the tree): makes the accounts that packages would make, with ids that never change.

    The files are written before the package that would move passwords to /etc/shadow is there; it finds them locked.
    """
    present = {*packages, PRODUCT}
    users = sorted((user for user in recipe.users if user.package in present), key=lambda user: user.id)
    made = [
        *(group for group in recipe.groups if group.package in present),
        *(user for user in users if not user.group),
    ]
    groups = {group.name: group.id for group in sorted(made, key=lambda group: group.id)}
    lines = []
    for name, number in groups.items():
        members = ",".join(user.name for user in users if name in user.groups)
        lines.append(f'echo {shlex.quote(f"{name}:*:{number}:{members}")} >>"$1/etc/group"')
    for user in users:
        entry = f"{user.name}:*:{user.id}:{groups[user.group or user.name]}::{user.home}:/usr/sbin/nologin"
        lines.append(f'echo {shlex.quote(entry)} >>"$1/etc/passwd"')
    return "\n".join(["set -e", *lines])


def installed(tree: Path) -> dict[str, tuple[str, str]]:
    """Name -> version and architecture, from dpkg's data base in `tree`. Raises InputError when there is none."""
    path = tree / "var/lib/dpkg/status"
    try:
        text = path.read_text(errors="replace")
    except OSError:
        raise InputError("no dpkg data base", where=str(path)) from None
    found = {}
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"(?m)^(Package|Status|Version|Architecture): (.*)$", stanza))
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = (fields["Version"], fields["Architecture"])
    return found


def matches(selection: Selection, tree: Path) -> bool:
    """Whether `tree` holds exactly what was selected: only then may the cache keep it under that key."""
    wanted = {package.name: package.version for package in selection.packages}
    return wanted == {name: version for name, (version, _) in installed(tree).items()}


def prune(directory: Path, *, keep: int) -> None:
    """Forget the trees that were used longest ago, and what builds that were killed have left."""
    for path in directory.glob(".*"):
        numbers = [part for part in path.name.split(".") if part.isdecimal()]
        if numbers and not Path("/proc", numbers[-1]).exists():
            if path.is_dir():
                remove_tree(path)
            else:
                path.unlink(missing_ok=True)
    trees = sorted(directory.glob("[!.]*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in trees[keep:]:
        path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Raises DriverError rather than deleting through a mount that somebody left below `path`."""
    mounts = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    below = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{path.resolve()}/")]
    if below:
        raise DriverError(f"something is mounted at {below[0]}", where=str(path), remedy=f"umount {below[0]}")
    shutil.rmtree(path, ignore_errors=True)
