"""The manifest: the one description of an image. Its text is canonical: one signature covers one octet string."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from images.recipe import KernelFlavour
from nf.contracts.json import JsonObject, canonical
from nf.errors import InputError, IntegrityError

FILE_NAME = "manifest.json"
MAX_OCTETS = 16 * 2**20

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~-]{0,63}")


def check_version(version: str) -> str:
    """A version fit for file names, RAUC and os-release(5). Raises ValueError."""
    if _VERSION.fullmatch(version) is None:
        raise ValueError("a version is at most 64 letters, digits, points, plus, tilde and hyphen")
    return version


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, AfterValidator(check_version)]
Octets = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Model):
    """A file beside the manifest; `size` in octets."""

    size: Octets
    sha256: Sha256


class PackageEntry(_Model):
    """`origin`: debian, python (a wheel of our lock), product (our own wheel), or operator (an overlay's package).

    `octets`: what its files take in the root, not compressed.
    """

    name: str
    version: str
    architecture: str
    origin: Literal["debian", "python", "product", "operator"]
    octets: Octets


class SourceEntry(_Model):
    """Where the product's own code came from. `modified`: with changes that no commit holds."""

    commit: str
    modified: bool


class OverlayEntry(_Model):
    """What an operator added: files by their path in the root, packages by name, units that start with it."""

    files: dict[str, Sha256] = {}
    packages: tuple[str, ...] = ()
    units: tuple[str, ...] = ()


class Manifest(_Model):
    """`format` rises when a reader of the older one would go wrong. `source_date_epoch`: seconds, the image's own time.

    files         every file of the output by name, but the manifest, its signature and the provenance
    accounts      user or group -> id, the same for ever
    sandbox       unit -> exposure by `systemd-analyze security`, 0.0 (none) to 10.0
    root_hash     of dm-verity, which the signed kernel image carries; None for a root that was built alone
    hash_offset   octets: where the hash tree begins in rootfs.img
    """

    format: Literal[1] = 1
    role: str
    version: Version
    compatible: str
    architecture: str
    kernel: KernelFlavour
    kernel_version: str
    source_date_epoch: int
    source: SourceEntry
    slot_octets: Octets
    tree_sha256: Sha256
    root_hash: Sha256 | None = None
    hash_offset: Octets = 0
    files: dict[str, FileEntry]
    packages: tuple[PackageEntry, ...]
    accounts: dict[str, int]
    units: tuple[str, ...]
    overlay: OverlayEntry | None = None
    sandbox: dict[str, float] = {}

    def text(self) -> bytes:
        """What is signed."""
        return (canonical(self.model_dump(mode="json")) + "\n").encode()

    def largest(self, count: int = 10) -> tuple[PackageEntry, ...]:
        """The packages that take most of the root."""
        return tuple(sorted(self.packages, key=lambda one: (-one.octets, one.name))[:count])

    def package_list(self) -> str:
        """One line for each package: name, version, architecture, origin, octets."""
        return "".join(
            f"{one.name} {one.version} {one.architecture} {one.origin} {one.octets}\n" for one in self.packages
        )

    def to_json(self) -> JsonObject:
        data: JsonObject = self.model_dump(mode="json")
        return data


def parse_manifest(data: bytes, *, where: str) -> Manifest:
    """Raises IntegrityError for what is no manifest, or not in its canonical text."""
    if len(data) > MAX_OCTETS:
        raise IntegrityError("is too large for a manifest", where=where)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(
            f"is no manifest: {place}: {first['msg']}", where=where, remedy="build the image anew"
        ) from None
    if manifest.text() != data:
        raise IntegrityError("is not as the builder wrote it", where=where, remedy="take the file from the build again")
    return manifest


def read_manifest(path: Path) -> Manifest:
    """From the file, or the directory of a build. Raises InputError when it cannot be read, IntegrityError."""
    file = path / FILE_NAME if path.is_dir() else path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=str(file), remedy="nf image build makes it"
        ) from None
    return parse_manifest(data, where=str(file))


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_files(directory: Path, names: Iterable[str]) -> dict[str, FileEntry]:
    """Entries for the files of `directory` with these names."""
    return {
        name: FileEntry(size=(directory / name).stat().st_size, sha256=sha256(directory / name))
        for name in sorted(names)
    }
