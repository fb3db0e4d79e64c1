"""Steering's share of a compilation: N6 policy and uplink classifiers, the probes of UEs, what operators may ask.

Sections stand also without a channel: they are what the channels are put upon.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from core5g.documents import EQUIPMENT, Classifier, Core5g
from core5g.open5gs.naming import interface_fact
from core5g.pfcp.proxy.documents import (
    MAX_FILTERS,
    MAX_OWN_PDRS,
    MAX_SDF,
    ClassifierRule,
    EdgeUpf,
    ProxySection,
    ServedUpf,
)
from core5g.steering.caches import HTTPS, CachePlace
from core5g.steering.contract import CLASSIFIER_DRIVER, EVERY, INFLUENCE, N6_DRIVER, STEER_EXPLAIN, STEER_LIST
from core5g.steering.n6.documents import CacheHealth, N6Cache, N6Path, N6Resolver, N6Section, collapsed
from core5g.steering.places import Member, Places, Steering
from core5g.steering.ways import Way, path_problems, shared_warnings, ways
from nf.contracts.planner import Contribution, FleetOperation, Hop
from nf.documents.appliance import ProbeTarget
from nf.documents.fleet import Fleet, Role
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.documents.rules import unknown
from nf.errors import Problem

HEALTH_HOST: Final = "config.nf.invalid"
"""What every edge cache answers for by itself, also without channels: the cache is asked, and no channel of it."""

PROBE_BUDGET: Final = "60s"
"""From the commit to a picture at a UE: its session may be a new one, when the UPF was restarted by the commit."""

MAX_NAMES: Final = 200
MAX_PREFIXES: Final = 100_000
"""Of one UPF's N6, as its section takes them."""
MAX_RESOLVERS: Final = 8


def steering_fact(upf: str) -> str:
    """Holds while traffic is steered at the UPF's N6."""
    return f"core5g.steering={upf}"


def classifier_fact(name: str) -> str:
    """Holds while the PFCP proxy of the classifier relays."""
    return f"core5g.classifier={name}"


def edge_fact(channel: str, path: str, appliance: str) -> str:
    """Provided by the edge cache while it serves the path."""
    return f"cdn.edge={channel}/{path}@{appliance}"


class SteeringPlanner:
    """Planner of the path type `upf-breakout`."""

    @property
    def name(self) -> str:
        return "core5g-steering"

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        core = fleet.spec.equipment.get(EQUIPMENT)
        found = list(ways(lineup))
        if not isinstance(core, Core5g):
            remedy = "add the part core5g to the fleet's equipment, or remove the path"
            rule = "the fleet has no 5G core"
            return Contribution(
                problems=tuple(Problem(rule, remedy, key=f"{way.key}.type", value="upf-breakout") for way in found)
            )
        plan = _Plan(Places(fleet, core))
        plan.problems += plan.places.problems
        plan.warnings += [*plan.places.warnings, *shared_warnings(found)]
        for way in found:
            plan.add(way)
        plan.add_equipment()
        return plan.contribution()


