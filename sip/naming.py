"""Names, sockets and facts by which the parts of the voice core find one another. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PROXY_UNIT: Final = "kamailio"
KEEPER_UNIT: Final = "kamailio-keeper"
"""Gives a proxy that was started again its tables, and hands call records on: with or without the agent."""
RELAY_UNIT: Final = "rtpengine"
RELAY_STORE_UNIT: Final = "rtpengine-store"
MEDIA_SERVER_UNIT: Final = "freeswitch"
VRRP_UNIT: Final = "keepalived"
ALIVE_UNIT: Final = "voice-alive"
"""Tells keepalived whether the proxy is well."""
WEBRTC_UNIT: Final = "janus"
TURN_UNIT: Final = "coturn"
INTERCEPTION_UNIT: Final = "sip-interception"
"""The observation point beside a proxy; nobody but its own driver knows more of it than this and `observer_alive`."""


def interface_fact(appliance: str, name: str) -> str:
    """Provided by the section `interfaces`."""
    return f"{appliance}.interface.{name}"


def proxy_fact(appliance: str) -> str:
    """Holds while the proxy runs there with the configuration that is committed."""
    return f"{appliance}.voice.proxy"


def relay_fact(appliance: str) -> str:
    return f"{appliance}.voice.relay"


def media_server_fact(appliance: str) -> str:
    return f"{appliance}.voice.media-server"


def webrtc_fact(appliance: str) -> str:
    return f"{appliance}.voice.webrtc"


def turn_fact(appliance: str) -> str:
    return f"{appliance}.voice.turn"


def rpc_socket(run_dir: Path) -> Path:
    """Kamailio's JSON-RPC, datagrams: for Kamailio's own user and root. People have `nf sip` and, filtered, kamcli."""
    return run_dir / "kamailio" / "rpc.sock"


def people_socket(run_dir: Path) -> Path:
    """The same, filtered, as kamcli asks it."""
    return run_dir / "kamailio-keeper" / "people.sock"


def observer_alive(run_dir: Path) -> Path:
    """A socket that is there while the observation point beside the proxy runs."""
    return run_dir / INTERCEPTION_UNIT / "alive.sock"


def rpc_url(port: int) -> str:
    """Kamailio's JSON-RPC by HTTP, on loopback: for answers that a datagram cannot hold."""
    return f"http://127.0.0.1:{port}/RPC"


def bell_port(rpc_port: int) -> int:
    """TCP on loopback: Kamailio's evapi, for the observation point alone. Beside the port of its RPC by HTTP."""
    return rpc_port + 100


DRAIN: Final = "voice-drain"
"""Operation of whatever takes calls, by its name."""

RPC_PORT: Final = 8090
SHARING_PORT: Final = 5059
"""TCP, at the own address of a proxy that is one of two behind a virtual address: registrations come here, from the
other alone. By TCP, so that nobody speaks with the other's address from afar, and what it says comes in its order."""
CONTROL_LOOPBACK: Final = "127.0.0.1"
MEDIA_SERVER_PORTS: Final = (10_000, 19_999)
"""UDP, of a media server's RTP: first and last."""
