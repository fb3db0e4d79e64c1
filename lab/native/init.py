"""PID 1 of a node: makes the node's namespaces and mounts, runs what it is told to, reaps, and takes all with it.

Runs by itself (`python -I -S init.py LABEL`, standard library only), so that a node is there in milliseconds. It talks
with the runner over the socket on its standard input, one line of JSON each way: the specification in; `pid` out once
the namespaces stand; `mounted`; then the requests `sysctls`, `exec` and `start`. Until `start` it dies with the runner:
a runner that is killed leaves no process that its state file does not know.
"""

# pathlib would double the time that a node takes to start, hence:
# ruff: noqa: PTH102, PTH103, PTH110, PTH112, PTH115, PTH120, PTH123
from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import IO, Any, NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x4000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19
MNT_DETACH = 2
PRIVATE_TREES = ("/etc", "/var")
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # a mount point, no temporary file
RESTART_DELAY_S = 1.0

_libc = ctypes.CDLL(None, use_errno=True)


def _call(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _call(f"mount {target}", result)


def mount_points_below(folder: str) -> list[str]:
    """Mount points at or under `folder`, innermost first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        points = [line.split(" ")[4].encode("latin-1", "replace").decode("unicode_escape") for line in table]
    return [point for point in reversed(points) if point == folder or point.startswith(folder + "/")]


def private_overlay(tree: str, scratch: str) -> None:
    """What the node writes under `tree` stays in the node's memory; the host's files show through."""
    name = tree.strip("/")
    upper, work = f"{scratch}/{name}", f"{scratch}/{name}.work"
    os.mkdir(upper, 0o755)
    os.mkdir(work, 0o755)
    mount("nf-lab", tree, "overlay", 0, f"lowerdir={tree},upperdir={upper},workdir={work}")


class Mounts:
    """The node's own view of the file system; what must stay reachable is opened before anything is covered."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._opened = {path: os.open(path, os.O_PATH) for path in self._sources()}

    def _sources(self) -> set[str]:
        kept = set(self._spec["keep"]) | {"/sys/fs/cgroup"}
        return {bind["source"] for bind in self._spec["binds"]} | {path for path in kept if os.path.exists(path)}

    def make(self) -> None:
        for point in mount_points_below("/run"):
            # Names of network namespaces are mounts there: a copy of ours would keep them alive after their end.
            _libc.umount2(point.encode(), MNT_DETACH)
        mount("nf-lab", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        for tree in PRIVATE_TREES:
            private_overlay(tree, self._scratch(tree))
        _call("umount /run", _libc.umount2(b"/run", MNT_DETACH))
        mount("nf-lab", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        os.mkdir("/run/lock", 0o1777)
        if os.path.isdir(SHARED_MEMORY):
            mount("nf-lab", SHARED_MEMORY, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        for path in sorted(set(self._spec["keep"]) | {"/sys/fs/cgroup"}):
            if path in self._opened and path.startswith(("/sys/", "/run/", *(f"{tree}/" for tree in PRIVATE_TREES))):
                self._bind(path, path, read_only=False)
        for bind in self._spec["binds"]:
            self._bind(bind["source"], bind["target"], read_only=bind["read_only"])
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        for descriptor in self._opened.values():
            os.close(descriptor)

    def _scratch(self, tree: str) -> str:
        folder = f"/run/{tree.strip('/')}.layer"
        os.mkdir(folder, 0o700)
        return folder

    def _bind(self, source: str, target: str, *, read_only: bool) -> None:
        descriptor = self._opened[source]
        opened = f"/proc/self/fd/{descriptor}"
        if os.path.isdir(opened):
            os.makedirs(target, exist_ok=True)
        elif not os.path.exists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "x"):
                pass
        mount(opened, target, "", MS_BIND | MS_REC)
        if read_only:
            mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY)

    def name_files(self) -> None:
        """/etc/hosts and /etc/hostname of this node (its /etc is private by now)."""
        targets = {bind["target"] for bind in self._spec["binds"]}
        contents = {"/etc/hosts": self._spec["hosts"], "/etc/hostname": self._spec["node"] + "\n"}
        for path, text in contents.items():
            if path not in targets:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)


class MainProcess:
    """The node's `cmd`: started once, started anew where the restart policy says so; its state stands in a file."""

    def __init__(self, spec: dict[str, Any], folder: int) -> None:
        self._spec = spec
        self._folder = folder
        self._log = os.open("cmd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644, dir_fd=folder)
        self.pid = 0
        self.restarts = 0
        self.due: float | None = None

    def schedule(self) -> None:
        if self._spec["cmd"]:
            self.due = time.monotonic() + self._spec["startup_delay_s"]
            self._record("waiting")

    def start(self) -> None:
        self.due = None
        try:
            process = spawn(self._spec["cmd"], self._spec["environment"], self._log)
        except OSError as error:
            self._record("failed", f"cannot be started: {error.strerror}")
            return
        self.pid = process.pid
        process.returncode = 0  # this module reaps by itself
        self._record("running")

    def ended(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        text = f"exit {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        os.write(self._log, f"[nf lab] the main process ended: {text}\n".encode())
        self.pid = 0
        policy = self._spec["restart_policy"]
        if policy in ("always", "unless-stopped") or (policy == "on-failure" and code != 0):
            self.restarts += 1
            self.due = time.monotonic() + RESTART_DELAY_S
        self._record("ended", text)

    def _record(self, state: str, text: str = "") -> None:
        record = {"state": state, "pid": self.pid, "restarts": self.restarts, "last_exit": text}
        file = os.open("cmd.json.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=self._folder)
        os.write(file, json.dumps(record).encode())
        os.close(file)
        os.rename("cmd.json.new", "cmd.json", src_dir_fd=self._folder, dst_dir_fd=self._folder)


def spawn(argv: list[str], environment: dict[str, str], output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def set_sysctls(sysctls: dict[str, str]) -> None:
    for name, value in sysctls.items():
        path = "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(value)
        except OSError as error:
            raise OSError(error.errno, f"sysctl {name} = {value}: {error.strerror}") from None


def run_command(argv: list[str], environment: dict[str, str], log: int) -> dict[str, Any]:
    """Run to its end, in the node; the answer carries its exit code and the tail of its output."""
    try:
        done = subprocess.run(
            argv,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        return {"code": 127, "output": f"{argv[0]}: {error.strerror}"}
    text = done.stdout.decode(errors="replace")
    os.write(log, f"$ {' '.join(argv)}\n{text}[exit {done.returncode}]\n".encode())
    return {"code": done.returncode, "output": text[-2000:].strip()}


class Runner:
    """The runner's end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines: IO[bytes] = connection.makefile("rb")

    def receive(self) -> dict[str, Any]:
        """The next request; the end of the runner is the end of the node."""
        line = self._lines.readline()
        if not line.endswith(b"\n"):
            os._exit(1)
        request: dict[str, Any] = json.loads(line)
        return request

    def send(self, answer: dict[str, Any]) -> None:
        try:
            self._connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            os._exit(1)

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


def serve(runner: Runner, spec: dict[str, Any], log: int) -> None:
    """Answer requests until `start`."""
    while True:
        request = runner.receive()
        answer: dict[str, Any] = {}
        try:
            if request["do"] == "start":
                return
            if request["do"] == "sysctls":
                set_sysctls(request["sysctls"])
            elif request["do"] == "exec":
                answer = run_command(request["argv"], spec["environment"], log)
        except OSError as error:
            answer = {"error": error.strerror}
        runner.send(answer)


def reap_for_ever(main: MainProcess) -> NoReturn:
    """Adopt and reap whatever the node's processes leave behind; only SIGKILL from outside ends this."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == main.pid:
                main.ended(status)
        if main.due is None:
            signal.sigwaitinfo({signal.SIGCHLD})
        elif (left := main.due - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
        else:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            main.start()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})


def become_init(runner: Runner, spec: dict[str, Any]) -> NoReturn:
    """The life of PID 1, from its first instruction on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the kernel keeps it from PID 1; its children get it as usual
    runner.send({"pid": int(os.readlink("/proc/self"))})  # the host's number: /proc is still the host's here
    folder = os.open(spec["folder"], os.O_RDONLY | os.O_DIRECTORY)
    main = MainProcess(spec, folder)
    log = os.open("exec.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644, dir_fd=folder)
    try:
        mount("none", "/", "", MS_REC | MS_SLAVE)
        mounts = Mounts(spec)
        mounts.make()
        mounts.name_files()
        socket.sethostname(spec["node"])
    except OSError as error:
        runner.send({"error": error.strerror or str(error)})
        os._exit(1)
    os.chdir("/")
    runner.send({"mounted": True})
    serve(runner, spec, log)
    main.schedule()
    if main.due is not None and main.due <= time.monotonic():
        main.start()
    runner.send({"started": True})
    runner.close()
    reap_for_ever(main)


def main() -> NoReturn:
    connection = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    runner = Runner(connection)
    spec = runner.receive()
    flags = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID
    try:
        _call("unshare", _libc.unshare(flags))
    except OSError as error:
        runner.send({"error": error.strerror or str(error)})
        os._exit(1)
    os.umask(0o022)
    if os.fork():
        os._exit(0)
    become_init(runner, spec)


if __name__ == "__main__":
    sys.exit(main())
