"""`nf image verify`: all that vouches for an image, checked without a network.

DIR           the directory of a build: manifest, provenance, every file, and how they hang together
disk image    boot chain and partitions; every octet where its manifest is beside it
bundle        signature, payload, role, boot chain inside; its own signature covers every octet
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from images.report import Report, silent
from images.supply import artefacts, chain, gpt, pe, provenance, shipped
from images.supply.checks import Checks, Verification
from images.supply.keyring import Keyring, require_signature
from images.supply.region import Region, opened
from images.supply.shipped import Shipped
from nf.errors import InputError, IntegrityError, NotFoundError

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.json.sig"
CYCLONEDX: Final = "sbom.cdx.json"
SPDX: Final = "sbom.spdx.json"
LICENCES: Final = "licences.json"
DISK: Final = "disk.img"
_NEEDED: Final = (
    artefacts.ROOT,
    artefacts.BOOT,
    artefacts.KERNEL,
    artefacts.ESP,
    DISK,
    "packages.txt",
    CYCLONEDX,
    SPDX,
    LICENCES,
)
_BESIDE: Final = {MANIFEST, SIGNATURE, provenance.FILE}
_LARGEST_TEXT: Final = 64 << 20


def verify(path: Path, keyring: Keyring, *, report: Report = silent, now: datetime | None = None) -> Verification:
    """Judge `path` by the public keys in `keyring`. `now` is when the bundle's certificate must be valid.

    Raises NotFoundError and InputError when there is nothing to judge; everything else is a verdict.
    """
    checks = Checks(report)
    now = now or datetime.now(UTC)
    with ExitStack() as stack:
        if path.is_dir():
            kind = "build directory"
            _check_directory(checks, keyring, path, stack, now)
        else:
            kind = _check_file(checks, keyring, path, stack.enter_context(opened(path)), now)
    return Verification(str(path), kind, tuple(checks.done), tuple(checks.notes))


def _check_file(checks: Checks, keyring: Keyring, path: Path, file: Region, now: datetime) -> str:
    is_disk = gpt.looks_like(file)
    is_bundle = not is_disk and (path.suffix == ".raucb" or (file.size > 4 and file.read(0, 4) == b"hsqs"))
    if not is_disk and not is_bundle:
        raise InputError(
            "is neither a disk image nor a bundle", where=str(path), remedy="name one, or the directory of a build"
        )
    checks.total_octets = 3 * file.size
    manifest = None
    if (path.parent / MANIFEST).is_file():
        manifest = _check_manifest(checks, keyring, path.parent)
        if manifest is None:
            checks.skip(path.name, "digest", f"{MANIFEST} beside it was not accepted")
        elif path.name in manifest.files:
            known = manifest.files[path.name]
            checks.run(
                path.name, "digest", lambda: artefacts.require_file(checks, file, known), good="as in the manifest"
            )
        else:
            manifest = None
            checks.note(f"{MANIFEST} beside {path.name} is not about it")
    if is_bundle:
        if manifest is None:
            checks.note("judged by its own signature alone: no manifest is beside it")
        artefacts.check_bundle(checks, keyring, file, manifest, now)
        return "bundle"
    is_medium = artefacts.check_disk(checks, keyring, file, manifest, {})
    if is_medium:
        return "installer medium"
    if manifest is None and not any(check.what == "digest" for check in checks.done):
        checks.skip(path.name, "digest", f"no {MANIFEST} is beside it: only what boots is signed in the image itself")
    return "disk image"


def _check_directory(checks: Checks, keyring: Keyring, path: Path, stack: ExitStack, now: datetime) -> None:
    if not (path / MANIFEST).is_file():
        raise NotFoundError(f"no {MANIFEST} is here", where=str(path), remedy="name the directory of a build")
    manifest = _check_manifest(checks, keyring, path)
    if manifest is None:
        checks.skip(path.name, "files", f"{MANIFEST} was not accepted: nothing says what they must be")
        return
    files = {
        name: stack.enter_context(opened(path / name)) for name in sorted(manifest.files) if (path / name).is_file()
    }
    checks.total_octets = 4 * sum(file.size for file in files.values())
    for name in sorted({*manifest.files, *_NEEDED}):
        checks.run(name, "digest", lambda name=name: _require_digest(checks, manifest, files, name))  # type: ignore[misc]
    _check_provenance(checks, keyring, path, manifest)
    _check_chain(checks, keyring, manifest, files)
    bundles = [name for name in files if name.endswith(".raucb")]
    checks.run("bundle", "is there", lambda: _require_one(bundles))
    for name in bundles:
        artefacts.check_bundle(checks, keyring, files[name], manifest, now)
    if DISK in files:
        artefacts.check_disk(checks, keyring, files[DISK], manifest, files)
    _check_bills(checks, manifest, files)
    strangers = sorted({one.name for one in path.iterdir()} - manifest.files.keys() - _BESIDE)
    if strangers:
        checks.note(f"not part of the build, nobody vouches for it: {', '.join(strangers)}")


def _check_manifest(checks: Checks, keyring: Keyring, directory: Path) -> Shipped | None:
    """The manifest, once its signature was found good."""
    key = keyring.manifest
    if key is None:
        checks.skip(MANIFEST, "signature", "the keyring has no manifest.pub")
        return None

    def question() -> bytes:
        data = _small(directory / MANIFEST)
        require_signature(key, _small(directory / SIGNATURE), data, where=MANIFEST)
        return data

    data = checks.run(MANIFEST, "signature", question, good="by manifest.pub")
    return None if data is None else checks.run(MANIFEST, "content", lambda: _consistent(shipped.parse(data)))


def _consistent(manifest: Shipped) -> Shipped:
    wanted = shipped.compatible(manifest.role, manifest.architecture)
    if manifest.compatible != wanted:
        raise IntegrityError(f"it is for {manifest.compatible}, its role is {wanted}", where=MANIFEST)
    return manifest


def _require_digest(checks: Checks, manifest: Shipped, files: Mapping[str, Region], name: str) -> None:
    expected = manifest.file(name)
    if name not in files:
        raise NotFoundError("it is missing", where=name, remedy="copy the whole directory of the build")
    artefacts.require_file(checks, files[name], expected)


def _check_provenance(checks: Checks, keyring: Keyring, path: Path, manifest: Shipped) -> None:
    key, name = keyring.manifest, provenance.FILE
    if key is None:
        return
    found = checks.run(
        name, "signature", lambda: provenance.read_provenance(_small(path / name), key), good="by manifest.pub"
    )
    if found is None:
        return

    def question() -> None:
        with opened(path / MANIFEST) as own:
            wanted = {one: file.sha256 for one, file in manifest.files.items()} | {MANIFEST: own.sha256()}
        wrong = sorted(one for one in {*found.subjects, *wanted} if found.subjects.get(one) != wanted.get(one))
        if wrong:
            raise IntegrityError(f"it is about other files: {', '.join(wrong[:5])}", where=name)
        if found.source_date_epoch != manifest.source_date_epoch:
            raise IntegrityError("it is of another build: its time is not the manifest's", where=name)

    checks.run(name, "is about these files", question, good=f"{len(found.subjects)} files, {found.dependencies} inputs")
    source = f"commit {found.commit}" if found.commit else "a tree under no version control"
    altered = ", with local changes" if found.dirty and found.commit else ""
    checks.note(f"built from {source}{altered}; recipe {found.recipe_sha256[:16]}..., by {found.builder}")


def _check_chain(checks: Checks, keyring: Keyring, manifest: Shipped, files: Mapping[str, Region]) -> None:
    root = chain.Root(manifest.root_hash, manifest.hash_offset)
    if artefacts.ESP in files:
        chain.check_grub(checks, keyring, artefacts.ESP, files[artefacts.ESP])
    kernel = files.get(artefacts.KERNEL)
    if kernel is not None:
        data = kernel.read(0, min(kernel.size, pe.LARGEST))
        chain.check_kernel(checks, keyring, artefacts.KERNEL, data, root)
        boot = files.get(artefacts.BOOT)
        if boot is not None:
            checks.run(artefacts.BOOT, "holds nf.efi", lambda: _require_kernel(boot, data))
    if artefacts.ROOT in files:
        chain.check_root(checks, artefacts.ROOT, files[artefacts.ROOT], root, by="the manifest")


def _require_kernel(boot: Region, kernel: bytes) -> None:
    if chain.read_program(boot, chain.KERNEL) != kernel:
        raise IntegrityError("it holds another kernel image", where=boot.name)


def _require_one(bundles: list[str]) -> None:
    if len(bundles) != 1:
        raise NotFoundError(f"{len(bundles)} bundles are in the manifest, one belongs", where="bundle")


def _check_bills(checks: Checks, manifest: Shipped, files: Mapping[str, Region]) -> None:
    """That bills of materials and licences are about this image; their digests were checked with all others."""
    for name, where in ((CYCLONEDX, ("metadata", "component", "version")), (SPDX, ()), (LICENCES, ("version",))):
        file = files.get(name)
        if file is not None:
            checks.run(name, "is about this image", lambda f=file, w=where: _require_about(f, w, manifest))  # type: ignore[misc]


def _require_about(file: Region, path: tuple[str, ...], manifest: Shipped) -> None:
    try:
        value = json.loads(file.read(0, min(file.size, _LARGEST_TEXT)))
        for key in path:
            value = value[key]
        if not path:  # SPDX names what it describes in the first package of that name
            name = f"streamverse-nf-{manifest.role}"
            value = next(one["versionInfo"] for one in value["packages"] if one["name"] == name)
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError):
        raise IntegrityError("it cannot be read", where=file.name) from None
    if value != manifest.version:
        raise IntegrityError(f"it is about version {value}", where=file.name)


def _small(path: Path) -> bytes:
    with opened(path) as file:
        if file.size > _LARGEST_TEXT:
            raise IntegrityError("it is too large to be what it says", where=path.name)
        return file.read(0, file.size)
