"""The satellite's share of a compilation: every operating point of every carrier, the PoPs that receive, the probes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from headend.devices.documents import SnmpDevice, SnmpEquipment
from headend.multicast.documents import SsmPath, SsmProbeArguments
from headend.multicast.planning.spt import Face, Topology
from headend.multicast.planning.streams import FirstFeed, first_feeds
from headend.satellite import carriers, sitebudgets
from headend.satellite.documents import (
    Carrier,
    ReceivedCarrier,
    ReceivedService,
    ReceiverSection,
    ReceiveSite,
    RungService,
    SatelliteEquipment,
    SatellitePath,
    SwitchRules,
    UplinkCarrier,
    UplinkReceiver,
    UplinkRung,
    UplinkSection,
    UplinkService,
)
from headend.satellite.ladder import Rung, Service, build_ladder
from headend.satellite.modcod import by_name
from headend.satellite.names import MUX_PORT_BASE, OPERATIONS, RECEIVER, UPLINK
from nf.contracts.planner import Contribution, FleetOperation, Hop, LinkLoad
from nf.documents.appliance import ProbeTarget
from nf.documents.fleet import Fleet, Role
from nf.documents.handovers import Handover, handovers
from nf.documents.lineup import Channel, LineUp
from nf.documents.model import DocumentModel
from nf.documents.quantities import format_bitrate
from nf.documents.rules import unique, unknown
from nf.errors import Problem
from nf.policy.names import FAILBACK, failback_object

PIDS_PER_SERVICE = 16
_KEY = "spec.equipment.satellite.carriers"


def uplink_fact(carrier: str) -> str:
    """Holds while the carrier's chain of devices is set as the line-up says."""
    return f"satellite.uplink={carrier}"


class SatellitePlanner:
    """Planner of the path type `dvb-s2x`."""

    @property
    def name(self) -> str:
        return "satellite"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        equipment = fleet.spec.equipment.get("satellite")
        snmp = fleet.spec.equipment.get("snmp")
        satellite = equipment if isinstance(equipment, SatelliteEquipment) else SatelliteEquipment()
        devices = {device.id: device for device in snmp.devices} if isinstance(snmp, SnmpEquipment) else {}
        ways = list(_ways(lineup))
        found = [*carriers.problems(satellite, devices, fleet), *_shared_problems(ways)]
        translations = {transponder.id: transponder.translation_hz for transponder in satellite.transponders}
        plan = _Plan(
            lineup,
            first_feeds(lineup, fleet),
            {(one.channel, one.taker, one.appliance): one for one in handovers(lineup, fleet)},
            fleet,
            Topology(fleet),
            devices,
            {c.id: c for c in satellite.carriers},
            translations,
            found,
        )
        if any(problem.key.startswith("spec.equipment") for problem in found):
            return Contribution(problems=tuple(dict.fromkeys(found)))
        for way in ways:
            plan.check(way)
        for number, carrier in enumerate(satellite.carriers):
            mine = [way for way in ways if way.path.carrier == carrier.id]
            if mine:  # a carrier that carries nothing is not on the air
                plan.add(number, carrier, mine)
        return plan.contribution(chain(carriers.warnings(satellite, lineup), sitebudgets.warnings(satellite, fleet)))


@dataclass(frozen=True, slots=True)
class _Way:
    """One delivery path of type dvb-s2x, with where it stands."""

    key: str
    channel: Channel
    path: SatellitePath

    @property
    def name(self) -> str:
        return f"{self.channel.id}/{self.path.id}"


def _ways(lineup: LineUp) -> Iterator[_Way]:
    for number, channel in enumerate(lineup.spec.channels):
        for index, path in enumerate(channel.delivery):
            if isinstance(path, SatellitePath):
                yield _Way(f"spec.channels[{number}].delivery[{index}]", channel, path)


def _shared_problems(ways: Sequence[_Way]) -> Iterator[Problem]:
    """What two services of a carrier may not have in common, and two paths at all."""
    yield from unique(
        "the service id is taken on this carrier: {first}",
        "give every service of a carrier an id of its own",
        ((f"{w.key}.service_id", (w.path.carrier, w.path.service_id), w.name) for w in ways),
    )
    yield from unique(
        "the encoder's input port is taken: {first}",
        "one port has one reader: choose another, and send the contribution there",
        ((f"{w.key}.input", (w.path.carrier, w.path.input), w.name) for w in ways),
    )
    yield from unique(
        "the group is given out for another path: {first}",
        "give every path a group of its own",
        ((f"{w.key}.output.group", w.path.output.group, w.name) for w in ways),
    )
    for index, way in enumerate(ways):
        for other in ways[:index]:
            apart = abs(way.path.first_pid - other.path.first_pid) >= PIDS_PER_SERVICE
            if way.path.carrier == other.path.carrier and not apart:
                low = way.path.first_pid
                yield Problem(
                    f"its PIDs {low} to {low + PIDS_PER_SERVICE - 1} overlap those of {other.name}",
                    f"write a pmt_pid that is {PIDS_PER_SERVICE} or more away from {other.path.first_pid}",
                    key=f"{way.key}.pmt_pid" if way.path.pmt_pid is not None else f"{way.key}.service_id",
                    value=str(way.path.pmt_pid or way.path.service_id),
                )


