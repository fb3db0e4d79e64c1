"""What each function of the 5G core is told, as the tree of its YAML file. Pure.

Keys are those of Open5GS 2.7 and later (configs/open5gs/*.yaml.in). Nothing is left to a default that the daemon takes
from its build, such as addresses of 127.0.0.0/8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any, Final

from core5g.documents import Core5g, CoreFunction, Network, Plmn, Slice, Upf
from core5g.open5gs.lint import NO_ROUND_ROBIN
from core5g.open5gs.naming import METRICS_PORTS, SBI_PORTS, placed, tun_name
from core5g.open5gs.selection import upf_peers

Tree = dict[str, Any]

MAX_UE: Final = 4096
"""Open5GS sets its memory aside at start, by this number of UEs; its own default is 1,024."""
PERIODIC_S: Final = 540
"""T3512 and T3412: how often a UE says that it is still there, in seconds."""
NETWORK_NAME: Final = "StreamVerse"


def base(**parameters: bool) -> Tree:
    """Head of every file. Without a log file the daemon writes to its standard error, where the unit's log takes it."""
    limits: Tree = {"max": {"ue": MAX_UE}}
    return {"logger": {"level": "info"}, "global": {"parameter": parameters, **limits} if parameters else limits}


def listening(address: IPv4Address, port: int | None = None) -> Tree:
    return {"server": [{"address": str(address)} | ({"port": port} if port is not None else {})]}


def plmn(network: Plmn) -> Tree:
    return {"mcc": network.mcc, "mnc": network.mnc}


def slice_tree(one: Slice) -> Tree:
    return {"sst": one.sst} | ({"sd": one.sd} if one.sd is not None else {})


def sbi_uri(function: CoreFunction) -> str:
    return f"http://{function.address}:{SBI_PORTS[function.kind]}"


def sbi(core: Core5g, function: CoreFunction) -> Tree:
    """Its server, and whom it asks: the SCP where there is one (TS 29.500 clause 6.10), otherwise the NRF.

    Empty where there is neither, in an EPC alone.
    """
    asked = "scp" if function.kind != "scp" and placed(core, "scp") else "nrf"
    known = placed(core, asked)
    if not known:
        return {}
    server = listening(function.address, SBI_PORTS[function.kind])
    return {"sbi": server | {"client": {asked: [{"uri": sbi_uri(one)} for one in known[:1]]}}}


def metrics(function: CoreFunction) -> Tree:
    return {"metrics": listening(function.address, METRICS_PORTS[function.kind])}


def session(network: Network, dnn: str, dev: str | None = None) -> Tree:
    gateway = str(network.network_address + 1)
    return {"subnet": str(network), "gateway": gateway, "dnn": dnn} | ({"dev": dev} if dev is not None else {})


def with_database(core: Core5g, tree: Tree) -> Tree:
    return {"db_uri": core.database, **tree} if core.database is not None else tree


def _nrf(core: Core5g, function: CoreFunction) -> Tree:
    server = listening(function.address, SBI_PORTS["nrf"])
    return base() | {"nrf": {"serving": [{"plmn_id": plmn(one)} for one in core.plmns], "sbi": server}}


def _plain(core: Core5g, function: CoreFunction) -> Tree:
    return base() | {function.kind: sbi(core, function)}


def _udr(core: Core5g, function: CoreFunction) -> Tree:
    return with_database(core, _plain(core, function))


def _pcf(core: Core5g, function: CoreFunction) -> Tree:
    return with_database(core, base() | {"pcf": sbi(core, function) | metrics(function)})


def _nssf(core: Core5g, function: CoreFunction) -> Tree:
    own = sbi(core, function)
    nrf = placed(core, "nrf")
    if own and nrf:
        own["sbi"]["client"]["nsi"] = [{"uri": sbi_uri(nrf[0]), "s_nssai": slice_tree(one)} for one in core.slices]
    return base() | {"nssf": own}


def _amf(core: Core5g, function: CoreFunction) -> Tree:
    number = [one.appliance for one in placed(core, "amf")].index(function.appliance)
    amf = {
        **sbi(core, function),
        "ngap": listening(function.address),
        **metrics(function),
        "guami": [{"plmn_id": plmn(core.plmn), "amf_id": {"region": 2, "set": 1, "pointer": number}}],
        "tai": [{"plmn_id": plmn(one), "tac": sorted(core.tacs)} for one in core.plmns],
        "plmn_support": [{"plmn_id": plmn(one), "s_nssai": [*map(slice_tree, core.slices)]} for one in core.plmns],
        "security": {"integrity_order": ["NIA2", "NIA1", "NIA0"], "ciphering_order": ["NEA0", "NEA1", "NEA2"]},
        "network_name": {"full": NETWORK_NAME},
        "amf_name": f"amf-{function.appliance}",
        "time": {"t3512": {"value": PERIODIC_S}},
    }
    return base() | {"amf": amf}


def _smf(core: Core5g, function: CoreFunction) -> Tree:
    clients = [
        {"address": str(peer.address)}
        | ({"dnn": list(peer.dnns)} if peer.dnns else {})
        | ({"tac": list(peer.tacs)} if peer.tacs else {})
        for peer in upf_peers(core)
    ]
    smf: Tree = {
        **sbi(core, function),
        "pfcp": listening(function.address) | {"client": {"upf": clients}},
        "gtpc": listening(function.address),
        "gtpu": listening(function.address),
        **metrics(function),
        "session": [session(pool, one.dnn) for one in core.networks for pool in one.pools],
        "mtu": core.mtu,
    }
    if core.resolvers:
        smf["dns"] = [str(address) for address in core.resolvers]
    return base(**{NO_ROUND_ROBIN: True}) | {"smf": smf}


CORE_5G: Final[Mapping[str, Callable[[Core5g, CoreFunction], Tree]]] = {
    "nrf": _nrf,
    "scp": _plain,
    "ausf": _plain,
    "udm": _plain,
    "udr": _udr,
    "pcf": _pcf,
    "bsf": _plain,
    "nssf": _nssf,
    "amf": _amf,
    "smf": _smf,
}


def upf_tree(core: Core5g, upf: Upf) -> Tree:
    """One session entry for each pool, on the TUN device of its DNN."""
    pools = {network.dnn: network.pools for network in core.networks}
    sessions = [session(pool, dnn, tun_name(upf, dnn)) for dnn in upf.dnns for pool in pools.get(dnn, ())]
    own = {
        "pfcp": listening(upf.n4),
        "gtpu": listening(upf.n3),
        "session": sessions,
        "metrics": listening(upf.n4, METRICS_PORTS["upf"]),
    }
    return base() | {"upf": own}
