"""From the section to turnserver.conf. Pure; what is told while it runs (secrets, peers) is in its database."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from sip.webrtc.documents import TurnSection
from sip.webrtc.places import marked

CONFIG_FILE: Final = "turnserver.conf"
CERTIFICATE_FILE: Final = "certificate.pem"
DATABASE_FILE: Final = "turn.sqlite"

NEVER: Final = tuple(
    IPv4Network(one)
    for one in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
"""Not of the public Internet (RFC 6890): a relay to them is a way into somebody's network, often into our own."""
_ALL: Final = (IPv4Network("0.0.0.0/0"),)


def forbidden(section: TurnSection) -> tuple[IPv4Network, ...]:
    """To whom it relays nothing, but for `peers`."""
    if section.turn.reach == "core":
        return _ALL
    own = (IPv4Network(one) for one in section.own if not any(one in network for network in NEVER))
    return (*NEVER, *own)


def render(section: TurnSection, config: Path, data: Path) -> Mapping[str, str]:
    """File name -> text."""
    turn = section.turn
    external = [f"external-ip={turn.advertised}/{turn.address}"] if turn.advertised is not None else []
    secure = ["no-tls", "no-dtls"]
    files: dict[str, str] = {}
    if turn.certificate is not None:
        pem = config / CERTIFICATE_FILE
        secure = [f"tls-listening-port={turn.secure}", f"cert={pem}", f"pkey={pem}", "no-tlsv1", "no-tlsv1_1"]
        files[CERTIFICATE_FILE] = marked(turn.certificate)
    lines = [
        "# Made by StreamVerse NF: a change by hand is drift and is taken back.",
        f"listening-ip={turn.address}",
        f"listening-port={turn.port}",
        f"relay-ip={turn.address}",
        *external,
        f"min-port={turn.ports[0]}",
        f"max-port={turn.ports[1]}",
        *secure,
        f"realm={section.realm}",
        "use-auth-secret",
        f"userdb={data / DATABASE_FILE}",
        f"user-quota={turn.per_user}",
        f"total-quota={turn.allocations}",
        "stale-nonce=600",
        "fingerprint",
        "no-cli",
        "no-tcp-relay",
        "no-multicast-peers",
        "no-rfc5780",
        "no-software-attribute",
        *(f"denied-peer-ip={_range(one)}" for one in forbidden(section)),
        "denied-peer-ip=::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "log-file=stdout",
        "simple-log",
        "",
    ]
    return {CONFIG_FILE: "\n".join(lines), **files}


def _range(network: IPv4Network) -> str:
    first, last = network.network_address, network.broadcast_address
    return str(first) if first == last else f"{first}-{last}"


def may_reach(section: TurnSection, address: IPv4Address) -> bool:
    return address in section.peers or not any(address in one for one in forbidden(section))
