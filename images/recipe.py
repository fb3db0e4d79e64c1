"""What an image of a role is made of, as people write it: packages with the reason, services, users, kernels, sizes.

A recipe is a document like the others (`kind: ImageRecipe`): all broken rules at once, each with file, line, value,
rule and remedy. A role's recipe stands on `base`, whose lists it adds to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, Strict, TypeAdapter

from nf.contracts.json import digest as json_digest
from nf.documents.loader import Loaded, load_document
from nf.documents.model import Document, DocumentModel, Form, RuleError
from nf.documents.registry import Extension, Registry
from nf.documents.rules import nearest
from nf.errors import DocumentError, InputError, NotFoundError, Problem

ROLES_DIRECTORY = Path(__file__).parent / "roles"
BASE = "base"
PRODUCT = "streamverse-nf"
"""In place of a package: accounts that our own processes run as, which no package of Debian makes."""

ARCHITECTURE = "amd64"

KernelFlavour = Literal["production", "cloud"]
KERNEL_FLAVOURS: tuple[KernelFlavour, ...] = ("production", "cloud")

_SIZE = re.compile(r"([0-9]{1,6})(MiB|GiB)")
_FACTOR = {"MiB": 2**20, "GiB": 2**30}
_LEAST_SLOT = 64 * 2**20
_MOST_SLOT = 8 * 2**30


def _parse_size(text: object) -> int:
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise RuleError("a size is a whole number of MiB or GiB", "write it as 1024MiB")
    octets = int(match[1]) * _FACTOR[match[2]]
    if not _LEAST_SLOT <= octets <= _MOST_SLOT:
        raise RuleError("a slot has 64 MiB to 8 GiB", "write it as 1024MiB")
    return octets


Size = Annotated[
    int, BeforeValidator(_parse_size), PlainSerializer(lambda octets: f"{octets // 2**20}MiB", when_used="json")
]
"""Octets. In documents `1024MiB`, `2GiB`."""

PackageName = Annotated[
    str,
    Form(
        r"[a-z0-9][a-z0-9+.-]{1,80}",
        "a Debian package name is lower-case letters, digits, plus, point and hyphen",
        "write the name that `apt-cache search` shows",
    ),
]
UnitName = Annotated[
    str,
    Form(
        r"[A-Za-z0-9:_.@\\-]{1,120}\.(service|socket|timer|path|mount|target|slice)",
        "a unit's name ends with its type",
        "write it as frr.service",
    ),
]
UserName = Annotated[
    str,
    Form(
        r"[A-Za-z_][A-Za-z0-9_-]{0,30}",
        "a user name is letters, digits, hyphens and underscores",
        "use the name that the Debian package makes",
    ),
]
Pattern = Annotated[
    str,
    Form(r"/[^\s'\"`$;&|\\]{1,200}", "a path pattern is absolute, without spaces and quotes", "write /usr/share/man/*"),
]
Why = Annotated[str, Form(r"(?s).{3,}", "a reason has at least three characters", "say what needs it")]
FIRST_USER_ID, LAST_USER_ID = 200, 899
UserId = Annotated[int, Strict(), Field(ge=FIRST_USER_ID, le=LAST_USER_ID)]


class PackageEntry(DocumentModel):
    name: PackageName
    why: Why


class UnitEntry(DocumentModel):
    unit: UnitName
    why: Why


class PathsEntry(DocumentModel):
    paths: tuple[Pattern, ...] = Field(min_length=1)
    except_: tuple[Pattern, ...] = Field(default=(), alias="except")
    why: Why


class GroupEntry(DocumentModel):
    """`for`: the package that makes it; made beforehand, with this id, where that goes in (`PRODUCT`: always)."""

    name: UserName
    id: UserId
    package: PackageName = Field(alias="for")


class UserEntry(GroupEntry):
    """`id`: user and group; the same in every image for ever, since files on the data partition carry the number."""

    group: UserName | None = None
    groups: tuple[UserName, ...] = ()
    home: str = "/nonexistent"


class Services(DocumentModel):
    """What Debian's packages would start: what is in no list is refused when the image is built.

    `enabled` starts with the image, `disabled` may be started, `masked` cannot.
    """

    enabled: tuple[UnitEntry, ...] = ()
    disabled: tuple[UnitEntry, ...] = ()
    masked: tuple[UnitEntry, ...] = ()


class Kernel(DocumentModel):
    packages: tuple[PackageEntry, ...] = Field(min_length=1)
    components: tuple[Literal["contrib", "non-free", "non-free-firmware"], ...] = ()
    exclude: tuple[PathsEntry, ...] = ()


class Kernels(DocumentModel):
    production: Kernel | None = None
    cloud: Kernel | None = None


class Python(DocumentModel):
    """`without`: locked packages that no appliance needs; `drop`: below site-packages; `programs`: of the venv."""

    without: tuple[PackageEntry, ...] = ()
    drop: tuple[PathsEntry, ...] = ()
    programs: tuple[str, ...] = ()


class RecipeSpec(DocumentModel):
    extends: Literal["base"] | None = None
    slot: Size | None = None
    packages: tuple[PackageEntry, ...] = ()
    kernels: Kernels = Kernels()
    exclude: tuple[PathsEntry, ...] = ()
    groups: tuple[GroupEntry, ...] = ()
    users: tuple[UserEntry, ...] = ()
    services: Services = Services()
    python: Python = Python()


class ImageRecipe(Document):
    kind: Literal["ImageRecipe"] = "ImageRecipe"
    spec: RecipeSpec


EXTENSION = Extension(kinds={"ImageRecipe": ImageRecipe})


@dataclass(frozen=True, slots=True)
class Recipe:
    """A role's recipe with that of the base in it, for one flavour of kernel. `slot_octets`: of one root partition."""

    role: str
    description: str
    kernel: KernelFlavour
    slot_octets: int
    packages: tuple[PackageEntry, ...]
    components: tuple[str, ...]
    exclude: tuple[str, ...]
    include: tuple[str, ...]
    groups: tuple[GroupEntry, ...]
    users: tuple[UserEntry, ...]
    enabled: tuple[str, ...]
    disabled: tuple[str, ...]
    masked: tuple[str, ...]
    python_without: tuple[str, ...]
    python_drop: tuple[PathsEntry, ...]
    python_programs: tuple[str, ...]

    @property
    def compatible(self) -> str:
        """What RAUC compares: an image of one role never goes onto an appliance of another."""
        return f"streamverse-nf-{self.role}-{ARCHITECTURE}"

    def digest(self) -> str:
        """SHA-256 of everything in it."""
        return json_digest(TypeAdapter(Recipe).dump_python(self, mode="json"))


