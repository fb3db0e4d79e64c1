"""A network namespace that the test itself enters, with a real origin and a supervisor in it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from lab.origin import CREDENTIALS, S3_PORT, command, credentials_file
from nf.clock import RealClock
from nf.contracts.driver import Context
from nf.errors import UnavailableError
from nf.supervisor.client import SupervisorClient
from nf.trust.secrets import SecretFiles

ROOT = Path(__file__).parents[3]
KEYS = {"writer": "planted-secret-7f3a"}
REFERENCE = "secret:origin-writer"
_CLONE_NEWNET = 0x40000000
_SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from nf.supervisor.daemon import run_supervisor
asyncio.run(run_supervisor(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def _enter(path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(path).open("rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def own_namespace() -> Iterator[str]:
    """This thread, and all threads and processes that it starts, are in a namespace with nothing but loopback."""
    name = f"nf-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        with Path("/proc/thread-self/ns/net").open("rb") as before:
            _enter(f"/run/netns/{name}")
            try:
                yield name
            finally:
                _enter(f"/proc/self/fd/{before.fileno()}")
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def fetch(
    url: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> tuple[int, Mapping[str, str], bytes]:
    """As a stranger with another client than the drivers'."""
    request = urllib.request.Request(url, headers=dict(headers or {}), method=method)  # noqa: S310 - the test's own URL
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - the same
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


@dataclass
class LiveOrigin:
    """`directory` holds the data and the access keys, `secrets` what an appliance would have of them."""

    directory: Path
    secrets: Path
    process: subprocess.Popen[bytes]
    endpoint: str = f"http://127.0.0.1:{S3_PORT}"

    def keys(self, keys: Mapping[str, str], readers: Mapping[str, str] | None = None) -> None:
        """The origin accepts these from now on; `readers` may only look."""
        data = json.loads(credentials_file(keys))
        for access, secret in (readers or {}).items():
            key = {"accessKey": access, "secretKey": secret}
            data["identities"].append({"name": "reader", "credentials": [key], "actions": ["Read", "List"]})
        (self.directory / CREDENTIALS).write_text(json.dumps(data))
        self.process.send_signal(signal.SIGHUP)

    def secret(self, access_key: str, secret_key: str) -> None:
        """What the appliance has."""
        file = self.secrets / "origin-writer"
        file.touch(mode=0o600)
        file.write_text(f'{{"access_key": "{access_key}", "secret_key": "{secret_key}"}}')

    def context(self, seconds: float = 20) -> Context:
        clock = RealClock()
        return Context(clock, clock.monotonic() + seconds, resolve_secret=SecretFiles(self.secrets))


@contextlib.contextmanager
def live_origin(place: Path, *, volumes: int = 200, volume_mb: int = 64) -> Iterator[LiveOrigin]:
    """Runs in the namespace of the caller."""
    directory, secrets = place / "origin", place / "secrets"
    directory.mkdir()
    secrets.mkdir()
    (directory / CREDENTIALS).write_text(credentials_file(KEYS))
    argv = command(IPv4Address("127.0.0.1"), directory, volumes=volumes, volume_mb=volume_mb)
    with (place / "origin.log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        origin = LiveOrigin(directory, secrets, process)
        origin.secret(*next(iter(KEYS.items())))
        try:
            _await_ready(origin)
            yield origin
        finally:
            process.kill()


def _await_ready(origin: LiveOrigin) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and origin.process.poll() is None:
        with contextlib.suppress(OSError):
            # The gateway answers before the store behind it does: 403 means that it looked.
            if fetch(f"{origin.endpoint}/healthz")[0] == 200 and _writable():
                return
        time.sleep(0.1)
    raise AssertionError("the origin did not come up")


def _writable() -> bool:
    """A volume can be assigned: the master knows its volume server."""
    return b'"fid"' in fetch("http://127.0.0.1:9333/dir/assign")[2]


@contextlib.asynccontextmanager
async def supervisor(place: Path) -> AsyncIterator[SupervisorClient]:
    run_dir, state_dir = place / "run", place / "supervisor"
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SUPERVISOR, str(run_dir), str(state_dir)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        units = SupervisorClient(run_dir / "supervisor.sock")
        async with asyncio.timeout(60):
            while child.returncode is None:
                with contextlib.suppress(UnavailableError):
                    await units.list()
                    break
        yield units
    finally:
        child.terminate()
        await child.wait()
