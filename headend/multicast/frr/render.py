"""FrrSection -> configuration of each daemon, and back from what the daemons say they run. Pure.

Lines are rendered exactly as FRR 8.4 shows them in its running configuration, so that a line which a daemon drops is
seen. Values that FRR has by default it never shows, so they are not rendered: IGMP version 3 (RFC 3376), BFD
detect-multiplier 3, timers at the values of the RFCs, and `ip pim ecmp`, which `ip pim ecmp rebalance` implies.

Static RPF is a unicast host route: pimd 8.4 tracks next hops in the unicast table only, so `ip mroute` is shown and
has no effect, whatever `ip multicast rpf-lookup-mode` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from headend.multicast.documents import FrrInterface, FrrSection, FrrTimers, ReversePath
from headend.multicast.frr.config import Line

DAEMONS = ("zebra", "staticd", "bfdd", "ospfd", "pimd")
"""In the order they start: the others talk to zebra, and routing protocols ask bfdd."""

BFD_PROFILE = "fast"
BFD_INTERVAL_MS = 200
"""Three lost in a row end a session: 600 ms. At 50 ms a busy two-core machine lost adjacencies that were whole."""

# The kernel takes a next hop out of its groups when a link goes down, and zebra 8.4 never puts it back: after one flap
# a router had one of two equal paths, for good.
_ZEBRA: tuple[Line, ...] = (("no zebra nexthop kernel enable",),)
_BFD: tuple[Line, ...] = (
    ("bfd",),
    ("bfd", f"profile {BFD_PROFILE}"),
    ("bfd", f"profile {BFD_PROFILE}", f"transmit-interval {BFD_INTERVAL_MS}"),
    ("bfd", f"profile {BFD_PROFILE}", f"receive-interval {BFD_INTERVAL_MS}"),
)
_LOOPBACK: tuple[Line, ...] = (("interface lo",), ("interface lo", "ip ospf area 0"))

_STANDARD_HELLO = (30, 105)
_STANDARD_QUERIES = {"query-interval": 125, "last-member-query-count": 2, "last-member-query-interval": 10}
_HOST_ROUTE = re.compile(r"^ip route (\d+\.\d+\.\d+\.\d+)/32 (\d+\.\d+\.\d+\.\d+)$", re.ASCII)

Configuration = Mapping[str, tuple[Line, ...]]
"""Daemon -> its lines."""


def canonical(section: FrrSection) -> FrrSection:
    """The same router with its interfaces in the order of their names, paths in that of their sources, and timers that
    no interface uses at their defaults."""
    timers = section.timers
    if not any(interface.pim for interface in section.interfaces):
        timers = timers.model_copy(update=_hello_of(FrrTimers()))
    if not any(interface.igmp for interface in section.interfaces):
        timers = timers.model_copy(update=_queries_of(FrrTimers()))
    return section.model_copy(
        update={
            "interfaces": tuple(sorted(map(_settled, section.interfaces), key=lambda i: i.name)),
            "reverse_paths": tuple(sorted(section.reverse_paths, key=lambda p: (p.source, p.neighbour))),
            "timers": timers,
        }
    )


def _settled(interface: FrrInterface) -> FrrInterface:
    """Without OSPF, what only OSPF uses is at its defaults."""
    return interface if interface.ospf else interface.model_copy(update={"cost": 10, "passive": False, "bfd": False})


def _hello_of(timers: FrrTimers) -> dict[str, int]:
    return {"pim_hello_s": timers.pim_hello_s, "pim_hold_s": timers.pim_hold_s}


def _queries_of(timers: FrrTimers) -> dict[str, int]:
    values = timers.model_dump()
    return {key: values[key] for key in values.keys() - _hello_of(timers).keys()}


def render(section: FrrSection) -> dict[str, tuple[Line, ...]]:
    """The lines of every daemon, in an order in which FRR takes them."""
    section = canonical(section)
    ospf: list[Line] = []
    pim: list[Line] = [("ip pim ecmp rebalance",)]
    for interface in section.interfaces:
        ospf += _block(interface, _ospf_lines(interface))
        pim += _block(interface, _pim_lines(interface, section.timers))
    if all(interface.name != "lo" for interface in section.interfaces):
        ospf += _LOOPBACK
    ospf += [
        ("router ospf",),
        ("router ospf", f"ospf router-id {section.router_id}"),
        ("router ospf", "timers throttle spf 0 50 1000"),
    ]
    static: tuple[Line, ...] = tuple((f"ip route {p.source}/32 {p.neighbour}",) for p in section.reverse_paths)
    return {"zebra": _ZEBRA, "staticd": static, "bfdd": _BFD, "ospfd": tuple(ospf), "pimd": tuple(pim)}


def _block(interface: FrrInterface, commands: list[str]) -> list[Line]:
    head = f"interface {interface.name}"
    return [(head,), *((head, command) for command in commands)] if commands else []


def _ospf_lines(interface: FrrInterface) -> list[str]:
    if not interface.ospf:
        return []
    lines = [] if interface.passive else ["ip ospf network point-to-point"]
    lines.append(f"ip ospf cost {interface.cost}")
    if not interface.passive:
        lines += ["ip ospf hello-interval 1", "ip ospf dead-interval 4"]
    lines.append("ip ospf area 0")
    if interface.passive:
        lines.append("ip ospf passive")
    if interface.bfd:
        # The profile alone is dropped without a word: BFD has to be on first.
        lines += ["ip ospf bfd", f"ip ospf bfd profile {BFD_PROFILE}"]
    return lines


def _pim_lines(interface: FrrInterface, timers: FrrTimers) -> list[str]:
    lines: list[str] = []
    if interface.pim:
        lines.append("ip pim")
        if (timers.pim_hello_s, timers.pim_hold_s) != _STANDARD_HELLO:
            lines.append(f"ip pim hello {timers.pim_hello_s} {timers.pim_hold_s}")
        if interface.bfd:
            lines += ["ip pim bfd", f"ip pim bfd profile {BFD_PROFILE}"]
    if interface.igmp:
        queries = {
            "query-interval": timers.igmp_query_interval_s,
            "last-member-query-count": timers.last_member_query_count,
            "last-member-query-interval": timers.last_member_query_interval_ds,
        }
        lines.append("ip igmp")
        lines += [f"ip igmp {name} {value}" for name, value in queries.items() if value != _STANDARD_QUERIES[name]]
    return lines


def parse(configuration: Configuration) -> FrrSection | None:
    """The section that `configuration` most likely came from; None without an OSPF router id.

    `parse(render(s)) == canonical(s)`. What the section does not account for is told by `deviations`.
    """
    ospf = frozenset(configuration.get("ospfd", ()))
    pim = frozenset(configuration.get("pimd", ()))
    router_id = _value(ospf, ("router ospf",), "ospf router-id ")
    if router_id is None or not _is_address(router_id):
        return None
    heads = sorted({line[0] for line in ospf | pim if len(line) > 1 and line[0].startswith("interface ")})
    interfaces = [_interface(head, ospf, pim) for head in heads if _listed(head, ospf, pim)]
    return FrrSection(
        router_id=IPv4Address(router_id),
        interfaces=tuple(i for i in interfaces if i is not None),
        reverse_paths=tuple(_reverse_paths(configuration.get("staticd", ()))),
        timers=_timers(heads, pim),
    )


def _reverse_paths(static: Iterable[Line]) -> list[ReversePath]:
    matches = [match for line in static if len(line) == 1 and (match := _HOST_ROUTE.match(line[0]))]
    paths = [
        ReversePath(source=IPv4Address(match[1]), neighbour=IPv4Address(match[2]))
        for match in matches
        if _is_address(match[1]) and _is_address(match[2])
    ]
    return sorted(paths, key=lambda path: (path.source, path.neighbour))


def _timers(heads: Iterable[str], pim: frozenset[Line]) -> FrrTimers:
    """Those of the first interface that has them: lines of the others that are not alike are deviations."""
    values: dict[str, str] = {}
    for head in heads:
        if (head, "ip pim") in pim and "pim_hello_s" not in values:
            hello = (_value(pim, (head,), "ip pim hello ") or f"{_STANDARD_HELLO[0]} {_STANDARD_HELLO[1]}").split()
            values |= {"pim_hello_s": hello[0], "pim_hold_s": hello[-1]}
        if (head, "ip igmp") in pim and "igmp_query_interval_s" not in values:
            found = {n: _value(pim, (head,), f"ip igmp {n} ") or str(v) for n, v in _STANDARD_QUERIES.items()}
            values["igmp_query_interval_s"] = found["query-interval"]
            values["last_member_query_count"] = found["last-member-query-count"]
            values["last_member_query_interval_ds"] = found["last-member-query-interval"]
    try:
        return FrrTimers(**{key: int(value) for key, value in values.items()})
    except ValueError:
        return FrrTimers()  # no document can hold them: their lines are deviations


def _listed(head: str, ospf: frozenset[Line], pim: frozenset[Line]) -> bool:
    """Whether an interface stands in the section: the router's own loopback does only when it has a cost."""
    return head != "interface lo" or _value(ospf, (head,), "ip ospf cost ") is not None or (head, "ip pim") in pim


