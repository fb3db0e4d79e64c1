"""Agents for tests: snmpsim over walks, net-snmp's snmpd, and one that answers whatever a test wants."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pydantic import SecretStr

from headend.snmp.header import discovery_request
from headend.snmp.target import AuthProtocol, Community, Credentials, PrivacyProtocol, Target, Usm
from tests.support.ports import free_port, free_ports

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("NF_SHARED", REPOSITORY.parent / "shared"))
CAPTURED = SHARED / "reference" / "headend" / "snmprec"
"""Walks of real devices; third-party data that is not part of this repository."""
OWN_WALKS = REPOSITORY / "tests" / "data" / "snmp"

AUTH_KEY, PRIVACY_KEY = "authentic-1", "confidential-1"
_START_S = 20.0


def usm(user: str = "nf", *, context: str = "", auth_key: str = AUTH_KEY, privacy_key: str = PRIVACY_KEY) -> Usm:
    return Usm(
        user,
        AuthProtocol.SHA256,
        SecretStr(auth_key),
        PrivacyProtocol.AES128,
        SecretStr(privacy_key),
        context,
    )


def wait_for_agent(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something answers an SNMPv3 discovery."""
    deadline = time.monotonic() + _START_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(("127.0.0.1", port))
        asking.settimeout(0.2)
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError):
                asking.send(discovery_request(1))
                if asking.recv(2048):
                    return
            time.sleep(0.02)
    raise RuntimeError(f"no agent at port {port}; its exit code: {process.poll()}")


@contextmanager
def _directory() -> Iterator[Path]:
    """One that a daemon may enter that has given up root."""
    path = Path(tempfile.mkdtemp(prefix="nfs"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


# --- snmpsim ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Simulator:
    """snmpsim serving walks: the community, or the SNMPv3 context, is the name of the file."""

    port: int
    walks: tuple[str, ...]

    def target(self, walk: str, *, version: str = "v2c", timeout_s: float = 15.0, retries: int = 1) -> Target:
        credentials: Credentials = usm(context=walk) if version == "v3" else Community(walk)
        if version == "v1":
            credentials = Community(walk, "v1")
        return Target("127.0.0.1", self.port, credentials, timeout_s, retries)


@contextmanager
def simulator(walks: Sequence[Path]) -> Iterator[Simulator]:
    """snmpsim with these *.snmprec files."""
    with _directory() as directory:
        data, cache = directory / "data", directory / "cache"
        data.mkdir()
        cache.mkdir()
        for walk in walks:
            shutil.copy(walk, data / walk.name)
        options = [f"--data-dir={data}", f"--cache-dir={cache}", "--logging-method=null", "--quiet"]
        if os.geteuid() == 0:
            shutil.chown(cache, "nobody", "nogroup")
            options += ["--process-user=nobody", "--process-group=nogroup"]
        port = free_port()
        users = [
            "--v3-user=nf",
            f"--v3-auth-key={AUTH_KEY}",
            "--v3-auth-proto=SHA256",
            f"--v3-priv-key={PRIVACY_KEY}",
            "--v3-priv-proto=AES",
        ]
        program = Path(sys.executable).parent / "snmpsim-command-responder"
        argv = [str(program), *options, *users, f"--agent-udpv4-endpoint=127.0.0.1:{port}"]
        environment = {**os.environ, "HOME": str(directory), "PYTHONWARNINGS": "ignore"}
        process = subprocess.Popen(
            argv, env=environment, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for_agent(port, process)
            yield Simulator(port, tuple(walk.stem for walk in walks))
        finally:
            process.terminate()
            process.wait()


# --- net-snmp --------------------------------------------------------------------------------------------------------

TWENTY_OIDS = tuple(
    [f"1.3.6.1.2.1.1.{number}.0" for number in range(1, 7)] + [f"1.3.6.1.2.1.11.{number}.0" for number in range(8, 22)]
)
"""That every snmpd has: the system group, and counters of its own traffic."""


@dataclass
class Snmpd:
    """net-snmp's agent on loopback, with a past: its boots are kept from one start to the next."""

    directory: Path
    ports: tuple[int, ...]
    engine_id: str = "8000000001020304"
    extra: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        return self.ports[0]

    def target(self, credentials: Credentials | None = None, *, timeout_s: float = 2.0, retries: int = 1) -> Target:
        return Target("127.0.0.1", self.port, credentials or Community("public"), timeout_s, retries)

    def start(self) -> None:
        addresses = ",".join(f"udp:127.0.0.1:{port}" for port in self.ports)
        (self.directory / "snmpd.conf").write_text(
            f"agentaddress {addresses}\nrocommunity public\nrwcommunity private\nexactEngineID 0x{self.engine_id}\n"
            f"createUser nf SHA-256 {AUTH_KEY} AES {PRIVACY_KEY}\nrwuser nf priv\n{self.extra}\n"
        )
        kept = self.directory / "kept"
        files = f"{self.directory / 'snmpd.conf'},{kept / 'snmpd.conf'}"
        argv = ["snmpd", "-f", "-C", "-c", files, "-r", "-I", "-smux", "-Lf", str(self.directory / "log")]
        environment = {
            **os.environ,
            "SNMP_PERSISTENT_DIR": str(kept),
            "MIBS": "",
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }
        self.process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_agent(self.port, self.process)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def kill(self) -> None:
        """Power lost, paused or not."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """It lives and says nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def reboot(self) -> None:
        """Boots go up."""
        self.stop()
        self.start()

    def factory_reset(self) -> None:
        """Boots begin again, under the same engine id."""
        self.stop()
        shutil.rmtree(self.directory / "kept")
        self.start()

    def replace(self, engine_id: str) -> None:
        """Another device at the same address."""
        self.stop()
        shutil.rmtree(self.directory / "kept")
        self.engine_id = engine_id
        self.start()


@contextmanager
def snmpd(ports: int = 1, extra: str = "") -> Iterator[Snmpd]:
    """A running snmpd; 100 ports at most, since its agentaddress line is cut silently beyond."""
    with _directory() as directory:
        agent = Snmpd(directory, free_ports(ports), extra=extra)
        agent.start()
        try:
            yield agent
        finally:
            agent.resume()
            agent.stop()


# --- one that answers as told ----------------------------------------------------------------------------------------

Answer = Callable[[bytes], Sequence[bytes]]


class _Rogue(asyncio.DatagramProtocol):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        for answer in self._answer(data):
            self._transport.sendto(answer, source)


@asynccontextmanager
async def rogue(answer: Answer, credentials: Credentials | None = None) -> AsyncIterator[Target]:
    """An agent that sends the datagrams that `answer` makes of each request."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Rogue(answer), local_addr=("127.0.0.1", 0)
    )
    try:
        port = transport.get_extra_info("sockname")[1]
        yield Target("127.0.0.1", port, credentials or Community("public"), timeout_s=0.3, retries=1)
    finally:
        transport.close()
