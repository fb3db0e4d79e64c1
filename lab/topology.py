"""The model of a lab: nodes with their defaults, kinds and groups merged in, and the links between them.

Merging follows containerlab: single values by node, group, kind, defaults (first one wins); `env`, `sysctls` and
`labels` key by key; `exec` one after the other from defaults to node; `binds` by target.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TypeVar

from lab import yaml_source
from lab.topology_schema import FileDefinition, Kind, NodeDefinition, RestartPolicy, validate
from lab.yaml_source import Source
from nf.documents.keys import Loc, format_key
from nf.errors import DocumentError, NotFoundError, Problem

MANAGEMENT_INTERFACE = "eth0"
MANAGEMENT_BRIDGE = "mgmt"
RESERVED_NODES = frozenset({"fabric", MANAGEMENT_BRIDGE, "host", "mgmt-net", "macvlan", "localhost"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bind:
    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it is to run. `management` is its address on eth0; None with `network-mode: none` and for bridges."""

    name: str
    kind: Kind
    cmd: tuple[str, ...] = ()
    exec: tuple[tuple[str, ...], ...] = ()
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    management: IPv4Address | None = None
    startup_delay_s: int = 0
    restart_policy: RestartPolicy = "no"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link; on a bridge, `interface` names the port."""

    node: str
    interface: str
    ipv4: IPv4Interface | None = None
    mac: str | None = None

    def __str__(self) -> str:
        return f"{self.node}:{self.interface}"


@dataclass(frozen=True, slots=True)
class Link:
    a: End
    b: End
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Topology:
    name: str
    prefix: str
    file: Path
    management_network: str
    management_subnet: IPv4Network
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]

    def node(self, name: str) -> Node:
        """Raises NotFoundError."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(n.name for n in self.nodes)
        raise NotFoundError(f"no node {name} in this lab", where=self.name, remedy=f"nodes are {known}")

    def linux(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind == "linux")

    def bridges(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind == "bridge")

    def long_name(self, node: str, lab: str) -> str:
        """The container's name that containerlab would give the node in the lab `lab`."""
        if self.prefix == "__lab-name":
            return f"{lab}-{node}"
        return f"{self.prefix}-{lab}-{node}" if self.prefix else node

    def ends(self) -> Iterator[End]:
        for link in self.links:
            yield link.a
            yield link.b


def load_topology(path: Path) -> Topology:
    """Raises NotFoundError when there is no such file, DocumentError with all problems when it breaks rules."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"the topology cannot be read: {error.strerror}", where=str(path), remedy="name a *.clab.yml file"
        ) from None
    return parse_topology(text, file=path)


def parse_topology(text: str | bytes, *, file: Path) -> Topology:
    """The lab that `text` describes; binds with relative sources start at `file`. Raises DocumentError."""
    source = yaml_source.read(text, file=str(file))
    definition, problems = validate(source)
    problems = source.problems + problems
    if definition is None:
        raise DocumentError(problems, where=str(file))
    topology = _resolve(definition, source, file, problems)
    problems += _check_links(topology, source)
    if problems:
        raise DocumentError(problems, where=str(file))
    return topology


def expand(text: str, *, node: str, directory: Path) -> str:
    """containerlab's magic variables: the node's name, its directory, the lab's directory."""
    return (
        text.replace("__clabNodeName__", node)
        .replace("__clabNodeDir__", str(directory / node))
        .replace("__clabDir__", str(directory))
    )


def _resolve(definition: FileDefinition, source: Source, file: Path, problems: list[Problem]) -> Topology:
    nodes = [_merge(name, definition, source, problems) for name in definition.topology.nodes]
    subnet = definition.mgmt.ipv4_subnet
    addresses = _management(definition, nodes, source, problems)
    resolved = tuple(replace(node, management=addresses.get(node.name)) for node in nodes)
    links = []
    for link in definition.topology.links:
        a, b = (End(e.node, e.interface, e.ipv4, e.mac) for e in link.endpoints)
        links.append(Link(a, b, link.mtu or 1500))
    prefix = "clab" if definition.prefix is None else definition.prefix
    return Topology(definition.name, prefix, file, definition.mgmt.network, subnet, resolved, tuple(links))


def _merge(name: str, definition: FileDefinition, source: Source, problems: list[Problem]) -> Node:
    topology = definition.topology
    own, defaults = topology.nodes[name], topology.defaults
    path: Loc = ("topology", "nodes", name)
    if name in RESERVED_NODES:
        problems.append(source.problem(path, "this name is reserved", "give the node another name", at_key=True))
    group_name = own.group or defaults.group
    group = topology.groups.get(group_name or "", NodeDefinition())
    if own.group and own.group not in topology.groups:
        remedy = f"groups are {', '.join(topology.groups) or 'none'}; define it or leave the key out"
        problems.append(source.problem((*path, "group"), "no such group", remedy, value=own.group))
    kind = own.kind or group.kind or defaults.kind
    if kind is None:
        problems.append(source.problem(path, "this node has no kind", "add `kind: linux`", at_key=True))
        kind = "linux"
    if kind == "bridge" and len(name) > 15:
        problems.append(source.problem(path, "a bridge's name has at most 15 characters", "shorten it", at_key=True))
    layers = (defaults, topology.kinds.get(kind, NodeDefinition()), group, own)
    return _layered(name, kind, layers)


