"""From a recipe to a signed image, step by step: the one place that knows the order.

    packages   apt chooses versions, the cache gets them
    tree       mmdebstrap sets them up (or the cache has that very tree), the venv with its dependencies
    product    our wheel, our files, the operator's overlay, identity, services, accounts; what is left over goes
    image      what boots and is flashed: see `images.builder.boot`
    supply     bills of materials, licences, manifest, provenance: signed

Everything is made in a directory beside the output and takes its place at once. Nothing is mounted here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from images.builder import manifest as manifests
from images.builder import overlay as overlays
from images.builder import packages, python, rootfs, services, sources, tree
from images.builder.manifest import Manifest, OverlayEntry, PackageEntry
from images.builder.order import FILES, Built, Options, source_commit, source_epoch
from images.builder.packages import Cache, Selection
from images.builder.programs import CHAIN_PACKAGES, PACKAGES, require_programs, require_root
from images.builder.progress import Display, Silence, Steps
from images.recipe import ARCHITECTURE, Recipe, load_recipe
from images.report import Report, part
from nf.contracts.json import digest
from nf.errors import InputError, NotFoundError

KEPT_TREES = 12
"""Trees that the cache keeps: two for each role and kernel. Each has 0.4 to 1.2 GB."""

_STANDARD_LIBRARY = ("/usr/lib/python3.11", "/usr/lib/python3")
_PYTHON_FORMAT = 3  # raised when this module makes another venv from the same lock


@dataclass(slots=True)
class _Job:
    options: Options
    recipe: Recipe
    cache: Cache
    epoch: int
    place: Path
    work: Path
    keys: Any
    notes: list[str] = field(default_factory=list)
    cached: bool = False

    @property
    def tree(self) -> Path:
        return self.work / "tree"


def build_image(options: Options, display: Display | None = None) -> Built:
    """Raises InputError and DocumentError for what is wrong with the order, RefusedError without root, UnavailableError
    for what is missing, DriverError for a program that failed.
    """
    recipe = load_recipe(options.role, kernel=options.kernel)
    try:
        manifests.check_version(options.version)
    except ValueError as error:
        raise InputError(str(error), where=f"--version {options.version}") from None
    if options.repositories and not options.packages:
        raise InputError(
            "a repository without a package", where="--repo", remedy="name what to take with --packages a,b"
        )
    read = [overlays.read_overlay(directory) for directory in options.overlays]
    epoch = source_epoch(options.source, options.epoch)
    keys = _load_keys(options)
    require_root("a build sets up packages and keeps their owners: it")
    require_programs(PACKAGES if options.root_only else {**PACKAGES, **CHAIN_PACKAGES})
    sources.require_keyring()
    cache = Cache(options.cache.resolve())
    cache.make()
    final = options.output / f"{options.role}-{options.version}"
    place = options.output / f".{final.name}.part"
    job = _Job(options, recipe, cache, epoch, place, place.with_suffix(".work"), keys)
    for directory in (place, job.work):
        packages.remove_tree(directory)
        directory.mkdir(parents=True)
    try:
        steps = Steps(display or Silence(), _weights(options))
        with steps.step("packages") as report:
            selection = _select(job, report)
        with steps.step("tree") as report:
            brought = [path for one in read for path in one.files]
            overlays.check_libraries({one.name: one.version for one in selection.packages}, brought)
            lock = _prepare_tree(job, selection, report)
        with steps.step("product") as report:
            overlay = _finish_tree(job, selection, read, report)
            manifest = _describe(job, selection, overlay)
        if options.root_only:
            with steps.step("root archive"):
                manifest = _archive(job, manifest)
        else:
            manifest = _assemble(job, manifest, selection, lock, steps)
        if options.keep_tree:
            _put(job.tree, options.output / f"{final.name}.tree")
        _put(place, final)
    finally:
        packages.remove_tree(job.work)
        packages.remove_tree(place)
    packages.prune(cache.trees, keep=KEPT_TREES)
    return Built(final, manifest, steps.seconds, job.cached, tuple(job.notes))


def _weights(options: Options) -> dict[str, float]:
    weights = {"packages": 10.0, "tree": 40.0, "product": 25.0}
    if options.root_only:
        return {**weights, "root archive": 8.0}
    return {**weights, "image": 80.0, "supply": 40.0}


def _put(made: Path, place: Path) -> None:
    old = place.with_name(f".{place.name}.old")
    packages.remove_tree(old)
    if place.exists():
        place.replace(old)
    made.replace(place)
    packages.remove_tree(old)


def _load_keys(options: Options) -> Any:
    if options.root_only:
        return None
    if options.keys is None or not options.keys.is_dir():
        raise NotFoundError(
            "no signing keys",
            where=str(options.keys or "--keys"),
            remedy="nf image keys init DIR makes them, once; then --keys DIR",
        )
    from images.signing.keys import load_keys

    return load_keys(options.keys)


def _select(job: _Job, report: Report) -> Selection:
    options = job.options
    debian = sources.mirror_sources(options.mirror) if options.mirror else sources.machine_sources()
    own = [one for where in options.repositories for one in overlays.repository(where, job.work / "repositories")]
    return packages.select(
        job.recipe, debian, job.cache, operator_sources=own, operator_packages=options.packages,
        offline=options.offline, report=report,
    )  # fmt: skip


def _prepare_tree(job: _Job, selection: Selection, report: Report) -> str:
    """The tree of Debian packages with the venv's dependencies, from the cache if it has it. The lock that was used."""
    lock = python.wanted_lock((job.options.source / "requirements.lock").read_text(), job.recipe.python_without)
    drop = [entry.model_dump(mode="json") for entry in job.recipe.python_drop]
    key = digest({"format": _PYTHON_FORMAT, "packages": selection.key, "lock": lock, "drop": drop})
    ready = job.cache.trees / f"{key}.tar"
    if ready.is_file():
        report(0.1, "from the cache")
        os.utime(ready)
        tree.unpack(ready, job.tree)
        job.cached = True
        return lock
    _debian_tree(job, selection, part(report, 0.0, 0.75))
    report(0.75, "installing Python packages")
    wheels = python.fetch_wheels(lock, job.cache, offline=job.options.offline, report=part(report, 0.75, 0.8))
    python.install_dependencies(job.tree, wheels, lock)
    python.drop(job.tree, job.recipe.python_drop)
    report(0.9, "compiling Python")
    python.compile_python(job.tree, [*_STANDARD_LIBRARY, python.SITE])
    if packages.matches(selection, job.tree):
        report(0.97, "into the cache")
        tree.pack(job.tree, ready)
    else:
        job.notes.append("the mirror changed while the packages were set up: nothing is kept in the cache")
    return lock


