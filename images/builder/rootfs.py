"""From the packages' tree to the root of an appliance: identity, accounts, services, what /var needs, nothing left over."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from images.builder.tree import remove, walk
from images.recipe import ARCHITECTURE, FIRST_USER_ID, Recipe
from nf.documents.rules import nearest
from nf.errors import DocumentError, IntegrityError, Problem

SYSTEM_UNITS = "etc/systemd/system"
VAR_TMPFILES = "usr/lib/tmpfiles.d/nf-var.conf"
FACTORY = "usr/share/factory"
EXCLUDED = ("boot/*", "dev/*", "proc/*", "run/*", "sys/*", "tmp/*", "var/*")
"""Wildcards of what the read-only root leaves out: what a running system fills, the kernel (it is in the signed image
beside the root) and /var (the data partition covers it)."""

_LEFT_OVER = (
    "etc/.pwd.lock", "etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
    "etc/hostname", "etc/mtab", "etc/apt/sources.list", "etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/trusted.gpg.d",
    "etc/dpkg/dpkg.cfg.d", "etc/ld.so.cache~", "var/cache", "var/log", "var/backups", "var/tmp", "var/mail", "var/spool/cron",
    "var/lib/apt", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "var/lib/systemd/catalog", "var/lib/initramfs-tools",
    "root/.bashrc", "root/.profile", "initrd.img", "initrd.img.old", "vmlinuz", "vmlinuz.old", "etc/cron.d", "etc/cron.daily",
    "etc/cron.hourly", "etc/cron.weekly", "etc/cron.monthly", "etc/init.d", "etc/rc0.d", "etc/rc1.d", "etc/rc2.d", "etc/rc3.d",
    "etc/rc4.d", "etc/rc5.d", "etc/rc6.d", "etc/rcS.d",
)  # fmt: skip
_NOT_IN_VAR = ("/var/cache/apt", "/var/cache/debconf", "/var/cache/ldconfig", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/ucf",
               "/var/lib/initramfs-tools", "/var/lib/python", "/var/lib/vim", "/var/lib/systemd/deb-systemd-helper",
               "/var/lib/systemd/deb-systemd-user-helper", "/var/local", "/var/opt", "/var/lib/misc")  # fmt: skip
_OF_SYSTEMD = frozenset({"/var/log", "/var/cache", "/var/lib", "/var/spool", "/var/tmp", "/var/run", "/var/lock"})
_HOST_KEY = re.compile(r"/etc/(ssh|dropbear)/.*host_key.*")
_LOCKED = re.compile(r"[*!].*")


def write_identity(tree: Path, recipe: Recipe, version: str) -> None:
    """/etc/nf-release and os-release(5): which image this is. The machine's own name and id come at first boot."""
    (tree / "etc/nf-release").write_text(
        f"NF_ROLE={recipe.role}\nNF_VERSION={version}\nNF_COMPATIBLE={recipe.compatible}\nNF_KERNEL={recipe.kernel}\n"
    )
    path = tree / "usr/lib/os-release"
    ours = {"IMAGE_ID", "IMAGE_VERSION", "VARIANT", "VARIANT_ID"}
    lines = [line for line in path.read_text().splitlines() if line.partition("=")[0] not in ours]
    lines += [
        f'VARIANT="StreamVerse NF {recipe.role}"',
        f"VARIANT_ID=nf-{recipe.role}",
        f"IMAGE_ID=streamverse-nf-{recipe.role}",
        f"IMAGE_VERSION={version}",
    ]
    path.write_text("\n".join(lines) + "\n")
    (tree / "etc/machine-id").write_text("")  # systemd makes a transient one until first boot has settled it
    (tree / "etc/machine-id").chmod(0o444)
    for name, target in {"etc/resolv.conf": "/run/systemd/resolve/stub-resolv.conf", "etc/mtab": "../proc/self/mounts"}.items():
        remove(tree / name)
        (tree / name).symlink_to(target)
    for name in ("efi", "etc/nf", "usr/share/nf"):
        (tree / name).mkdir(parents=True, exist_ok=True)


def values(recipe: Recipe, version: str) -> Mapping[str, str]:
    """What @KEY@ stands for in a template of `images/files`."""
    return {
        "ARCHITECTURE": ARCHITECTURE,
        "COMPATIBLE": recipe.compatible,
        "KERNEL": recipe.kernel,
        "ROLE": recipe.role,
        "VERSION": version,
    }


