"""A FreeSWITCH on loopback, on ports of its own, with a file of ours: the model of the lab, or NF_FREESWITCH_BIN's."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from sip.freeswitch.connection import EslConnection
from sip.freeswitch.render import Secrets, to_text
from tests.sip.freeswitch.daemons import LIMIT_S
from tests.sip.freeswitch.samples import DOMAIN, PASSWORD, section


@dataclass(frozen=True)
class Running:
    """sip: ADDRESS:PORT; `control`: port of the event socket; `boxes`: where messages are kept."""

    sip: str
    control: int
    boxes: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)

    @contextlib.asynccontextmanager
    async def talk(self) -> AsyncIterator[EslConnection]:
        connection = await EslConnection.open("127.0.0.1", self.control, PASSWORD, timeout_s=LIMIT_S)
        try:
            yield connection
        finally:
            connection.close()


def _free(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


@contextlib.contextmanager
def started(programs: Path, folder: Path, address: str = "127.0.0.1", port: int = 0) -> Iterator[Running]:
    """127.0.0.1 may call, as a proxy; alice and bob have boxes. Port 0: whichever is free."""
    server = {"address": address, "port": port or _free(socket.SOCK_DGRAM), "control": _free()}
    made = section(server=server, callers=["127.0.0.1"])
    for name in ("conf", "log", "db", "run", "storage"):
        (folder / name).mkdir()
    secrets = Secrets(PASSWORD, frozenset({("alice", DOMAIN), ("bob", DOMAIN)}))
    (folder / "conf" / "freeswitch.xml").write_text(to_text(made, secrets, folder / "storage"))
    words = [word for name in ("conf", "log", "db", "run", "storage") for word in (f"-{name}", str(folder / name))]
    environment = {**os.environ, "NF_PYTHON": sys.executable}
    with (folder / "out").open("wb") as out:
        command = [programs / "freeswitch", "-nonat", "-nf", *words]
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        deadline = time.monotonic() + LIMIT_S
        while not _answers(made.server.control):
            assert process.poll() is None, (folder / "out").read_text()[-2000:]
            assert time.monotonic() < deadline, "does not come up"
            time.sleep(0.1)
        yield Running(f"{address}:{made.server.port}", made.server.control, folder / "storage", process)
    finally:
        process.terminate()
        process.wait(LIMIT_S)