def _debian_tree(job: _Job, selection: Selection, report: Report) -> None:
    ready = job.cache.trees / f"{selection.key}.tar"
    if not ready.is_file():
        made = job.cache.trees / f".{selection.key}.{os.getpid()}.tar"
        packages.make_tree(job.recipe, selection, job.cache, made, report=report)
        made.replace(ready)
    os.utime(ready)
    tree.unpack(ready, job.tree)
    if not packages.matches(selection, job.tree):
        ready.unlink()


def _finish_tree(
    job: _Job, selection: Selection, read: Sequence[overlays.Overlay], report: Report
) -> OverlayEntry | None:
    root, recipe, options = job.tree, job.recipe, job.options
    report(0.0, "our wheel")
    python.install_product(
        root, python.make_wheel(options.source, job.work / "wheel", epoch=job.epoch), recipe.python_programs
    )
    python.drop(root, recipe.python_drop)
    report(0.3, "compiling Python")
    python.compile_python(root, [f"{python.SITE}/{name}" for name in _product_packages(root)], packages.TREE_EPOCH)
    report(0.5, "files and identity")
    filled = rootfs.values(recipe, options.version)
    for part_of in ("common", recipe.role):
        if (FILES / part_of).is_dir():
            tree.copy_files(FILES / part_of, root, filled)
    if job.keys is not None:
        (root / "etc/rauc").mkdir(exist_ok=True)
        shutil.copyfile(job.keys.certificate("bundle-ca"), root / "etc/rauc/keyring.pem")
    rootfs.write_identity(root, recipe, options.version)
    entry = _add_overlay(job, selection, read)
    report(0.6, "services and accounts")
    services.settle_services(
        root, recipe, ours=services.own_units(FILES, recipe.role), allowed=entry.units if entry else ()
    )
    _settle_accounts(job, operator=entry is not None)
    rootfs.strip_privileges(root)
    report(0.8, "cleaning up")
    rootfs.clean(root)
    rootfs.describe_var(root)
    rootfs.keep_package_list(root, [f"{one.name} {one.version} {one.origin}" for one in _packages(job, selection)])
    rootfs.audit(root)
    tree.set_times(root, job.epoch)
    return entry


def _product_packages(root: Path) -> list[str]:
    record = next((root / python.SITE[1:]).glob("streamverse_nf-*.dist-info/top_level.txt"))
    return sorted(record.read_text().split())


def _settle_accounts(job: _Job, *, operator: bool) -> None:
    rootfs.lock_accounts(job.tree, job.epoch)
    if not operator:
        rootfs.require_fixed_accounts(job.tree, job.recipe)
        return
    strays = rootfs.check_accounts(job.tree, job.recipe)
    if strays:
        job.notes.append(
            f"accounts with whatever number was free, which may be another in the next image: {', '.join(strays)};"
            " a sysusers.d(5) file of the overlay's package fixes them"
        )


