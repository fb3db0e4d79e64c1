"""Names, ports and facts by which the parts of a managed core find one another. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from core5g.documents import Core5g, CoreFunction, Upf

START_ORDER: Final = (
    *("nrf", "scp", "udr", "udm", "ausf", "bsf", "pcf", "nssf"),
    *("upf", "sgwu", "hss", "pcrf", "smf", "sgwc", "mme", "amf"),
)
"""Of the functions of one appliance: who is asked stands before who asks."""

SBI_PORTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        kind: 7777 + number
        for number, kind in enumerate(("nrf", "scp", "ausf", "udm", "udr", "pcf", "bsf", "nssf", "amf", "smf"))
    }
)
"""TCP, HTTP/2 without TLS; one for each kind, so that one address may carry them all."""

METRICS_PORTS: Final[Mapping[str, int]] = MappingProxyType(
    {kind: 9090 + number for number, kind in enumerate(("amf", "smf", "upf", "pcf", "mme", "hss", "pcrf"))}
)
"""TCP, HTTP: Prometheus' /metrics and the info API."""

PFCP_PORT: Final = 8805

DEPENDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "scp": ("nrf",),
        "ausf": ("nrf", "scp", "udm"),
        "udm": ("nrf", "scp", "udr"),
        "udr": ("nrf", "scp"),
        "pcf": ("nrf", "scp", "udr", "bsf"),
        "bsf": ("nrf", "scp"),
        "nssf": ("nrf", "scp"),
        "amf": ("nrf", "scp", "ausf", "udm", "pcf", "nssf", "smf"),
        "smf": ("nrf", "scp", "udm", "pcf", "upf", "pcrf"),
        "mme": ("hss", "sgwc", "smf"),
        "sgwc": ("sgwu",),
    }
)
"""Whom a function asks from its first moment on: on one appliance they start, and are ready, before it."""


def tun_name(upf: Upf, dnn: str) -> str:
    """The TUN device of a DNN: `ogstun` for the first of the UPF's DNNs by name, `ogstun2` for the next.

    Raises ValueError for a DNN that the UPF does not serve.
    """
    number = sorted(upf.dnns).index(dnn) + 1
    return "ogstun" if number == 1 else f"ogstun{number}"


def unit_name(kind: str) -> str:
    return f"open5gs-{kind}d"


def function_fact(appliance: str, kind: str) -> str:
    """Holds while the function runs there with the configuration that is committed."""
    return f"{appliance}.open5gs.{kind}"


def tun_fact(appliance: str, name: str) -> str:
    """Holds while the TUN device is there with its addresses."""
    return f"{appliance}.tun.{name}"


def interface_fact(appliance: str, name: str) -> str:
    """Provided by the section `interfaces`."""
    return f"{appliance}.interface.{name}"


def ordered(core: Core5g) -> Core5g:
    """The same core whatever the order in which a document lists its parts. That of resolvers says who is asked first,
    and stays."""
    networks = tuple(
        network.model_copy(update={"pools": tuple(sorted(network.pools, key=lambda pool: (pool.version, str(pool))))})
        for network in sorted(core.networks, key=lambda network: network.dnn)
    )
    upfs = tuple(
        upf.model_copy(update={"dnns": tuple(sorted(upf.dnns)), "tacs": tuple(sorted(upf.tacs))})
        for upf in sorted(core.upfs, key=lambda upf: upf.id)
    )
    slices = tuple(sorted(core.slices, key=lambda one: (one.sst, one.sd or "")))
    return core.model_copy(update={"networks": networks, "upfs": upfs, "slices": slices})


def placed(core: Core5g, kind: str) -> tuple[CoreFunction, ...]:
    return tuple(sorted((f for f in core.functions if f.kind == kind), key=lambda f: (f.appliance, int(f.address))))


def info_url(core: Core5g, kind: str, appliance: str) -> str | None:
    """Where the function's /metrics, /pdu-info, /ue-info and /gnb-info are asked for; None when it has none there."""
    if kind == "upf":
        addresses = [upf.n4 for upf in core.upfs if upf.appliance == appliance]
    else:
        addresses = [function.address for function in placed(core, kind) if function.appliance == appliance]
    port = METRICS_PORTS.get(kind)
    return f"http://{addresses[0]}:{port}" if addresses and port is not None else None
