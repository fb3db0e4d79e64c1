"""Traps of Open5GS, told before anybody falls into them. Pure.

A problem refuses the fleet: what it says cannot work. A warning is told: it works otherwise than it reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from core5g.documents import Core5g
from core5g.open5gs.documents import MAX_SESSIONS
from core5g.open5gs.selection import by_id, meant, taken, upf_peers
from nf.documents.fleet import Facing, Fleet, Role
from nf.errors import Problem

NO_ROUND_ROBIN: Final = "no_pfcp_rr_select"
"""Always set. Without it a session that matches no UPF goes to any UPF that is associated, the edge ones too; with it,
to the first one, which is one without TACs where there is any."""

MANDATORY_TIMERS: Final[Mapping[str, tuple[str, ...]]] = {"amf": ("t3512",), "mme": ("t3412",)}
"""Without them the daemon aborts at start: periodic registration (TS 24.501) and tracking area update (TS 24.301)."""

CELLS: Final = ("nr_cell_id", "e_cell_id")
"""By which an entry of the SMF's `pfcp.client.upf` names cells of NR and of LTE."""

BROKEN_CURL: Final = ((7, 88, 0), (8, 0, 0))
"""From the first of these versions of libcurl to before the second, HTTP/2 with prior knowledge fails on every reused
connection (curl #10634): an SMF or AMF gets one answer and no more. Debian 12 has 7.88.1."""


def selection_warnings(core: Core5g, key: str) -> Iterator[Problem]:
    """For each UPF the sessions that it gets beyond what the fleet means, and those that it would refuse."""
    peers, upfs = upf_peers(core), by_id(core)
    stray: dict[str, list[tuple[str, int, bool]]] = defaultdict(list)
    for network in core.networks:
        for tac in core.tacs:
            for name in taken(peers, network.dnn, tac) - meant(core, network.dnn, tac):
                stray[name].append((network.dnn, tac, network.dnn in upfs[name].dnns))
    for number, upf in enumerate(core.upfs):
        served = [(dnn, tac) for dnn, tac, serves in stray[upf.id] if serves]
        refused = [(dnn, tac) for dnn, tac, serves in stray[upf.id] if not serves]
        if served:
            yield Problem(
                f"the SMF also takes {upf.id} for {_sessions(served)}: Open5GS selects a UPF by any one match of DNN "
                "or TAC, it cannot select by both",
                "give every UPF the same DNNs, so that TACs alone select; or give the edge a DNN of its own",
                key=f"{key}.upfs[{number}].tacs",
                value=upf.id,
            )
        if refused:
            yield Problem(
                f"the SMF also takes {upf.id} for {_sessions(refused)}, which it does not serve: it refuses them (PFCP "
                "cause 75)",
                "let it serve these DNNs too, or select it by a DNN of its own",
                key=f"{key}.upfs[{number}].dnns",
                value=upf.id,
            )


def _sessions(pairs: Iterable[tuple[str, int]]) -> str:
    tacs: dict[str, list[int]] = defaultdict(list)
    for dnn, tac in pairs:
        tacs[dnn].append(tac)
    each = (f"DNN {dnn} from TAC {', '.join(map(str, sorted(found)))}" for dnn, found in sorted(tacs.items()))
    return "sessions of " + " and of ".join(each)


def pool_warnings(core: Core5g, key: str) -> Iterator[Problem]:
    """A pool follows its DNN: all UPFs of the DNN have the same one, and a reply without NAT finds only one of them."""
    for number, network in enumerate(core.networks):
        sharing = [upf for upf in core.upfs if network.dnn in upf.dnns]
        if len(sharing) < 2:
            continue
        routed = {
            f"IPv{version}": [upf.id for upf in sharing if version == 6 or not upf.nat]
            for version in sorted({pool.version for pool in network.pools})
        }
        for family, upfs in routed.items():
            if upfs:
                yield Problem(
                    f"the UPFs {', '.join(sorted(upf.id for upf in sharing))} share the {family} pool of DNN "
                    f"{network.dnn}, since Open5GS chooses a pool by DNN and never by UPF, and UEs leave "
                    f"{', '.join(sorted(upfs))} with addresses of the pool: replies may be routed to another UPF",
                    "masquerade there (nat: true, IPv4), or give each UPF a DNN and a pool of its own",
                    key=f"{key}.networks[{number}].pools",
                    value=network.dnn,
                )


def unmatched_warnings(core: Core5g, key: str) -> Iterator[Problem]:
    """Sessions that no UPF is meant for: the first peer gets them."""
    peers = upf_peers(core)
    if not peers or not any(function.kind == "smf" for function in core.functions):
        return
    for number, network in enumerate(core.networks):
        bare = [
            tac
            for tac in core.tacs
            if not meant(core, network.dnn, tac) and not any(peer.matches(network.dnn, tac) for peer in peers)
        ]
        if bare:
            yield Problem(
                f"no UPF matches {_sessions((network.dnn, tac) for tac in bare)}: the SMF takes the first of its "
                f"peers, {peers[0].upf} ({NO_ROUND_ROBIN} keeps it from taking every UPF in turn)",
                "name these TACs at a UPF, or add a UPF of this DNN without TACs",
                key=f"{key}.networks[{number}].dnn",
                value=network.dnn,
            )