@dataclass(slots=True)
class _Plan:
    lineup: LineUp
    feeds: Mapping[tuple[str, str], FirstFeed]
    handed: Mapping[tuple[str, str, str], Handover]
    fleet: Fleet
    topology: Topology
    devices: dict[str, SnmpDevice]
    carriers: dict[str, Carrier]
    translations: dict[str, int]
    problems: list[Problem]
    refused: set[str] = field(default_factory=set)
    uplinks: dict[str, list[UplinkCarrier]] = field(default_factory=lambda: defaultdict(list))
    received: dict[str, list[ReceivedCarrier]] = field(default_factory=lambda: defaultdict(list))
    probes: dict[str, list[ProbeTarget]] = field(default_factory=lambda: defaultdict(list))
    loads: list[LinkLoad] = field(default_factory=list)
    hops: list[Hop] = field(default_factory=list)

    # -- what a path may ask for ------------------------------------------------------------------------------------

    def check(self, way: _Way) -> None:
        carrier = self.carriers.get(way.path.carrier)
        if carrier is None:
            self._refuse(way, unknown("carrier in the fleet", f"{way.key}.carrier", way.path.carrier, self.carriers))
            return
        served = {receiver.site for receiver in carrier.receivers}
        for index, site in enumerate(way.path.sites):
            key = f"{way.key}.sites[{index}]"
            if site not in {known.id for known in self.fleet.spec.sites}:
                self._refuse(way, unknown("site in the fleet", key, site, {s.id for s in self.fleet.spec.sites}))
            elif site not in served:
                remedy = f"add one to the carrier in the fleet, or choose among: {', '.join(sorted(served)) or 'none'}"
                self._refuse(way, Problem(f"the site has no receiver of {carrier.id}", remedy, key=key, value=site))
        if way.path.fallback is None:
            return
        others = {path.id: path for path in way.channel.delivery if path.id != way.path.id}
        other = others.get(way.path.fallback)
        if isinstance(other, SsmPath):
            for site in sorted(set(way.path.sites) - set(other.sites)):
                remedy = f"add {site} to the sites of {other.id}, or remove the key"
                key, value = f"{way.key}.fallback", other.id
                self._refuse(way, Problem(f"{other.id} does not come to {site}", remedy, key=key, value=value))
        elif other is None or not other.can_be_handed_over:
            remedy = "name a path of type ssm or cdn of the same channel, or remove the key"
            key, value = f"{way.key}.fallback", way.path.fallback
            self._refuse(way, Problem("a PoP cannot fall back to that path", remedy, key=key, value=value))

    def _refuse(self, way: _Way, problem: Problem) -> None:
        self.problems.append(problem)
        self.refused.add(way.name)

    # -- carriers ---------------------------------------------------------------------------------------------------

    def add(self, number: int, carrier: Carrier, ways: list[_Way]) -> None:
        ways = sorted((way for way in ways if way.name not in self.refused), key=lambda way: way.path.service_id)
        rungs = build_ladder(
            [
                Service(way.name, way.path.rate_bps, way.path.min_rate_bps or way.path.rate_bps, way.path.priority)
                for way in ways
            ],
            [by_name(name) for name in carrier.modcods],
            carrier.symbol_rate_baud,
            pilots=carrier.pilots,
            reserve=carrier.reserve,
            si_rate_bps=carrier.si_rate_bps,
            losses=carrier.margins.losses,
        )
        if not self._check_fits(carrier, rungs[0], ways):
            return
        by_way = {way.name: way for way in ways}
        self.uplinks[carrier.appliance].append(
            UplinkCarrier(
                carrier=carrier.as_made(),
                uplink_hz=carrier.centre_hz + self.translations[carrier.transponder],
                encoder=self.devices[carrier.encoder],
                standby=self.devices[carrier.encoder_backup.device] if carrier.encoder_backup else None,
                mux=self.devices[carrier.mux],
                modem=self.devices[carrier.modem],
                services=tuple(
                    UplinkService(
                        channel=way.channel.id,
                        path=way.path.id,
                        rate_bps=way.path.rate_bps,
                        min_rate_bps=way.path.min_rate_bps or way.path.rate_bps,
                        priority=way.path.priority,
                        name=way.channel.name,
                        service_id=way.path.service_id,
                        pmt_pid=way.path.first_pid,
                        row=row,
                        input_port=way.path.input,
                        mux_port=MUX_PORT_BASE + row,
                    )
                    for row, way in enumerate(ways, start=1)
                ),
                ladder=tuple(_rung(rung, by_way) for rung in rungs),
                receivers=tuple(
                    UplinkReceiver(
                        site=receiver.site,
                        device=self.devices[receiver.device],
                        clear_es_n0_db=receiver.clear_es_n0_db,
                    )
                    for receiver in sorted(carrier.receivers, key=lambda receiver: receiver.site)
                ),
                provides=(uplink_fact(carrier.id),),
            )
        )
        for way in ways:
            self._hop(way, 0, carrier.appliance, "uplink")
        for index, receiver in enumerate(carrier.receivers):
            key = f"{_KEY}[{number}].receivers[{index}]"
            self._receive(carrier, receiver, [way for way in ways if receiver.site in way.path.sites], key)

    def _check_fits(self, carrier: Carrier, top: Rung, ways: list[_Way]) -> bool:
        """Sum of rates + SI <= net rate x (1 - reserve), in clear sky; told at the first service that is too much."""
        short = top.shortfall_bps
        if not short:
            return True
        carried, first = 0, ways[0]
        for way in sorted(ways, key=lambda way: (way.path.priority, way.key)):
            carried, first = carried + way.path.rate_bps, way
            if carried > top.usable_bps:
                break
        parts = ", ".join(f"{way.name} {format_bitrate(way.path.rate_bps)}" for way in ways)
        wanted = sum(way.path.rate_bps for way in ways)
        self.problems.append(
            Problem(
                f"carrier {carrier.id} is full: {_mbit(wanted)} of services wanted, {_mbit(top.usable_bps)} there "
                f"({top.modcod.name} carries {_mbit(top.net_rate_bps)} net, less {carrier.reserve:.0%} reserve and "
                f"{_mbit(carrier.si_rate_bps)} of SI), {_mbit(short)} short ({parts})",
                f"lower rates by {_mbit(short)}, remove a service, or widen the carrier in the fleet",
                key=f"{first.key}.rate",
                value=str(format_bitrate(first.path.rate_bps)),
            )
        )
        return False

    # -- receive sites ----------------------------------------------------------------------------------------------

    def _receive(self, carrier: Carrier, receiver: ReceiveSite, ways: list[_Way], key: str) -> None:
        pop = next((a for a in self.fleet.spec.appliances if a.site == receiver.site and a.role is Role.POP), None)
        if pop is None:
            self.problems.append(
                Problem("the site has no PoP", "remove the receiver", key=f"{key}.site", value=receiver.site)
            )
            return
        if receiver.output not in {interface.address.ip for interface in pop.interfaces}:
            remedy = f"give one of: {', '.join(str(interface.address.ip) for interface in pop.interfaces)}"
            value = str(receiver.output)
            self.problems.append(Problem(f"{pop.id} has no such address", remedy, key=f"{key}.output", value=value))
            return
        lans = [face for face in self.topology.faces[pop.id] if self.topology.receivers(pop.id, face.link)]
        self.received[pop.id].append(
            ReceivedCarrier(
                carrier=carrier.id,
                device=self.devices[receiver.device],
                input=receiver.output,
                input_port=receiver.output_port,
                transport_stream_id=carrier.transport_stream_id,
                margins=carrier.margins,
                services=tuple(self._received_service(way, lans, pop.id) for way in ways),
                requires=(uplink_fact(carrier.id),),
            )
        )
        for way in ways:
            self._hop(way, 1, pop.id, "downlink")
            for face in lans:
                self.loads.append(LinkLoad(face.link, pop.id, way.path.rate_bps, way.channel.id, way.path.id))
            self._prove(way, pop.id, receiver.site)

    def _received_service(self, way: _Way, lans: list[Face], pop: str) -> ReceivedService:
        return ReceivedService(
            channel=way.channel.id,
            path=way.path.id,
            service_id=way.path.service_id,
            group=way.path.output.group,
            port=way.path.output.port,
            outputs=tuple(sorted(face.address.ip for face in lans)),
            **self._fallback(way, pop),
        )

    def _fallback(self, way: _Way, pop: str) -> dict[str, Any]:
        """The keys of a received service that are about its fallback."""
        name = way.path.fallback
        feed = self.feeds.get((way.channel.id, name or ""))
        handed = self.handed.get((way.channel.id, way.path.id, pop))
        if feed is not None:
            found: dict[str, Any] = {
                "fallback_source": feed.source,
                "fallback_group": feed.group,
                "fallback_port": feed.port,
                "fallback_encapsulation": feed.encapsulation,
            }
        elif handed is not None:
            found = {"fallback_address": handed.address, "fallback_port": handed.port}
        else:
            return {}
        policy = self.lineup.failover(way.channel)
        rules = SwitchRules(
            detect_ms=policy.detect_ms,
            hold_down_ms=policy.hold_down_ms,
            max_per_hour=policy.max_per_hour,
            failback_after_ms=policy.failback.after_ms,
            failback_approve=policy.failback.approve,
        )
        return {"fallback": name, "failover": rules, **found}

    def _prove(self, way: _Way, pop: str, site: str) -> None:
        for receiver in self.fleet.spec.appliances:
            if receiver.role is not Role.PROBE or receiver.site != site:
                continue
            own = self.topology.shared_face(receiver.id, {pop})
            near = self.topology.shared_face(pop, {receiver.id})
            if own is None or near is None:
                continue  # the multicast planner says so when it matters there; nothing is proved at this one
            arguments = SsmProbeArguments(
                source=near.address.ip,
                group=way.path.output.group,
                port=way.path.output.port,
                interface=own.address.ip,
                rate_bps=way.path.rate_bps,
            )
            self.probes[receiver.id].append(
                ProbeTarget(
                    id=f"{way.name}/{receiver.id}",
                    kind="ssm",
                    channel=way.channel.id,
                    path=way.path.id,
                    arguments=arguments.to_json(),
                    required=False,
                )
            )
            self._hop(way, 2, receiver.id, "receiver")

    def _hop(self, way: _Way, order: int, appliance: str, point: str) -> None:
        self.hops.append(Hop(way.channel.id, way.path.id, order, appliance, point))

    def contribution(self, warnings: Iterator[Problem]) -> Contribution:
        sections: dict[str, dict[str, DocumentModel]] = defaultdict(dict)
        for appliance, found in self.uplinks.items():
            ordered = sorted(found, key=lambda entry: entry.carrier.id)
            sections[appliance][UPLINK] = UplinkSection(carriers=tuple(ordered))
        for appliance, taken in self.received.items():
            sections[appliance][RECEIVER] = ReceiverSection(
                carriers=tuple(sorted(taken, key=lambda entry: entry.carrier))
            )
        return Contribution(
            sections=sections,
            probes={name: tuple(sorted(found, key=lambda t: t.id)) for name, found in self.probes.items()},
            loads=tuple(sorted(self.loads, key=lambda load: (load.link, load.sender, load.channel, load.path))),
            hops=tuple(self.hops),
            problems=tuple(dict.fromkeys(self.problems)),
            warnings=tuple(warnings),
            operations=(*self._chain_operations(), *self._failbacks()),
        )

    def _chain_operations(self) -> Iterator[FleetOperation]:
        for appliance, found in sorted(self.uplinks.items()):
            for entry in found:
                for name in OPERATIONS:
                    yield FleetOperation(name, entry.carrier.id, (((appliance, UPLINK),),))

    def _failbacks(self) -> Iterator[FleetOperation]:
        """An operator's word for the way back, one for each channel and site; two carriers of a site share it."""
        sites = {appliance.id: appliance.site for appliance in self.fleet.spec.appliances}
        asked = {
            (service.channel, appliance)
            for appliance, taken in self.received.items()
            for entry in taken
            for service in entry.services
            if service.fallback is not None
        }
        for channel, appliance in sorted(asked):
            yield FleetOperation(FAILBACK, failback_object(channel, sites[appliance]), (((appliance, RECEIVER),),))


def _rung(rung: Rung, ways: dict[str, _Way]) -> UplinkRung:
    services = tuple(
        RungService(channel=ways[name].channel.id, path=ways[name].path.id, rate_bps=rate)
        for name, rate in sorted(rung.services.items())
    )
    return UplinkRung(
        modcod=rung.modcod.name,
        net_rate_bps=rung.net_rate_bps,
        ts_rate_bps=rung.ts_rate_bps,
        services=services,
    )


def _mbit(bps: int) -> str:
    return f"{bps / 1e6:.3f}M"
