"""A core of models, started as units start them: an SMF and two UPFs; a gNB; what they tell over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.core5g.conformance.network import UPF_YAML, Network, until
from tests.core5g.daemons import LIMIT_S, MODELS, ROOT

SMF_YAML = """
logger: {{file: {{path: {log}}}, level: info}}
smf:
  sbi: {{server: [{{address: 10.50.0.4, port: 7777}}], client: {{nrf: [{{uri: "http://10.50.0.10:7777"}}]}}}}
  pfcp:
    server: [{{address: 10.50.0.4}}]
    client: {{upf: [{{address: 10.50.0.7, dnn: internet}}, {{address: 10.50.0.8, dnn: cdn, tac: 7}}]}}
  gtpu: {{server: [{{address: 10.50.0.4}}]}}
  metrics: {{server: [{{address: 10.50.0.4, port: 9090}}]}}
  session:
    - {{subnet: 10.45.0.0/16, gateway: 10.45.0.1, dnn: internet}}
    - {{subnet: "2001:db8:45::/48", gateway: "2001:db8:45::1", dnn: internet}}
    - {{subnet: 10.46.0.0/16, gateway: 10.46.0.1, dnn: cdn}}
"""
URL = "http://10.50.0.4:9090"
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "NF_MODEL_HEARTBEAT_S": "1"}
GNB = {"address": "10.50.0.2", "teid": 1}


def ask(path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, method=method)  # noqa: S310 - http alone
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:  # noqa: S310
        text = answer.read()
    return json.loads(text) if text else None


def awaited(what: Callable[[], Any]) -> Any:
    """What is true at last. Raises TimeoutError."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, FileNotFoundError):
            if found := what():
                return found
        time.sleep(min(0.1, until(deadline)))


@contextlib.contextmanager
def running(command: list[str], folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.out").open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, cwd="/", env=_ENVIRONMENT)
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(LIMIT_S) == 0


@contextlib.contextmanager
def core_of(folder: Path) -> Iterator[Network]:
    """An SMF with two UPFs, both associated."""
    (folder / "smf.yaml").write_text(SMF_YAML.format(log=folder / "smf.log"), encoding="utf-8")
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        for name, address in (("upf", "10.50.0.7"), ("edge", "10.50.0.8")):
            network.upf_namespace(name, address)
            stack.enter_context(upf(network, name, address, folder))
        command = [str(MODELS / "open5gs-smfd"), "-c", str(folder / "smf.yaml")]
        stack.enter_context(running(command, folder, "smf"))
        awaited(lambda: all(peer["associated"] for peer in ask("/model/peers")))
        yield network


@contextlib.contextmanager
def upf(network: Network, name: str, address: str, folder: Path) -> Iterator[None]:
    file = folder / f"{name}.yaml"
    file.write_text(UPF_YAML.format(address=address, log=folder / f"{name}.log"), encoding="utf-8")
    entering = ["ip", "netns", "exec", network.namespaces[name]]
    with running([*entering, str(MODELS / "open5gs-upfd"), "-c", str(file)], folder, name):
        yield


@contextlib.contextmanager
def ran(folder: Path, *arguments: str) -> Iterator[list[dict[str, Any]]]:
    """A gNB whose UEs have their sessions."""
    ready = folder / "ran.json"
    command = [sys.executable, "-m", "lab.mobile.ran", "--smf", URL, "--address", "10.50.0.2", "--ready", str(ready)]
    with running([*command, *arguments], folder, "ran"):
        yield json.loads(awaited(lambda: ready.read_text(encoding="utf-8")))


def ping(destination: str, namespace: str | None = None) -> bool:
    entering = [] if namespace is None else ["ip", "netns", "exec", namespace]
    command = [*entering, sys.executable, "-m", "tests.lab.mobile.ping", destination]
    return subprocess.run(command, cwd=ROOT, timeout=LIMIT_S, check=False).returncode == 0


def metric(address: str, name: str) -> float:
    with urllib.request.urlopen(f"http://{address}:9090/metrics", timeout=LIMIT_S) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


AMF = "10.50.0.1"
K, OPC = "465b5ce8b199b49faa5f0a2ee238a6bc", "cd63cb71954a9f4e48a5994e37a02baf"
"""Of TS 35.208 test set 1."""


@contextlib.contextmanager
def amf(folder: Path, subscribers: str, *arguments: str) -> Iterator[Callable[[], str]]:
    """The stand-in AMF, listening; what it has told so far. `subscribers`: CSV."""
    (folder / "home.csv").write_text(subscribers, encoding="utf-8")
    command = [sys.executable, "-m", "lab.mobile.amf_daemon", "--address", AMF, "--smf", URL]
    told = folder / "amf.out"
    with running([*command, "--subscribers", str(folder / "home.csv"), *arguments], folder, "amf"):
        awaited(lambda: "listening" in told.read_text(encoding="utf-8"))
        yield lambda: told.read_text(encoding="utf-8")


def over_n2(*arguments: str, keys: tuple[str, ...] = ("--k", K, "--opc", OPC)) -> list[str]:
    """Command of a gNB whose UEs register over N2; AMF and gNB are in one namespace, so it has another UDP port."""
    command = [sys.executable, "-m", "lab.mobile.ran", "--amf", AMF, "--udp-port", "9900", "--address", "10.50.0.2"]
    return [*command, *keys, *arguments]