def lock_accounts(tree: Path, epoch: int) -> None:
    """No password anywhere; `epoch` (seconds) is the day on which they were all changed last."""
    path = tree / "etc/shadow"
    lines = []
    for line in path.read_text().splitlines():
        name, password, _, *rest = line.split(":")
        lines.append(":".join([name, password if _LOCKED.match(password) else "*", str(epoch // 86_400), *rest]))
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o640)


def settle_services(tree: Path, recipe: Recipe, *, allowed: Iterable[str] = ()) -> tuple[str, ...]:
    """Mask what the recipe masks. The units that start with the image.

    `allowed`: units of ours and of the operator's. Raises DocumentError for a unit that a package would start and the
    recipe says nothing of, or one that it enables and that is not there.
    """
    here = tree / SYSTEM_UNITS
    here.mkdir(parents=True, exist_ok=True)
    for unit in recipe.masked:
        for link in [*here.glob(f"*.wants/{unit}"), *here.glob(f"*.requires/{unit}"), here / unit]:
            link.unlink(missing_ok=True)
        (here / unit).symlink_to("/dev/null")
    known = {*recipe.enabled, *allowed}
    found = sorted({link.name for pattern in ("*.wants/*", "*.requires/*") for link in here.glob(pattern)})
    problems = [
        Problem(
            "a package starts this by itself",
            f"add it to services.masked or services.enabled of {recipe.role}.yaml, with the reason",
            key=unit,
        )
        for unit in found
        if unit not in known
    ]
    there = [path for place in (SYSTEM_UNITS, "usr/lib/systemd/system", "lib/systemd/system") for path in (tree / place).glob("*")]
    names = {path.name for path in there} | {re.sub(r"@(?=\.)", "@*", path.name) for path in there}
    for unit in recipe.enabled:
        template = re.sub(r"@[^.]+\.", "@.", unit)
        if unit not in names and template not in names:
            problems.append(Problem("no such unit in the image", nearest(unit, names), key=unit))
    if problems:
        raise DocumentError(problems, where=f"services of {recipe.role}")
    return tuple(found)


def clean(tree: Path) -> None:
    """What building left behind, and what says on which machine or at which hour."""
    for name in _LEFT_OVER:
        remove(tree / name)
    for pattern in ("var/lib/dpkg/*-old", "var/cache/debconf/*-old", "etc/ssh/*host_key*", "etc/ssl/private/*", "boot/initrd.img-*"):
        for path in tree.glob(pattern):
            remove(path)
    for name in ("dev", "proc", "run", "sys", "tmp"):
        shutil.rmtree(tree / name, ignore_errors=True)
        (tree / name).mkdir(exist_ok=True)
        (tree / name).chmod(0o1777 if name == "tmp" else 0o755)
    for name in ("var/cache", "var/log", "var/tmp", "var/backups"):
        (tree / name).mkdir(parents=True, exist_ok=True)
        (tree / name).chmod(0o1777 if name == "var/tmp" else 0o755)


def strip_privileges(tree: Path) -> list[str]:
    """Take set-uid and set-gid from every program: nobody but root logs in. The programs that had them."""
    found = []
    for path, info in walk(tree):
        if stat.S_ISREG(info.st_mode) and info.st_mode & (stat.S_ISUID | stat.S_ISGID):
            (tree / path[1:]).chmod(stat.S_IMODE(info.st_mode) & ~(stat.S_ISUID | stat.S_ISGID))
            found.append(path)
    return found


def describe_var(tree: Path) -> None:
    """tmpfiles.d(5) lines that fill the data partition's /var at every start with what the packages expect there.

    Its directories are made with owner and mode; the few files are copied from the factory copy when they are missing.
    """
    users, groups = accounts(tree, "passwd"), accounts(tree, "group")
    names = {number: name for name, number in users.items()}, {number: name for name, number in groups.items()}
    lines = ["# Made by the builder from what the image's packages put below /var.\n"]
    remove(tree / FACTORY / "var")
    for path, info in sorted(walk(tree / "var")):
        place = f"/var{path}"
        if place in _OF_SYSTEMD or place.startswith(_NOT_IN_VAR):
            continue
        owner = f"{names[0].get(info.st_uid, info.st_uid)} {names[1].get(info.st_gid, info.st_gid)}"
        shown = place.replace("%", "%%")
        if stat.S_ISDIR(info.st_mode):
            lines.append(f'd "{shown}" {stat.S_IMODE(info.st_mode):04o} {owner} -\n')
        elif stat.S_ISLNK(info.st_mode):
            lines.append(f'L "{shown}" - - - - {os.readlink(tree / place[1:])}\n')
        elif stat.S_ISREG(info.st_mode):
            copy = tree / FACTORY / place[1:]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / place[1:], copy)
            copy.chmod(0o644)
            lines.append(f'C "{shown}" {stat.S_IMODE(info.st_mode):04o} {owner} -\n')
    (tree / VAR_TMPFILES).parent.mkdir(parents=True, exist_ok=True)
    (tree / VAR_TMPFILES).write_text("".join(lines))


def accounts(tree: Path, name: str) -> dict[str, int]:
    """Name -> id from the root's passwd or group."""
    lines = (tree / "etc" / name).read_text().splitlines()
    return {fields[0]: int(fields[2]) for line in lines if len(fields := line.split(":")) > 3}


def check_accounts(tree: Path, recipe: Recipe) -> list[str]:
    """Accounts whose number is not the recipe's, and so may be another one in the next image: name of each."""
    fixed = {one.name for one in (*recipe.users, *recipe.groups)}
    strays = []
    for name in ("passwd", "group"):
        for account, number in accounts(tree, name).items():
            if FIRST_USER_ID // 2 <= number < 1000 and account not in fixed and account != "users":
                strays.append(f"{account} ({number}, {name})")
    return strays


def require_fixed_accounts(tree: Path, recipe: Recipe) -> None:
    """Raises DocumentError."""
    strays = check_accounts(tree, recipe)
    if strays:
        remedy = f"add it to users or groups of base.yaml or {recipe.role}.yaml with a number that no other has"
        raise DocumentError(
            [Problem("a package made this account with whatever number was free", remedy, key=stray) for stray in strays],
            where=f"accounts of {recipe.role}",
        )


def audit(tree: Path) -> None:
    """What no image may ever hold. Raises IntegrityError with all of it."""
    found = list(_forbidden(tree))
    if found:
        raise IntegrityError("; ".join(found[:10]), where="the root", remedy="this is a fault of the builder or an overlay")


def _forbidden(tree: Path) -> Iterator[str]:
    for line in (tree / "etc/shadow").read_text().splitlines():
        if not _LOCKED.match(line.split(":")[1]):
            yield f"{line.split(':')[0]} can log in by a password"
    for line in (tree / "etc/passwd").read_text().splitlines():
        name, password, number, *_ = line.split(":")
        if password != "x":  # noqa: S105  # the mark that the password is in /etc/shadow
            yield f"{name} has its password in /etc/passwd"
        if number == "0" and name != "root":
            yield f"{name} is a second root"
    for path, info in walk(tree):
        if _HOST_KEY.fullmatch(path):
            yield f"an SSH host key: {path}"
        if path.endswith("/.ssh/authorized_keys"):
            yield f"an SSH key that opens every appliance: {path}"
        if stat.S_ISREG(info.st_mode) and info.st_mode & (stat.S_ISUID | stat.S_ISGID):
            yield f"set-uid: {path}"
        if (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)) and info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX:
            yield f"anybody can write {path}"
    if (tree / "etc/machine-id").read_text().strip():
        yield "a machine id"


def keep_package_list(tree: Path, lines: Sequence[str]) -> None:
    """/usr/share/nf/packages.txt: dpkg's own data base is covered by the data partition."""
    path = tree / "usr/share/nf/packages.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def package_octets(tree: Path, package: str) -> int:
    """What the files of a Debian package take in the root."""
    info = tree / "var/lib/dpkg/info"
    octets = 0
    for listed in [info / f"{package}.list", *info.glob(f"{package}:*.list")]:
        if not listed.is_file():
            continue
        for line in listed.read_text(errors="replace").splitlines():
            path = tree / PurePosixPath(line).relative_to("/") if line.startswith("/") and line != "/." else None
            if path is not None and path.is_file() and not path.is_symlink() and not line.startswith(("/boot/", "/var/")):
                octets += path.lstat().st_size
    return octets
