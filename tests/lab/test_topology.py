from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.commands import REFERENCE
from lab.devices.config import CONFIGS, load
from lab.topology import Bind, End, Topology, expand, load_topology, parse_topology
from nf.errors import DocumentError, NotFoundError, Problem

FILE = Path("/labs/x.clab.yml")


def parse(text: str) -> Topology:
    return parse_topology(text, file=FILE)


def problems(text: str) -> dict[str, tuple[int, int, str]]:
    """Key -> line, column, rule of everything that is wrong with `text`."""
    with pytest.raises(DocumentError) as caught:
        parse(text)
    assert all(p.rule and p.remedy and p.file == str(FILE) and p.line and p.column for p in caught.value.problems)
    return {p.key: (p.line, p.column, p.rule) for p in caught.value.problems}


MERGED = """\
name: merged
prefix: ""
topology:
  defaults:
    kind: linux
    env: {A: default, B: default}
    exec: [echo one]
    binds: ["d:/data", "l:/log"]
    sysctls: {net.ipv4.ip_forward: 0}
  kinds:
    linux: {env: {B: kind, C: 3}, exec: [echo two], cmd: kind-cmd, binds: ["k:/data:ro"]}
  groups:
    edge: {env: {D: true}, cmd: group-cmd}
  nodes:
    a: {group: edge, env: {A: own}, exec: ["sh -c 'echo three'"], sysctls: {net.ipv4.ip_forward: 1}}
    b: {cmd: own-cmd, startup-delay: 2, restart-policy: on-failure, labels: {role: b}}
    br: {kind: bridge}
    lone: {network-mode: none}
  links:
    - endpoints: ["a:eth1", "br:one"]
    - type: veth
      mtu: 9000
      endpoints:
        - {node: b, interface: eth1, ipv4: 10.0.0.1/24, mac: "02:00:00:00:00:0A"}
        - {node: br, interface: two}
"""


def test_defaults_kinds_groups_and_nodes_merge_as_in_containerlab() -> None:
    topology = parse(MERGED)
    a, b = topology.node("a"), topology.node("b")
    assert a.env == {"A": "own", "B": "kind", "C": "3", "D": "true"}
    assert a.exec == (("echo", "one"), ("echo", "two"), ("sh", "-c", "echo three"))
    assert a.binds == (Bind("k", "/data", read_only=True), Bind("l", "/log", read_only=False))
    assert a.sysctls == {"net.ipv4.ip_forward": "1"}
    assert (a.cmd, b.cmd) == (("group-cmd",), ("own-cmd",))
    assert (b.startup_delay_s, b.restart_policy, b.labels) == (2, "on-failure", {"role": "b"})
    assert [node.name for node in topology.bridges()] == ["br"]
    assert topology.long_name("a", "merged") == "a"


def test_links_brief_and_extended() -> None:
    brief, extended = parse(MERGED).links
    assert (str(brief.a), str(brief.b), brief.mtu) == ("a:eth1", "br:one", 1500)
    assert extended.a == End("b", "eth1", IPv4Interface("10.0.0.1/24"), "02:00:00:00:00:0a")
    assert extended.mtu == 9000


def test_management_addresses_are_given_or_the_lowest_free_in_the_order_of_names() -> None:
    head = "name: x\nmgmt: {ipv4-subnet: 10.1.1.0/29}\ntopology:\n  defaults: {kind: linux}\n  nodes:\n"
    one = parse(head + "    c: {}\n    a: {}\n    b: {mgmt-ipv4: 10.1.1.2}\n    n: {network-mode: none}\n")
    two = parse(head + "    n: {network-mode: none}\n    b: {mgmt-ipv4: 10.1.1.2}\n    a: {}\n    c: {}\n")
    expected = {"a": "10.1.1.3", "b": "10.1.1.2", "c": "10.1.1.4", "n": None}
    for topology in (one, two):
        assert {n.name: n.management and str(n.management) for n in topology.nodes} == expected


