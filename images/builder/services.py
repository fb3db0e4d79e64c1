"""What starts with an image: denied unless the recipe, our own files or the operator's overlay say so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from images.builder.programs import in_tree
from images.recipe import Recipe
from nf.documents.rules import nearest
from nf.errors import DocumentError, Problem

SYSTEM_UNITS = "etc/systemd/system"
_EXPOSURE = re.compile(r"Overall exposure level for (\S+): (\d+\.\d+)")
_PLACES = (SYSTEM_UNITS, "usr/lib/systemd/system", "lib/systemd/system")


def settle_services(tree: Path, recipe: Recipe, *, ours: Iterable[str] = (), allowed: Iterable[str] = ()) -> None:
    """Enable, disable and mask as the recipe says; enable units of `ours` that have an [Install] section.

    `allowed`: further units, such as the operator's. Root is needed (chroot). Raises DocumentError for a unit that a
    package would start and the recipe says nothing of, or one that the recipe enables and that is not there.
    """
    here = tree / SYSTEM_UNITS
    here.mkdir(parents=True, exist_ok=True)
    for unit in (*recipe.disabled, *recipe.masked):
        for link in [*_pulled(here, unit), here / unit, *_aliases(here, unit)]:
            link.unlink(missing_ok=True)
    for unit in recipe.masked:
        (here / unit).symlink_to("/dev/null")
    own = {*ours, *allowed}
    _refuse_strangers(tree, recipe, own)
    wanted = [*recipe.enabled, *sorted(unit for unit in ours if _installs(tree, unit))]
    if wanted:
        in_tree(tree, "systemctl", "--quiet", "enable", *wanted, where=f"services of {recipe.role}")


def _pulled(here: Path, unit: str) -> list[Path]:
    """Links that pull a unit in. `*.wants/UNIT` as a pattern would ask this machine whether the target exists."""
    return [link for pattern in ("*.wants/*", "*.requires/*") for link in here.glob(pattern) if link.name == unit]


def _aliases(here: Path, unit: str) -> list[Path]:
    return [link for link in here.glob("*") if link.is_symlink() and link.readlink().name == unit]


def _refuse_strangers(tree: Path, recipe: Recipe, own: set[str]) -> None:
    here = tree / SYSTEM_UNITS
    found = sorted({link.name for pattern in ("*.wants/*", "*.requires/*") for link in here.glob(pattern)})
    known = {*recipe.enabled, *own}
    remedy = f"add it to services of {recipe.role}.yaml: masked, disabled or enabled, with the reason"
    problems = [Problem("a package starts this by itself", remedy, key=unit) for unit in found if unit not in known]
    names = {path.name for place in _PLACES for path in (tree / place).glob("*")}
    problems += [
        Problem("no such unit in the image", nearest(unit, names), key=unit)
        for unit in recipe.enabled
        if unit not in names and re.sub(r"@[^.]+\.", "@.", unit) not in names
    ]
    if problems:
        raise DocumentError(problems, where=f"services of {recipe.role}")


def _installs(tree: Path, unit: str) -> bool:
    """Whether a unit says what pulls it in: systemd.unit(5), [Install]."""
    paths = [tree / place / unit for place in _PLACES if (tree / place / unit).is_file()]
    return any(re.search(r"(?m)^(WantedBy|RequiredBy|Alias|Also)=", path.read_text(errors="replace")) for path in paths)


def own_units(files: Path, role: str) -> list[str]:
    """Units that our static tree brings for this role, and those that it links into a target."""
    return sorted(
        {
            path.name
            for part in ("common", role)
            for path in (files / part).rglob("*")
            if "systemd/system" in str(path.relative_to(files)) and not path.is_dir() and path.suffix != ".conf"
        }
    )


def starting(root: Path) -> tuple[str, ...]:
    """Units that a target in /etc or in our own files pulls in."""
    return tuple(sorted({path.name for path in (root / SYSTEM_UNITS).glob("*.wants/*")}))


def sandbox_scores(root: Path) -> dict[str, float]:
    """Exposure of our units by the image's own `systemd-analyze security`: unit -> 0.0 (none) to 10.0.

    Root is needed (chroot). Raises DriverError.
    """
    ours = sorted(path.name for path in (root / "usr/lib/systemd/system").glob("nf-*.service") if "@." not in path.name)
    if not ours:
        return {}
    said = in_tree(
        root, "systemd-analyze", "security", "--offline=yes", "--no-pager", *ours, where="sandbox of our units"
    )
    return {match[1]: float(match[2]) for match in _EXPOSURE.finditer(said)}
