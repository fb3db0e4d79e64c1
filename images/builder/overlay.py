"""What an operator adds to an image at build time: files, units and packages of its own (Open5GS, FreeSWITCH, MongoDB).

    DIR/files/...        goes into the root as it is: owned by root, 0644 or 0755
    DIR/units/*.service  goes into the root and starts with it (also .socket and .timer; NAME.d/*.conf extends a unit)

All of it goes in before dm-verity, so that the signature covers it, and is named in the manifest and the bills of
materials. What would vanish or weaken the appliance is refused, all problems at once.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from images.builder.programs import in_tree, run
from images.builder.sources import Source, parse_sources
from images.builder.tree import inside, walk
from nf.documents.rules import nearest
from nf.errors import DocumentError, InputError, Problem

_PARTS = ("files", "units")
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]{1,100}\.(service|socket|timer|path|target)")
_LEAST_LIBCURL = (8, 0, 0)
_OLD_LIBCURL = (
    "too old for Open5GS: an HTTP/2 connection between network functions fails at its second request (curl 10634)"
)
_WITH_SBI = frozenset({"amf", "ausf", "bsf", "nrf", "nssf", "pcf", "scp", "sepp", "smf", "udm", "udr"})
_TRIPLET = "x86_64-linux-gnu"

_REFUSED: Mapping[str, str] = {
    "/var": "the data partition covers it; ship a file below /usr and a tmpfiles.d(5) line that copies it",
    "/run": "it is empty at every start; write a tmpfiles.d(5) line",
    "/tmp": "it is empty at every start",  # noqa: S108  # a place in the image
    "/dev": "the kernel fills it; write a udev rule",
    "/proc": "the kernel fills it",
    "/sys": "the kernel fills it; write a sysctl.d(5) or tmpfiles.d(5) line",
    "/boot": "the kernel is in the signed image beside the root",
    "/efi": "the ESP is made by the builder",
    "/opt/streamverse": "that is the product's own place; use another below /opt",
    "/etc/nf": "that is the appliance's identity, kept on the data partition",
    "/etc/nf-release": "the builder writes it",
    "/etc/machine-id": "every appliance makes its own at first boot",
    "/etc/passwd": "accounts come from packages or sysusers.d(5)",
    "/etc/shadow": "no image holds a password",
    "/etc/group": "accounts come from packages or sysusers.d(5)",
    "/etc/gshadow": "no image holds a password",
    "/etc/rauc": "whom an appliance trusts for updates comes with the signing keys",
    "/etc/ssh": "a host key in an image is the same on every appliance",
    "/etc/apt": "software comes as a signed image only",
    "/etc/fstab": "the file systems are the product's; write a .mount unit",
}

SUPERVISION = """# The same supervision as the product's own daemons: started again when they end, without new rights.
[Unit]
StartLimitIntervalSec=0

[Service]
Slice=nf-operator.slice
Restart=on-failure
RestartSec=2
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
LockPersonality=yes
RestrictSUIDSGID=yes
"""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What one `--overlay DIR` holds, checked. Paths are those in the root."""

    directory: Path
    files: tuple[str, ...]
    units: tuple[str, ...]
    extensions: tuple[str, ...]


def read_overlay(directory: Path) -> Overlay:
    """Raises InputError when there is none, DocumentError with everything that is wrong with it."""
    if not directory.is_dir():
        raise InputError("is no directory", where=str(directory), remedy="--overlay DIR, with files/ and units/ in it")
    problems = list(_misplaced(directory))
    files: list[str] = []
    units: list[str] = []
    extensions: list[str] = []
    if (directory / "files").is_dir():
        for path, info in walk(directory / "files"):
            problems += _unfit(path, info.st_mode, str(directory / "files" / path[1:]))
            if not stat.S_ISDIR(info.st_mode):
                files.append(path)
    if (directory / "units").is_dir():
        for path, info in walk(directory / "units"):
            where = str(directory / "units" / path[1:])
            problems += _unfit_unit(path, info.st_mode, where)
            if stat.S_ISREG(info.st_mode):
                (units if path.count("/") == 1 else extensions).append(path[1:])
    if problems:
        raise DocumentError(problems, where=str(directory))
    if not files and not units and not extensions:
        raise InputError("holds nothing", where=str(directory), remedy="put files below files/ and units below units/")
    return Overlay(directory, tuple(sorted(files)), tuple(sorted(units)), tuple(sorted(extensions)))


def _misplaced(directory: Path) -> Iterator[Problem]:
    for path in sorted(directory.iterdir()):
        if path.name not in _PARTS or not path.is_dir() or path.is_symlink():
            remedy = f"did you mean files/{path.name}?" if path.name not in _PARTS else "make it a directory"
            yield Problem("an overlay holds the directories files and units only", remedy, file=str(path))