def test_anchors_and_merge_keys() -> None:
    topology = parse(
        "name: x\ntopology:\n  nodes:\n    a: &base {kind: linux, env: {A: 1}, cmd: one}\n"
        "    b:\n      <<: *base\n      cmd: two\n"
    )
    assert topology.node("b").env == {"A": "1"}
    assert topology.node("b").cmd == ("two",)


def test_magic_variables() -> None:
    text = "__clabNodeDir__/etc __clabDir__ __clabNodeName__"
    assert expand(text, node="pop1", directory=Path("/labs/x")) == "/labs/x/pop1/etc /labs/x pop1"


def test_every_problem_is_named_with_its_place() -> None:
    found = problems(
        """\
name: x
topolgy: {}
topology:
  kinds: {srl: {}}
  nodes:
    a: {kind: linux, mgmt-ipv4: 10.0.0.300, foo: 1, exec: ["sh -c 'x"], binds: [a]}
    b: {kind: host, startup-delay: soon}
  links:
    - endpoints: ["a:eth1", "b"]
    - {endpoints: ["a:eth1"], mtuu: 4}
    - {type: macvlan, endpoints: [{node: a, interface: eth1, mac: "01:00:00:00:00:00", ipv4: 1.2.3.4/55}, "b:lo"]}
"""
    )
    assert {key: place[:2] for key, place in found.items()} == {
        "topolgy": (2, 1),
        "topology.kinds.srl": (4, 11),
        "topology.nodes.a.mgmt-ipv4": (6, 33),
        "topology.nodes.a.foo": (6, 45),
        "topology.nodes.a.exec[0]": (6, 60),
        "topology.nodes.a.binds[0]": (6, 81),
        "topology.nodes.b.kind": (7, 15),
        "topology.nodes.b.startup-delay": (7, 36),
        "topology.links[0].endpoints[1]": (9, 29),
        "topology.links[1].endpoints": (10, 8),
        "topology.links[1].mtuu": (10, 31),
        "topology.links[2].type": (11, 14),
        "topology.links[2].endpoints[0].mac": (11, 67),
        "topology.links[2].endpoints[0].ipv4": (11, 94),
        "topology.links[2].endpoints[1].interface": (11, 107),
    }
    assert found["topology.links[1].endpoints"][2] == "a link has two ends"


def test_nodes_links_and_addresses_must_fit_together() -> None:
    found = problems(
        """\
name: x
mgmt: {ipv4-subnet: 10.0.0.0/30}
topology:
  nodes:
    a: {kind: linux, mgmt-ipv4: 10.0.1.3}
    b: {kind: linux}
    c: {kind: linux}
    br: {kind: bridge}
    d: {group: z}
    fabric: {kind: linux, network-mode: none}
  links:
    - endpoints: ["a:eth0", "b:eth1"]
    - endpoints: ["a:eth1", "b:eth1"]
    - endpoints: ["a:eth2", "br:br"]
    - endpoints: ["zz:eth2", {node: br, interface: p1, ipv4: 10.1.1.1/24}]
"""
    )
    assert {key: rule for key, (_, _, rule) in found.items()} == {
        "topology.nodes.a.mgmt-ipv4": "not a host address of 10.0.0.0/30",
        "mgmt.ipv4-subnet": "too small for the nodes",
        "topology.nodes.d": "this node has no kind",
        "topology.nodes.d.group": "no such group",
        "topology.nodes.fabric": "this name is reserved",
        "topology.links[0].endpoints[0]": "eth0 is the node's management interface",
        "topology.links[1].endpoints[1]": "this interface is in use: topology.links[0].endpoints[1]",
        "topology.links[2].endpoints[1]": "this interface is in use: the bridge itself",
        "topology.links[3].endpoints[0]": "no node zz",
        "topology.links[3].endpoints[1]": "a port of a bridge has no address",
    }


@pytest.mark.parametrize(
    "text", ["", "[", "a: *x", "- 1", "name: x", "\0", "name: x\nname: y\ntopology: {nodes: {a: {}}}"]
)
def test_what_is_no_topology_is_refused_with_a_place(text: str) -> None:
    assert problems(text)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_topology(tmp_path / "absent.clab.yml")


