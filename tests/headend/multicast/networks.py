"""Networks for the trees' tests: a headend on one or two links with routers, wires between routers, PoPs among them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hypothesis import strategies as st

from headend.multicast.planning.spt import Topology
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from tests.nf.planning.samples import built

Wire = tuple[str, str, int]  # two routers and the cost between them
Drawn = tuple[int, list[Wire], list[str], list[str]]  # routers, wires, who is on link a, who is on link b


def topology(routers: int, wires: list[Wire], on_a: list[str], on_b: list[str] | None = None) -> Topology:
    """`on_b` None: both legs start on link a."""
    return Topology(built(Fleet, fleet_data(routers, wires, on_a, on_b)))


def fleet_data(
    routers: int, wires: list[Wire], on_a: list[str], on_b: list[str] | None = None, pops: Collection[str] = ()
) -> dict[str, Any]:
    """`pops`: routers that are a PoP, each with a site of its name and a probe on a LAN; they have output stages."""
    faces: dict[str, list[dict[str, str]]] = {"headend": [], **{f"n{number}": [] for number in range(routers)}}
    links: list[dict[str, Any]] = []

    def link(name: str, ends: list[str], cost: int) -> None:
        endpoints = []
        for host, end in enumerate(ends, start=1):
            face = f"eth{len(faces[end])}"
            faces[end].append({"name": face, "address": f"10.{len(links)}.0.{host}/24"})
            endpoints.append(f"{end}:{face}")
        links.append({"id": name, "endpoints": endpoints, "capacity": "1G", "cost": cost})

    link("lan-a", ["headend", *on_a], 10)
    if on_b is not None:
        link("lan-b", ["headend", *on_b], 10)
    for number, (first, second, cost) in enumerate(wires):
        link(f"w{number}", [first, second], cost)
    for pop in sorted(pops):
        faces[f"r-{pop}"] = []
        link(f"lan-{pop}", [pop, f"r-{pop}"], 10)
    appliances = [_appliance(number, name, own, pops) for number, (name, own) in enumerate(faces.items(), start=1)]
    placement = [{"function": name, "appliances": ["headend"]} for name in ("ingest", "multicast-source")]
    placement += [{"function": "multicast-output", "appliances": sorted(pops)}] if pops else []
    pair = {"appliance": "headend", "a": "10.0.0.201", "b": f"10.{0 if on_b is None else 1}.0.202"}
    spec = {
        "sites": [{"id": "here"}, *({"id": pop} for pop in sorted(pops))],
        "appliances": appliances,
        "links": links,
        "placement": placement,
        "equipment": {"multicast": {"pool": {"v4": "232.0.0.0/9"}, "sources": [pair]}},
    }
    return {"apiVersion": "streamverse.nf/v1", "kind": "Fleet", "metadata": {"name": "random"}, "spec": spec}


def _appliance(number: int, name: str, interfaces: list[dict[str, str]], pops: Collection[str]) -> dict[str, Any]:
    role = "headend" if name == "headend" else "pop" if name in pops else "core" if name[0] == "n" else "probe"
    made: dict[str, Any] = {"id": name, "role": role, "serial": name, "interfaces": interfaces}
    made["site"] = name.removeprefix("r-") if name.removeprefix("r-") in pops else "here"
    made["management"] = f"172.20.20.{number}"
    if role in ("core", "pop"):
        made["loopback"] = f"192.168.255.{number}"
    return made


def lineup(*paths: dict[str, Any]) -> LineUp:
    """One channel for each of the paths, each with a source (and for `second`, another) at the headend."""
    sources, channels = [], []
    for number, path in enumerate(paths):
        ports = [f"s{number}", *([path["second"]["source"]] if "source" in path.get("second", {}) else [])]
        sources += [
            {"id": name, "appliance": "headend", "port": 6000 + 10 * number + at, "bitrate": "1M"}
            for at, name in enumerate(ports)
        ]
        channels.append(
            {
                "id": f"ch{number}",
                "name": f"Channel {number}",
                "lcn": number + 1,
                "uid": f"tag:tv.example,2026:ch{number}",
                "source": f"s{number}",
                "delivery": [{"id": "iptv", "type": "ssm", "rate": "1M", **path}],
            }
        )
    head = {"apiVersion": "streamverse.nf/v1", "kind": "LineUp", "metadata": {"name": "random"}}
    return built(LineUp, {**head, "spec": {"sources": sources, "channels": channels}})


@st.composite
def networks(draw: st.DrawFn, most: int = 7) -> Drawn:
    routers = draw(st.integers(min_value=1, max_value=most))
    names = [f"n{number}" for number in range(routers)]
    pairs = [(a, b) for a in names for b in names if a < b]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=2 * most)) if pairs else []
    wires = [(a, b, draw(st.integers(min_value=1, max_value=4))) for a, b in chosen]
    some = st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)
    on_a = draw(some)
    return routers, wires, on_a, draw(st.one_of(st.just(on_a), some))


def ends(drawn: Drawn) -> tuple[Topology, str, str]:
    """The network, link a and link b: the same where the same routers are on both."""
    routers, wires, on_a, on_b = drawn
    same = on_a == on_b
    return topology(routers, wires, on_a, None if same else on_b), "lan-a", "lan-a" if same else "lan-b"


def with_single(data: dict[str, Any]) -> dict[str, Any]:
    """The data of a line-up with one path more of its second channel: unprotected, and given out by the PoPs."""
    source = {"id": "studio-ch2-single", "appliance": "headend", "port": 6022, "bitrate": "1M"}
    path = {"id": "single", "type": "ssm", "source": source["id"], "output": {}, "rate": "1M", "dscp": "af41"}
    data["spec"]["sources"].append(source)
    data["spec"]["channels"][1]["delivery"].insert(1, {**path, "sites": ["pop1", "pop2"]})
    return data
