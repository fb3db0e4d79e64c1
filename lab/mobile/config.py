"""What the models read of an Open5GS configuration, and what they refuse as the real daemons do."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import yaml

from lab.mobile.pfcp import Address, address_of


class ConfigError(Exception):
    """The daemon would not start with this file."""


@dataclass(frozen=True)
class Endpoint:
    address: Address
    port: int

    @property
    def sockaddr(self) -> tuple[str, int]:
        return str(self.address), self.port


@dataclass(frozen=True)
class Pool:
    """A `session` of UPF or SMF. `dnn` None serves every DNN. `network` None: a UPF needs none."""

    network: Any
    gateway: Address | None
    dnn: str | None
    dev: str


def load(path: Path) -> dict[str, Any]:
    """Raises ConfigError."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot open file `{path}`: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"Failed to parse configuration file `{path}`: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"`{path}` is not a map")
    return data


def section(data: dict[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name)
    if not isinstance(found, dict):
        raise ConfigError(f"No `{name}` section")
    return found


def servers(part: dict[str, Any], protocol: str, port: int) -> list[Endpoint]:
    """Where it listens: `PROTOCOL.server[].address` (one or several) and `.port`."""
    found: list[Endpoint] = []
    for entry in _list(_map(part.get(protocol)).get("server")):
        if isinstance(entry, dict):
            port_of, addresses = entry.get("port", port), _list(entry.get("address"))
            found.extend(_endpoint(address, port_of, f"{protocol}.server") for address in addresses)
    return found


def _endpoint(address: object, port: object, where: str) -> Endpoint:
    try:
        return Endpoint(address_of(str(address)), int(str(port)))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def clients(part: dict[str, Any], protocol: str, peer: str) -> list[dict[str, Any]]:
    """`PROTOCOL.client.PEER[]`."""
    return [e for e in _list(_map(_map(part.get(protocol)).get("client")).get(peer)) if isinstance(e, dict)]


def pools(part: dict[str, Any], default_dev: str = "ogstun") -> list[Pool]:
    found = []
    for entry in _list(part.get("session")):
        if not isinstance(entry, dict):
            continue
        try:
            network = ip_network(str(entry["subnet"]), strict=False) if "subnet" in entry else None
            gateway = address_of(str(entry["gateway"])) if "gateway" in entry else None
        except ValueError as error:
            raise ConfigError(f"session: {error}") from error
        dnn = entry.get("dnn")
        found.append(Pool(network, gateway, None if dnn is None else str(dnn), str(entry.get("dev", default_dev))))
    return found


def strings(value: object) -> tuple[str, ...]:
    return tuple(str(entry) for entry in _list(value))


def _list(value: object) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


_MANDATORY = {
    "upf": (("pfcp", "server"), ("gtpu", "server"), ("session",)),
    "smf": (("pfcp", "server"), ("session",)),
    "amf": (
        *(("ngap", "server"), ("guami",), ("tai",), ("plmn_support",)),
        *(("security", "integrity_order"), ("security", "ciphering_order"), ("time", "t3512", "value")),
    ),
    "mme": (("s1ap", "server"), ("gummei",), ("tai",), ("security", "integrity_order")),
    "sgwc": (("gtpc", "server"), ("pfcp", "server")),
    "sgwu": (("gtpu", "server"), ("pfcp", "server")),
}
_DATABASE = ("udr", "hss", "pcrf")
_SBI = ("nrf", "scp", "ausf", "udm", "udr", "pcf", "bsf", "nssf", "amf")
"""An SMF does without, as that of an EPC."""


def refuse(data: dict[str, Any], kind: str) -> None:
    """Raises ConfigError where the real daemon of this kind ends itself: what it cannot be without is missing."""
    part = section(data, kind)
    for path in _MANDATORY.get(kind, ()):
        value: Any = part
        for key in path:
            value = _map(value).get(key)
        if value is None or value == []:
            raise ConfigError(f"No {kind}.{'.'.join(path)} in configuration")
    if kind in _SBI and not servers(part, "sbi", 80):
        raise ConfigError(f"No {kind}.sbi.address in configuration")
    if kind in _DATABASE and not data.get("db_uri"):
        raise ConfigError("No db_uri in configuration")