DEVICES = {"enc1": "encoder", "mux1": "mux", "mod1": "modem", "rx1": "receiver", "rx2": "receiver"}


def test_the_reference_topology_has_the_fixed_names_and_addresses() -> None:
    topology = load_topology(REFERENCE)
    unmanaged = {"li", "agency1", "agency2"}
    assert unmanaged == {n.name for n in topology.linux() if n.management is None}
    addresses = {n.name: n.management for n in topology.linux() if n.name not in unmanaged}
    outside = ("studio", "origin", *DEVICES)
    order = ("noc", "headend", "c1", "c2", "pop1", "pop2", "r1", "r2", "r3", *outside, "ue1", "inet", "ue2", "rescue")
    assert addresses == {name: IPv4Address(f"172.20.20.{10 + index}") for index, name in enumerate(order)}
    assert {(str(link.a), str(link.b)) for link in topology.links} == {
        ("headend:eth1", "br-hl:hl-headend"),
        ("c1:eth1", "br-hl:hl-c1"),
        *((f"{node}:li0", f"br-li:li-{node}") for node in ("li", "agency1", "agency2", "c1", "pop1", "pop2")),
        ("c2:eth1", "br-hl:hl-c2"),
        ("origin:eth1", "br-hl:hl-origin"),
        ("rescue:eth1", "br-hl:hl-rescue"),
        ("studio:eth1", "headend:eth2"),
        ("c1:eth2", "c2:eth2"),
        ("c1:eth3", "pop1:eth1"),
        ("c1:eth4", "pop2:eth1"),
        ("c2:eth3", "pop1:eth2"),
        ("c2:eth4", "pop2:eth2"),
        ("pop1:eth3", "r1:eth1"),
        ("pop2:eth3", "r2:eth1"),
        ("pop2:eth4", "r3:eth1"),
        ("studio:eth2", "br-dev:dev-studio"),
        *((f"{device}:eth1", f"br-dev:dev-{device}") for device in ("enc1", "mux1", "mod1")),
        ("mod1:eth2", "br-sky:sky-mod1"),
        ("rx1:eth1", "br-sky:sky-rx1"),
        ("rx2:eth1", "br-sky:sky-rx2"),
        ("rx1:eth2", "pop1:eth4"),
        ("rx2:eth2", "pop2:eth5"),
        ("pop1:eth5", "ue1:eth1"),
        ("inet:eth1", "pop1:eth6"),
        ("inet:eth2", "br-hl:hl-inet"),
        ("c1:eth5", "ue2:eth1"),
        ("inet:eth3", "c1:eth6"),
    }
    appliances = [n for n in topology.linux() if n.name not in {"noc", "inet", "rescue", *outside, *unmanaged}]
    assert all("nf supervisor run" in " ".join(n.cmd) for n in appliances)
    assert all(f"SV-{n.name.upper()}-0001" in str(n.exec) for n in appliances)
    assert {(str(end), str(end.ipv4)) for end in topology.ends() if end.ipv4} == {
        ("studio:eth1", "10.9.0.1/30"),
        ("studio:eth2", "10.1.1.9/24"),
        ("origin:eth1", "10.1.0.20/24"),
        ("rescue:eth1", "10.1.0.40/24"),
        ("enc1:eth1", "10.1.1.31/24"),
        ("mux1:eth1", "10.1.1.32/24"),
        ("mod1:eth1", "10.1.1.33/24"),
        ("mod1:eth2", "10.71.0.1/24"),
        ("rx1:eth1", "10.71.0.2/24"),
        ("rx2:eth1", "10.71.0.3/24"),
        ("rx1:eth2", "10.4.1.2/30"),
        ("rx2:eth2", "10.4.2.2/30"),
        ("inet:eth1", "10.6.1.1/30"),
        ("inet:eth2", "10.1.0.30/24"),
        ("inet:eth3", "10.6.2.1/30"),
        ("li:li0", "10.7.0.10/24"),
        ("agency1:li0", "10.7.0.21/24"),
        ("agency2:li0", "10.7.0.22/24"),
        ("c1:li0", "10.7.0.1/24"),
        ("pop1:li0", "10.7.0.3/24"),
        ("pop2:li0", "10.7.0.4/24"),
    }


