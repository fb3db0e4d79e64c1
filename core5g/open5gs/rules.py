"""What a fleet may not say of its 5G core; each broken rule is a Problem with its document key. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from itertools import chain
from typing import Final

from core5g.documents import EQUIPMENT, Core5g, Network, Upf
from core5g.open5gs.documents import MAX_SESSIONS
from nf.documents.fleet import Appliance, Fleet
from nf.documents.rules import unique, unknown
from nf.errors import Problem

KEY: Final = f"spec.equipment.{EQUIPMENT}"

_DATABASE: Final = re.compile(r"mongodb://(secret:[a-z][a-z0-9-]{0,38}@)?[^@/\s]+/[A-Za-z0-9_-]+")
_HOST_LOOPBACK: Final = IPv4Network("127.0.0.0/8")

_PROTOCOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "smf": ("PFCP", "GTP-U", "GTP-C", "Diameter"),
    "mme": ("GTP-C", "Diameter"),
    "hss": ("Diameter",),
    "pcrf": ("Diameter",),
    "sgwc": ("PFCP", "GTP-C"),
    "sgwu": ("PFCP", "GTP-U"),
}
"""On ports that all kinds share: 8805, 2152, 2123 (UDP) and 3868."""

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("scp", "ausf", "udm", "udr", "bsf", "nssf", "amf", "pcf"), ("nrf",)),
    "mme": ("hss", "sgwc", "smf"),
    "sgwc": ("sgwu",),
}
"""Without these a function does not start, or can do nothing."""

_NEED_DATABASE: Final = frozenset({"udr", "pcf", "hss", "pcrf"})


@dataclass(frozen=True, slots=True)
class Listener:
    """Something of the core that binds an address of an appliance."""

    key: str
    kind: str
    appliance: str
    address: IPv4Address
    protocols: tuple[str, ...]


def listeners(core: Core5g) -> tuple[Listener, ...]:
    return (
        *(
            Listener(f"{KEY}.functions[{number}]", one.kind, one.appliance, one.address, _PROTOCOLS.get(one.kind, ()))
            for number, one in enumerate(core.functions)
        ),
        *chain.from_iterable(
            (
                Listener(f"{KEY}.upfs[{number}].n3", "upf", one.appliance, one.n3, ("GTP-U",)),
                Listener(f"{KEY}.upfs[{number}].n4", "upf", one.appliance, one.n4, ("PFCP",)),
            )
            for number, one in enumerate(core.upfs)
        ),
        *(
            Listener(f"{KEY}.classifiers[{number}].address", "classifier", one.appliance, one.address, ("PFCP",))
            for number, one in enumerate(core.classifiers)
        ),
    )


def problems(core: Core5g, fleet: Fleet) -> tuple[Problem, ...]:
    found = chain(
        place_problems(core, fleet),
        twin_problems(core),
        port_problems(core),
        network_problems(core),
        pool_problems(core, fleet),
        upf_problems(core, fleet),
        missing_problems(core),
    )
    return tuple(dict.fromkeys(found))


def place_problems(core: Core5g, fleet: Fleet) -> Iterator[Problem]:
    """Unknown appliances, and addresses that the appliance has not."""
    known = {appliance.id: appliance for appliance in fleet.spec.appliances}
    alone = len({one.appliance for one in listeners(core)}) == 1
    told: set[str] = set()
    for one in listeners(core):
        if one.kind == "classifier":
            continue  # its own planner says where it stands
        head = one.key.removesuffix(".n3").removesuffix(".n4")
        if one.appliance not in known:
            if head not in told:
                told.add(head)
                yield unknown("appliance in the fleet", f"{head}.appliance", one.appliance, known)
            continue
        has = addresses(known[one.appliance])
        if one.address not in has and not (alone and one.address in _HOST_LOOPBACK):
            key = one.key if one.key != head else f"{head}.address"
            owned = ", ".join(f"{address} ({name})" for address, name in has.items())
            rule = f"{one.appliance} does not have this address"
            remedy = f"it has {owned}" if owned else f"give {one.appliance} an interface or a loopback"
            yield Problem(rule, remedy, key=key, value=str(one.address))


def addresses(appliance: Appliance) -> dict[IPv4Address, str]:
    """Address -> interface."""
    found = {interface.address.ip: interface.name for interface in appliance.interfaces}
    return {appliance.loopback: "lo", **found} if appliance.loopback is not None else found


def twin_problems(core: Core5g) -> Iterator[Problem]:
    yield from unique(
        "a function of this kind is at this address already: {first}",
        "give it an address of its own, on an appliance of its own",
        ((f"{KEY}.functions[{n}].address", (f.kind, f.address), str(f.address)) for n, f in enumerate(core.functions)),
    )
    yield from unique(
        "this appliance has a function of this kind already: {first}",
        "place it on another appliance: each runs one of a kind",
        ((f"{KEY}.functions[{n}].appliance", (f.kind, f.appliance), f.appliance) for n, f in enumerate(core.functions)),
    )
    yield from unique(
        "this appliance has a UPF already: {first}",
        "let that one serve the DNNs: two UPFs of one appliance would share its routes back to the pools",
        ((f"{KEY}.upfs[{n}].appliance", upf.appliance, upf.appliance) for n, upf in enumerate(core.upfs)),
    )
    yield from unique(
        "a UPF has this name already: {first}",
        "give it a name of its own",
        ((f"{KEY}.upfs[{n}].id", upf.id, upf.id) for n, upf in enumerate(core.upfs)),
    )


def port_problems(core: Core5g) -> Iterator[Problem]:
    """Two that would listen on one port of one address."""
    first: dict[tuple[IPv4Address, str], Listener] = {}
    for one in listeners(core):
        for protocol in one.protocols:
            other = first.setdefault((one.address, protocol), one)
            if other.kind != one.kind:  # twins are told as such
                rule = f"{other.kind} at {other.key} listens for {protocol} on this address already"
                key = one.key if one.kind in {"upf", "classifier"} else f"{one.key}.address"
                yield Problem(rule, "give one of them another address", key=key, value=str(one.address))
                break


def network_problems(core: Core5g) -> Iterator[Problem]:
    known = [network.dnn for network in core.networks]
    served = {dnn for upf in core.upfs for dnn in upf.dnns}
    yield from unique(
        "this DNN stands here already: {first}",
        "put all pools of a DNN into one entry",
        ((f"{KEY}.networks[{number}].dnn", dnn, dnn) for number, dnn in enumerate(known)),
    )
    for number, dnn in enumerate(known):
        if dnn not in served:
            remedy = "add it to the dnns of a UPF, or remove it"
            yield Problem("no UPF serves this DNN", remedy, key=f"{KEY}.networks[{number}].dnn", value=dnn)
    for number, upf in enumerate(core.upfs):
        for index, dnn in enumerate(upf.dnns):
            key = f"{KEY}.upfs[{number}].dnns[{index}]"
            if dnn not in known:
                yield unknown(f"DNN in {KEY}.networks", key, dnn, known)
            elif dnn in upf.dnns[:index]:
                yield Problem("the DNN is named twice", "remove one", key=key, value=dnn)
        for index, tac in enumerate(upf.tacs):
            if tac not in core.tacs:
                key = f"{KEY}.upfs[{number}].tacs[{index}]"
                yield unknown(f"TAC in {KEY}.tacs", key, str(tac), map(str, core.tacs))


def pool_problems(core: Core5g, fleet: Fleet) -> Iterator[Problem]:
    pools = [
        (f"{KEY}.networks[{number}].pools[{index}]", pool)
        for number, network in enumerate(core.networks)
        for index, pool in enumerate(network.pools)
    ]
    links = [*_subnets(fleet)]
    for place, (key, pool) in enumerate(pools):
        if (pool.version == 4 and pool.prefixlen > 29) or (pool.version == 6 and pool.prefixlen > 63):
            rule = "the pool has no room for UEs beside its gateway; over IPv6 every UE gets a /64"
            yield Problem(rule, "write a larger one", key=key, value=str(pool))
        for other_key, other in pools[:place]:
            if _overlap(pool, other):
                rule = f"the pool overlaps {other}, of {other_key}"
                yield Problem(rule, "give every pool addresses of its own", key=key, value=str(pool))
        for what, subnet in links:
            if _overlap(pool, subnet):
                rule = f"the pool overlaps {subnet}, {what}"
                yield Problem(rule, "take a pool that is used nowhere in the fleet", key=key, value=str(pool))


def _subnets(fleet: Fleet) -> Iterator[tuple[str, Network]]:
    for appliance in fleet.spec.appliances:
        for interface in appliance.interfaces:
            yield f"the link at {appliance.id}:{interface.name}", interface.address.network
        if appliance.loopback is not None:
            yield f"the loopback of {appliance.id}", ip_network(appliance.loopback)
        if appliance.loopback6 is not None:
            yield f"the IPv6 loopback of {appliance.id}", ip_network(appliance.loopback6)
        yield f"the management address of {appliance.id}", ip_network(appliance.management)


def _overlap(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.overlaps(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.overlaps(other)


def upf_problems(core: Core5g, fleet: Fleet) -> Iterator[Problem]:
    known = {appliance.id: appliance for appliance in fleet.spec.appliances}
    pools = {network.dnn: network.pools for network in core.networks}
    for number, upf in enumerate(core.upfs):
        key = f"{KEY}.upfs[{number}]"
        appliance = known.get(upf.appliance)
        names = [interface.name for interface in appliance.interfaces] if appliance is not None else []
        if appliance is not None and upf.exit not in names:
            yield unknown(f"interface of {upf.appliance}", f"{key}.exit", upf.exit, names)
        elif appliance is not None and upf.gateway is not None:
            yield from _gateway_problems(upf, appliance, f"{key}.gateway")
        subnets = sum(len(pools.get(dnn, ())) for dnn in upf.dnns)
        for what, count in (("DNNs, each with a TUN device", len(upf.dnns)), ("pools", subnets)):
            if count > MAX_SESSIONS:
                rule = f"{upf.id} would have {count} {what}; Open5GS has room for {MAX_SESSIONS}"
                yield Problem(rule, "spread the DNNs over more UPFs, or use larger pools", key=f"{key}.dnns")
    whole = sum(map(len, pools.values()))
    if whole > MAX_SESSIONS and any(function.kind == "smf" for function in core.functions):
        rule = f"the SMF would have {whole} pools; Open5GS has room for {MAX_SESSIONS}"
        yield Problem(rule, "use fewer and larger pools", key=f"{KEY}.networks")
    yield from unique(
        "a classifier stands before this UPF already: {first}",
        "name another UPF, or remove one of the two",
        ((f"{KEY}.classifiers[{n}].upf", one.upf, one.upf) for n, one in enumerate(core.classifiers)),
    )


def _gateway_problems(upf: Upf, appliance: Appliance, key: str) -> Iterator[Problem]:
    """It has to be a neighbour."""
    face = next(one.address for one in appliance.interfaces if one.name == upf.exit)
    if upf.gateway not in face.network or upf.gateway == face.ip:
        rule = f"not a neighbour at {upf.exit}, which has {face}"
        yield Problem(rule, f"name the router in {face.network}", key=key, value=str(upf.gateway))


def missing_problems(core: Core5g) -> Iterator[Problem]:
    there: dict[str, int] = defaultdict(int)
    for function in core.functions:
        there[function.kind] += 1
    for number, function in enumerate(core.functions):
        key = f"{KEY}.functions[{number}].kind"
        missing = [kind for kind in _NEEDED.get(function.kind, ()) if not there[kind]]
        if missing:
            rule = f"{function.kind} needs {', '.join(missing)}, which the fleet does not place"
            yield Problem(rule, f"add {', '.join(missing)} to {KEY}.functions", key=key, value=function.kind)
        if function.kind == "smf" and not core.upfs:
            yield Problem("the SMF has no UPF", f"add one to {KEY}.upfs", key=key, value="smf")
        if function.kind in _NEED_DATABASE and core.database is None:
            rule = f"{function.kind} reads subscribers from a database, and the fleet names none"
            yield Problem(rule, f"add {KEY}.database: mongodb://HOST:PORT/NAME", key=key, value=function.kind)
    if core.database is not None and _DATABASE.fullmatch(core.database) is None:
        yield Problem(
            "a database is mongodb://HOST:PORT/NAME, and its credentials are named, never written",
            "write it as mongodb://secret:core5g-db@10.0.0.9:27017/open5gs",
            key=f"{KEY}.database",
            value="[removed]",  # there may be a password in it
        )
