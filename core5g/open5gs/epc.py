"""What each function of the EPC is told: HSS, PCRF, MME and SGW, and the SMF's Gx towards the PCRF. Pure.

Diameter (freeDiameter) is configured in the daemon's own YAML. Given that way Open5GS speaks it without TLS and needs
no certificates; peers are on the core's own links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Final

from core5g.documents import Core5g, CoreFunction
from core5g.open5gs.functions import (
    NETWORK_NAME,
    PERIODIC_S,
    Tree,
    base,
    listening,
    metrics,
    plmn,
    with_database,
)
from core5g.open5gs.lint import NO_ROUND_ROBIN
from core5g.open5gs.naming import placed

DIAMETER_PEERS: Final[Mapping[str, str]] = {"hss": "mme", "mme": "hss", "pcrf": "smf", "smf": "pcrf"}
"""S6a (TS 29.272) and Gx (TS 29.212)."""

_DICTIONARIES = ("dict_rfc5777", "dict_mip6i", "dict_nasreq", "dict_nas_mipv6", "dict_dcca", "dict_dcca_3gpp")


def realm(core: Core5g) -> str:
    """TS 23.003 clause 19.2; an MNC of two digits gets a zero before it."""
    return f"epc.mnc{core.plmn.mnc.zfill(3)}.mcc{core.plmn.mcc}.3gppnetwork.org"


def diameter_identity(core: Core5g, function: CoreFunction) -> str:
    return f"{function.kind}.{function.appliance}.{realm(core)}"


def diameter(core: Core5g, function: CoreFunction) -> Tree:
    """Empty where nobody stands at the other end."""
    peers = placed(core, DIAMETER_PEERS[function.kind])
    if not peers:
        return {}
    return {
        "freeDiameter": {
            "identity": diameter_identity(core, function),
            "realm": realm(core),
            "listen_on": str(function.address),
            "no_fwd": True,
            "load_extension": [{"module": f"{name}.fdx"} for name in _DICTIONARIES],
            "connect": [{"identity": diameter_identity(core, one), "address": str(one.address)} for one in peers],
        }
    }


def _hss(core: Core5g, function: CoreFunction) -> Tree:
    return with_database(core, base() | {function.kind: diameter(core, function) | metrics(function)})


def _mme(core: Core5g, function: CoreFunction) -> Tree:
    number = [one.appliance for one in placed(core, "mme")].index(function.appliance)
    mme = {
        **diameter(core, function),
        "s1ap": listening(function.address),
        "gtpc": listening(function.address)
        | {"client": {kind: _addresses(one.address for one in placed(core, kind)) for kind in ("sgwc", "smf")}},
        **metrics(function),
        "gummei": [{"plmn_id": plmn(core.plmn), "mme_gid": 2, "mme_code": number + 1}],
        "tai": [{"plmn_id": plmn(one), "tac": sorted(tac for tac in core.tacs if tac <= 0xFFFF)} for one in core.plmns],
        "security": {"integrity_order": ["EIA2", "EIA1", "EIA0"], "ciphering_order": ["EEA0", "EEA1", "EEA2"]},
        "network_name": {"full": NETWORK_NAME},
        "mme_name": f"mme-{function.appliance}",
        "time": {"t3412": {"value": PERIODIC_S}},
    }
    return base() | {"mme": mme}


def _sgwc(core: Core5g, function: CoreFunction) -> Tree:
    users = _addresses(one.address for one in placed(core, "sgwu"))
    pfcp = listening(function.address) | {"client": {"sgwu": users}}
    return base(**{NO_ROUND_ROBIN: True}) | {"sgwc": {"gtpc": listening(function.address), "pfcp": pfcp}}


def _sgwu(core: Core5g, function: CoreFunction) -> Tree:  # noqa: ARG001 - the same for every kind
    return base() | {"sgwu": {"pfcp": listening(function.address), "gtpu": listening(function.address)}}


def _addresses(found: Iterable[IPv4Address]) -> list[Tree]:
    return [{"address": str(address)} for address in found]


EPC: Final[Mapping[str, Callable[[Core5g, CoreFunction], Tree]]] = {
    "hss": _hss,
    "pcrf": _hss,
    "mme": _mme,
    "sgwc": _sgwc,
    "sgwu": _sgwu,
}
