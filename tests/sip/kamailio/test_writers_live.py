"""Many calls at once: several of Kamailio's processes write to one database, and each call leaves one record."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from sip.kamailio.paths import CALLS_DB
from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Relay, running, section, until
from tests.sip.kamailio.phones import Endpoint

pytestmark = [pytest.mark.root, pytest.mark.daemon]

SCENARIO: Final = Path(__file__).parents[1] / "scenarios" / "call.xml"
CALLS, PER_SECOND = 400, 100


def test_many_writers_lose_no_record_and_leave_no_dialog(relay: Relay, tmp_path: Path) -> None:
    wanted = section(limits={"calls_per_subscriber": 1000, "rate": 10_000})
    fields = tmp_path / "fields.csv"
    fields.write_text(f"SEQUENTIAL\nalice;bob;[authentication username=alice password={PASSWORD}];{DOMAIN}\n")
    with running(tmp_path, wanted) as proxy, Endpoint("127.0.0.1", 6002) as bob:
        bob.answers = lambda _: [(200, True)]
        assert bob.register("bob", DOMAIN, PASSWORD).code == 200
        argv = ["sipp", "127.0.0.1:5060", "-sf", str(SCENARIO), "-inf", str(fields), "-i", "127.0.0.4", "-p", "6900"]
        rate = ["-m", str(CALLS), "-r", str(PER_SECOND), "-d", "50", "-nostdin", "-timeout", "60"]
        done = subprocess.run([*argv, *rate], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout[-2500:] + done.stderr[-1500:]
        proxy.idle()
        until(lambda: not [one for one in proxy.records() if one["result"] == "open"])
        found = proxy.records()
        assert [one["result"] for one in found] == ["answered"] * CALLS
        assert len({one["call_id"] for one in found}) == CALLS
        with closing(sqlite3.connect(tmp_path / CALLS_DB)) as database:
            until(lambda: database.execute("SELECT count(*) FROM dialog").fetchone() == (0,))
        until(lambda: not relay.sessions(), what="a call is left at the relay")
        assert "locked" not in proxy.text()
