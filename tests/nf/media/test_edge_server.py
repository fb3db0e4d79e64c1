from __future__ import annotations

from pathlib import Path

from nf.clock import RealClock
from nf.media.edge.server import Server
from nf.supervisor.client import SupervisorClient

_SAID = """\
[Nov 23 04:24:58.101] {0x7f} NOTE: remap.config loading ...
[Nov 23 04:24:58.103] {0x7f} ERROR: [remap_purge] Can not open file /v/ch1.generation: No such file or directory (2)
"""
_DENIED = (
    "[Nov 23 04:24:58.104] {0x7f} ERROR: [remap_purge] Can not open file /v/ch1.generation: Permission denied (13)\n"
)
_BROKEN = "[Nov 23 04:24:58.105] {0x7f} ERROR: [ReverseProxy] unable to parse map at line 3\n"


def test_a_channel_that_was_never_purged_is_no_complaint_and_all_else_is(tmp_path: Path) -> None:
    """The table is not live yet when these lines are there: taken for the reason, they undid a commit that was good."""
    server = Server(tmp_path, tmp_path, SupervisorClient(tmp_path / "supervisor.sock"), RealClock())
    log = server.places.logs / "diags.log"
    log.parent.mkdir(parents=True)
    log.write_text(_SAID)
    assert server.complaints(0) == ()
    log.write_text(_SAID + _DENIED + _BROKEN)
    denied, broken = server.complaints(0)
    assert "Permission denied" in denied
    assert "unable to parse map" in broken
