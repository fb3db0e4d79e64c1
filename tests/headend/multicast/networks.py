"""Random networks for the trees' tests: a headend on one or two links with routers, and wires between routers."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from headend.multicast.spt import Topology
from nf.documents.fleet import Fleet
from tests.nf.planning.samples import built

Wire = tuple[str, str, int]  # two routers and the cost between them
Drawn = tuple[int, list[Wire], list[str], list[str]]  # routers, wires, who is on link a, who is on link b


def topology(routers: int, wires: list[Wire], on_a: list[str], on_b: list[str] | None = None) -> Topology:
    """`on_b` None: both legs start on link a."""
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
    appliances = [
        {
            "id": name,
            "site": "here",
            "role": "headend" if name == "headend" else "core",
            "serial": name,
            "management": f"172.20.20.{number}",
            "interfaces": own,
        }
        for number, (name, own) in enumerate(faces.items())
    ]
    spec = {"sites": [{"id": "here"}], "appliances": appliances, "links": links}
    head = {"apiVersion": "streamverse.nf/v1", "kind": "Fleet", "metadata": {"name": "random"}}
    return Topology(built(Fleet, {**head, "spec": spec}))


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
