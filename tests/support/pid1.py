"""A machine whose PID 1 is this machine's own systemd: in namespaces, its root an overlay that is thrown away.

Needs root. Its network is a loopback; what it writes ends with it. No unit of this machine's
/etc is started: there are a journal and a D-Bus, nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nf.supervisor.systemd.units import LINKS, SystemdUnits

INSIDE = "NF_TEST_SYSTEMD" in os.environ
"""This process runs in such a machine."""

SYSTEMD = Path("/lib/systemd/systemd")
REPOSITORY = Path(__file__).parents[2]
SCRATCH = "/srv/nf"
PLACE = "/srv/repository"
"""Inside: a directory for what tests write, and where this repository is. A unit's own /tmp and its missing /home and
/root hide neither, wherever the repository is outside.
"""

_UNSHARE = ("unshare", "--mount", "--net", "--ipc", "--uts", "--")
_BOOT = r"""
set -e
mount --make-rprivate /
ip link set lo up
place=$1; repository=$2; scratch=$3
mkdir "$place/groups"
mount -t cgroup2 none "$place/groups"
mkdir "$place/groups/$4"
echo $$ >"$place/groups/$4/cgroup.procs"
exec unshare --cgroup --fork --pid --kill-child -- sh -c '
set -e
place=$1; repository=$2; scratch=$3; root=$1/root
mount -t tmpfs tmpfs "$place"
mkdir "$place/upper" "$place/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$root"
inside="$root/srv/repository"
mkdir -p "$root$scratch" "$inside" "$place/above" "$place/beside"
mount -t overlay overlay -o "lowerdir=$repository,upperdir=$place/above,workdir=$place/beside" "$inside"
for site in "$inside"/.venv/lib/python3*/site-packages; do echo /srv/repository >"$site/nf-machine.pth"; done
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
for directory in tmp var/tmp var/log; do mount -t tmpfs -o mode=755 tmpfs "$root/$directory"; done
mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs "$root/run"
chmod 1777 "$root/tmp" "$root/var/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"; ln -s /proc/self/fd "$root/dev/fd"
rm -rf "$root/etc/systemd/system" "$root/run/systemd"
mkdir -p "$root/etc/systemd/system" "$root/run/systemd/system" "$root/var/log/journal" "$root/run/nf" "$root/var/lib/nf"
for unit in systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-sysctl.service \
    systemd-modules-load.service systemd-random-seed.service systemd-udev-trigger.service sys-kernel-debug.mount \
    dev-hugepages.mount proc-sys-fs-binfmt_misc.automount systemd-tmpfiles-setup.service systemd-sysusers.service; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
done
printf "[Unit]\nRequires=sysinit.target\nWants=dbus.socket systemd-journald.socket\nAfter=dbus.socket\n" \
    >"$root/etc/systemd/system/nf-test.target"
printf "%032x\n" $$ >"$root/etc/machine-id"
cd "$root"
pivot_root . mnt
umount -l /mnt
exec env -i container=nf-test PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /lib/systemd/systemd --system --unit=nf-test.target --log-target=journal --show-status=0
' boot "$place" "$repository" "$scratch"
"""


@dataclass(frozen=True, slots=True)
class Machine:
    pid: int

    def command(self, *argv: str) -> list[str]:
        """What runs `argv` inside."""
        return ["nsenter", "--target", str(self.pid), "--all", "--", *argv]

    def run(self, *argv: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Output and error together as stdout; whatever its status."""
        return subprocess.run(
            self.command(*argv),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def pytest(self, *arguments: str, timeout_s: float = 110.0) -> subprocess.CompletedProcess[str]:
        """Tests that say so run against the systemd inside."""
        place = ("-p", "no:cacheprovider", f"--basetemp={SCRATCH}/pytest", f"--rootdir={PLACE}")
        marks = ("env", f"--chdir={PLACE}", "NF_TEST_SYSTEMD=1", f"TMPDIR={SCRATCH}", "PYTHONDONTWRITEBYTECODE=1")
        python = sys.executable.replace(str(REPOSITORY), PLACE, 1)
        return self.run(*marks, python, "-m", "pytest", "-q", *place, *arguments, timeout_s=timeout_s)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _descendant(pid: int) -> int | None:
    for child in _children(pid):
        try:
            name = Path(f"/proc/{child}/comm").read_text().strip()
        except OSError:
            continue
        if name == "systemd":
            return child
        if (found := _descendant(child)) is not None:
            return found
    return None


@contextlib.contextmanager
def booted(*, timeout_s: float = 60.0) -> Iterator[Machine]:
    """A machine with its D-Bus answering. Raises RuntimeError with what was said when it does not come up."""
    place = Path(tempfile.mkdtemp(prefix="nf-pid1-"))
    group = place.name
    with (place / "said").open("w+") as said:
        process = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--ipc",
                "--uts",
                "--",
                "sh",
                "-c",
                _BOOT,
                "boot",
                *map(str, (place, REPOSITORY)),
                SCRATCH,
                group,
            ],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            yield _await(process, said.name, timeout_s)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # PID 1 goes with its parent, and all others with PID 1
            process.wait()
            _remove_group(group)
            shutil.rmtree(place, ignore_errors=True)


def _await(process: subprocess.Popen[bytes], said: str, timeout_s: float) -> Machine:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        pid = _descendant(process.pid)
        if pid is not None:
            machine = Machine(pid)
            state = machine.run(
                "busctl",
                "call",
                "org.freedesktop.systemd1",
                "/org/freedesktop/systemd1",
                "org.freedesktop.DBus.Peer",
                "Ping",
            )
            if state.returncode == 0:
                return machine
        time.sleep(0.05)
    raise RuntimeError(f"no systemd came up: {Path(said).read_text()}")


def _remove_group(name: str) -> None:
    """The control groups that it left, from the leaves up, in whatever place they are mounted."""
    script = 'mount -t cgroup2 none "$1" && find "$1/$2" -depth -type d -exec rmdir {} \\;'
    with tempfile.TemporaryDirectory(prefix="nf-pid1-") as mountpoint:
        for _ in range(20):
            done = subprocess.run(
                ["unshare", "--mount", "--", "sh", "-c", script, "sh", mountpoint, name],
                capture_output=True,
                check=False,
            )
            if b"rmdir" not in done.stderr:
                return
            time.sleep(0.1)


def units_in(namespace: str, state_dir: Path) -> SystemdUnits:
    """Inside: units whose network is that of `namespace`, of `ip netns`; one namespace at a time."""
    place = LINKS / "nf-.service.d" / "network.conf"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"[Service]\nNetworkNamespacePath=/run/netns/{namespace}\n")
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    return SystemdUnits(state_dir)


def main(arguments: Sequence[str]) -> int:
    """`python -m tests.support.pid1 TEST...`: run these inside; with the journal's end when one fails."""
    with booted() as machine:
        told = machine.pytest(*arguments, timeout_s=3600)
        sys.stdout.write(told.stdout)
        if told.returncode:
            sys.stdout.write(machine.run("journalctl", "--no-pager", "--lines=100").stdout)
    return told.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
