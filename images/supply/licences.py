"""Under which licences an image's packages are: what their own files declare, and by name what nothing is known of.

Debian's copyright files in machine-readable form (DEP-5, copyright-format 1.0) name licences by file; all of a
package's are listed. In the others only references to /usr/share/common-licenses are taken. Of Python packages the
metadata counts (core metadata 2.4 `License-Expression`, then `License` and classifiers).
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from images.supply import strict_json
from nf.contracts.json import Json
from nf.errors import InputError, IntegrityError, NotFoundError, UnavailableError

FILE: Final = "licences.json"
_VENV: Final = "opt/streamverse"
_LARGEST: Final = 4 << 20
_COMMON: Final = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9+])")
_FIELD: Final = re.compile(r"^(Package|Status|Version): *(.*)$", re.MULTILINE)
_SYNOPSIS: Final = re.compile(r",?\s+(?:and|or)\s+|\s*,\s*")
_CLASSIFIER: Final = "License :: "
_LONGEST: Final = 80


@dataclass(frozen=True, slots=True)
class Licensed:
    """One package. `kind` is deb or python; `source`: dep5, text, metadata, or none where nothing is known."""

    name: str
    version: str
    kind: str
    source: str
    licences: tuple[str, ...]
    overlay: bool = False


def make_licences(
    tree: Path, out: Path, *, role: str, version: str, overlay: Collection[str] = ()
) -> tuple[Licensed, ...]:
    """Write `licences.json` into directory `out`. Raises InputError and UnavailableError."""
    found = read_tree(tree, overlay)
    counted = Counter(name for one in found for name in one.licences)
    document = {
        "role": role,
        "version": version,
        "packages": [asdict(one) for one in found],
        "by_licence": dict(sorted(counted.items())),
        "unknown": [one.name for one in found if not one.licences],
    }
    (out / FILE).write_bytes(strict_json.pretty(document))
    return found


def read_report(path: Path) -> tuple[Licensed, ...]:
    """What `make_licences` wrote. Raises NotFoundError and IntegrityError."""
    try:
        raw = strict_json.loads(path.read_bytes(), where=str(path))
    except FileNotFoundError:
        raise NotFoundError("no such file", where=str(path), remedy="name a build, or a file of one") from None
    try:
        return tuple(_licensed(one) for one in raw["packages"])
    except (KeyError, TypeError, ValueError):
        raise IntegrityError("is no report of licences", where=str(path)) from None


def read_tree(tree: Path, overlay: Collection[str] = ()) -> tuple[Licensed, ...]:
    """All packages of a root tree by name, Debian's first. Raises InputError and UnavailableError."""
    return (*_debian(tree, overlay), *_python(tree))


def _licensed(raw: dict[str, Any]) -> Licensed:
    return Licensed(
        name=str(raw["name"]),
        version=str(raw["version"]),
        kind=str(raw["kind"]),
        source=str(raw["source"]),
        licences=tuple(map(str, raw["licences"])),
        overlay=bool(raw["overlay"]),
    )


def _debian(tree: Path, overlay: Collection[str]) -> Iterator[Licensed]:
    try:
        status = (tree / "var/lib/dpkg/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise InputError("is no root tree: it has no dpkg database", where=str(tree)) from None
    packages: list[tuple[str, str]] = []
    for paragraph in status.split("\n\n"):
        fields = dict(_FIELD.findall(paragraph))
        if fields.get("Status", "").endswith(" installed"):
            packages.append((fields["Package"], fields["Version"]))
    for name, version in sorted(packages):
        source, licences = _of_copyright(_inside(tree, f"usr/share/doc/{name}/copyright"))
        yield Licensed(name, version, "deb", source, licences, name in overlay)


def _inside(tree: Path, name: str) -> str:
    """A file's text; links are followed inside of the tree only. Empty where there is none."""
    path = tree
    pending = list(Path(name).parts)
    for _ in range(64):
        if not pending:
            break
        part = pending.pop(0)
        if part in ("/", "."):
            path = tree if part == "/" else path
        elif part == "..":
            path = path.parent if path != tree else tree
        elif (path / part).is_symlink():
            target = (path / part).readlink()
            path = tree if target.is_absolute() else path
            pending[:0] = target.parts
        else:
            path /= part
    if pending or not path.is_file() or path.stat().st_size > _LARGEST:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _of_copyright(text: str) -> tuple[str, tuple[str, ...]]:
    """Where the licences were found, and which."""
    if not text:
        return "none", ()
    names = _dep5(text)
    if names:
        return "dep5", names
    common = tuple(sorted(set(_COMMON.findall(text))))
    return ("text", common) if common else ("none", ())


def _dep5(text: str) -> tuple[str, ...]:
    try:
        from debian import copyright as dep5
    except ImportError:
        raise UnavailableError(
            "python-debian is not installed", remedy="install the extra `images` of streamverse-nf"
        ) from None
    logging.getLogger("debian.copyright").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document = dep5.Copyright(text.splitlines(keepends=True), strict=False)
            declared: list[Any] = [document.header.license, *(one.license for one in document.all_files_paragraphs())]
            synopses = [str(one.synopsis) for one in declared if one is not None and one.synopsis]
    except (dep5.NotMachineReadableError, dep5.MachineReadableFormatError, ValueError, TypeError):
        return ()
    return tuple(sorted({name for synopsis in synopses for name in _SYNOPSIS.split(synopsis.strip()) if name}))


def _python(tree: Path) -> Iterator[Licensed]:
    paths = [str(one) for one in sorted((tree / _VENV / "lib").glob("python3*/site-packages"))]
    found = {one.metadata["Name"]: one for one in importlib.metadata.distributions(path=paths)}
    for name in sorted(found, key=str.lower):
        metadata = found[name].metadata
        licences = _of_metadata(metadata)
        yield Licensed(name, found[name].version, "python", "metadata" if licences else "none", licences)


def _of_metadata(metadata: Any) -> tuple[str, ...]:
    if expression := metadata.get("License-Expression"):
        return (str(expression),)
    classifiers = [str(one) for one in metadata.get_all("Classifier") or () if str(one).startswith(_CLASSIFIER)]
    named = sorted({one.rpartition(" :: ")[2] for one in classifiers} - {"OSI Approved"})
    stated = str(metadata.get("License") or "").strip()
    if stated and "\n" not in stated and len(stated) <= _LONGEST and stated.upper() != "UNKNOWN":
        return (stated,)
    return tuple(named)


def as_json(found: tuple[Licensed, ...]) -> list[Json]:
    """For `--json`."""
    plain: list[Json] = json.loads(json.dumps([asdict(one) for one in found]))
    return plain