def _layered(name: str, kind: Kind, layers: tuple[NodeDefinition, ...]) -> Node:
    def last(pick: Callable[[NodeDefinition], T | None]) -> T | None:
        return next((value for layer in reversed(layers) if (value := pick(layer)) is not None), None)

    def joined(pick: Callable[[NodeDefinition], Mapping[str, str]]) -> dict[str, str]:
        return {key: value for layer in layers for key, value in pick(layer).items()}

    binds = {bind.target: bind for layer in layers for bind in map(_bind, layer.binds)}
    cmd = last(lambda layer: layer.cmd)
    return Node(
        name=name,
        kind=kind,
        cmd=tuple(shlex.split(cmd or "")),
        exec=tuple(tuple(shlex.split(command)) for layer in layers for command in layer.exec),
        binds=tuple(binds.values()),
        env=joined(lambda layer: layer.env),
        sysctls=joined(lambda layer: layer.sysctls),
        labels=joined(lambda layer: layer.labels),
        startup_delay_s=last(lambda layer: layer.startup_delay_s) or 0,
        restart_policy=last(lambda layer: layer.restart_policy) or "no",
    )


def _bind(text: str) -> Bind:
    source, target, *options = text.split(":")
    return Bind(source, target, "ro" in ",".join(options).split(","))


def _management(
    definition: FileDefinition, nodes: list[Node], source: Source, problems: list[Problem]
) -> dict[str, IPv4Address]:
    """Addresses on the management network: those given, then the lowest free ones in the order of the names."""
    subnet = definition.mgmt.ipv4_subnet
    taken: dict[IPv4Address, str] = {}
    waiting: list[str] = []
    for node in nodes:
        if node.kind == "bridge" or _detached(definition, node):
            continue
        wanted = definition.topology.nodes[node.name].mgmt_ipv4
        if wanted is None:
            waiting.append(node.name)
            continue
        path: Loc = ("topology", "nodes", node.name, "mgmt-ipv4")
        if wanted not in subnet or wanted in (subnet.network_address, subnet.broadcast_address):
            remedy = "choose a host address of mgmt.ipv4-subnet"
            problems.append(source.problem(path, f"not a host address of {subnet}", remedy, value=wanted))
        elif wanted in taken:
            rule = f"{taken[wanted]} has this address already"
            problems.append(source.problem(path, rule, "give each node its own", value=wanted))
        taken[wanted] = node.name
    gateway = subnet.network_address + 1
    free = (address for address in subnet.hosts() if address not in taken and address != gateway)
    result = {name: address for address, name in taken.items()}
    for name in sorted(waiting):
        address = next(free, None)
        if address is None:
            path = ("mgmt", "ipv4-subnet")
            problems.append(source.problem(path, "too small for the nodes", "choose a larger subnet", value=subnet))
            break
        result[name] = address
    return result


def _detached(definition: FileDefinition, node: Node) -> bool:
    topology = definition.topology
    own = topology.nodes[node.name]
    group = topology.groups.get(own.group or topology.defaults.group or "", NodeDefinition())
    layers = (own, group, topology.kinds.get(node.kind, NodeDefinition()), topology.defaults)
    return any(layer.network_mode == "none" for layer in layers)


def _check_links(topology: Topology, source: Source) -> list[Problem]:
    problems = []
    nodes = {node.name: node for node in topology.nodes}
    # All bridges share one namespace, as they share the host's under containerlab.
    seen = {("", bridge.name): "the bridge itself" for bridge in topology.bridges()}
    seen["", MANAGEMENT_BRIDGE] = "the bridge of the management network"
    for index, link in enumerate(topology.links):
        for position, end in enumerate((link.a, link.b)):
            path: Loc = ("topology", "links", index, "endpoints", position)
            node = nodes.get(end.node)
            if node is None:
                problems.append(source.problem(path, f"no node {end.node}", "name a node of this topology", value=end))
                continue
            problems += _check_end(end, node, path, source)
            space = "" if node.kind == "bridge" else end.node
            if (space, end.interface) in seen:
                rule = f"this interface is in use: {seen[space, end.interface]}"
                problems.append(source.problem(path, rule, "give each link its own", value=end))
            seen.setdefault((space, end.interface), format_key(path))
    return problems


def _check_end(end: End, node: Node, path: Loc, source: Source) -> list[Problem]:
    problems = []
    if node.management is not None and end.interface == MANAGEMENT_INTERFACE:
        remedy = "begin with eth1, or set `network-mode: none`"
        problems.append(source.problem(path, "eth0 is the node's management interface", remedy, value=end))
    if node.kind == "bridge" and end.ipv4 is not None:
        problems.append(source.problem(path, "a port of a bridge has no address", "leave ipv4 out", value=end))
    return problems
