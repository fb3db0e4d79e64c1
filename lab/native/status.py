"""What runs in a lab at this moment, read from the kernel."""

from __future__ import annotations

import json

from lab.native import network
from lab.native.handle import Lab
from lab.native.processes import processes_of
from lab.native.state import FABRIC
from nf.contracts.json import Json, JsonObject
from nf.errors import DriverError


def lab_status(lab: Lab) -> JsonObject:
    """Name, runner, phase, and for each node its main process, interfaces and processes."""
    return {
        "name": lab.state.name,
        "runner": lab.state.runner,
        "phase": lab.state.phase.value,
        "topology": lab.state.topology,
        "directory": str(lab.state.directory),
        "created_at": lab.state.created_at,
        "nodes": [node_status(lab, node) for node in lab.nodes()],
    }


def node_status(lab: Lab, node: str) -> JsonObject:
    """`pid` is PID 1 as the host counts, None when the node does not run; `main` is what its `cmd` became."""
    init = lab.state.alive(node) if node != FABRIC else None
    links: list[Json] = []
    processes: list[Json] = []
    if init is not None:
        try:
            links = list(network.interfaces(init))
        except DriverError:
            init = None  # it ended while we looked
        else:
            processes = [process.to_json() for process in processes_of(init)]
    return {
        "name": node,
        "running": init is not None,
        "pid": init.pid if init else None,
        "namespace": lab.state.namespace_name(node).name,
        "management": lab.state.nodes[node].management or None,
        "main": _main(lab, node),
        "interfaces": links,
        "processes": processes,
    }


def _main(lab: Lab, node: str) -> JsonObject | None:
    try:
        record: JsonObject = json.loads((lab.folder(node) / "cmd.json").read_bytes())
    except (OSError, ValueError):
        return None
    return record
