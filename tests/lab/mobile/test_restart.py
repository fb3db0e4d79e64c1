"""A UPF that restarts: the SMF finds out and sets its sessions up again."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.core5g.conformance.network import Network
from tests.core5g.daemons import LIMIT_S
from tests.lab.mobile.models import GNB, ask, awaited, metric, upf

pytestmark = pytest.mark.root


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
        awaited(lambda: metric("10.50.0.7", "pfcp_sessions_active") == 1)
        assert ask("/model/sessions")[0]["upf"] == session["upf"]
        ask(f"/model/sessions/{session['id']}", method="DELETE")
        assert metric("10.50.0.7", "pfcp_sessions_active") == 0