def _unfit(path: str, mode: int, where: str) -> Iterator[Problem]:
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        yield Problem(
            "is neither a file nor a link nor a directory", "leave it out; a udev rule makes devices", file=where
        )
    if mode & (stat.S_ISUID | stat.S_ISGID) and stat.S_ISREG(mode):
        yield Problem("has set-uid or set-gid", "chmod ug-s; let its unit run as the user it needs", file=where)
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        yield Problem("has a control character in its name", "rename it", file=where.encode("unicode_escape").decode())
    if stat.S_ISDIR(mode):
        return
    for refused, remedy in _REFUSED.items():
        if path == refused or path.startswith(f"{refused}/"):
            yield Problem(f"nothing goes to {refused}", remedy, file=where)
    name = PurePosixPath(path).name
    if PurePosixPath(path).match("*/systemd/system/*") and name.startswith("nf-"):
        yield Problem("units named nf-* are the product's", "choose another name", file=where)


def _unfit_unit(path: str, mode: int, where: str) -> Iterator[Problem]:
    parts = PurePosixPath(path).parts[1:]
    if stat.S_ISDIR(mode):
        if len(parts) > 1 or not parts[0].endswith(".d"):
            yield Problem(
                "a directory below units is named after its unit", f"name it {parts[0]}.service.d", file=where
            )
        return
    if not stat.S_ISREG(mode):
        yield Problem("is no file", "write the unit itself", file=where)
    elif len(parts) == 1 and _UNIT.fullmatch(parts[0]) is None:
        yield Problem("is no unit's name", "end it with .service, .socket, .timer, .path or .target", file=where)
    elif len(parts) == 2 and not parts[1].endswith(".conf"):
        yield Problem("what extends a unit ends with .conf", f"name it {parts[1]}.conf", file=where)
    if parts[0].startswith("nf-"):
        yield Problem("units named nf-* are the product's", "choose another name", file=where)


def repository(where: str, work: Path) -> list[Source]:
    """From `--repo`: a file of apt sources, or a directory with packages (an index is made when it has none).

    Raises InputError for what is neither, or a source whose packages nobody has signed.
    """
    path = Path(where)
    if path.is_dir():
        return [_directory(path, work)]
    try:
        found = parse_sources(path.read_text(), where=where)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=where, remedy="--repo FILE or --repo DIR") from None
    for source in found:
        if not any(name in {"Signed-By", "Trusted"} for name, _ in source.options):
            raise InputError(
                f"{source.uris[0]} names no key",
                where=where,
                remedy="add Signed-By: /path/to/keyring.gpg of that repository",
            )
    if not found:
        raise InputError("names no repository", where=where, remedy="write Types: deb, URIs:, Suites:, Signed-By:")
    return found


