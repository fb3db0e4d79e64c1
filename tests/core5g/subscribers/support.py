"""SecantusDB (PyPI), a program of its own that speaks MongoDB's protocol; a small core; files of subscribers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from core5g.documents import Core5g
from core5g.subscribers.keys import opc_of
from core5g.subscribers.scope import Scope
from tests.support.ports import free_port

CORE_DATA: dict[str, Any] = {
    "plmn": {"mcc": "999", "mnc": "70"},
    "mvnos": [{"mcc": "999", "mnc": "71"}],
    "tacs": [1],
    "slices": [{"sst": 1}, {"sst": 1, "sd": "00002a"}],
    "networks": [
        {"dnn": "internet", "pools": ["10.45.0.0/16", "2001:db8:45::/48"]},
        {"dnn": "ims", "pools": ["10.46.0.0/24"]},
    ],
}
CORE = Core5g.model_validate(CORE_DATA)
OURS, MVNO = Scope("999", "70"), Scope("999", "71")

K, OP = "465b5ce8b199b49faa5f0a2ee238a6bc", "cdc202d5123e20f62b6d676ac72cb318"
OPC = "cd63cb71954a9f4e48a5994e37a02baf"


def imsi(number: int, plmn: str = "99970") -> str:
    return f"{plmn}{number:010d}"


def key(number: int) -> str:
    """A K of its own for each subscriber, none of which is in any other text."""
    return f"{number:08x}{'5ec2e7a1b0c4d9f3e6a8b7c1'}"


def opc(number: int) -> str:
    return opc_of(key(number), OP)


def table(numbers: range, plmn: str = "99970") -> list[list[str]]:
    head = ["imsi", "k", "opc", "msisdn", "ue_downlink"]
    return [head, *([imsi(n, plmn), key(n), opc(n), f"4915{n:09d}", "200M"] for n in numbers)]


def csv_text(rows: list[list[str]]) -> str:
    return "".join(",".join(row) + "\n" for row in rows)


def fleet_file(path: Path, database: str | None = None) -> Path:
    core = CORE_DATA | ({} if database is None else {"database": database})
    fleet = {
        "apiVersion": "streamverse.nf/v1",
        "kind": "Fleet",
        "metadata": {"name": "small"},
        "spec": {"equipment": {"core5g": core}},
    }
    path.write_text(json.dumps(fleet))
    return path


@dataclass
class Server:
    """`storage`: a directory that outlives it, or `:memory:`."""

    storage: str = ":memory:"
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> Server:
        program = Path(sys.executable).parent / "secantusd-py"
        command = [str(program), "--host", "127.0.0.1", "--port", str(self.port), "--storage-path", self.storage]
        self.process = subprocess.Popen(
            [*command, *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        with MongoClient[dict[str, Any]](self.uri, serverSelectionTimeoutMS=90_000) as client:
            client.admin.command("ping")
        return self

    def kill(self) -> None:
        """As when the power goes."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(90)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
