"""The lab's documents as data, to be changed by tests, and compiled with every planner of the house."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

from ruamel.yaml import YAML

from core5g.documents import EXTENSION as CORE5G
from headend.devices.documents import EXTENSION as DEVICES
from headend.multicast.documents import EXTENSION as MULTICAST
from headend.multicast.planner import MulticastPlanner
from headend.satellite.documents import EXTENSION as SATELLITE
from headend.satellite.planner import SatellitePlanner
from nf.documents.loader import load_fleet, load_lineup
from nf.documents.registry import Registry
from nf.errors import DocumentError, Problem
from nf.planning.compiler import Compiled, compile_documents
from sip.documents import EXTENSION as VOICE
from tests.nf.planning.samples import DOCUMENTS, without_the_cell

REGISTRY = Registry([CORE5G, DEVICES, MULTICAST, SATELLITE, VOICE])
"""With the documents of the 5G core and of voice, which the lab's fleet has: only planners judge them."""


@cache
def _read(name: str) -> Any:
    return YAML(typ="safe").load((DOCUMENTS / name).read_text())


def fleet_data() -> dict[str, Any]:
    return without_the_cell(copy.deepcopy(_read("fleet.yaml")))


def lineup_data(name: str = "lineup.yaml") -> dict[str, Any]:
    """Without the paths of other domains."""
    data: dict[str, Any] = copy.deepcopy(_read(name))
    for channel in data["spec"]["channels"]:
        channel["delivery"] = [path for path in channel["delivery"] if path["type"] in {"ssm", "dvb-s2x"}]
        for path in channel["delivery"]:
            if "fallback" in path:
                path["fallback"] = "iptv"
    prefer = data["spec"]["policy"].get("failover", {}).get("prefer", [])
    prefer[:] = [kind for kind in prefer if kind != "cdn"]
    return data


def satellite_path(lineup: dict[str, Any], channel: int) -> dict[str, Any]:
    found: dict[str, Any] = next(
        path for path in lineup["spec"]["channels"][channel]["delivery"] if path["type"] == "dvb-s2x"
    )
    return found


def carrier(fleet: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = fleet["spec"]["equipment"]["satellite"]["carriers"][0]
    return found


def compiled(lineup: dict[str, Any], fleet: dict[str, Any]) -> Compiled:
    """Raises DocumentError."""
    return compile_documents(
        load_lineup(json.dumps(lineup), file="lineup.json", extensions=REGISTRY),
        load_fleet(json.dumps(fleet), file="fleet.json", extensions=REGISTRY),
        [MulticastPlanner(), SatellitePlanner()],
    )


def refused(lineup: dict[str, Any], fleet: dict[str, Any]) -> tuple[Problem, ...]:
    try:
        compiled(lineup, fleet)
    except DocumentError as error:
        return error.problems
    raise AssertionError("nothing was refused")
