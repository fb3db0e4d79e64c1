"""The sample documents as plain data, to change one thing at a time."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from headend.multicast.documents import EXTENSION
from headend.multicast.planner import MulticastPlanner
from nf.documents import tree
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import Document
from nf.documents.registry import Registry
from nf.documents.validation import validate
from nf.errors import DocumentError, Problem
from nf.planning.compiler import Compiled, compile_lineup

DOCUMENTS = Path(__file__).parents[3] / "lab" / "documents"
REGISTRY = Registry([EXTENSION])
PLANNERS = (MulticastPlanner(),)

D = TypeVar("D", bound=Document)


@cache
def _data(name: str) -> Any:
    root, problems = tree.parse((DOCUMENTS / name).read_text())
    assert not problems
    return root.data()


def without_the_cell(fleet: dict[str, Any]) -> dict[str, Any]:
    """A fleet document, in place: without voice and 5G core, UEs and their sites, and what PoPs have towards both."""
    spec = fleet["spec"]
    spec["equipment"].pop("voice")
    core = spec["equipment"].pop("core5g")
    ues = {ue["appliance"] for ue in core["equipment"]}
    sites = {one["site"] for one in spec["appliances"] if one["id"] in ues}
    exits = {(upf["appliance"], upf["exit"]) for upf in core["upfs"]}
    radio = {upf["n3"] for upf in core["upfs"]}
    spec["sites"] = [one for one in spec["sites"] if one["id"] not in sites]
    spec["appliances"] = [one for one in spec["appliances"] if one["id"] not in ues]
    for one in spec["appliances"]:
        one["interfaces"] = [
            face
            for face in one["interfaces"]
            if (one["id"], face["name"]) not in exits and face["address"].split("/")[0] not in radio
        ]
    ends = {f"{one['id']}:{face['name']}" for one in spec["appliances"] for face in one["interfaces"]}
    spec["links"] = [link for link in spec["links"] if ends.issuperset(link["endpoints"])]
    return fleet


def fleet_data() -> dict[str, Any]:
    """With the functions of IPTV only, and nothing beside the appliances."""
    data: dict[str, Any] = without_the_cell(copy.deepcopy(_data("fleet.yaml")))
    functions = ("ingest", "multicast-source")
    data["spec"]["placement"] = [p for p in data["spec"]["placement"] if p["function"] in functions]
    equipment = data["spec"].pop("equipment")
    beside = {receiver["output"] for c in equipment["satellite"]["carriers"] for receiver in c["receivers"]}
    for appliance in data["spec"]["appliances"]:
        appliance["interfaces"] = [i for i in appliance["interfaces"] if i["address"].split("/")[0] not in beside]
    return data


def lineup_data() -> dict[str, Any]:
    """With the paths of IPTV only, and the sources that they take."""
    data: dict[str, Any] = copy.deepcopy(_data("lineup.yaml"))
    spec = data["spec"]
    for channel in spec["channels"]:
        channel["delivery"] = [path for path in channel["delivery"] if path["type"] in REGISTRY.path_types]
    taken = {channel["source"] for channel in spec["channels"]}
    spec["sources"] = [source for source in spec["sources"] if source["id"] in taken]
    return data


def built(model: type[D], data: dict[str, Any]) -> D:
    document, violations = validate(model, data, REGISTRY)
    assert document is not None, violations
    return document


def compiled(lineup: dict[str, Any] | None = None, fleet: dict[str, Any] | None = None) -> Compiled:
    first = built(LineUp, lineup if lineup is not None else lineup_data())
    return compile_lineup(first, built(Fleet, fleet if fleet is not None else fleet_data()), PLANNERS)


def problems(lineup: dict[str, Any] | None = None, fleet: dict[str, Any] | None = None) -> list[Problem]:
    try:
        compiled(lineup, fleet)
    except DocumentError as error:
        return list(error.problems)
    return []


def shown(found: list[Problem]) -> list[tuple[str, str, str, str]]:
    return [(problem.key, problem.value, problem.rule, problem.remedy) for problem in found]
