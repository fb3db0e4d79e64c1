"""Cache groups, servers and a topology of Traffic Ops as parts of a fleet document. Pure.

A cache group becomes a site, an EDGE a PoP with the function `cdn-edge`, a MID a core with `cdn-shield`. What Traffic
Ops does not know (serial numbers, loopbacks, links) is marked or told; what the fleet has already stays as it is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from nf.documents.fleet import Fleet
from nf.documents.loader import load_fleet
from nf.documents.writer import PLEASE_CHECK
from nf.media.placement import EDGE, SHIELD
from nf.media.trafficops.model import CacheGroup, Server, Status, Topology

_ROLES: Final = {"EDGE": ("pop", EDGE), "MID": ("core", SHIELD)}
_IN_SERVICE: Final = frozenset({Status.ONLINE.value, Status.REPORTED.value})
_NAME_CHARACTERS: Final = 39
_FACE: Final = re.compile(r"[a-z][a-z0-9._-]{0,14}")


@dataclass(frozen=True, slots=True)
class Found:
    """What Traffic Ops has of one CDN."""

    groups: Sequence[CacheGroup]
    servers: Sequence[Server]
    topology: Topology | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """`added`: ids by kind (sites, appliances, placement). `text`: the fleet document with them."""

    text: str
    added: dict[str, list[str]]
    warnings: tuple[str, ...]


def import_into(text: str, found: Found, *, file: str) -> Imported:
    """The document with what it lacks, its comments kept. Raises DocumentError: it breaks rules, before or after."""
    fleet = load_fleet(text, file=file).document
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    root = yaml.load(text)
    work = _Work(fleet, found)
    work.fill(root["spec"])
    buffer = io.StringIO()
    yaml.dump(root, buffer)
    made = buffer.getvalue() if any(work.added.values()) else text
    load_fleet(made, file=file)
    return Imported(made, work.added, tuple(work.warnings))


def name_of(text: str, taken: Iterable[str]) -> str:
    """A name that a document may have, near to `text`, and none of `taken`."""
    base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    base = (base if base[:1].isalpha() else f"x-{base}".rstrip("-"))[:_NAME_CHARACTERS].rstrip("-")
    known = set(taken)
    number, name = 1, base
    while name in known:
        number += 1
        suffix = f"-{number}"
        name = base[: _NAME_CHARACTERS - len(suffix)].rstrip("-") + suffix
    return name


class _Work:
    def __init__(self, fleet: Fleet, found: Found) -> None:
        self._fleet = fleet
        self._found = found
        self.added: dict[str, list[str]] = {"sites": [], "appliances": [], "placement": []}
        self.warnings: list[str] = []
        caches = [one for one in found.servers if _kind(one) in _ROLES]
        self._caches = sorted(caches, key=lambda one: (one.cache_group, one.host, one.id))
        names: dict[str, str] = {}
        for group in sorted({one.cache_group for one in self._caches}):
            names[group] = name_of(group, names.values())
        self._site_of = names
        self._name_of: dict[int, str] = {}
        for one in self._caches:
            self._name_of[one.id] = name_of(one.host, self._name_of.values())

    def fill(self, spec: CommentedMap) -> None:
        self._sites(_sequence(spec, "sites"))
        self._appliances(_sequence(spec, "appliances"))
        self._placement(_sequence(spec, "placement"))
        self._topology()
        others = sorted({one.type for one in self._found.servers if _kind(one) not in _ROLES})
        if others:
            self.warnings.append(f"not imported: servers of the types {', '.join(others)}")
        if self.added["appliances"]:
            self.warnings.append("Traffic Ops knows no links, loopbacks and serial numbers: write them")

    def _sites(self, sites: CommentedSeq) -> None:
        known = {site.id for site in self._fleet.spec.sites}
        for group, name in self._site_of.items():
            if name not in known:
                sites.append(_flow({"id": name, "description": f"Cache group {_plain(group)}"}))
                self.added["sites"].append(name)

    def _appliances(self, appliances: CommentedSeq) -> None:
        known = {one.id: one for one in self._fleet.spec.appliances}
        for server in self._caches:
            name, site = self._name_of[server.id], self._site_of[server.cache_group]
            if name in known:
                if known[name].site != site:
                    self.warnings.append(f"{name} stands at {known[name].site} here, and at {site} in Traffic Ops")
                continue
            faces = self._faces(server)
            management, sure = _management(server, faces)
            if management is None:
                self.warnings.append(f"{name} has no IPv4 address: not imported")
                continue
            role, _ = _ROLES[_kind(server)]
            made = CommentedMap(
                id=name, site=site, role=role, serial=f"UNKNOWN-{_plain(server.host)}"[:64], management=str(management)
            )
            made.yaml_add_eol_comment(PLEASE_CHECK, "serial")
            if not sure:
                made.yaml_add_eol_comment(PLEASE_CHECK, "management")
            made["interfaces"] = CommentedSeq([_flow({"name": f, "address": str(a)}) for f, a in faces])
            appliances.append(made)
            self.added["appliances"].append(name)

    def _faces(self, server: Server) -> list[tuple[str, IPv4Interface]]:
        """One IPv4 address for each interface, as the fleet has them."""
        faces: list[tuple[str, IPv4Interface]] = []
        for face in server.interfaces:
            found = [address for text in face.addresses if (address := _ipv4(text)) is not None]
            if not found:
                continue
            if not _FACE.fullmatch(face.name):
                self.warnings.append(f"{server.host}: an interface cannot be called {face.name!r} here: left out")
                continue
            if len(found) > 1:
                self.warnings.append(f"{server.host}: {face.name} has several addresses: {found[0]} is taken")
            faces.append((face.name, found[0]))
        return faces

    def _placement(self, placement: CommentedSeq) -> None:
        stands = {one.id for one in self._fleet.spec.appliances} | set(self.added["appliances"])
        for role in _ROLES:
            function = _ROLES[role][1]
            placed = set(self._fleet.placed(function))
            mine = [one for one in self._caches if _kind(one) == role and self._name_of[one.id] in stands - placed]
            out = [self._name_of[one.id] for one in mine if one.status not in _IN_SERVICE]
            if out:
                self.warnings.append(f"not placed, since they are out of service in Traffic Ops: {', '.join(out)}")
            names = [self._name_of[one.id] for one in mine if one.status in _IN_SERVICE]
            if not names:
                continue
            entry = next((one for one in placement if one["function"] == function), None)
            if entry is None:
                placement.append(_flow({"function": function, "appliances": names}))
            else:
                entry["appliances"].extend(names)
            self.added["placement"] += [f"{function} {name}" for name in names]

    def _topology(self) -> None:
        """Here every edge asks every shield; who has fewer parents in the topology is told of."""
        topology = self._found.topology
        if topology is None:
            return
        types = {one.cache_group: _kind(one) for one in self._caches}
        shields = sorted(name for name in topology.parents if types.get(name) == "MID")
        for group, parents in sorted(topology.parents.items()):
            if types.get(group) == "EDGE" and set(parents) != set(shields):
                asks = ", ".join(parents) or "nobody"
                self.warnings.append(f"{group} asks {asks} in {topology.name}; here it asks {', '.join(shields)}")


def _kind(server: Server) -> str:
    """`EDGE_1` is an EDGE: types may have suffixes."""
    return next((kind for kind in _ROLES if server.type == kind or server.type.startswith(f"{kind}_")), "")


def _ipv4(text: str) -> IPv4Interface | None:
    try:
        return IPv4Interface(text)
    except ValueError:
        return None


def _management(server: Server, faces: Sequence[tuple[str, IPv4Interface]]) -> tuple[IPv4Address | None, bool]:
    """What Traffic Ops says, or else the first address that there is, which is to be looked at."""
    said = _ipv4(server.management) if server.management else None
    if said is not None:
        return said.ip, True
    return (faces[0][1].ip if faces else None), False


def _sequence(spec: CommentedMap, name: str) -> CommentedSeq:
    if not isinstance(spec.get(name), CommentedSeq):
        spec[name] = CommentedSeq()
    found: CommentedSeq = spec[name]
    return found


def _flow(data: dict[str, Any]) -> CommentedMap:
    made = CommentedMap((key, _flow_list(value) if isinstance(value, list) else value) for key, value in data.items())
    made.fa.set_flow_style()
    return made


def _flow_list(values: list[str]) -> CommentedSeq:
    made = CommentedSeq(values)
    made.fa.set_flow_style()
    return made


def _plain(text: str) -> str:
    """Without what a document may not hold."""
    return "".join(one if one.isprintable() else " " for one in text).strip()