def roles(directory: Path = ROLES_DIRECTORY) -> tuple[str, ...]:
    """Names of the roles that have a recipe."""
    return tuple(sorted(path.stem for path in directory.glob("*.yaml") if path.stem != BASE))


def load_recipe(role: str, *, kernel: KernelFlavour = "production", directory: Path = ROLES_DIRECTORY) -> Recipe:
    """Raises NotFoundError for an unknown role, DocumentError with every broken rule of one of the two files."""
    known = roles(directory)
    if role not in known:
        raise NotFoundError(f"no role {role!r}", where=str(directory), remedy=nearest(role, known))
    base, own = (_load(directory / f"{name}.yaml") for name in (BASE, role))
    problems = [
        *_doubled(base, None),
        *_doubled(own, base if own.document.spec.extends else None),
        *_lacking(own, base),
    ]
    if problems:
        raise DocumentError(problems, where=own.file)
    return _resolve(role, kernel, [base, own] if own.document.spec.extends else [own])


def _load(path: Path) -> Loaded[ImageRecipe]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    loaded = load_document(text, file=str(path), extensions=Registry([EXTENSION]))
    if not isinstance(loaded.document, ImageRecipe):
        raise InputError("is no recipe", where=str(path), remedy="write kind: ImageRecipe")
    return Loaded(loaded.document, loaded.file, loaded.root)


