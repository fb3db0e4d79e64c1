"""FrontSection -> Caddy's configuration in JSON, and back. Pure.

The cache takes PURGE and questions for statistics from its own appliance, and the front stands on it: so only what
players send goes through, by method, host and path. All else ends here.
"""

from __future__ import annotations

from collections.abc import Mapping

from nf.contracts.json import Json, JsonObject
from nf.media.front.documents import FrontSection

HEALTH_PATH = "/nf/health"
METHODS = ("GET", "HEAD", "OPTIONS")
GRACE_S = 10
"""So long a configuration that was replaced goes on with the requests that it had begun."""


def render(section: FrontSection, certificates: Mapping[str, str], admin: str) -> JsonObject:
    """`certificates`: reference -> file with chain and key. `admin`: path of the socket by which Caddy is asked."""
    loaded: list[Json] = [
        {"certificate": certificates[name], "key": certificates[name], "tags": [name]} for name in section.certificates
    ]
    any_of_ours: JsonObject = {"certificate_selection": {"any_tag": [*section.certificates]}}
    hosts = sorted({channel.host for channel in section.channels})
    by_name: list[Json] = [{"match": {"sni": [*hosts]}}] if hosts else []
    server: JsonObject = {
        "listen": [*_listen(section)],
        "protocols": ["h1", "h2", "h3"],
        "automatic_https": {"disable": True},
        "strict_sni_host": False,
        "tls_connection_policies": [*by_name, any_of_ours],
        "routes": _routes(section),
    }
    return {
        "admin": {"listen": f"unix/{admin}|0600", "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "WARN"}}},
        "apps": {
            "tls": {"certificates": {"load_files": loaded}},
            "http": {"metrics": {}, "grace_period": f"{GRACE_S}s", "servers": {"front": server}},
        },
    }


def _listen(section: FrontSection) -> list[str]:
    later = [f"[{section.listen6}]:{section.port}"] if section.listen6 is not None else []
    return [*(f"{address}:{section.port}" for address in section.listen), *later]


def _routes(section: FrontSection) -> list[Json]:
    well: JsonObject = {"handler": "static_response", "status_code": 200}
    routes: list[Json] = [{"match": [{"path": [HEALTH_PATH]}], "handle": [well], "terminal": True}]
    upstream = f"{section.upstream.address}:{section.upstream.port}"
    for channel in sorted(section.channels, key=lambda one: (one.host, one.channel)):
        match: JsonObject = {"host": [channel.host], "path": [f"/{channel.channel}/*"], "method": [*METHODS]}
        routes.append({"match": [match], "handle": [_proxy(upstream, channel.host)], "terminal": True})
    return [*routes, {"handle": [{"handler": "static_response", "status_code": 404}]}]


def _proxy(upstream: str, host: str) -> JsonObject:
    """The cache knows hosts without a port, whatever port players ask at."""
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": upstream}],
        "headers": {"request": {"set": {"Host": [host]}}},
        "transport": {"protocol": "http", "dial_timeout": "1s", "compression": False},
    }


def certificates_of(config: JsonObject) -> dict[str, str]:
    """Reference -> file, of what Caddy runs; empty when it runs something else."""
    files = config
    for key in ("apps", "tls", "certificates"):
        inner = files.get(key)
        files = inner if isinstance(inner, dict) else {}
    listed = files.get("load_files")
    found: dict[str, str] = {}
    for one in listed if isinstance(listed, list) else ():
        tags = one.get("tags") if isinstance(one, dict) else None
        if isinstance(one, dict) and isinstance(tags, list) and tags:
            found[str(tags[0])] = str(one.get("certificate"))
    return found