def _add_overlay(job: _Job, selection: Selection, read: Sequence[overlays.Overlay]) -> OverlayEntry | None:
    own = [package.name for package in selection.packages if package.operator]
    if not read and not own and not job.options.packages:
        return None
    files: dict[str, str] = {}
    units: list[str] = []
    for overlay in read:
        if overlay.files:
            for path in tree.copy_files(overlay.directory / "files", job.tree, {}):
                if (job.tree / path[1:]).is_file() and not (job.tree / path[1:]).is_symlink():
                    files[path] = manifests.sha256(job.tree / path[1:])
        if overlay.units or overlay.extensions:
            for path in tree.copy_files(overlay.directory / "units", _units_place(job.tree), {}):
                files[f"/usr/lib/systemd/system{path}"] = manifests.sha256(_units_place(job.tree) / path[1:])
        units += overlay.units
    units += [
        unit for name in dict.fromkeys([*own, *job.options.packages]) for unit in overlays.package_units(job.tree, name)
    ]
    overlays.check_programs(job.tree, [path for overlay in read for path in overlay.files])
    wanted = list(dict.fromkeys(unit for unit in units if unit not in job.recipe.masked))
    overlays.enable(job.tree, wanted)
    return OverlayEntry(files=files, packages=tuple(sorted({*own, *job.options.packages})), units=tuple(sorted(wanted)))


def _units_place(root: Path) -> Path:
    place = root / "usr/lib/systemd/system"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _packages(job: _Job, selection: Selection) -> list[PackageEntry]:
    operator = {package.name for package in selection.packages if package.operator}
    found = [
        PackageEntry(
            name=name,
            version=version,
            architecture=architecture,
            origin="operator" if name in operator else "debian",
            octets=rootfs.package_octets(job.tree, name),
        )
        for name, (version, architecture) in packages.installed(job.tree).items()
    ]
    found += [
        PackageEntry(name=one.name, version=one.version, architecture="any", origin=one.origin, octets=one.octets)
        for one in python.distributions(job.tree)
    ]
    return sorted(found, key=lambda one: (one.origin, one.name))


def _describe(job: _Job, selection: Selection, overlay: OverlayEntry | None) -> Manifest:
    kernels = sorted(path.name.removeprefix("vmlinuz-") for path in (job.tree / "boot").glob("vmlinuz-*"))
    if len(kernels) != 1:
        raise InputError(
            f"{len(kernels)} kernels in the tree", where=job.recipe.role, remedy="name exactly one in the recipe"
        )
    fixed = {one.name for one in (*job.recipe.users, *job.recipe.groups)}
    there = {**rootfs.accounts(job.tree, "group"), **rootfs.accounts(job.tree, "passwd")}
    return Manifest(
        role=job.recipe.role,
        version=job.options.version,
        compatible=job.recipe.compatible,
        architecture=ARCHITECTURE,
        kernel=job.recipe.kernel,
        kernel_version=kernels[0],
        source_date_epoch=job.epoch,
        source=source_commit(job.options.source),
        slot_octets=job.recipe.slot_octets,
        tree_sha256=tree.tree_digest(job.tree),
        files={},
        packages=tuple(_packages(job, selection)),
        accounts={name: number for name, number in sorted(there.items()) if name in fixed},
        units=services.starting(job.tree),
        overlay=overlay,
        sandbox=services.sandbox_scores(job.tree),
    )


def _archive(job: _Job, manifest: Manifest) -> Manifest:
    """The root alone: rootfs.tar and an unsigned manifest."""
    tree.pack(job.tree, job.place / "rootfs.tar")
    (job.place / "packages.txt").write_text(manifest.package_list())
    full = manifest.model_copy(update={"files": manifests.describe_files(job.place, ("rootfs.tar", "packages.txt"))})
    (job.place / manifests.FILE_NAME).write_bytes(full.text())
    return full


def _assemble(job: _Job, manifest: Manifest, selection: Selection, lock: str, steps: Steps) -> Manifest:
    """All of the image, by what signs and what lists: see `images.builder.assemble`."""
    from images.builder.assemble import Parts, assemble

    parts = Parts(
        tree=job.tree,
        out=job.place,
        keys=job.keys,
        epoch=job.epoch,
        archives=tuple(job.cache.archives / package.file for package in selection.packages),
        wheels=tuple(sorted(python.fetch_wheels(lock, job.cache).glob("*.whl"))),
        wheel=next((job.work / "wheel").glob("*.whl")),
        lock=lock,
        recipe_digest=job.recipe.digest(),
        compression=job.options.compression,
    )
    return assemble(parts, manifest, steps)
