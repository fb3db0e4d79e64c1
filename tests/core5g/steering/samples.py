"""The sample network with a CDN and a 5G core at its PoPs, as plain data to change one thing at a time."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest

from core5g.documents import EXTENSION as CORE5G
from core5g.steering.planner import SteeringPlanner
from headend.multicast.documents import EXTENSION as MULTICAST
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import Document
from nf.documents.registry import Registry
from nf.documents.validation import validate
from nf.errors import DocumentError
from nf.media.documents import EXTENSION as MEDIA
from nf.media.front.documents import EXTENSION as FRONT
from nf.media.planner import MediaPlanner
from nf.planning.compiler import Compiled, compile_lineup
from tests.nf.planning.samples import fleet_data as iptv_fleet
from tests.nf.planning.samples import lineup_data as iptv_lineup

REGISTRY = Registry([CORE5G, MEDIA, FRONT, MULTICAST])
PLANNERS = (MediaPlanner(), SteeringPlanner())
PROXIES = {"pop1": "10.50.1.9/29", "pop2": "10.50.2.9/29"}
D = TypeVar("D", bound=Document)
HOST = "cdn.streamverse.test"
PLACEMENT = {"packager": ["headend"], "cdn-shield": ["c1", "c2"], "cdn-edge": ["pop1", "pop2"]}


def upf(number: int, **changes: Any) -> dict[str, Any]:
    """A UPF on pop1 or pop2 that steers at its N6."""
    return {
        "id": f"edge{number}",
        "appliance": f"pop{number}",
        "n3": f"10.50.{number}.3",
        "n4": f"10.50.{number}.4",
        "dnns": ["internet"],
        "tacs": [number],
        "exit": "eth1",
        "steering": "n6",
        **changes,
    }


def central(**changes: Any) -> dict[str, Any]:
    """A UPF in the core whose traffic is classified."""
    return {
        "id": "central",
        "appliance": "c1",
        "n3": "10.50.9.3",
        "n4": "10.50.9.4",
        "dnns": ["internet"],
        "exit": "eth1",
        "steering": "classifier",
        **changes,
    }


def classifier(**changes: Any) -> dict[str, Any]:
    return {
        "id": "ulcl",
        "appliance": "pop1",
        "address": "10.50.1.9",
        "upf": "central",
        "edge": "edge1",
        **changes,
    }


def core_data(**changes: Any) -> dict[str, Any]:
    return {
        "plmn": {"mcc": "999", "mnc": "70"},
        "tacs": [1, 2],
        "slices": [{"sst": 1}],
        "networks": [{"dnn": "internet", "pools": ["10.45.0.0/16", "2001:db8:45::/48"]}],
        "functions": [{"kind": "smf", "appliance": "c1", "address": "10.50.9.2"}],
        "upfs": [upf(1), upf(2)],
        "equipment": [{"appliance": "ue1", "upf": "edge1"}],
        **changes,
    }


def fleet_data(core: dict[str, Any] | None = None, **placement: list[str]) -> dict[str, Any]:
    data = iptv_fleet()
    spec = data["spec"]
    placed = {**PLACEMENT, **{name.replace("_", "-"): names for name, names in placement.items()}}
    spec["placement"] += [
        {"function": name, "appliances": appliances} for name, appliances in placed.items() if appliances
    ]
    spec["sites"].append({"id": "street", "criticality": "optional"})
    spec["appliances"].append(
        {"id": "ue1", "site": "street", "role": "probe", "serial": "SV-UE1", "management": "172.20.20.30"}
    )
    for appliance in spec["appliances"]:
        if appliance["id"] in PROXIES:
            appliance["interfaces"].append({"name": "eth8", "address": PROXIES[appliance["id"]]})
    spec["equipment"] = {"core5g": core if core is not None else core_data()}
    return data


def with_part(fleet: dict[str, Any], name: str, **part: Any) -> dict[str, Any]:
    """The fleet with another part of equipment."""
    fleet["spec"]["equipment"][name] = part
    return fleet


def tls(*appliances: str, port: int = 443) -> dict[str, Any]:
    """An entry of edges with https; of all others where it names none."""
    return {"appliances": [*appliances], "tls": {"port": port, "certificates": ["secret:cdn-tls"]}}


def cdn(channel: str, **changes: Any) -> dict[str, Any]:
    origin = {"endpoint": "http://10.1.0.20:8333", "bucket": "media", "credentials": "secret:origin-writer"}
    return {
        "id": "ott",
        "type": "cdn",
        "host": HOST,
        "source": f"{channel}-ott",
        "rate": "2M",
        "sites": ["pop1", "pop2"],
        "origin": origin,
        **changes,
    }


def breakout(**changes: Any) -> dict[str, Any]:
    return {
        "id": "mobile",
        "type": "upf-breakout",
        "of": "ott",
        "rate": "2M",
        "upfs": ["edge1", "edge2"],
        "prefixes": ["203.0.113.0/24"],
        **changes,
    }


def lineup_data(*paths: dict[str, Any] | None, cdns: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """The two channels, each with a CDN path and, where one is given, a breakout path."""
    data = iptv_lineup()
    spec = data["spec"]
    for number, channel in enumerate(spec["channels"]):
        name = channel["id"]
        channel["delivery"] = [cdn(name, **(cdns[number] if number < len(cdns) else {}))]
        found = paths[number] if number < len(paths) else None
        channel["delivery"] += [found] if found else []
        spec["sources"].append({"id": f"{name}-ott", "appliance": "headend", "port": 6011 + number, "bitrate": "1M"})
    return data


def built(model: type[D], data: dict[str, Any]) -> D:
    document, violations = validate(model, data, REGISTRY)
    assert document is not None, violations
    return document


def compiled(lineup: dict[str, Any] | None = None, fleet: dict[str, Any] | None = None) -> Compiled:
    first = built(LineUp, lineup if lineup is not None else lineup_data(breakout()))
    return compile_lineup(first, built(Fleet, fleet if fleet is not None else fleet_data()), PLANNERS)


def refused(lineup: dict[str, Any] | None = None, fleet: dict[str, Any] | None = None) -> dict[str, str]:
    """Key -> rule of what is wrong."""
    with pytest.raises(DocumentError) as caught:
        compiled(lineup, fleet)
    return {problem.key: problem.rule for problem in caught.value.problems}
