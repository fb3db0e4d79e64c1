"""From the packages' tree to the root of an appliance: identity, accounts, services, /var, nothing left over."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from images.builder.tree import remove, walk
from images.recipe import ARCHITECTURE, FIRST_USER_ID, Recipe
from nf.errors import DocumentError, IntegrityError, Problem

VAR_TMPFILES = "usr/lib/tmpfiles.d/nf-var.conf"
FACTORY = "usr/share/factory"

_LEFT_OVER = (
    "etc/.pwd.lock", "etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
    "etc/hostname", "etc/mtab", "etc/ld.so.cache~", "etc/init.d",
    "etc/apt/sources.list", "etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/trusted.gpg.d",
    "etc/dpkg/dpkg.cfg.d",
    "etc/cron.d", "etc/cron.daily", "etc/cron.hourly", "etc/cron.weekly", "etc/cron.monthly",
    "etc/rc0.d", "etc/rc1.d", "etc/rc2.d", "etc/rc3.d", "etc/rc4.d", "etc/rc5.d", "etc/rc6.d", "etc/rcS.d",
    "initrd.img", "initrd.img.old", "vmlinuz", "vmlinuz.old", "root/.bashrc", "root/.profile",
    "var/cache/apt", "var/cache/debconf", "var/cache/ldconfig", "var/cache/fontconfig",
    "var/backups", "var/tmp", "var/mail", "var/spool/cron",
    "var/lib/apt", "var/lib/dbus/machine-id", "var/lib/initramfs-tools", "var/lib/systemd/catalog",
    "var/lib/systemd/random-seed",
)  # fmt: skip
_NOT_IN_VAR = ("/var/cache/apt", "/var/cache/debconf", "/var/cache/ldconfig", "/var/lib/apt", "/var/lib/dpkg",
               "/var/lib/ucf", "/var/lib/initramfs-tools", "/var/lib/python", "/var/lib/vim",
               "/var/lib/systemd/deb-systemd",
               "/var/local", "/var/opt", "/var/lib/misc")  # fmt: skip
_OF_SYSTEMD = frozenset({f"/var/{name}" for name in ("log", "cache", "lib", "spool", "tmp", "run", "lock")})
_HOST_KEY = re.compile(r"/etc/(ssh|dropbear)/.*_host_.*key.*")
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
    for name, target in {
        "etc/resolv.conf": "/run/systemd/resolve/stub-resolv.conf",
        "etc/mtab": "../proc/self/mounts",
    }.items():
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


def clean(tree: Path) -> None:
    """What building left behind, and what says on which machine or at which hour."""
    for name in _LEFT_OVER:
        remove(tree / name)
    for pattern in (
        "var/lib/dpkg/*-old",
        "var/cache/debconf/*-old",
        "etc/ssh/ssh_host_*",
        "etc/ssl/private/*",
        "boot/initrd.img-*",
    ):
        for path in tree.glob(pattern):
            remove(path)
    for place in ("var/cache", "var/log"):  # directories of daemons stay, with their owners
        for below, info in list(walk(tree / place)):
            if not stat.S_ISDIR(info.st_mode):
                (tree / place / below[1:]).unlink()
    for mount in ("proc", "run", "sys", "tmp"):  # /dev stays: mkinitramfs runs in the tree after this
        shutil.rmtree(tree / mount, ignore_errors=True)
        (tree / mount).mkdir(exist_ok=True)
        (tree / mount).chmod(0o1777 if mount == "tmp" else 0o755)
    for name in ("cache", "log", "tmp", "backups"):
        (tree / "var" / name).mkdir(parents=True, exist_ok=True)
        (tree / "var" / name).chmod(0o1777 if name == "tmp" else 0o755)


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
            lines.append(f'L "{shown}" - - - - {(tree / place[1:]).readlink()}\n')
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
            [
                Problem("a package made this account with whatever number was free", remedy, key=stray)
                for stray in strays
            ],
            where=f"accounts of {recipe.role}",
        )


def audit(tree: Path) -> None:
    """What no image may ever hold. Raises IntegrityError with all of it."""
    found = list(_forbidden(tree))
    if found:
        raise IntegrityError(
            "; ".join(found[:10]), where="the root", remedy="this is a fault of the builder or an overlay"
        )


def _forbidden(tree: Path) -> Iterator[str]:
    yield from _doors(tree)
    for path, info in walk(tree):
        if _HOST_KEY.fullmatch(path):
            yield f"an SSH host key: {path}"
        if path.endswith("/.ssh/authorized_keys"):
            yield f"an SSH key that opens every appliance: {path}"
        if stat.S_ISREG(info.st_mode) and info.st_mode & (stat.S_ISUID | stat.S_ISGID):
            yield f"set-uid: {path}"
        everybody = info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX
        if everybody and (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
            yield f"anybody can write {path}"
    if (tree / "etc/machine-id").read_text().strip():
        yield "a machine id"


def _doors(tree: Path) -> Iterator[str]:
    for line in (tree / "etc/shadow").read_text().splitlines():
        if not _LOCKED.match(line.split(":")[1]):
            yield f"{line.split(':')[0]} can log in by a password"
    for line in (tree / "etc/passwd").read_text().splitlines():
        name, password, number, *_ = line.split(":")
        if password != "x":  # noqa: S105  # the mark that the password is in /etc/shadow
            yield f"{name} has its password in /etc/passwd"
        if number == "0" and name != "root":
            yield f"{name} is a second root"


def keep_package_list(tree: Path, lines: Sequence[str]) -> None:
    """/usr/share/nf/packages.txt: dpkg's own data base is covered by the data partition."""
    path = tree / "usr/share/nf/packages.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def package_octets(tree: Path, package: str) -> int:
    """What the files of a Debian package take in the root; a file with many names counts once."""
    info = tree / "var/lib/dpkg/info"
    sizes: dict[int, int] = {}
    for listed in [info / f"{package}.list", *info.glob(f"{package}:*.list")]:
        if not listed.is_file():
            continue
        for line in listed.read_text(errors="replace").splitlines():
            path = tree / PurePosixPath(line).relative_to("/") if line.startswith("/") and line != "/." else None
            if (
                path is not None
                and path.is_file()
                and not path.is_symlink()
                and not line.startswith(("/boot/", "/var/"))
            ):
                found = path.lstat()
                sizes[found.st_ino] = found.st_size
    return sum(sizes.values())