def _resolve(role: str, kernel: KernelFlavour, parts: list[Loaded[ImageRecipe]]) -> Recipe:
    specs = [part.document.spec for part in parts]
    kernels = [found for spec in specs if (found := getattr(spec.kernels, kernel)) is not None]
    excluded = [*(e for spec in specs for e in spec.exclude), *(e for found in kernels for e in found.exclude)]
    slots = [spec.slot for spec in specs if spec.slot is not None]
    if not kernels or not slots:
        what = "no slot size" if kernels else f"no {kernel} kernel"
        raise InputError(f"{what} is given", where=parts[-1].file, remedy="see spec.slot and spec.kernels of base.yaml")
    return Recipe(
        role=role,
        description=parts[-1].document.metadata.description,
        kernel=kernel,
        slot_octets=slots[-1],
        packages=(*(p for spec in specs for p in spec.packages), *(p for found in kernels for p in found.packages)),
        components=tuple(dict.fromkeys(name for found in kernels for name in found.components)),
        exclude=tuple(path for entry in excluded for path in entry.paths),
        include=tuple(path for entry in excluded for path in entry.except_),
        groups=tuple(group for spec in specs for group in spec.groups),
        users=tuple(user for spec in specs for user in spec.users),
        enabled=tuple(unit.unit for spec in specs for unit in spec.services.enabled),
        disabled=tuple(unit.unit for spec in specs for unit in spec.services.disabled),
        masked=tuple(unit.unit for spec in specs for unit in spec.services.masked),
        python_without=tuple(entry.name for spec in specs for entry in spec.python.without),
        python_drop=tuple(entry for spec in specs for entry in spec.python.drop),
        python_programs=tuple(name for spec in specs for name in spec.python.programs),
    )


def _names(spec: RecipeSpec) -> Iterator[tuple[str, str, str]]:
    """What may be there once only: kind, name, document key."""
    for number, package in enumerate(spec.packages):
        yield "package", package.name, f"spec.packages[{number}].name"
    for kind in ("enabled", "disabled", "masked"):
        for number, entry in enumerate(getattr(spec.services, kind)):
            yield "unit", entry.unit, f"spec.services.{kind}[{number}].unit"
    for number, user in enumerate(spec.users):
        yield "user", user.name, f"spec.users[{number}].name"
        yield "user id", str(user.id), f"spec.users[{number}].id"
    for number, group in enumerate(spec.groups):
        yield "group", group.name, f"spec.groups[{number}].name"
        yield "group id", str(group.id), f"spec.groups[{number}].id"


def _doubled(own: Loaded[ImageRecipe], base: Loaded[ImageRecipe] | None) -> Iterable[Problem]:
    seen: dict[tuple[str, str], str] = {}
    if base is not None:
        seen = {(kind, name): f"{base.file}" for kind, name, _ in _names(base.document.spec)}
    for kind, name, key in _names(own.document.spec):
        if (kind, name) in seen:
            yield own.place(Problem(f"this {kind} is listed twice: also in {seen[kind, name]}", "remove one", key=key))
        seen[kind, name] = own.file


def _lacking(own: Loaded[ImageRecipe], base: Loaded[ImageRecipe]) -> Iterable[Problem]:
    groups: Mapping[str, int] = {g.name: g.id for part in (base, own) for g in part.document.spec.groups}
    for number, user in enumerate(own.document.spec.users):
        for name in (*user.groups, *((user.group,) if user.group else ())):
            if name not in groups and name not in {u.name for u in own.document.spec.users}:
                key = f"spec.users[{number}].{'group' if name == user.group else 'groups'}"
                yield own.place(Problem(f"no such group: {name}", "add it to spec.groups, with its id", key=key))
