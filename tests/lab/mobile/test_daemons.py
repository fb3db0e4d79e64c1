"""Every daemon of the set says what it is, starts with a configuration as Open5GS has it, and refuses what it would."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.mobile import standin
from lab.mobile.config import ConfigError, refuse

BIN = Path(__file__).parents[3] / "lab" / "mobile" / "bin"
LIMIT_S = 90.0

AMF: dict[str, Any] = {
    "ngap": {"server": [{"address": "127.0.0.1"}]},
    "guami": [{"plmn_id": {"mcc": 999, "mnc": 70}, "amf_id": {"region": 2, "set": 1}}],
    "tai": [{"plmn_id": {"mcc": 999, "mnc": 70}, "tac": 1}],
    "plmn_support": [{"plmn_id": {"mcc": 999, "mnc": 70}, "s_nssai": [{"sst": 1}]}],
    "security": {"integrity_order": ["NIA2"], "ciphering_order": ["NEA0"]},
    "time": {"t3512": {"value": 540}},
}


def _port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
    return port


def _get(url: str, body: bytes | None = None, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(url, body, method=method)  # noqa: S310 - http alone
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("kind", ["upf", "smf", *standin.KINDS])
def test_it_is_there_and_says_that_it_is_a_model(kind: str, tmp_path: Path) -> None:
    binary = BIN / f"open5gs-{kind}d"
    assert binary.exists()
    assert os.access(binary, os.X_OK)
    if kind not in ("upf", "amf"):
        return
    done = subprocess.run(
        [binary, "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=LIMIT_S, check=True
    )
    assert done.stdout.startswith("MODEL")
    assert f"open5gs-{kind}d" in done.stdout


@pytest.mark.parametrize("without", ["ngap", "guami", "tai", "plmn_support", "security", "time"])
def test_an_amf_without_what_it_needs_does_not_start(without: str) -> None:
    part = {**AMF, "sbi": {"server": [{"address": "127.0.0.1"}]}}
    refuse({"amf": part}, "amf")
    with pytest.raises(ConfigError, match=without):
        refuse({"amf": {key: value for key, value in part.items() if key != without}}, "amf")


def test_an_amf_without_t3512_ends_with_an_error(tmp_path: Path) -> None:
    file = tmp_path / "amf.yaml"
    file.write_text(yaml.safe_dump({"amf": {**AMF, "time": {}}}), encoding="utf-8")
    done = subprocess.run(
        [BIN / "open5gs-amfd", "-c", file], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 1
    assert "t3512" in done.stderr


def test_a_database_function_needs_its_database() -> None:
    part = {"sbi": {"server": [{"address": "127.0.0.1", "port": 7777}]}}
    refuse({"udr": part, "db_uri": "mongodb://127.0.0.1/open5gs"}, "udr")
    with pytest.raises(ConfigError, match="db_uri"):
        refuse({"udr": part}, "udr")


def test_a_stand_in_listens_shows_what_it_was_given_and_ends_when_told(tmp_path: Path) -> None:
    sbi, metrics = _port(), _port()
    part = {
        **AMF,
        "sbi": {"server": [{"address": "127.0.0.1", "port": sbi}]},
        "metrics": {"server": [{"address": "127.0.0.1", "port": metrics}]},
    }
    log, file = tmp_path / "amf.log", tmp_path / "amf.yaml"
    data = {"logger": {"file": {"path": str(log)}}, "amf": part}
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    url = f"http://127.0.0.1:{metrics}"
    process = subprocess.Popen([BIN / "open5gs-amfd", "-c", file], cwd="/", stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + LIMIT_S
        while "is running" not in (log.read_text(encoding="utf-8") if log.exists() else ""):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        assert "MODEL" in log.read_text(encoding="utf-8").splitlines()[0]
        assert _get(f"{url}/ue-info")[1] == '{"items": [], "pager": {"page": 0, "page_size": 100, "count": 0}}'
        ues = [{"supi": f"imsi-{number}"} for number in range(3)]
        assert _get(f"{url}/model/ue-info", json.dumps(ues).encode(), "PUT")[0] == 200
        shown = json.loads(_get(f"{url}/ue-info?page=0&page_size=2")[1])
        assert shown == {
            "items": ues[:2],
            "pager": {"page": 0, "page_size": 2, "count": 2, "next": "/ue-info?page=1&page_size=2"},
        }
        assert "ran_ue 3" in _get(f"{url}/metrics")[1].splitlines()
        assert _get(f"{url}/nothing")[0] == 404
        assert _get(f"http://127.0.0.1:{sbi}/namf-comm/v1/ue-contexts")[0] == 501
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LIMIT_S)
    assert process.returncode == 0