@dataclass(slots=True)
class _Plan:
    places: Places
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    steered: dict[str, list[Way]] = field(default_factory=lambda: defaultdict(list))
    """UPF -> what is steered there; at an edge also what its classifiers send it."""
    probes: dict[str, list[ProbeTarget]] = field(default_factory=lambda: defaultdict(list))
    hops: list[Hop] = field(default_factory=list)

    def add(self, way: Way) -> None:
        """A path with a problem of its own adds the problem only."""
        found = list(path_problems(way, self.places))
        self.problems += found
        if found:
            return
        self._note_families(way)
        for name in sorted(set(way.path.upfs)):
            steering = self.places.steering.get(name)
            if steering is None:
                continue  # its problem stands at the fleet
            for upf in (name, steering.breakout.id):
                if way not in self.steered[upf]:
                    self.steered[upf].append(way)
            self._hop(way, steering.breakout.appliance)

    def _hop(self, way: Way, appliance: str) -> None:
        """Where its packets are counted: at the N6 by which they leave."""
        hop = Hop(way.channel.id, way.path.id, 0, appliance, N6_DRIVER)
        if hop not in self.hops:
            self.hops.append(hop)

    def _note_families(self, way: Way) -> None:
        later = [(number, prefix) for number, prefix in enumerate(way.path.prefixes) if prefix.version == 6]
        caches = [self.places.steering[name].cache for name in way.path.upfs if name in self.places.steering]
        without = sorted({cache.appliance for cache in caches if 6 not in cache.versions})
        if later and without:
            number, prefix = later[0]
            rule = f"what UEs ask of it by IPv6 leaves by the default exit: no IPv6 is steered to {', '.join(without)}"
            remedy = "give the appliance of UPF and cache loopback6, or nothing where the CDN may answer"
            key = f"{way.key}.prefixes[{number}]"
            self.warnings.append(Problem(rule, remedy, key=key, value=str(prefix)))

    # -- UEs that prove it --------------------------------------------------------------------------------------------

    def add_equipment(self) -> None:
        for number, ue in enumerate(self.places.core.equipment):
            key = f"spec.equipment.{EQUIPMENT}.equipment[{number}]"
            appliance = self.places.appliances.get(ue.appliance)
            if appliance is None:
                known = self.places.appliances
                self.problems.append(unknown("appliance in the fleet", f"{key}.appliance", ue.appliance, known))
            elif appliance.role is not Role.PROBE:
                rule = f"its role is {appliance.role.value}; a UE that proves paths has the role probe"
                remedy = "give it the role probe, or name another appliance"
                self.problems.append(Problem(rule, remedy, key=f"{key}.appliance", value=ue.appliance))
            if ue.upf not in self.places.upfs:
                where = "UPF in the fleet's equipment core5g"
                self.problems.append(unknown(where, f"{key}.upf", ue.upf, self.places.upfs))
            for way in self.steered.get(ue.upf, ()):
                if ue.upf in way.path.upfs and appliance is not None:
                    self._probe(way, ue.appliance, self._asked_by(way, self.places.steering[ue.upf]))

    def _asked_by(self, way: Way, steering: Steering) -> AbstractSet[int]:
        """The versions of IP by which a UE of this UPF can ask and is steered; none of them: of the cache."""
        both = frozenset(version for version in steering.cache.versions if self.places.gives(steering.upf, version))
        return both if way.path.names or way.prefixes(both) else steering.cache.versions

    def _probe(self, way: Way, ue: str, versions: AbstractSet[int]) -> None:
        target = ProbeTarget.model_validate(
            {
                "id": f"{way.name}/{ue}",
                "kind": "hls",
                "channel": way.channel.id,
                "path": way.path.id,
                "arguments": way.probe_arguments(versions),
                "budget": PROBE_BUDGET,
            }
        )
        if target not in self.probes[ue]:
            self.probes[ue].append(target)
            self.hops.append(Hop(way.channel.id, way.path.id, 1, ue, "receiver"))

    # -- sections -----------------------------------------------------------------------------------------------------

    def contribution(self) -> Contribution:
        sections: dict[str, dict[str, DocumentModel]] = defaultdict(dict)
        for steering in sorted(self.places.steering.values(), key=lambda one: one.upf.id):
            if steering.classifier is None:
                sections[steering.upf.appliance][N6_DRIVER] = self._n6(steering)
        for classifier in sorted(self.places.core.classifiers, key=lambda one: one.id):
            section = self._proxy(classifier.upf)
            if section is not None:
                sections[classifier.appliance][CLASSIFIER_DRIVER] = section
        return Contribution(
            sections=sections,
            probes={name: tuple(sorted(found, key=lambda t: t.id)) for name, found in self.probes.items()},
            hops=tuple(self.hops),
            problems=tuple(dict.fromkeys(self.problems)),
            warnings=tuple(dict.fromkeys(self.warnings)),
            operations=operations(self.places.steering),
        )

    def _n6(self, steering: Steering) -> N6Section:
        found = sorted(self.steered[steering.upf.id], key=lambda way: way.name)
        prefixes = collapsed(prefix for way in found for prefix in way.path.prefixes)
        if len(prefixes) > MAX_PREFIXES:
            rule = f"{len(prefixes)} prefixes are steered at {steering.upf.id}, it takes {MAX_PREFIXES}"
            self.problems += [Problem(rule, "aggregate them", key=f"{way.key}.prefixes") for way in found]
            prefixes = ()
        names, resolver = self._resolver(steering, found)
        cache = steering.cache
        served = {edge_fact(way.channel.id, way.path.of, cache.appliance) for way in found}
        return N6Section(
            upf=steering.upf.id,
            n3=steering.upf.n3,
            smfs=self._smfs(),
            tuns=steering.tuns,
            cache=N6Cache(
                address=cache.address,
                address6=cache.address6,
                local=cache.local,
                interface=cache.interface,
                via=cache.via,
                forwards=cache.forwards,
                health=CacheHealth(host=HEALTH_HOST, tls_port=cache.https if HTTPS in cache.ports else None),
            ),
            ports=cache.ports,
            prefixes=prefixes,
            names=names,
            resolver=resolver,
            # Where https is not steered a refused QUIC would only slow players down, which the CDN serves.
            quic="reject" if HTTPS in cache.ports else "pass",
            paths=tuple(
                N6Path(channel=way.channel.id, path=way.path.id, of=way.path.of, rate_bps=way.path.rate_bps)
                for way in found
            ),
            requires=tuple(sorted({*steering.requires, *served})),
            provides=(steering_fact(steering.upf.id),),
        )

    def _resolver(self, steering: Steering, found: Sequence[Way]) -> tuple[tuple[str, ...], N6Resolver | None]:
        """The names that are steered, and the resolver that learns what they resolve to, which UEs have to be given."""
        named = [way for way in found if way.path.names]
        if not named:
            return (), None
        own = self.places.own_addresses(steering.upf)
        ours = {address for upf in self.places.upfs.values() for address in self.places.gateways(upf)} | own
        listen = tuple(sorted(address for address in self.places.core.resolvers if address in own))
        upstreams = tuple(address for address in self.places.core.resolvers if address not in ours)
        names = tuple(sorted({name for way in named for name in way.path.names}))
        if listen and upstreams and len(names) <= MAX_NAMES:
            return names, N6Resolver(listen=listen[:MAX_RESOLVERS], upstreams=upstreams[:MAX_RESOLVERS])
        if len(names) > MAX_NAMES:
            rule, remedy = f"{len(names)} names are steered at {steering.upf.id}, it takes {MAX_NAMES}", "name fewer"
        elif not listen:
            gateway = next(iter(self.places.gateways(steering.upf)), None)
            rule = f"UEs of {steering.upf.id} are given no resolver of ours: what the names resolve to is not learnt"
            remedy = (
                f"put {gateway or 'an address of its appliance'} into resolvers of equipment core5g, or give prefixes"
            )
        else:
            rule = "the resolver would have nobody to ask"
            remedy = "add the operator's resolver to resolvers of equipment core5g"
        for way in named:
            problem = Problem(rule, remedy, key=f"{way.key}.names", value=way.path.names[0])
            (
                self.warnings if way.prefixes(steering.cache.versions) and len(names) <= MAX_NAMES else self.problems
            ).append(problem)
        return (), None

    def _proxy(self, upf: str) -> ProxySection | None:
        steering = self.places.steering.get(upf)
        if steering is None or steering.classifier is None:
            return self._relay(upf)
        classifier, edge = steering.classifier, steering.breakout
        gate = edge.appliance == classifier.appliance
        return self._section(upf, EdgeUpf(id=edge.id, n4=edge.n4, n3=edge.n3, gate=gate), steering)

    def _relay(self, upf: str) -> ProxySection | None:
        """Of a UPF that does not steer by its classifier: it relays, and its SMFs need not be told otherwise."""
        if upf in self.places.upfs and self.places.upfs[upf].steering != "classifier":
            return self._section(upf, None, None)
        return None

    def _section(self, upf: str, edge: EdgeUpf | None, steering: Steering | None) -> ProxySection | None:
        classifier = next(one for one in self.places.core.classifiers if one.upf == upf)
        smfs = self._smfs()
        served = self.places.upfs[upf]
        ends = [classifier.address, *smfs, served.n4, *([edge.n4] if edge else [])]
        number = self.places.core.classifiers.index(classifier)
        key = f"spec.equipment.{EQUIPMENT}.classifiers[{number}]"
        if classifier.appliance not in self.places.appliances or not smfs:
            return None
        if len(set(ends)) != len(ends):
            rule = "the proxy knows SMFs and UPFs by their addresses, and two of them share one"
            value = str(classifier.address)
            self.problems.append(Problem(rule, "give each its own", key=f"{key}.address", value=value))
            return None
        rules = self._rules(upf, steering.cache) if steering is not None else ()
        if rules is None:
            return None
        return ProxySection(
            listen=classifier.address,
            smfs=smfs,
            upf=ServedUpf(id=served.id, address=served.n4),
            edge=edge,
            rules=rules,
            cache=steering.cache.address if steering is not None else None,
            cache6=steering.cache.address6 if steering is not None else None,
            requires=self._listening(classifier, edge),
            provides=(classifier_fact(classifier.id),),
        )

    def _smfs(self) -> tuple[IPv4Address, ...]:
        return tuple(sorted({one.address for one in self.places.core.functions if one.kind == "smf"}))

    def _listening(self, classifier: Classifier, edge: EdgeUpf | None) -> tuple[str, ...]:
        appliance = self.places.appliances[classifier.appliance]
        faces = [face.name for face in appliance.interfaces if face.address.ip == classifier.address]
        faces += ["lo"] if appliance.loopback == classifier.address else []
        facts = {interface_fact(appliance.id, face) for face in faces}
        return tuple(sorted(facts | ({steering_fact(edge.id)} if edge is not None else set())))

    def _rules(self, upf: str, cache: CachePlace) -> tuple[ClassifierRule, ...] | None:
        """One for each CDN, since a UPF takes few. None: they are too many, or go by names alone."""
        by_host: dict[str, list[Way]] = defaultdict(list)
        bare = [way for way in self.steered[upf] if not way.prefixes(cache.versions)]
        for way in bare:
            rule = f"a classifier goes by prefix, and {upf} has one"
            remedy = "give the CDN's IPv4 prefixes, or steer at the UPF's N6"
            self.problems.append(Problem(rule, remedy, key=f"{way.key}.names", value=way.path.names[0]))
        for way in self.steered[upf]:
            by_host[way.host].append(way)
        rules = tuple(_rule(host, by_host[host], cache) for host in sorted(by_host) if not bare)
        count = _filters(rules)
        if count > MAX_SDF:
            rule = (
                f"{count} filters at the classifier of {upf}: a session takes {MAX_SDF} "
                f"({MAX_OWN_PDRS} PDRs, one of them for the way back, with {MAX_FILTERS} each)"
            )
            remedy = "aggregate the prefixes, or steer at the UPF's N6, which takes thousands"
            self.problems += [Problem(rule, remedy, key=f"{way.key}.prefixes") for way in self.steered[upf]]
            return None
        return None if bare else rules


