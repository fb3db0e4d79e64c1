"""One artefact at a time: a bundle, a disk image. Each is judged by the manifest where there is one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from images.supply import chain, gpt, medium, raucb, shipped
from images.supply.checks import Checks
from images.supply.keyring import Keyring
from images.supply.region import CHUNK, Region, opened
from images.supply.shipped import File, Shipped
from nf.errors import DriverError, IntegrityError

ROOT: Final = "rootfs.img"
BOOT: Final = "boot.vfat"
ESP: Final = "esp.vfat"
KERNEL: Final = "nf.efi"
_INSTALLER: Final = "inst_"
_SLOTS: Final = ("a", "b")


def expected_root(manifest: Shipped | None) -> chain.Root | None:
    return None if manifest is None else chain.Root(manifest.root_hash, manifest.hash_offset)


def check_bundle(checks: Checks, keyring: Keyring, file: Region, manifest: Shipped | None, now: datetime) -> None:
    """Signature, payload, role, contents."""
    authority = keyring.bundle_authority
    what = "signature of the bundle"
    if authority is None:
        checks.skip(file.name, what, "the keyring has no bundle-ca.crt")
        return
    bundle = checks.run(file.name, "is a RAUC bundle", lambda: raucb.split(file))
    if bundle is None:
        return
    signed = checks.run(
        file.name,
        what,
        lambda: raucb.verify_signature(bundle, authority, valid_at=now),
        good=f"under {authority.subject.rfc4514_string()}",
    )
    if signed is None:
        return
    checks.run(
        file.name,
        "payload is what was signed",
        lambda: raucb.check_payload(bundle, signed, checks.tick),
        good=f"dm-verity {signed.verity_hash[:16]}...",
    )
    checks.run(file.name, "role", lambda: _require_role(signed, manifest, file.name), good=signed.compatible)
    if manifest is not None:
        checks.run(file.name, "version", lambda: _require_version(signed, manifest, file.name), good=signed.version)
    checks.run(file.name, "names its images", lambda: _require_images(signed, manifest, file.name))
    if all(check.verdict.value == "passed" for check in checks.done if check.subject == file.name):
        _check_inside(checks, keyring, file, signed, manifest)


def _require_role(signed: raucb.BundleManifest, manifest: Shipped | None, where: str) -> None:
    known = [shipped.compatible(role, "amd64") for role in shipped.ROLES] if manifest is None else [manifest.compatible]
    if signed.compatible not in known:
        raise IntegrityError(
            f"it is for {signed.compatible}, not for {' or '.join(known)}",
            where=where,
            remedy="an appliance of the role refuses it: take the role's own bundle",
        )


def _require_version(signed: raucb.BundleManifest, manifest: Shipped, where: str) -> None:
    if signed.version != manifest.version:
        raise IntegrityError(f"it is version {signed.version}, the manifest is of {manifest.version}", where=where)


def _require_images(signed: raucb.BundleManifest, manifest: Shipped | None, where: str) -> None:
    named = {one.filename: File(one.size, one.sha256) for one in signed.images.values()}
    if named.keys() != {ROOT, BOOT}:
        raise IntegrityError(f"it holds {', '.join(sorted(named)) or 'no images'}, not {ROOT} and {BOOT}", where=where)
    for name in (ROOT, BOOT):
        if manifest is not None and named[name] != manifest.file(name):
            raise IntegrityError(
                f"its {name} is not the one of the manifest", where=where, remedy="bundle and image are of two builds"
            )


def _check_inside(
    checks: Checks, keyring: Keyring, file: Region, signed: raucb.BundleManifest, manifest: Shipped | None
) -> None:
    """Only for a bundle that was found good: unpacking a stranger's squashfs is no way to look at it."""
    if shutil.which("unsquashfs") is None:
        checks.note(f"{file.name}: not unpacked, since squashfs-tools is not installed; its signature covers it")
        return
    with tempfile.TemporaryDirectory(prefix="nf-bundle-") as directory:
        unpacked = checks.run(file.name, "can be unpacked", lambda: _unpack(file, Path(directory)))
        if unpacked is None:
            return
        for image in signed.images.values():
            with opened(unpacked / image.filename) as found:
                subject = f"{file.name}/{image.filename}"
                checks.run(subject, "digest", lambda: require_file(checks, found, File(image.size, image.sha256)))  # noqa: B023  # asked at once
        with opened(unpacked / BOOT) as boot, opened(unpacked / ROOT) as root:
            _check_slot(checks, keyring, boot, root, name=file.name, expected=expected_root(manifest))


def _unpack(file: Region, directory: Path) -> Path:
    """Raises DriverError."""
    out = directory / "unpacked"
    done = subprocess.run(
        ["unsquashfs", "-no-progress", "-no-xattrs", "-d", str(out), f"/proc/self/fd/{file.descriptor}", ROOT, BOOT],
        capture_output=True,
        text=True,
        check=False,
        pass_fds=(file.descriptor,),
    )
    if done.returncode or not (out / ROOT).is_file() or not (out / BOOT).is_file():
        raise DriverError(f"unsquashfs: {done.stderr.strip()[-300:] or 'a file is missing'}", where=file.name)
    return out


