"""UEs register over N2 with SCTP in UDP, with a stand-in for the AMF, and play packets through SMF and UPF models."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.mobile.sctp import SctpError, _library
from tests.core5g.conformance.network import Network
from tests.core5g.daemons import LIMIT_S, ROOT
from tests.lab.mobile.models import OPC, K, amf, ask, awaited, over_n2, ping, running

pytestmark = pytest.mark.root

SERVER = "203.0.113.10"
SUPI = "imsi-999700000000001"
HOME = "imsi,k,opc,sqn\n" + "".join(f"99970000000000{number},{K},{OPC},20\n" for number in range(1, 6))


@pytest.fixture(autouse=True)
def _usrsctp() -> None:
    try:
        _library()
    except SctpError as error:
        pytest.skip(str(error))


def _told(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(awaited((folder / "ran.json").read_text))
    return found


def _states() -> dict[str, str]:
    return {session["supi"]: session["state"] for session in ask("/model/sessions")}


def _act(path: Path, ue: str, act: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as speaking:
        speaking.settimeout(LIMIT_S)
        speaking.connect(str(path))
        speaking.sendall(json.dumps({"ue": ue, "act": act}).encode() + b"\n")
        found: dict[str, Any] = json.loads(speaking.makefile().readline())
    return found


@pytest.mark.parametrize("ciphering", ["nea0", "nea2"])
def test_a_registered_ue_plays_packets_idles_and_is_paged(core: Network, tmp_path: Path, ciphering: str) -> None:
    trace, control = tmp_path / "n2.pcap", tmp_path / "control"
    files = ("--ready", str(tmp_path / "ran.json"), "--control", str(control), "--trace", str(trace))
    command = over_n2("--ues", "3", "--tun", "ue", "--route", f"{SERVER}/32", "--route", "10.45.0.1/32", *files)
    with amf(tmp_path, HOME, "--ciphering", ciphering) as said, running(command, tmp_path, "ran"):
        told = _told(tmp_path)
        assert [entry["supi"] for entry in told] == [f"imsi-99970000000000{number}" for number in range(1, 4)]
        awaited(lambda: _states() == {entry["supi"]: "active" for entry in told})
        assert ping(SERVER)
        awaited(lambda: said().count("is registered") == 3)

        # The last UE's device has the route; idle, its own packets bring it back, and so does what waits for it.
        last = told[-1]
        assert _act(control, last["supi"], "idle")["active"] is False
        awaited(lambda: _states()[last["supi"]] == "idle")
        assert ping(SERVER)
        awaited(lambda: _states()[last["supi"]] == "active")
        assert _act(control, last["supi"], "idle")["active"] is False
        awaited(lambda: _states()[last["supi"]] == "idle")
        assert ping(last["ue_ips"][0], core.namespaces["upf"])
        assert _act(control, last["supi"], "stats")["active"] is True

        assert "error" not in _act(control, told[0]["supi"], "detach")
        awaited(lambda: len(_states()) == 2)
    assert ask("/model/sessions") == []
    _judge(trace, ciphering)


def _judge(trace: Path, ciphering: str) -> None:
    """Wireshark's dissectors find every message whole; without ciphering they read what is in it."""
    fields = ["_ws.malformed", "ngap.procedureCode", "nas_5gs.mm.message_type", "nas_5gs.sm.message_type"]
    command = ["tshark", "-n", "-r", str(trace), "-T", "fields", "-E", "separator=;"]
    command += ["-o", "nas-5gs.null_decipher:TRUE"] if ciphering == "nea0" else []
    command += [part for field in fields for part in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    rows = [line.split(";") for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == {""}
    kinds = {kind for row in rows for kind in row[2].split(",") if kind}
    open_ones = {"0x41", "0x56", "0x57", "0x5d"}
    assert open_ones <= {f"{int(kind, 0):#x}" for kind in kinds}
    inside = {f"{int(kind, 0):#x}" for row in rows for kind in row[3].split(",") if kind}
    assert ({"0xc1", "0xc2", "0xd1", "0xd3", "0xd4"} <= inside) is (ciphering == "nea0")


def _refused(command: list[str]) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr


@pytest.mark.usefixtures("core")
def test_another_key_is_an_authentication_failure_and_gives_no_session(tmp_path: Path) -> None:
    keys = ("--k", "0396eb317b6d1c36f19c1c84cd6ffd16", "--opc", OPC)
    with amf(tmp_path, HOME) as said:
        assert "MAC failure" in _refused(over_n2(keys=keys))
        assert "authentication failure, 5GMM cause 20" in said()
        assert "5GMM cause 3" in _refused(over_n2("--supi", "imsi-999700000000099"))
    assert ask("/model/sessions") == []


@pytest.mark.usefixtures("core")
def test_a_usim_that_is_ahead_is_resynchronised(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text(f"imsi,k,opc,sqn\n999700000000001,{K},{OPC},00000000f000\n", encoding="utf-8")
    command = over_n2("--ready", str(tmp_path / "ran.json"), keys=("--subscribers", str(own)))
    with amf(tmp_path, HOME) as said, running(command, tmp_path, "ran"):
        assert _told(tmp_path)[0]["ue_ips"]
        assert "999700000000001: resynchronised" in said()
        awaited(lambda: list(_states().values()) == ["active"])


@pytest.mark.usefixtures("core")
def test_a_gnb_that_keeps_is_there_before_its_amf_and_after_another(tmp_path: Path) -> None:
    command = over_n2("--keep", "--tun", "kept0", "--route", f"{SERVER}/32")
    with running(command, tmp_path, "ran"):
        for _ in range(2):
            with amf(tmp_path, HOME) as said:
                awaited(lambda said=said: "is registered" in said())
                awaited(lambda: list(_states().values()) == ["active"])
                assert ping(SERVER)
