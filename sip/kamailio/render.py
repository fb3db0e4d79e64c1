"""From the section to Kamailio's files. Pure.

kamailio.cfg is a head made of the section and, after it, fixed fragments of this package, in which a few words in
capitals stand for what the section says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from ipaddress import IPv4Address
from typing import Final

from nf.documents.model import RuleError
from sip.documents import Digits
from sip.kamailio.documents import KamailioSection
from sip.kamailio.paths import CALLS_DB, CONFIG_FILE, DISPATCHER_FILE, LOCATION_DB, SETTINGS_DB, TLS_FILE, Paths
from sip.kamailio.rpc_filter import http_pattern
from sip.kamailio.sets import dispatcher_list, gateway_uri, priorities, route_rules
from sip.naming import SHARING_PORT, bell_port

FRAGMENTS: Final = (
    "modules.cfg",
    "parameters.cfg",
    "request.cfg",
    "call.cfg",
    "siblings.cfg",
    "trunks.cfg",
    "emergency.cfg",
    "within.cfg",
    "virtual.cfg",
    "sharing.cfg",
    "media.cfg",
    "records.cfg",
    "interception.cfg",
    "events.cfg",
)
"""In the order in which they stand in kamailio.cfg."""

_HEAD: Final = "#!KAMAILIO\n# Made by StreamVerse NF: a change by hand is drift and is taken back.\n"
_TLS: Final = ("tls", "wss")
_WEBSOCKET: Final = ("ws", "wss")
_PLAIN: Final = re.compile(r"[A-Za-z0-9._/-]+")


def render(section: KamailioSection, paths: Paths) -> Mapping[str, str]:
    """File name -> text, all for the folder `paths.config`.

    A change of kamailio.cfg is a restart; of dispatcher.list `dispatcher.reload`, of tls.cfg `tls.reload`. Start it as
    `kamailio -DD -E -Y RUN -f CONFIG/kamailio.cfg`, after the SQL of `sip.kamailio.schema` has made the SQLite files.

    Raises RuleError for a path that Kamailio's configuration cannot hold, and for `stir` without a key's file.
    """
    words = _words(section, paths)
    pattern = re.compile(rf"\b({'|'.join(words)})\b")
    body = "".join(pattern.sub(lambda found: words[found[0]], _fragment(name)) for name in FRAGMENTS)
    return {
        CONFIG_FILE: _head(section, paths) + body,
        DISPATCHER_FILE: dispatcher_list(section),
        TLS_FILE: _tls(paths),
    }


@cache
def _fragment(name: str) -> str:
    return f"\n# ---- {name}\n" + files(__package__).joinpath("fragments", name).read_text(encoding="utf-8")


def _head(section: KamailioSection, paths: Paths) -> str:
    transports = {one.transport for one in section.proxy.listeners}
    parts = {
        "WITH_TLS": transports & {*_TLS},
        "WITH_WS": transports & {*_WEBSOCKET},
        "WITH_NAT": section.nat,
        # It costs a sixth of a call: only where there is somebody to hide from.
        "WITH_HIDING": section.topology_hiding and section.trunks,
        "WITH_EMERGENCY": section.emergency,
        "WITH_STIR": section.stir,
        "WITH_VIRTUAL": section.virtual,
        "WITH_SHARING": _shares(section),
        "WITH_SIBLINGS": section.siblings,
    }
    listeners = [
        f"listen={_socket(listener.transport)}:{address}:{listener.port}"
        for address in (section.proxy.address, *section.virtual)
        for listener in section.proxy.listeners
    ]
    sharing = []
    if parts["WITH_SHARING"]:
        # Names of registrations have it: two that start in the same second must not give the same ones.
        sharing = [f"server_id={_server_id(section)}", f"listen=tcp:{section.proxy.address}:{SHARING_PORT}"]
    return "\n".join(
        (
            _HEAD.rstrip(),
            *(f"#!define {name}" for name, there in parts.items() if there),
            *(["enable_tls=yes"] if parts["WITH_TLS"] else []),
            f'mpath="{_plain(paths.modules)}/"',
            f"children={section.proxy.workers}",
            f"tcp_children={section.proxy.workers}",
            *dict.fromkeys(listeners),
            *sharing,
            f"listen=tcp:127.0.0.1:{paths.rpc_port}",
            "",
        )
    )


def _words(section: KamailioSection, paths: Paths) -> Mapping[str, str]:
    protection, address = section.protection, str(section.proxy.address)
    websockets = [one.port for one in section.proxy.listeners if one.transport in _WEBSOCKET]
    return {
        "SETTINGS_DB": _plain(paths.database(SETTINGS_DB)),
        "LOCATION_DB": _plain(paths.database(LOCATION_DB)),
        "CALLS_DB": _plain(paths.database(CALLS_DB)),
        "DISPATCHER_FILE": _plain(paths.config / DISPATCHER_FILE),
        "TLS_FILE": _plain(paths.config / TLS_FILE),
        "RPC_SOCKET": _plain(paths.rpc_socket),
        "RPC_PORT": str(paths.rpc_port),
        "BELL_PORT": str(bell_port(paths.rpc_port)),
        "RPC_READS": _quoted(http_pattern()),
        # What is hidden shows this address, and requests of a call are sent to it: that which is there when one dies.
        "OWN_ADDRESS": str(section.virtual[0]) if section.virtual else address,
        "HOME_DOMAIN": section.domains[0],
        "PIKE_WINDOW": str(protection.window),
        "PIKE_DENSITY": str(protection.density),
        "PIKE_LATENCY": str(max(protection.window * 2, 10)),
        # It has to outlast a restart: calls that are up carry what it hid. It hides, it does not keep secret.
        # And where two share an address, each has to understand what the other hid.
        "MASK_KEY": blake2b(f"{_hider(section)} {section.domains[0]}".encode(), digest_size=16).hexdigest(),
        "WEBSOCKET_PORT": "(" + " || ".join(f"$Rp == {port}" for port in websockets) + ")",
        "SIBLING_BRANCHES": _branches(section),
        # What a sibling hands on has its own way back, over that sibling.
        "NO_SIBLING": '$sht(src=>$si) != "p" &&' if section.siblings else "",
        **_sharing(section),
        **_emergency(section),
        **_stir(section, paths),
    }


def _shares(section: KamailioSection) -> bool:
    takes = any(one.transport == "udp" for one in section.proxy.listeners)
    return bool(section.virtual and section.peers and takes)


def _server_id(section: KamailioSection) -> int:
    own = section.proxy.address
    return 1 + sorted({own, *(one.address for one in section.peers)}).index(own)


def _sharing(section: KamailioSection) -> Mapping[str, str]:
    if not _shares(section):
        return {}
    port = f"{SHARING_PORT};transport=tcp"
    told = [f'modparam("dmq", "notification_address", "sip:{one.address}:{port}")' for one in section.peers]
    virtual = "|".join(_literal(one) for one in section.virtual)
    ports = "|".join(str(one.port) for one in section.proxy.listeners if one.transport == "udp")
    own = min(one.port for one in section.proxy.listeners if one.transport == "udp")
    # A branch has the socket of the contact before it, from which nothing can be sent where its address is not.
    branches = [
        f'append_branch("$var(aor)");\n\t\t$(branch(dst_uri)[-1]) = "sip:{one.address}:{one.port}";'
        f'\n\t\t$(branch(send_socket)[-1]) = "udp:{section.proxy.address}:{own}";'
        for one in section.peers
    ]
    return {
        "SERVER_ID": str(_server_id(section)),
        "SHARING_ADDRESS": f"sip:{section.proxy.address}:{port}",
        "SHARING_SOCKET": f"tcp:{section.proxy.address}:{SHARING_PORT}",
        "SHARING_PORT": str(SHARING_PORT),
        "SHARING_PEERS": "\n".join(told),
        "PEER_ADDRESS": "^(" + "|".join(_literal(one.address) for one in section.peers) + ")$",
        "SHARED_SOCKET": f'\\"sock\\":\\"udp:({virtual}):({ports})\\"',
        # With two addresses, each at another proxy, the one a call came to says nothing of where its phone registered.
        "PERHAPS_ELSEWHERE": "1" if len(section.virtual) > 1 else f'$Ri != "{section.virtual[0]}"',
        "PEER_BRANCHES": "\n\t\t".join(branches),
    }


def _literal(address: IPv4Address) -> str:
    """In an expression."""
    return str(address).replace(".", "[.]")


def _branches(section: KamailioSection) -> str:
    """Statements that send a request to each of the siblings."""
    lines = []
    for number, one in enumerate(section.siblings):
        uri = f'"sip:{one.address}:{one.port}{";transport=tcp" if one.transport == "tcp" else ""}"'
        lines += (
            [f"$du = {uri};"] if number == 0 else ["append_branch();", f"$(branch(dst_uri)[{number - 1}]) = {uri};"]
        )
    return "\n\t".join(lines)


def _hider(section: KamailioSection) -> str:
    return " ".join(map(str, section.virtual)) or section.proxy.id


def _emergency(section: KamailioSection) -> Mapping[str, str]:
    if section.emergency is None:
        return {}
    trunks = {one.id: one for one in section.trunks}
    tried = [trunks[name] for name in section.emergency.trunks]
    first = next(one for one in tried[0].gateways if one.priority == priorities(tried[0])[0])
    numbers = "|".join(_expression(one) for one in section.emergency.numbers)
    return {
        # RFC 3966: a number may carry parameters. RFC 5031: the service has a name, too.
        "EMERGENCY_CALL": f'($rU =~ "^({numbers})(;.*)?$" || $ru =~ "^urn:service:sos")',
        "EMERGENCY_RULES": route_rules(tried),
        "EMERGENCY_GATEWAY": gateway_uri(first),
    }


def _expression(number: Digits) -> str:
    return re.sub(r"([+*])", r"[\1]", number)


def _quoted(text: str) -> str:
    """Within a string of kamailio.cfg."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _stir(section: KamailioSection, paths: Paths) -> Mapping[str, str]:
    if section.stir is None:
        return {}
    if paths.stir_key is None:
        raise RuleError("calls are signed with a key that has no file", "give stir_key to sip.kamailio.paths.Paths")
    return {"STIR_URL": section.stir.certificate.replace("$", "%24"), "STIR_KEY": _plain(paths.stir_key)}


def _tls(paths: Paths) -> str:
    certificate = _plain(paths.certificate)
    return (
        "[server:default]\n"
        "method = TLSv1.2+\n"
        f"certificate = {certificate}\n"
        f"private_key = {certificate}\n"
        "verify_certificate = no\n"
        "require_certificate = no\n"
        "[client:default]\n"
        "method = TLSv1.2+\n"
        "verify_certificate = no\n"
        "require_certificate = no\n"
    )


def _socket(transport: str) -> str:
    return {"ws": "tcp", "wss": "tls"}.get(transport, transport)


def _plain(path: object) -> str:
    text = str(path)
    if _PLAIN.fullmatch(text) is None:
        raise RuleError(
            f"{text!r} cannot stand in Kamailio's configuration",
            "name folders with letters, digits, dots, hyphens and underscores",
        )
    return text
