"""What of Kamailio's RPC is for everybody who may ask it at all: methods and tables of a list, and nothing beside it.

Tables and queues of interception (`fragments/interception.cfg`) stand in the same process as all others. So that no
listing shows them, neither whole nor by name, count or size, what is not on the list is refused, in the words that
Kamailio has for what does not exist. The one client that may pass it by is `sip.interception`'s.

Three places apply it: `RpcClient` (the agent, the keeper and what people ask by `nf sip`), the gate's socket
(`sip.kamailio.rpc_gate`, for kamcli) and, as a regular expression in kamailio.cfg, HTTP on loopback.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from nf.contracts.json import Json
from sip.kamailio.jsonrpc import Answer, Parameter

TABLES: Final = ("sub", "own", "num", "dom", "src", "rel", "ctl", "ban", "fail", "rate")
"""Hash tables that may be looked into and written."""

HASHES: Final = frozenset({"htable.dump", "htable.get", "htable.seti", "htable.sets", "htable.delete"})
"""With the table's name as first parameter."""

LISTINGS: Final = frozenset({"htable.listTables", "htable.stats"})
"""They name all tables; the answer is cut (`cut`). HTTP, which cannot cut, does not know them."""

READS: Final = frozenset(
    {
        "cfg.get",
        "core.echo",
        "core.tcp_info",
        "core.tcp_list",
        "core.uptime",
        "core.version",
        "dispatcher.list",
        "dlg.dlg_list",
        "dlg.list",
        "dlg.list_ctx",
        "dlg.profile_get_size",
        "dlg.profile_list",
        "dlg.stats_active",
        "dmq.list_nodes",
        "mtree.list",
        "mtree.match",
        "mtree.summary",
        "pike.list",
        "rtpengine.show",
        "stats.fetch",
        "stats.fetchn",
        "stats.get_statistics",
        "tls.info",
        "tls.list",
        "tm.list",
        "tm.stats",
        "ul.db_users",
        "ul.dump",
        "ul.lookup",
    }
)
CHANGES: Final = frozenset(
    {
        "cfg.set_now_int",
        "dbg.mod_level",
        "dispatcher.ping_active",
        "dispatcher.reload",
        "dispatcher.set_state",
        "dlg.end_dlg",
        "dlg.terminate_dlg",
        "mtree.reload",
        "rtpengine.enable",
        "rtpengine.ping",
        "rtpengine.reload",
        "tls.reload",
        "tm.cancel",
        "ul.add",
        "ul.rm",
        "ul.rm_contact",
    }
)
_UNKNOWN: Final = Answer(0, code=-32601, message="Method Not Found")
_NO_TABLE: Final = Answer(0, code=500, message="No such htable")


def refusal(method: str, parameters: Sequence[Parameter | Json]) -> Answer | None:
    """What is answered in Kamailio's place; None: it may be asked."""
    if method in HASHES:
        return None if parameters and parameters[0] in TABLES else _NO_TABLE
    return None if method in READS or method in CHANGES or method in LISTINGS else _UNKNOWN


def cut(method: str, result: Json) -> Json:
    """Of what Kamailio answered, that which is for everybody."""
    if method not in LISTINGS:
        return result
    listed = result if isinstance(result, list) else [result]
    return [one for one in listed if isinstance(one, dict) and one.get("name") in TABLES]


def http_pattern() -> str:
    """An extended regular expression (POSIX) that matches the requests which `jsonrpc.request` makes, of READS alone.

    Nothing else gets by: no escape that would spell a name another way, no second member of a name, no batch.
    """
    text = r'"[^"\\]*"'
    one = rf"({text}|-?[0-9.]+)"
    methods = "|".join(sorted(map(re.escape, READS)))
    plain = rf'({methods})","params":\[({one}(,{one})*)?\]'
    names = "|".join(TABLES)
    hashes = rf'htable\.(dump|get)","params":\["({names})"(,{one})*\]'
    return rf'^\{{"jsonrpc":"2\.0","method":"({plain}|{hashes}),"id":[0-9]+\}}$'
