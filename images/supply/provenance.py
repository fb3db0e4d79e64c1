"""Where an image comes from: an in-toto Statement v1 with the SLSA provenance v1 predicate, in a DSSE envelope.

https://in-toto.io/Statement/v1    https://slsa.dev/provenance/v1
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ed25519

from images.supply import dsse, strict_json
from images.supply.shipped import File, Shipped
from nf.errors import IntegrityError, NotFoundError

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:streamverse:nf:image-build:v1"
BUILDER: Final = "urn:streamverse:nf:image-builder"
FILE: Final = "provenance.json"
_DEB: Final = re.compile(r"(?P<name>[^_]+)_(?P<version>[^_]+)_(?P<arch>[^_]+)\.deb")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Source:
    """`commit`: hexadecimal, empty when the tree is under no version control. `dirty`: files differ from it."""

    commit: str
    dirty: bool
    uri: str = "git+urn:streamverse:nf"


@dataclass(frozen=True, slots=True)
class Dependency:
    """One thing that was built in. `uri`: a package URL where there is one."""

    uri: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Build:
    """How it was built. `parameters`: what the caller chose (role, version, kernel, overlay)."""

    source: Source
    recipe_sha256: str
    parameters: Mapping[str, str]
    builder_version: str
    dependencies: tuple[Dependency, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a verified statement says."""

    subjects: Mapping[str, str]
    builder: str
    commit: str
    dirty: bool
    recipe_sha256: str
    source_date_epoch: int
    dependencies: int


def read_source(tree: Path) -> Source:
    """By git; without it, or outside of a repository, the commit is empty and the tree counts as altered."""
    head = _git(tree, "rev-parse", "HEAD")
    if not re.fullmatch(r"[0-9a-f]{40,64}", head):
        return Source("", dirty=True)
    return Source(head, dirty=bool(_git(tree, "status", "--porcelain")))


def digest_of_tree(paths: Iterable[Path], *, relative_to: Path) -> str:
    """One SHA-256 over names, kinds and contents of files and everything below directories: a recipe's digest."""
    found: set[Path] = set()
    for path in paths:
        found.update((path, *path.rglob("*")) if path.is_dir() else (path,))
    hasher = hashlib.sha256()
    for path in sorted(one for one in found if "__pycache__" not in one.parts):
        name = path.relative_to(relative_to).as_posix()
        if path.is_symlink():
            entry = ("link", name, str(path.readlink()))
        elif path.is_dir():
            entry = ("directory", name, "")
        else:
            executable = "program" if path.stat().st_mode & 0o100 else "file"
            entry = (executable, name, hashlib.sha256(path.read_bytes()).hexdigest())
        hasher.update(strict_json.canonical(entry) + b"\n")
    return hasher.hexdigest()


def debian_dependencies(debs: Iterable[Path]) -> tuple[Dependency, ...]:
    """Of the .deb files as apt fetched them (`NAME_VERSION_ARCH.deb`, a colon written `%3a`). Raises IntegrityError."""
    found: list[Dependency] = []
    for path in sorted(debs):
        parts = _DEB.fullmatch(path.name)
        if parts is None:
            raise IntegrityError("is not named as apt names a package", where=str(path))
        version = quote(parts["version"].replace("%3a", ":"), safe=":+~.-")
        uri = f"pkg:deb/debian/{parts['name']}@{version}?arch={parts['arch']}"
        found.append(Dependency(uri, path.name, _sha256(path)))
    return tuple(found)


def wheel_dependencies(wheels: Iterable[Path], lock: str) -> tuple[Dependency, ...]:
    """Of wheels whose digest `lock` (requirements with `--hash`) names; our own is named by the caller.

    Raises IntegrityError for a wheel that the lock does not know.
    """
    known = set(_HASH.findall(lock))
    found: list[Dependency] = []
    for path in sorted(wheels):
        digest = _sha256(path)
        if digest not in known:
            raise IntegrityError(
                "the lock has no such digest", where=path.name, remedy="clear the cache of wheels and fetch it again"
            )
        name, version = path.name.split("-")[:2]
        found.append(Dependency(f"pkg:pypi/{name.lower().replace('_', '-')}@{version}", path.name, digest))
    return tuple(found)


def statement(files: Mapping[str, File], source_date_epoch: int, build: Build) -> dict[str, Any]:
    """As plain JSON; the same build gives the same statement: it holds no clock and no host."""
    resolved: list[dict[str, Any]] = [_source_descriptor(build.source)]
    resolved += [
        {"uri": one.uri, "name": one.name, "digest": {"sha256": one.sha256}}
        for one in sorted(build.dependencies, key=lambda one: (one.uri, one.name))
    ]
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": files[name].sha256}} for name in sorted(files)],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(build.parameters),
                "internalParameters": {
                    "source_date_epoch": source_date_epoch,
                    "recipe": {"digest": {"sha256": build.recipe_sha256}},
                },
                "resolvedDependencies": resolved,
            },
            "runDetails": {"builder": {"id": BUILDER, "version": {"streamverse-nf": build.builder_version}}},
        },
    }


def make_provenance(
    out: Path, manifest: Path, shipped: Shipped, build: Build, *, sign: dsse.Sign, public: ed25519.Ed25519PublicKey
) -> Path:
    """Write `provenance.json` into directory `out`: about every file of the manifest and `manifest` itself."""
    own = manifest.read_bytes()
    files = {**shipped.files, manifest.name: File(len(own), hashlib.sha256(own).hexdigest())}
    payload = strict_json.canonical(statement(files, shipped.source_date_epoch, build))
    path = out / FILE
    path.write_bytes(dsse.seal(PAYLOAD_TYPE, payload, sign=sign, public=public))
    return path


def read_provenance(data: bytes, public: ed25519.Ed25519PublicKey, *, where: str = FILE) -> Provenance:
    """What it says, once its signature was found good. Raises IntegrityError."""
    raw = strict_json.loads(dsse.open_sealed(data, PAYLOAD_TYPE, public, where=where), where=where)
    try:
        if (raw["_type"], raw["predicateType"]) != (STATEMENT, PREDICATE):
            raise IntegrityError("it is no SLSA provenance v1", where=where)
        definition = raw["predicate"]["buildDefinition"]
        inner, resolved = definition["internalParameters"], definition["resolvedDependencies"]
        source = resolved[0]
        names = [str(one["name"]) for one in raw["subject"]]
        if len(set(names)) != len(names):
            raise IntegrityError("a file stands there twice", where=where)
        return Provenance(
            subjects={str(one["name"]): str(one["digest"]["sha256"]) for one in raw["subject"]},
            builder=str(raw["predicate"]["runDetails"]["builder"]["id"]),
            commit=str(source.get("digest", {}).get("gitCommit", "")),
            dirty=bool(source.get("annotations", {}).get("dirty", False)),
            recipe_sha256=str(inner["recipe"]["digest"]["sha256"]),
            source_date_epoch=int(inner["source_date_epoch"]),
            dependencies=len(resolved) - 1,
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise IntegrityError("it is no SLSA provenance v1", where=where) from None


def _source_descriptor(source: Source) -> dict[str, Any]:
    described: dict[str, Any] = {"uri": source.uri, "name": "source", "annotations": {"dirty": source.dirty}}
    if source.commit:
        described["digest"] = {"gitCommit": source.commit}
    return described


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise NotFoundError("no such file", where=str(path)) from None


def _git(tree: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(tree), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
