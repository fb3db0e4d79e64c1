"""The Debian programs that make a root: found before anything begins, run with one environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nf.errors import DriverError, RefusedError, UnavailableError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PACKAGES: Mapping[str, str] = {
    "apt-get": "apt",
    "chroot": "coreutils",
    "dpkg-deb": "dpkg",
    "mmdebstrap": "mmdebstrap",
    "tar": "tar",
    "unshare": "util-linux",
}
"""Program -> the Debian package that has it."""

CHAIN_PACKAGES: Mapping[str, str] = {
    "grub-mkimage": "grub-efi-amd64-bin",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "mksquashfs": "squashfs-tools",
    "openssl": "openssl",
    "osslsigncode": "osslsigncode",
    "sbverify": "sbsigntool",
    "sfdisk": "fdisk",
    "veritysetup": "cryptsetup-bin",
}
"""The same, of what makes the boot chain, the disk and the bundle."""

_LAST_WORDS = 8


def require_root(what: str) -> None:
    """Raises RefusedError."""
    if os.geteuid() != 0:
        raise RefusedError(
            f"{what} needs root", where="nf image build", remedy="run it with sudo, or as the root of a CI job"
        )


def require_programs(needed: Mapping[str, str] = PACKAGES) -> None:
    """`needed`: program -> its package. Raises UnavailableError that names the packages of all that are missing."""
    missing = [name for name in needed if shutil.which(name, path=PATH) is None]
    if missing:
        packages = " ".join(sorted({needed[name] for name in missing}))
        raise UnavailableError(
            f"not installed: {', '.join(missing)}", where="nf image build", remedy=f"apt-get install {packages}"
        )


def environment(epoch: int | None = None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What every program sees: the same language and time zone, the caller's proxies, `epoch` in seconds."""
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    settings = {"PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/root", **proxies, **(extra or {})}
    if epoch is not None:
        settings["SOURCE_DATE_EPOCH"] = str(epoch)
    return settings


def run(
    command: Sequence[str],
    *,
    where: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    heard: Callable[[str], None] | None = None,
    remedy: str = "",
    text: str = "",
) -> str:
    """Standard output. `text` is what it reads. `heard` is called with each line of both streams while it runs; then it
    reads nothing, and nothing is returned.

    Raises DriverError with its last words when it fails, UnavailableError when it is not installed.
    """
    settings = dict(env) if env is not None else environment()
    try:
        if heard is None:
            done = subprocess.run(
                list(command), env=settings, cwd=cwd, input=text.encode(), capture_output=True, check=False
            )
            code, said = done.returncode, done.stderr.decode(errors="replace") or done.stdout.decode(errors="replace")
            output = done.stdout.decode(errors="replace")
        else:
            code, said, output = (*_listen(command, settings, cwd, heard), "")
    except FileNotFoundError:
        raise UnavailableError(
            f"{command[0]} is not installed",
            where=where,
            remedy=f"apt-get install {PACKAGES.get(command[0], command[0])}",
        ) from None
    if code != 0:
        words = [line.strip() for line in said.splitlines() if line.strip()][-_LAST_WORDS:]
        raise DriverError(f"{Path(command[0]).name} failed ({code}): " + " | ".join(words), where=where, remedy=remedy)
    return output


def _listen(
    command: Sequence[str], settings: Mapping[str, str], cwd: Path | None, heard: Callable[[str], None]
) -> tuple[int, str]:
    last: list[str] = []
    with subprocess.Popen(
        list(command),
        env=settings,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                last = [*last[-30:], line]
                heard(line.rstrip("\n"))
        except BaseException:
            process.terminate()  # Ctrl-C, or a reader that gave up: what runs cleans up behind itself
            raise
    return process.returncode, "".join(last)


def in_tree(
    tree: Path, *command: str, where: str, epoch: int | None = None, extra: Mapping[str, str] | None = None
) -> str:
    """Run a program of `tree` inside it (chroot). Nothing is mounted. Raises DriverError."""
    return run(["chroot", str(tree), *command], where=where, env=environment(epoch, extra))
