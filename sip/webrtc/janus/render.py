"""From the section to Janus' files. Pure; secrets are marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sip.documents import WebrtcGateway
from sip.naming import CONTROL_LOOPBACK
from sip.webrtc.documents import JanusSection
from sip.webrtc.janus.admin import PATH
from sip.webrtc.places import OWN, marked

CONFIG_FILE: Final = "janus.jcfg"
CERTIFICATE_FILE: Final = "certificate.pem"
LIBRARIES: Final = Path("/usr/lib/x86_64-linux-gnu/janus")

_PLUGINS: Final = (
    *("audiobridge", "duktape", "echotest", "lua", "nosip", "recordplay", "sip", "streaming", "textroom"),
    *("videocall", "videoroom", "voicemail"),
)
_TRANSPORTS: Final = ("http", "mqtt", "nanomsg", "pfunix", "rabbitmq", "websockets")
_USED: Final = ("http", "websockets")
_HEAD: Final = "# Made by StreamVerse NF: a change by hand is drift and is taken back.\n"


def render(section: JanusSection, config: Path) -> Mapping[str, str]:
    """File name -> text. All of Debian's plugins are there: those that nobody asked for are not loaded."""
    gateway = section.gateway
    files = {
        CONFIG_FILE: _janus(gateway, config),
        "janus.transport.websockets.jcfg": _websockets(gateway, config),
        "janus.transport.http.jcfg": _administration(gateway),
        **{f"janus.plugin.{name}.jcfg": _HEAD + _PARTS[name](gateway) for name in gateway.plugins},
    }
    if gateway.certificate is not None:
        files[CERTIFICATE_FILE] = marked(gateway.certificate)
    return files


def _group(name: str, values: Mapping[str, str | int | bool]) -> str:
    return f"{name}: {{\n" + "".join(f"\t{key} = {_value(value)}\n" for key, value in values.items()) + "}\n"


def _value(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else f'"{value}"'


def _ports(gateway: WebrtcGateway) -> str:
    return f"{gateway.ports[0]}-{gateway.ports[1]}"


def _janus(gateway: WebrtcGateway, config: Path) -> str:
    general: dict[str, str | int | bool] = {
        "configs_folder": str(config),
        "plugins_folder": str(LIBRARIES / "plugins"),
        "transports_folder": str(LIBRARIES / "transports"),
        "events_folder": str(LIBRARIES / "events"),
        "loggers_folder": str(LIBRARIES / "loggers"),
        "debug_level": 3,
        "debug_colors": False,
        "admin_secret": marked(OWN),
        "interface": str(gateway.address),
        "token_auth": True,
        "token_auth_secret": marked(gateway.secret),
        "session_timeout": 60,
        "hide_dependencies": True,
    }
    nat: dict[str, str | int | bool] = {"nice_debug": False, "ice_enforce_list": str(gateway.address)}
    if gateway.advertised is not None:
        nat["nat_1_1_mapping"] = str(gateway.advertised)
    unused = [f"libjanus_{name}.so" for name in _PLUGINS if name not in gateway.plugins]
    closed = [f"libjanus_{name}.so" for name in _TRANSPORTS if name not in _USED]
    return "".join(
        (
            _HEAD,
            _group("general", general),
            _group("media", {"rtp_port_range": _ports(gateway)}),
            _group("nat", nat),
            _group("plugins", {"disable": ",".join(unused)}),
            _group("transports", {"disable": ",".join(closed)}),
            _group("loggers", {"disable": "libjanus_jsonlog.so"}),
            _group("events", {"broadcast": False}),
        )
    )


def _websockets(gateway: WebrtcGateway, config: Path) -> str:
    prefix = "ws" if gateway.certificate is None else "wss"
    general: dict[str, str | int | bool] = {
        "json": "compact",
        "pingpong_trigger": 30,
        "pingpong_timeout": 10,
        "ws": prefix == "ws",
        "wss": prefix == "wss",
        # It is where the interface is looked up that has this address, and the first address of that is listened at.
        f"{prefix}_ip": str(gateway.address),
        f"{prefix}_port": gateway.port,
    }
    pem = str(config / CERTIFICATE_FILE)
    secure = {"cert_pem": pem, "cert_key": pem} if prefix == "wss" else {}
    return (
        _HEAD
        + _group("general", general)
        + _group("admin", {"admin_ws": False, "admin_wss": False})
        + _group("certificates", secure)
    )


def _administration(gateway: WebrtcGateway) -> str:
    """HTTP for nothing else."""
    admin: dict[str, str | int | bool] = {
        "admin_base_path": PATH,
        "admin_http": True,
        "admin_port": gateway.admin,
        "admin_ip": CONTROL_LOOPBACK,
        "admin_https": False,
    }
    return _HEAD + _group("general", {"json": "compact", "http": False, "https": False}) + _group("admin", admin)


def _nothing(_: WebrtcGateway) -> str:
    return _group("general", {})


def _audiobridge(gateway: WebrtcGateway) -> str:
    return _group("general", {"local_ip": str(gateway.address), "rtp_port_range": _ports(gateway)})


def _sip(gateway: WebrtcGateway) -> str:
    """Its SIP and RTP to a proxy or a relay are of this address, too."""
    told = {"sdp_ip": str(gateway.advertised)} if gateway.advertised is not None else {}
    address = str(gateway.address)
    return _group(
        "general",
        {
            "local_ip": address,
            "local_media_ip": address,
            **told,
            "behind_nat": False,
            "register_ttl": 3600,
            "rtp_port_range": _ports(gateway),
        },
    )


_PARTS: Final = {"audiobridge": _audiobridge, "echotest": _nothing, "sip": _sip, "videoroom": _nothing}