def _directory(path: Path, work: Path) -> Source:
    """A flat repository (sources.list(5), a suite that ends with a slash). Its files are the operator's: trusted."""
    packages = sorted(path.glob("*.deb"))
    if not packages:
        raise InputError("holds no .deb", where=str(path), remedy="put the packages there")
    place = work / f"repository-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    place.mkdir(parents=True)
    index = []
    for package in packages:
        (place / package.name).symlink_to(package.resolve())
        control = run(["dpkg-deb", "--field", str(package)], where=str(package)).strip()
        data = package.read_bytes()
        index.append(
            f"{control}\nFilename: ./{package.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
    text = "\n".join(index).encode()
    (place / "Packages").write_bytes(text)
    (place / "Packages.gz").write_bytes(gzip.compress(text, mtime=0))
    return Source((f"copy://{place.resolve()}",), ("./",), (), (("Trusted", "yes"),))


def package_units(tree: Path, package: str) -> list[str]:
    """Units that a package brings."""
    found = []
    for path in sorted((tree / "var/lib/dpkg/info").glob(f"{package}.list")) + sorted(
        (tree / "var/lib/dpkg/info").glob(f"{package}:*.list")
    ):
        for line in path.read_text(errors="replace").splitlines():
            match = re.fullmatch(r"(?:/usr)?/lib/systemd/system/([^/]+\.(?:service|socket|timer))", line)
            if match and "@." not in match[1]:
                found.append(match[1])
    return found


def enable(tree: Path, units: Sequence[str], *, ours: Iterable[str] = ()) -> None:
    """Let units start with the image, and hold services to `SUPERVISION`; what extends the same unit may loosen it.

    Raises DocumentError for units whose program is not in the image.
    """
    problems = [problem for unit in units for problem in _programs(tree, unit)]
    if problems:
        raise DocumentError(problems, where="operator's units")
    for unit in units:
        if unit.endswith(".service") and unit not in set(ours):
            place = tree / "usr/lib/systemd/system" / f"{unit}.d"
            place.mkdir(parents=True, exist_ok=True)
            (place / "10-nf-operator.conf").write_text(SUPERVISION)
    if units:
        in_tree(tree, "systemctl", "--quiet", "enable", *units, where="operator's units")


def _unit_file(tree: Path, unit: str) -> Path | None:
    for place in ("etc", "usr/lib", "lib"):
        path = inside(tree, f"/{place}/systemd/system/{unit}")
        if path.is_file():
            return path
    return None


def _programs(tree: Path, unit: str) -> Iterator[Problem]:
    path = _unit_file(tree, unit)
    if path is None:
        known = [one.name for one in (tree / "usr/lib/systemd/system").glob("*.service")]
        yield Problem("no such unit in the image", nearest(unit, known), key=unit)
        return
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        match = re.fullmatch(r"Exec[A-Z][A-Za-z]*=[-@:+!|]*(/\S+).*", line.strip())
        if match and "%" not in match[1] and not inside(tree, match[1]).exists():
            remedy = "add the package that has it, with --packages, or ship it below files/"
            yield Problem("this program is not in the image", remedy, file=unit, line=number, column=1, value=match[1])
    if path.suffix == ".service" and "ExecStart" not in path.read_text(errors="replace"):
        yield Problem("starts nothing", "write ExecStart=", file=unit)


def check_libraries(versions: Mapping[str, str], files: Iterable[str] = ()) -> None:
    """Open5GS needs a libcurl that can use an HTTP/2 connection twice: Debian 12's (7.88) fails at every second request
    between network functions (curl issue 10634, repaired in 8.0.0). A UPF alone asks nobody anything over HTTP.

    `versions`: of all packages that go in. `files`: of overlays; a libcurl among them is judged by `check_programs`.

    Raises DocumentError.
    """
    functions = sorted(versions.keys() & {"open5gs", *(f"open5gs-{kind}" for kind in _WITH_SBI)})
    remedy = "add a libcurl of 8.0.0 or later to the overlay's repository and to --packages"
    if not functions or any(PurePosixPath(path).name.startswith("libcurl.so.4") for path in files):
        return
    problems = [
        Problem(_OLD_LIBCURL, remedy, key=name, value=version)
        for name, version in sorted(versions.items())
        if re.match(r"libcurl[34]", name) and upstream(version) < _LEAST_LIBCURL
    ]
    if problems:
        raise DocumentError(problems, where=", ".join(functions[:3]))


def check_programs(tree: Path, files: Iterable[str] = ()) -> None:
    """The same of what is in the image, by the libcurl that each function would load: an overlay may bring functions
    without a package, and a libcurl in `lib` beside them (the agent names that folder to them) or in /usr/local/lib.

    Raises DocumentError.
    """
    places = {PurePosixPath(path).parent for path in files} | {PurePosixPath("/usr/bin")}
    problems: list[Problem] = []
    for place in sorted(places):
        daemons = [f"{place}/open5gs-{kind}d" for kind in sorted(_WITH_SBI)]
        found = [path for path in daemons if inside(tree, path).is_file()]
        if found:
            problems += _unfit_libcurl(tree, place, found[0])
    if problems:
        raise DocumentError(problems, where="Open5GS")


def _unfit_libcurl(tree: Path, place: PurePosixPath, daemon: str) -> Iterator[Problem]:
    remedy = f"put one of 8.0.0 or later into files{place}/lib of the overlay"
    for folder in (f"{place}/lib", "/usr/local/lib", f"/usr/local/lib/{_TRIPLET}", f"/usr/lib/{_TRIPLET}"):
        library = inside(tree, f"{folder}/libcurl.so.4")
        if library.is_file():
            match = re.search(rb"libcurl/(\d+)\.(\d+)\.(\d+)", library.read_bytes())
            if match is None:
                yield Problem("does not say its version", remedy, key=daemon, value=f"{folder}/libcurl.so.4")
            elif tuple(map(int, match.groups())) < _LEAST_LIBCURL:
                told = ".".join(number.decode() for number in match.groups())
                yield Problem(_OLD_LIBCURL, remedy, key=f"{folder}/libcurl.so.4", value=told)
            return
    yield Problem("no libcurl.so.4 is in the image, which it loads", remedy, key=daemon)


def upstream(version: str) -> tuple[int, ...]:
    """The upstream part of a Debian version as numbers: 1:7.88.1-10+deb12u14 -> (7, 88, 1)."""
    bare = version.split(":", 1)[-1].split("-", 1)[0]
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[~+]", bare)[0]))
