"""The models together, started as units start them: SMF, UPF, a gNB with a UE that is a device."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.core5g.conformance.network import LIMIT_S, MODELS, ROOT, UPF_YAML, Network, until

pytestmark = pytest.mark.root

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


@pytest.fixture
def network(require_root: Callable[[], None]) -> Iterator[Network]:
    require_root()
    with Network() as made:
        made.upf_namespace("upf", "10.50.0.7")
        made.upf_namespace("edge", "10.50.0.8")
        yield made


@pytest.fixture
def core(network: Network, tmp_path: Path) -> Iterator[Network]:
    """An SMF with two UPFs, both associated."""
    (tmp_path / "smf.yaml").write_text(SMF_YAML.format(log=tmp_path / "smf.log"), encoding="utf-8")
    with contextlib.ExitStack() as stack:
        for name, address in (("upf", "10.50.0.7"), ("edge", "10.50.0.8")):
            stack.enter_context(upf(network, name, address, tmp_path))
        command = [str(MODELS / "open5gs-smfd"), "-c", str(tmp_path / "smf.yaml")]
        stack.enter_context(running(command, tmp_path, "smf"))
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


def test_any_program_has_the_ues_addresses(core: Network, tmp_path: Path) -> None:
    routes = ("--route", "203.0.113.0/24", "--route", "2001:db8:cd::/48")
    with ran(tmp_path, "--tun", "uetun", "--pdn-type", "ipv4v6", *routes) as ues:
        assert ping("203.0.113.10")
        assert ping("2001:db8:cd::10")
        assert ues[0]["ue_ips"] == ["10.45.0.2", "2001:db8:45:1::1"]
        info = ask("/pdu-info?page=0&page_size=10")
        assert info["pager"]["count"] == 1
        pdu = info["items"][0]["pdu"][0]
        assert (pdu["ipv4"], pdu["pdu_state"]) == ("10.45.0.2", "active")
        assert pdu["n3"]["gnb"] == {"teid": ues[0]["teid"], "addr": "[10.50.0.2]:2152"}
        assert pdu["n3"]["upf"]["addr"] == "[10.50.0.7]:2152"
        assert pdu["n3"]["upf"]["pdr_id"] == 2


def test_many_ues_answer_from_behind_the_upf(core: Network, tmp_path: Path) -> None:
    control = tmp_path / "ran.sock"
    with ran(tmp_path, "--ues", "50", "--control", str(control), "--page") as ues:
        assert len({ue["ue_ips"][0] for ue in ues}) == 50
        last = ues[-1]

        def pinged() -> bool:
            return ping(last["ue_ips"][0], core.namespaces["upf"])

        assert pinged()
        with socket.socket(socket.AF_UNIX) as speaking:
            speaking.connect(str(control))
            lines = speaking.makefile("rw", encoding="utf-8")

            def act(what: str) -> dict[str, Any]:
                lines.write(json.dumps({"ue": last["supi"], "act": what}) + "\n")
                lines.flush()
                told: dict[str, Any] = json.loads(lines.readline())
                return told

            assert act("handover")["teid"] != last["teid"]
            assert awaited(lambda: act("stats")["end_markers"]) == 1
            assert pinged()
            assert act("idle")["active"] is False
            assert pinged()
            assert act("stats")["active"] is True
            assert ask(f"/model/sessions/{last['id']}")["paged"] == 1
            act("detach")
            assert "error" in act("stats")
    assert ask("/model/sessions") == []


def test_the_tac_selects_a_upf_for_any_dnn_since_it_is_an_or(core: Network) -> None:
    told = ask("/model/sessions", {"supi": "imsi-999700000000009", "dnn": "internet", "tac": 7, "gnb": GNB})
    other = ask("/model/sessions", {"supi": "imsi-999700000000008", "dnn": "internet", "tac": 7, "gnb": GNB})
    assert {told["n4"], other["n4"]} == {"10.50.0.7", "10.50.0.8"}
    assert ask("/model/sessions", {"supi": "imsi-999700000000007", "dnn": "cdn", "gnb": GNB})["n4"] == "10.50.0.8"


def test_after_a_restart_of_the_upf_the_smf_sets_its_sessions_up_again(core: Network, tmp_path: Path) -> None:
    """The SMF sees the newer time stamp in a heartbeat. It counts seconds: the next one has to come first."""
    up_by = int(time.time())
    session = ask("/model/sessions", {"supi": "imsi-999700000000001", "dnn": "internet", "gnb": GNB})
    assert session["upf"]["address"] == "10.50.0.7"
    pids = subprocess.run(
        ["ip", "netns", "pids", core.namespaces["upf"]], capture_output=True, text=True, check=True, timeout=LIMIT_S
    ).stdout.split()
    assert len(pids) == 1
    os.kill(int(pids[0]), 15)
    awaited(lambda: not Path(f"/proc/{pids[0]}/exe").exists())
    awaited(lambda: int(time.time()) > up_by)
    with upf(core, "upf", "10.50.0.7", tmp_path):
        awaited(lambda: _metric("10.50.0.7", "pfcp_sessions_active") == 1)
        assert ask("/model/sessions")[0]["upf"] == session["upf"]


def _metric(address: str, name: str) -> float:
    with urllib.request.urlopen(f"http://{address}:9090/metrics", timeout=LIMIT_S) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_one_ue_has_one_address(core: Network) -> None:
    first = ask("/model/sessions", {"supi": "imsi-1", "dnn": "internet", "ue_ip": "10.45.9.9", "gnb": GNB})
    assert first["ue_ip"] == "10.45.9.9"
    for supi, code in (("imsi-1", 409), ("imsi-2", 409)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask("/model/sessions", {"supi": supi, "dnn": "internet", "ue_ip": "10.45.9.9", "gnb": GNB})
        caught.value.close()
        assert caught.value.code == code
    ask(f"/model/sessions/{first['id']}", method="DELETE")
    assert ask("/model/sessions", {"supi": "imsi-2", "dnn": "internet", "ue_ip": "10.45.9.9", "gnb": GNB})["id"]