def _rule(host: str, found: Sequence[Way], cache: CachePlace) -> ClassifierRule:
    names = sorted({name for way in found for name in way.path.names})
    only = found[0] if len(found) == 1 else None
    return ClassifierRule(
        id=_rule_id(host),
        prefixes=collapsed(prefix for way in found for prefix in way.prefixes(cache.versions)),
        ports=cache.ports,
        names=tuple(names),
        channel=only.channel.id if only else None,
        path=only.path.id if only else None,
    )


def _rule_id(host: str) -> str:
    """For people the host, as a name of ours; the digest keeps two hosts apart that read alike then."""
    return f"to-{host.replace('.', '-')[:26].rstrip('-')}-{hashlib.sha256(host.encode()).hexdigest()[:8]}"


def _filters(rules: Iterable[ClassifierRule]) -> int:
    """SDF filters of a session: one for each port of each prefix."""
    return sum((len(rule.ports) or 1) * len(rule.prefixes) for rule in rules)


def operations(steering: Mapping[str, Steering]) -> tuple[FleetOperation, ...]:
    """What may be asked of the mechanisms: of each UPF by its id, of all as `EVERY`.

    An influence goes to the edge first: what a classifier sends there finds its way to the cache.
    """
    if not steering:
        return ()
    found: list[FleetOperation] = []
    for name, one in sorted(steering.items()):
        found += [FleetOperation(ask, name, ((one.member,),)) for ask in (STEER_LIST, STEER_EXPLAIN)]
        stages: list[tuple[Member, ...]] = [(one.member,)]
        if one.classifier is not None:
            stages.insert(0, ((one.breakout.appliance, N6_DRIVER),))
        found.append(FleetOperation(INFLUENCE, name, tuple(stages), made_good=True))
    everybody = tuple(sorted({one.member for one in steering.values()}))
    return (*found, *(FleetOperation(ask, EVERY, (everybody,)) for ask in (STEER_LIST, STEER_EXPLAIN)))
