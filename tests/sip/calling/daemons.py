"""A proxy and a relay of their own for live tests: real Kamailio and real rtpengine, on addresses of loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sip.calling.digest import Account
from sip.kamailio.jsonrpc import RpcRefused

PROXY, RELAY = "127.0.60.1", "127.0.60.2"
DOMAIN = "voice.streamverse.test"
PASSWORD = "only for tests"
USERS = ("probe1", "probe2", "alice", "bob")

CONFIG = """\
debug=1
log_stderror=yes
fork=yes
children=2
memdbg=5
memlog=5
auto_aliases=no
alias="{domain}"
listen=udp:{proxy}:5060
listen=tcp:{proxy}:5060
server_header="Server: sip"
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "jsonrpcs.so"
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "sanity.so"
loadmodule "ctl.so"
loadmodule "htable.so"
loadmodule "auth.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "dialog.so"
loadmodule "dispatcher.so"
loadmodule "rtpengine.so"
loadmodule "xhttp.so"
listen=tcp:127.0.0.1:8090
tcp_accept_no_cl=yes
modparam("jsonrpcs", "transport", 7)
modparam("jsonrpcs", "fifo_name", "")
modparam("jsonrpcs", "dgram_socket", "{run}/rpc.sock")
modparam("jsonrpcs", "dgram_mode", 0600)
modparam("ctl", "binrpc", "unix:{run}/ctl.sock")
modparam("htable", "htable", "sub=>size=8;")
modparam("htable", "htable", "li=>size=4;")
modparam("usrloc", "db_mode", 0)
modparam("registrar", "max_expires", 3600)
modparam("dialog", "enable_stats", 1)
modparam("dispatcher", "list_file", "{run}/dispatcher.list")
modparam("rtpengine", "rtpengine_sock", "udp:{relay}:2223")
modparam("rtpengine", "rtpengine_allow_op", 1)
modparam("rr", "append_fromtag", 1)
request_route {{
	if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483","Too Many Hops"); exit; }}
	if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
	if (has_totag()) {{
		if (loose_route()) {{
			if (is_method("BYE")) rtpengine_delete();
			if (!t_relay()) sl_reply_error();
			exit;
		}}
		if (is_method("ACK") && t_check_trans()) {{ t_relay(); }}
		exit;
	}}
	t_check_trans();
	if (is_method("OPTIONS")) {{ sl_send_reply("200","OK"); exit; }}
	if ($sht(sub=>$fU)==$null || !pv_auth_check("{domain}","$sht(sub=>$fU)","1","1")) {{
		auth_challenge("{domain}","0"); exit;
	}}
	if (is_method("REGISTER")) {{ save("location"); exit; }}
	consume_credentials();
	record_route();
	if (is_method("INVITE")) dlg_manage();
	if (!lookup("location")) {{ sl_send_reply("404","Not Found"); exit; }}
	if (is_method("INVITE") && !rtpengine_offer("replace-origin replace-session-connection")) {{
		sl_send_reply("503","No media relay"); exit;
	}}
	t_on_reply("R");
	if (!t_relay()) sl_reply_error();
	exit;
}}
onreply_route[R] {{
	if (has_body("application/sdp")) rtpengine_answer("replace-origin replace-session-connection");
}}
event_route[xhttp:request] {{
	if ($hu =~ "^/RPC") {{ jsonrpc_dispatch(); exit; }}
	xhttp_reply("404","NF","text/plain","no\\n");
}}
"""


@dataclass(frozen=True)
class Daemons:
    run: Path
    kamailio: subprocess.Popen[bytes]
    rtpengine: subprocess.Popen[bytes]

    def rpc(self, method: str, *params: Any) -> Any:
        """By a datagram; raises LookupError with the error of Kamailio."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            own = self.run / f"client-{time.monotonic_ns()}.sock"
            sock.bind(str(own))
            sock.settimeout(20)
            sock.connect(str(self.run / "rpc.sock"))
            sock.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": [*params]}).encode())
            answer = json.loads(sock.recv(1 << 20))
            own.unlink()
        if "error" in answer:
            raise LookupError(answer["error"])
        return answer["result"]

    async def call(self, method: str, *params: Any) -> Any:
        """As queries ask."""
        try:
            return await asyncio.to_thread(self.rpc, method, *params)
        except LookupError as error:
            raise RpcRefused(method, error.args[0]["code"], error.args[0]["message"]) from None


def secret(*users: str) -> str:
    """The accounts file."""
    lines = []
    for user in users or USERS:
        made = Account.of(user, DOMAIN, PASSWORD)
        lines += [f"{user}:{DOMAIN}:{one}" for one in made.ha1.values()]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def running(run: Path) -> Iterator[Daemons]:
    """Both, ready, with the accounts of `USERS`."""
    missing = [name for name in ("kamailio", "rtpengine") if shutil.which(name) is None]
    if missing:
        raise LookupError(f"not installed: {', '.join(missing)}")
    run.mkdir(parents=True, exist_ok=True)
    (run / "dispatcher.list").write_text("1 sip:127.0.60.9:5080 0 0 duid=fs1\n")
    config = run / "kamailio.cfg"
    config.write_text(CONFIG.format(domain=DOMAIN, proxy=PROXY, relay=RELAY, run=run))
    with (run / "log").open("wb") as log, contextlib.ExitStack() as stack:
        relay = _start(
            stack, log, "rtpengine", "-f", "-E", "-L", "4", "--table=-1", f"--interface={RELAY}",
            f"--listen-ng={RELAY}:2223", "--port-min=30000", "--port-max=31999", "--delete-delay=0",
        )  # fmt: skip
        proxy = _start(stack, log, "kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-Y", str(run), "-f", str(config))
        made = Daemons(run, proxy, relay)
        _wait(made)
        yield made


def _start(stack: contextlib.ExitStack, log: Any, *argv: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(argv, stdout=log, stderr=log)

    def end() -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(end)
    return process


def _wait(made: Daemons) -> None:
    ends = time.monotonic() + 60
    while True:
        try:
            if _ready(made):
                return
        except (OSError, LookupError):
            pass
        if time.monotonic() > ends or made.kamailio.poll() is not None:
            raise AssertionError((made.run / "log").read_text()[-3000:])
        time.sleep(0.1)


def _ready(made: Daemons) -> bool:
    """A relay that is up later than the proxy would be out for a minute."""
    for user in USERS:
        made.rpc("htable.sets", "sub", user, Account.of(user, DOMAIN, PASSWORD).ha1["MD5"])
    made.rpc("rtpengine.enable", "all", 1)
    return not any(one["disabled"] for one in made.rpc("rtpengine.show", "all"))
