"""A UE registers over N2 with a real core that already runs, and has a session: not run on a real one so far.

`NF_OPEN5GS_AMF` names its AMF; the rest of the environment is in docs/core5g.md. The core's own models have no N2: the
stand-in AMF is for `tests/lab/mobile`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.core5g.conformance.network import until
from tests.core5g.daemons import LIMIT_S, ROOT, VERIFIED

_AMF = os.environ.get("NF_OPEN5GS_AMF")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(_AMF is None, reason="NF_OPEN5GS_AMF names no AMF: needs a real core that runs"),
]


def test_a_ue_registers_with_the_amf_and_has_a_session(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("conformance", f"{VERIFIED}: AMF {_AMF}")
    ping = os.environ.get("NF_OPEN5GS_PING")
    subscribers = Path(os.environ["NF_OPEN5GS_SUBSCRIBERS"])
    first = subscribers.read_text(encoding="utf-8").splitlines()[1].split(",")[0]
    ready, trace = tmp_path / "ran.json", tmp_path / "n2.pcap"
    command = [sys.executable, "-m", "lab.mobile.ran", "--amf", str(_AMF), "--address", os.environ["NF_N3_ADDRESS"]]
    command += ["--sctp", os.environ.get("NF_OPEN5GS_SCTP", "kernel"), "--subscribers", str(subscribers)]
    command += ["--plmn", os.environ.get("NF_OPEN5GS_PLMN", "999-70"), "--supi", f"imsi-{first}"]
    command += ["--dnn", os.environ.get("NF_OPEN5GS_DNN", "internet"), "--ready", str(ready), "--trace", str(trace)]
    command += [] if ping is None else ["--tun", "conform0", "--route", f"{ping}/32"]
    with (tmp_path / "ran.out").open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + LIMIT_S
        while not ready.exists():
            assert process.poll() is None, (tmp_path / "ran.out").read_text(encoding="utf-8")
            time.sleep(min(0.1, until(deadline)))
        [told] = json.loads(ready.read_text(encoding="utf-8"))
        assert told["ue_ips"]
        if ping is not None:
            asking = [sys.executable, "-m", "tests.lab.mobile.ping", ping]
            subprocess.run(asking, cwd=ROOT, timeout=LIMIT_S, check=True)
    finally:
        process.terminate()
        assert process.wait(LIMIT_S) == 0