def wide_tac_warnings(core: Core5g, key: str) -> Iterator[Problem]:
    """A TAC has 24 bits in 5G and 16 in the EPC (TS 23.003 clause 19.4.2.3)."""
    wide = [str(tac) for tac in core.tacs if tac > 0xFFFF]
    if wide and any(function.kind == "mme" for function in core.functions):
        rule = f"the MME does not serve TAC {', '.join(wide)}: in the EPC a TAC has 16 bits"
        yield Problem(rule, "give areas with LTE a TAC up to 65535", key=f"{key}.tacs")


def facing_warnings(core: Core5g, fleet: Fleet, key: str) -> Iterator[Problem]:
    """A router speaks OSPF and PIM wherever the fleet does not say that nobody of ours is there."""
    routers = {one.id: one for one in fleet.spec.appliances if one.role in (Role.CORE, Role.POP)}
    shared = {
        end
        for link in fleet.spec.links
        for end in link.endpoints
        if len(routers.keys() & {other.partition(":")[0] for other in link.endpoints}) > 1
    }
    for number, upf in enumerate(core.upfs):
        for face in routers[upf.appliance].interfaces if upf.appliance in routers else ():
            if face.facing is not Facing.NETWORK or f"{upf.appliance}:{face.name}" in shared:
                continue
            for part, facing, behind in (
                ("exit", Facing.INTERNET, upf.gateway is not None and face.name == upf.exit),
                ("n3", Facing.RADIO, face.address.ip == upf.n3),
            ):
                if behind:
                    yield Problem(
                        f"routing and multicast of the network go out of {upf.appliance}:{face.name}",
                        f"write facing: {facing.value} at that interface, unless routers of the network are behind it",
                        key=f"{key}.upfs[{number}].{part}",
                        value=face.name if part == "exit" else str(upf.n3),
                    )


def warnings(core: Core5g, key: str) -> tuple[Problem, ...]:
    return (
        *selection_warnings(core, key),
        *unmatched_warnings(core, key),
        *pool_warnings(core, key),
        *wide_tac_warnings(core, key),
    )


def config_problems(kind: str, config: Mapping[str, Any]) -> Iterator[Problem]:
    """What a function aborts on or silently does otherwise, in the very file that it is to get: an override may have
    taken it out."""
    own = config.get(kind)
    body: Mapping[str, Any] = own if isinstance(own, Mapping) else {}
    for timer in MANDATORY_TIMERS.get(kind, ()):
        value = _at(body, "time", timer, "value")
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            rule = f"without {timer} the {kind.upper()} aborts when it starts"
            yield Problem(rule, f"set time.{timer}.value, in seconds: 540", key=f"{kind}.time.{timer}.value")
    if kind in {"smf", "sgwc"} and _at(config, "global", "parameter", NO_ROUND_ROBIN) is not True:
        yield Problem(
            "without it, sessions that match no peer go to any peer in turn, the UPFs of the edge too",
            "leave it true",
            key=f"global.parameter.{NO_ROUND_ROBIN}",
        )
    if kind == "smf":
        yield from cell_problems(config)
    sessions = body.get("session")
    for what, count in (("subnets", _count(sessions, "subnet")), ("TUN devices", _count(sessions, "dev"))):
        if count > MAX_SESSIONS:
            rule = f"{count} {what}: Open5GS has room for {MAX_SESSIONS}"
            yield Problem(rule, "use fewer and larger pools", key=f"{kind}.session")


def cell_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Of cells, which come by an override alone. A cell is one more match: it narrows neither DNN nor TAC."""
    peers = _at(config, "smf", "pfcp", "client", "upf")
    entries = {
        f"upf[{number}]": peer
        for number, peer in enumerate(peers if isinstance(peers, list | tuple) else ())
        if isinstance(peer, Mapping)
    }
    for name, peer in entries.items():
        cell = next((key for key in CELLS if peer.get(key)), None)
        if cell is None:
            continue
        key = f"smf.pfcp.client.{name}.{cell}"
        beside = [other for other in ("dnn", "tac") if peer.get(other)]
        if beside:
            yield Problem(
                f"the SMF takes this UPF for all sessions of its {' and of its '.join(map(str.upper, beside))} too, in "
                "whatever cell they are: Open5GS selects a UPF by any one match of DNN, TAC or cell",
                "leave the cells alone in this entry, or leave them out",
                key=key,
            )
        rivals = [other for other, entry in entries.items() if other != name and entry.get("dnn")]
        if rivals:
            yield Problem(
                f"sessions in this cell also match {', '.join(rivals)} by their DNN: the SMF takes these UPFs in turn",
                "take dnn out of the other entries: what nothing matches goes to the first one",
                key=key,
            )


def _at(config: Mapping[str, Any], *path: str) -> Any:
    found: Any = config
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _count(sessions: object, key: str) -> int:
    entries = sessions if isinstance(sessions, list | tuple) else ()
    return len({str(entry[key]) for entry in entries if isinstance(entry, Mapping) and key in entry})


def curl_is_broken(version: tuple[int, int, int]) -> bool:
    return BROKEN_CURL[0] <= version < BROKEN_CURL[1]
