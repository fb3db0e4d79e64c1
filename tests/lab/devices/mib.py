"""NF-LAB-MIB as libsmi reads it: the specification that agents are held to."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
MIB = ROOT / "lab/devices/mibs/NF-LAB-MIB"
BASE = ROOT / "tests/data/mibs"
# The IETF's own text comes first where snmp-mibs-downloader has put it.
SEARCH = ":".join(("/var/lib/mibs/ietf", str(BASE)))
ARC = (1, 3, 6, 1, 4, 1, 8072, 9999, 9999, 71)

_SYNTAXES = {
    "Integer32": "integer",
    "Unsigned32": "unsigned",
    "Gauge32": "gauge",
    "Counter32": "counter32",
    "Counter64": "counter64",
    "TimeTicks": "timeticks",
    "OctetString": "octets",
    "IpAddress": "ipaddress",
}


@dataclass(frozen=True)
class Object:
    """`oid` is below `ARC`; `columnar` ones have rows."""

    oid: tuple[int, ...]
    writable: bool
    columnar: bool
    syntax: str
    bounds: tuple[int | None, int | None]


@dataclass(frozen=True)
class Text:
    objects: dict[str, Object]
    enumerations: dict[str, dict[str, int]]


@cache
def parsed() -> Text:
    command = ["smidump", "-f", "python", str(MIB)]
    done = subprocess.run(command, env=os.environ | {"SMIPATH": SEARCH}, capture_output=True, text=True, check=True)
    space: dict[str, Any] = {}
    exec(done.stdout, space)  # noqa: S102 - smidump's own output, of our own text
    dump = space["MIB"]
    enumerations = {name: found for name, kind in dump["typedefs"].items() if (found := _numbers(kind))}
    objects = {}
    for name, node in dump["nodes"].items():
        if node["nodetype"] not in ("scalar", "column"):
            continue
        kind = _resolved(node["syntax"]["type"], dump["typedefs"])
        if found := _numbers(kind):
            enumerations[name] = found
        if node["access"] != "noaccess":
            objects[name] = _object(node, kind)
    return Text(objects, enumerations)


def _resolved(kind: dict[str, Any], typedefs: dict[str, Any]) -> dict[str, Any]:
    return typedefs[kind["name"]] if kind.get("module") == "NF-LAB-MIB" else kind


def _numbers(kind: dict[str, Any]) -> dict[str, int]:
    named = ((label, item) for label, item in kind.items() if isinstance(item, dict))
    return {label: int(item["number"]) for label, item in named if item.get("nodetype") == "namednumber"}


def _object(node: dict[str, Any], kind: dict[str, Any]) -> Object:
    oid = tuple(map(int, node["oid"].split(".")))[len(ARC) :]
    writable, columnar = node["access"] == "readwrite", node["nodetype"] == "column"
    numbers = sorted(_numbers(kind).values())
    if numbers:
        return Object(oid, writable, columnar, "integer", (numbers[0], numbers[-1]))
    syntax = _SYNTAXES[kind.get("basetype") or kind["name"]]
    if kind.get("parent module", {}).get("type") == "DisplayString":
        syntax = "text"
    bounds = kind.get("range")
    return Object(oid, writable, columnar, syntax, (int(bounds["min"]), int(bounds["max"])) if bounds else (None, None))
