"""From a finished root to what is flashed and shipped: read-only root, signed boot chain, disk, bundle, papers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from images.builder import manifest as manifests
from images.builder.boot import make_images
from images.builder.manifest import Manifest
from images.builder.progress import Steps
from images.builder.squashfs import LEVELS, Compression
from images.report import part
from images.signing.keys import Keys, manifest_key
from images.signing.manifest import sign, sign_manifest
from images.supply import licences, provenance, sbom, shipped

_PAPERS = ("manifest.json", "manifest.json.sig", provenance.FILE)


@dataclass(frozen=True, slots=True)
class Parts:
    """`tree`: the finished root. `archives`, `wheels`, `wheel` (our own): what went into it, for the provenance."""

    tree: Path
    out: Path
    keys: Keys
    epoch: int
    archives: tuple[Path, ...]
    wheels: tuple[Path, ...]
    wheel: Path
    lock: str
    recipe_digest: str
    compression: Compression = "fast"


def assemble(parts: Parts, manifest: Manifest, steps: Steps) -> Manifest:
    """Everything into `parts.out`; the manifest as it was signed.

    Raises InputError for a root larger than its slot, UnavailableError, DriverError.
    """
    out, epoch = parts.out, parts.epoch
    with steps.step("image") as report:
        made = make_images(
            parts.tree,
            out,
            role=manifest.role,
            version=manifest.version,
            keys=parts.keys,
            slot_bytes=manifest.slot_octets,
            epoch=epoch,
            kernel=manifest.kernel,
            level=LEVELS[parts.compression],
            report=report,
        )
    with steps.step("supply") as report:
        added = manifest.overlay.packages if manifest.overlay else ()
        subject = sbom.Subject(manifest.role, manifest.version, epoch, added)
        report(0.0, "licences")
        licensed = licences.make_licences(parts.tree, out, role=manifest.role, version=manifest.version, overlay=added)
        sbom.make_sboms(parts.tree, out, subject, report=part(report, 0.2, 0.8), licensed=licensed)
        (out / "packages.txt").write_text(manifest.package_list())
        report(0.8, "manifest and provenance")
        root = {"root_hash": made.verity.root_hash, "hash_offset": made.verity.hash_offset}
        return _sign(parts, manifest.model_copy(update=root))


def _sign(parts: Parts, manifest: Manifest) -> Manifest:
    out, keys = parts.out, parts.keys
    names = sorted(path.name for path in out.iterdir() if path.is_file() and path.name not in _PAPERS)
    full = manifest.model_copy(update={"files": manifests.describe_files(out, names)})
    path = out / manifests.FILE_NAME
    path.write_bytes(full.text())
    sign_manifest(path, keys)
    ours = provenance.Dependency(
        f"pkg:generic/streamverse-nf@{full.version}",
        parts.wheel.name,
        hashlib.sha256(parts.wheel.read_bytes()).hexdigest(),
    )
    build = provenance.Build(
        source=provenance.Source("" if full.source.commit == "unknown" else full.source.commit, full.source.modified),
        recipe_sha256=parts.recipe_digest,
        parameters={
            "role": full.role,
            "version": full.version,
            "kernel": full.kernel,
            "compression": parts.compression,
            "overlay": " ".join(full.overlay.packages) if full.overlay else "",
        },
        builder_version=_own_version(full),
        dependencies=(
            *provenance.debian_dependencies(parts.archives),
            *provenance.wheel_dependencies(parts.wheels, parts.lock),
            ours,
        ),
    )
    provenance.make_provenance(
        out,
        path,
        shipped.parse(full.text()),
        build,
        sign=lambda data: sign(data, keys),
        public=manifest_key(keys).public_key(),
    )

    return full


def _own_version(manifest: Manifest) -> str:
    return next((one.version for one in manifest.packages if one.origin == "product"), manifest.version)
