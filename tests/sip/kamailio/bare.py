"""A real Kamailio with as little as its RPC needs, for the client's own tests."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CONFIG = """#!KAMAILIO
debug=-1
log_stderror=yes
auto_aliases=no
listen=udp:127.0.0.1:{sip}
listen=tcp:127.0.0.1:{http}
children=1
tcp_children=2
tcp_accept_no_cl=yes
tcp_conn_wq_max=33554432
tcp_wq_max=67108864
loadmodule "jsonrpcs.so"
loadmodule "kex.so"
loadmodule "corex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "xhttp.so"
loadmodule "htable.so"
modparam("jsonrpcs", "transport", 5)
modparam("jsonrpcs", "dgram_socket", "{run}/rpc.sock")
modparam("jsonrpcs", "dgram_mode", 0600)
modparam("jsonrpcs", "pretty_format", 0)
modparam("htable", "htable", "t=>size=14;")
request_route {{ sl_send_reply("200", "OK"); }}
event_route[xhttp:request] {{ jsonrpc_dispatch(); }}
"""
HTTP = 18090


@dataclass(frozen=True)
class Bare:
    run: Path
    process: subprocess.Popen[bytes]

    @property
    def path(self) -> Path:
        return self.run / "rpc.sock"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{HTTP}/RPC"

    def signal(self, number: signal.Signals) -> None:
        """To all its processes."""
        os.killpg(self.process.pid, number)


@contextmanager
def kamailio(run: Path) -> Iterator[Bare]:
    file = run / "kamailio.cfg"
    file.write_text(CONFIG.format(run=run, sip=15060, http=HTTP))
    words = ("kamailio", "-DD", "-E", "-m", "128", "-M", "32", "-Y", str(run), "-f", str(file))
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    made = Bare(run, process)
    try:
        yield made
    finally:
        made.signal(signal.SIGCONT)
        made.signal(signal.SIGTERM)
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            made.signal(signal.SIGKILL)
            process.wait()
