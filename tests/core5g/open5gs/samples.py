"""A small core on the sample network: control plane on c1, a central UPF on c2, an edge UPF on pop1."""

from __future__ import annotations

import copy
from typing import Any

from core5g.documents import EXTENSION, Core5g
from core5g.open5gs.documents import EXTENSION as SECTIONS
from core5g.open5gs.documents import N6NetworkSection, Open5gsSection
from core5g.open5gs.planner import Open5gsPlanner
from nf.contracts.planner import Contribution
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.registry import Registry
from nf.documents.validation import validate
from tests.nf.planning.samples import fleet_data as iptv_fleet

REGISTRY = Registry([EXTENSION, SECTIONS])

CORE: dict[str, Any] = {
    "plmn": {"mcc": "999", "mnc": "70"},
    "tacs": [1, 7],
    "slices": [{"sst": 1}, {"sst": 1, "sd": "000080"}],
    "networks": [{"dnn": "internet", "pools": ["10.45.0.0/16", "2001:db8:45::/48"]}],
    "functions": [
        {"kind": kind, "appliance": "c1", "address": "10.255.0.1"}
        for kind in ("nrf", "scp", "ausf", "udm", "udr", "pcf", "bsf", "nssf", "amf", "smf")
    ],
    "upfs": [
        {
            "id": "central",
            "appliance": "c2",
            "n3": "10.255.0.2",
            "n4": "10.255.0.2",
            "dnns": ["internet"],
            "exit": "eth1",
        },
        {
            "id": "edge1",
            "appliance": "pop1",
            "n3": "10.2.0.3",
            "n4": "10.255.0.3",
            "dnns": ["internet"],
            "tacs": [7],
            "exit": "eth3",
        },
    ],
    "database": "mongodb://secret:core5g-db@10.1.0.20:27017/open5gs",
    "resolvers": ["10.3.1.1"],
}

EPC: list[dict[str, Any]] = [
    {"kind": "hss", "appliance": "c2", "address": "10.1.0.2"},
    {"kind": "pcrf", "appliance": "c2", "address": "10.2.0.1"},
    {"kind": "mme", "appliance": "c2", "address": "10.2.0.6"},
    {"kind": "sgwc", "appliance": "c2", "address": "10.2.0.8"},
    {"kind": "sgwu", "appliance": "pop1", "address": "10.2.0.7"},
]


def core_data(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(CORE), **changes}


def core(**changes: Any) -> Core5g:
    return Core5g.model_validate(core_data(**changes))


def with_epc() -> Core5g:
    return core(functions=CORE["functions"] + EPC)


def fleet(data: dict[str, Any]) -> Fleet:
    whole = iptv_fleet()
    whole["spec"]["equipment"] = {"core5g": data}
    document, violations = validate(Fleet, whole, REGISTRY)
    assert document is not None, violations
    return document


def planned(data: dict[str, Any] | None = None) -> Contribution:
    return Open5gsPlanner().plan(LineUp.empty(), fleet(data if data is not None else core_data()))


def problems(**changes: Any) -> list[tuple[str, str]]:
    return [
        (problem.key.removeprefix("spec.equipment.core5g."), problem.rule)
        for problem in planned(core_data(**changes)).problems
    ]


def open5gs(contribution: Contribution, appliance: str) -> Open5gsSection:
    section = contribution.sections[appliance]["open5gs"]
    assert isinstance(section, Open5gsSection)
    return section


def n6(contribution: Contribution, appliance: str) -> N6NetworkSection:
    section = contribution.sections[appliance]["n6-network"]
    assert isinstance(section, N6NetworkSection)
    return section