def _check_slot(
    checks: Checks, keyring: Keyring, boot: Region, root: Region, *, name: str, expected: chain.Root | None
) -> None:
    """The kernel image of a boot volume and the root that it binds."""
    subject = f"{name}/{boot.name}"
    kernel = checks.run(subject, "holds the kernel image", lambda: chain.read_program(boot, chain.KERNEL))
    if kernel is None:
        return
    bound = chain.check_kernel(checks, keyring, subject, kernel, expected)
    if bound is not None:
        chain.check_root(checks, f"{name}/{root.name}", root, bound, by="its kernel image")


def require_file(checks: Checks, found: Region, expected: File) -> None:
    """Size and digest. Raises IntegrityError."""
    if found.size != expected.size:
        raise IntegrityError(f"it has {found.size} octets, {expected.size} belong", where=found.name)
    digest = found.sha256(checks.tick)
    if digest != expected.sha256:
        raise IntegrityError(
            f"its sha256 is {digest}, {expected.sha256} belongs", where=found.name, remedy="it was altered or damaged"
        )


def check_disk(
    checks: Checks, keyring: Keyring, disk: Region, manifest: Shipped | None, files: Mapping[str, Region]
) -> bool:
    """Partition table, what each partition holds, the boot chain in it. `files`: of the same build, to compare with.

    Whether it is an installer medium.
    """
    table = checks.run(disk.name, "partition table", lambda: gpt.read(disk), good="both copies")
    if table is None:
        return False
    prefix = _INSTALLER if any(one.name.startswith(_INSTALLER) for one in table.partitions) else ""
    parts = {
        one.name.removeprefix(prefix): disk.part(one.start, one.size, one.name)
        for one in table.partitions
        if one.name.startswith(prefix)
    }
    checks.run(disk.name, "has its partitions", lambda: _require_partitions(parts, table, prefix, disk.name))
    checks.run(disk.name, "nothing beside the partitions", lambda: _require_gaps_empty(checks, disk, table))
    if prefix:
        manifest = medium.check_payload(checks, keyring, disk, parts)
    if "ESP" in parts:
        chain.check_grub(checks, keyring, f"{disk.name}/{parts['ESP'].name}", parts["ESP"])
    for slot in _SLOTS:
        boot, root = parts.get(f"boot_{slot}"), parts.get(f"root_{slot}")
        if boot is None or root is None:
            continue
        if slot != _SLOTS[0] and boot.is_zero() and root.is_zero():
            checks.note(f"{disk.name}: slot {slot} is empty")
            continue
        _check_slot(checks, keyring, boot, root, name=disk.name, expected=expected_root(manifest))
    if "data" in parts:
        checks.run(f"{disk.name}/data", "is empty", lambda: _require_empty(parts["data"]))
    if prefix:
        checks.note(
            f"{disk.name}: an installer medium; all that it starts or installs is signed. Its file systems' own "
            "bookkeeping and GRUB's variables are not, and nothing relies on them"
        )
    elif manifest is not None:
        _compare(checks, disk, parts, manifest, files)
    return bool(prefix)


def _require_partitions(parts: Mapping[str, Region], table: gpt.Table, prefix: str, where: str) -> None:
    wanted = ["ESP", "boot_a", "root_a", *([medium.PAYLOAD] if prefix else [])]
    if missing := [name for name in wanted if name not in parts]:
        raise IntegrityError(f"it has no partition {', '.join(missing)}: this is no appliance image", where=where)
    names = [one.name for one in table.partitions]
    if len(set(names)) != len(names):
        raise IntegrityError("two of its partitions have one name", where=where)


def _require_gaps_empty(checks: Checks, disk: Region, table: gpt.Table) -> None:
    at = table.free_start
    for one in [*sorted(table.partitions, key=lambda one: one.start), None]:
        end = table.free_end if one is None else one.start
        if not disk.part(at, end - at).is_zero(checks.tick):
            raise IntegrityError(f"something stands between its partitions, at {at} to {end}", where=disk.name)
        at = end if one is None else one.start + one.size


def _require_empty(part: Region) -> None:
    if not part.is_zero():
        raise IntegrityError(
            "it is not empty: this disk was in use, or something was put there",
            where=part.name,
            remedy="flash from an image as it was built",
        )


def _compare(
    checks: Checks, disk: Region, parts: Mapping[str, Region], manifest: Shipped, files: Mapping[str, Region]
) -> None:
    """That partitions hold the files of the manifest, and nothing behind them."""
    pairs = {"ESP": ESP} | {f"boot_{slot}": BOOT for slot in _SLOTS} | {f"root_{slot}": ROOT for slot in _SLOTS}
    for partition, name in pairs.items():
        part = parts.get(partition)
        if part is None or (partition.endswith("_b") and part.is_zero()):
            continue

        def question(part: Region = part, name: str = name) -> None:
            expected = manifest.file(name)
            head = part.part(0, expected.size)
            beside = files.get(name)
            same = head.sha256(checks.tick) == expected.sha256 if beside is None else _is_same(checks, head, beside)
            if not same:
                raise IntegrityError(f"it does not hold {name}", where=part.name)
            if not part.part(expected.size, part.size - expected.size).is_zero(checks.tick):
                raise IntegrityError(f"something stands behind {name}", where=part.name)

        checks.run(f"{disk.name}/{part.name}", f"holds {name}", question)


def _is_same(checks: Checks, one: Region, other: Region) -> bool:
    if one.size != other.size:
        return False
    pairs = zip(one.chunks(CHUNK, checks.tick), other.chunks(CHUNK), strict=True)
    return all(left == right for left, right in pairs)