def test_every_device_has_a_configuration_that_it_takes() -> None:
    """And they fit together: who sends where another listens, on the sky and to the PoPs."""
    topology = load_topology(REFERENCE)
    addresses = {str(end): str(end.ipv4.ip) for end in topology.ends() if end.ipv4}
    loaded = {}
    for node in topology.linux():
        if node.name in DEVICES:
            (bind,) = [bind for bind in node.binds if bind.target == node.cmd[-1]]
            assert node.cmd[:4] == ("python", "-m", "lab.devices", DEVICES[node.name])
            loaded[node.name] = load(REFERENCE.parent / bind.source, CONFIGS[DEVICES[node.name]])
            assert loaded[node.name].name == node.name
    encoder, mux, modem = loaded["enc1"], loaded["mux1"], loaded["mod1"]
    assert [channel.output for channel in encoder.channels] == [service.input for service in mux.services]
    assert {str(service.input.address) for service in mux.services} == {addresses["mux1:eth1"]}
    assert (mux.output, str(mux.output.address)) == (modem.input, addresses["mod1:eth1"])
    assert str(modem.sky.via) == addresses["mod1:eth2"]
    for receiver, site in (("rx1", "pop1"), ("rx2", "pop2")):
        config = loaded[receiver]
        assert (config.site, str(config.sky.via)) == (site, addresses[f"{receiver}:eth1"])
        assert config.frequency_mhz + config.sky.translation_mhz == modem.carrier.frequency_mhz
        assert config.symbol_rate == modem.carrier.symbol_rate
        assert config.output.address + 1 == IPv4Address(addresses[f"{receiver}:eth2"])


words = st.sampled_from([
    "name", "topology", "nodes", "links", "endpoints", "kind", "linux", "bridge", "a", "b", "a:eth1", "b:eth1",
    "node", "interface", "ipv4", "10.0.0.1/24", "binds", "x:/y", "exec", "env", "defaults", "kinds", "groups", "<<",
    "mgmt", "ipv4-subnet", "10.0.0.0/30", "mac", "mtu", "type", "veth", "cmd", "'", "",
])  # fmt: skip
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), words, st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=25,
)


def problems_or_none(text: str | bytes) -> tuple[Topology | None, tuple[Problem, ...]]:
    try:
        return parse_topology(text, file=FILE), ()
    except DocumentError as error:
        return None, error.problems


def well_formed_or_refused(text: str | bytes) -> None:
    topology, found = problems_or_none(text)
    if topology is None:
        assert found
        assert all(p.rule and p.remedy and p.line > 0 and p.column > 0 for p in found)
    else:
        ends = [(end.node, end.interface) for end in topology.ends()]
        assert len(set(ends)) == len(ends)
        assert {node for node, _ in ends} <= {node.name for node in topology.nodes}


@given(values)
def test_any_yaml_is_a_topology_or_refused(value: object) -> None:
    well_formed_or_refused(json.dumps(value))


@given(values, st.sampled_from(["defaults", "kinds", "groups", "nodes", "links"]))
def test_any_part_of_a_topology_is_good_or_refused(value: object, part: str) -> None:
    topology = {"defaults": {"kind": "linux"}, "nodes": {"a": {}, "b": {"kind": "bridge"}}, part: value}
    well_formed_or_refused(json.dumps({"name": "x", "topology": topology}))


@given(st.binary(max_size=200))
def test_any_octets_are_a_topology_or_refused(octets: bytes) -> None:
    well_formed_or_refused(octets)


@given(st.integers(0, len(MERGED) - 1), st.text(max_size=3))
def test_any_slip_of_the_pen_is_a_topology_or_refused(position: int, slip: str) -> None:
    well_formed_or_refused(MERGED[:position] + slip + MERGED[position + 1 :])