def _interface(head: str, ospf: frozenset[Line], pim: frozenset[Line]) -> FrrInterface | None:
    cost = _value(ospf, (head,), "ip ospf cost ") or "10"
    data = {
        "name": head.removeprefix("interface "),
        "ospf": (head, "ip ospf area 0") in ospf,
        "cost": int(cost) if cost.isdecimal() else 0,
        "passive": (head, "ip ospf passive") in ospf,
        "pim": (head, "ip pim") in pim,
        "igmp": (head, "ip igmp") in pim,
        "bfd": (head, "ip ospf bfd") in ospf,
    }
    try:
        return FrrInterface.model_validate(data)
    except ValueError:
        return None  # a name or cost that no document can hold: its lines are deviations


def _value(lines: frozenset[Line], block: Line, prefix: str) -> str | None:
    found = sorted(line[-1] for line in lines if line[:-1] == block and line[-1].startswith(prefix))
    return found[0].removeprefix(prefix) if found else None


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def deviations(configuration: Configuration, section: FrrSection | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(extra, missing): lines that run but are not `section`'s, and lines of `section` that do not run.

    Only daemons in `configuration` are compared. Each as an operator writes it: "pimd: interface eth1 / ip pim".
    """
    wanted: Mapping[str, tuple[Line, ...]] = render(section) if section is not None else {}
    extra: list[str] = []
    missing: list[str] = []
    for daemon in DAEMONS:
        if daemon in configuration:
            have, want = configuration[daemon], wanted.get(daemon, ())
            extra += [_told(daemon, line) for line in have if line not in frozenset(want) and not _bare(line, have)]
            missing += [_told(daemon, line) for line in want if line not in frozenset(have)]
    return tuple(extra), tuple(missing)


def _told(daemon: str, line: Line) -> str:
    return f"{daemon}: {' / '.join(line)}"


def _bare(line: Line, have: tuple[Line, ...]) -> bool:
    """An interface without a line of its own configures nothing; FRR keeps it until it likes."""
    return line[-1].startswith("interface ") and not any(other[:1] == line for other in have if other != line)
