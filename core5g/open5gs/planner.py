"""The managed core's share of a compilation: which appliance runs which function with which file, and the UPFs' N6."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_interface

from core5g.documents import EQUIPMENT, Core5g, CoreFunction, Upf
from core5g.open5gs import lint
from core5g.open5gs.documents import (
    N6_NETWORK,
    OPEN5GS,
    ManagedFunction,
    N6NetworkSection,
    Open5gsSection,
    TunDevice,
)
from core5g.open5gs.drain import DRAIN
from core5g.open5gs.naming import (
    DEPENDS,
    START_ORDER,
    function_fact,
    interface_fact,
    ordered,
    placed,
    tun_fact,
    tun_name,
)
from core5g.open5gs.plan import step_id
from core5g.open5gs.render import function_tree, tree_of_upf
from core5g.open5gs.rules import KEY, addresses, problems
from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel


class Open5gsPlanner:
    """Planner of the fleet's equipment `core5g`; the line-up says nothing to it."""

    @property
    def name(self) -> str:
        return "open5gs"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:  # noqa: ARG002 - the contract's
        core = fleet.spec.equipment.get(EQUIPMENT)
        if not isinstance(core, Core5g):
            return Contribution()
        found = problems(core, fleet)
        if found:
            return Contribution(problems=found)
        told = (*lint.warnings(core, KEY), *lint.facing_warnings(core, fleet, KEY))
        core = ordered(core)
        sections: dict[str, dict[str, DocumentModel]] = defaultdict(dict)
        for appliance in sorted({*(one.appliance for one in core.functions), *(upf.appliance for upf in core.upfs)}):
            sections[appliance][OPEN5GS] = Open5gsSection(functions=_functions(core, fleet, appliance))
        for upf in core.upfs:
            sections[upf.appliance][N6_NETWORK] = n6_network(core, upf)
        return Contribution(
            sections=dict(sections),
            warnings=told,
            operations=tuple(map(_drain, core.upfs)),
        )


def _drain(upf: Upf) -> FleetOperation:
    """Not before a restart of the SMF: it costs the sessions of all UPFs, which all would be shut for it."""
    before = frozenset({(upf.appliance, step_id("upf"))})
    return FleetOperation(DRAIN, upf.id, (((upf.appliance, OPEN5GS),),), before=before)


def _functions(core: Core5g, fleet: Fleet, appliance: str) -> tuple[ManagedFunction, ...]:
    """In the order in which they start."""
    own = {function.kind: function for function in core.functions if function.appliance == appliance}
    upf = next((upf for upf in core.upfs if upf.appliance == appliance), None)
    here = {*own, *(("upf",) if upf is not None else ())}
    names = addresses(fleet.appliance(appliance))
    found = []
    for kind in START_ORDER:
        if kind == "upf" and upf is not None:
            requires = {
                *_interfaces(names, appliance, (upf.n3, upf.n4)),
                *(tun_fact(appliance, tun_name(upf, dnn)) for dnn in upf.dnns),
            }
            found.append(
                _managed(kind, upf.id, appliance, tree_of_upf(core, upf), requires, masters=upf_masters(core, upf))
            )
        elif kind in own:
            function = own[kind]
            requires = {
                *_interfaces(names, appliance, (function.address,)),
                *(function_fact(appliance, other) for other in DEPENDS.get(kind, ()) if other in here),
                *_registry(core, function),
            }
            masters = [one.address for one in placed(core, "sgwc")] if kind == "sgwu" else []
            found.append(_managed(kind, kind, appliance, function_tree(core, function), requires, masters=masters))
    return tuple(found)


def upf_masters(core: Core5g, upf: Upf) -> Iterable[IPv4Address]:
    """Who sets up sessions at a UPF: the SMFs, or the classifier before it alone; and that of which it is the edge."""
    before = [one.address for one in core.classifiers if one.upf == upf.id]
    smfs = [one.address for one in placed(core, "smf")] if not before else []
    return (*before, *smfs, *(one.address for one in core.classifiers if one.edge == upf.id))


def _managed(
    kind: str,
    name: str,
    appliance: str,
    tree: dict[str, object],
    requires: Iterable[str],
    *,
    masters: Iterable[IPv4Address],
) -> ManagedFunction:
    return ManagedFunction.model_validate(
        {
            "kind": kind,
            "name": name,
            "config": tree,
            "peers": sorted({*masters}),
            "requires": sorted(requires),
            "provides": [function_fact(appliance, kind)],
        }
    )


def _interfaces(names: dict[IPv4Address, str], appliance: str, bound: Iterable[IPv4Address]) -> Iterable[str]:
    """An address of 127.0.0.0/8 is there from the start."""
    return (interface_fact(appliance, names[address]) for address in bound if address in names)


def _registry(core: Core5g, function: CoreFunction) -> Iterable[str]:
    """Of what stands elsewhere only where a function registers itself: everything else it finds when it is there."""
    for kind in ("nrf", "scp"):
        if kind in DEPENDS.get(function.kind, ()):
            yield from (function_fact(one.appliance, kind) for one in placed(core, kind)[:1])


def n6_network(core: Core5g, upf: Upf) -> N6NetworkSection:
    """Each TUN device has the gateway of every pool of its DNN."""
    pools = {network.dnn: network.pools for network in core.networks}
    tuns = tuple(
        TunDevice(
            name=tun_name(upf, dnn),
            dnn=dnn,
            gateways=tuple(ip_interface((pool.network_address + 1, pool.prefixlen)) for pool in pools[dnn]),
        )
        for dnn in upf.dnns
    )
    own = (pool for dnn in upf.dnns for pool in pools[dnn] if pool.version == 4)
    return N6NetworkSection(
        tuns=tuns,
        exit=upf.exit,
        gateway=upf.gateway,
        masquerade=tuple(own) if upf.nat else (),
        mtu=core.mtu,
        requires=(interface_fact(upf.appliance, upf.exit),),
        provides=tuple(tun_fact(upf.appliance, tun.name) for tun in tuns),
    )
