"""Where steering happens: the UPFs that steer, the cache at the site of each, and what leads to it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from core5g.documents import EQUIPMENT, Classifier, Core5g, Network, Upf
from core5g.open5gs.naming import interface_fact, tun_fact, tun_name
from core5g.steering.caches import CachePlace, https_port, vips
from core5g.steering.contract import CLASSIFIER_DRIVER, N6_DRIVER
from nf.documents.fleet import Appliance, Fleet, Role
from nf.documents.rules import unique, unknown
from nf.errors import Problem

KEY = f"spec.equipment.{EQUIPMENT}"
CACHE = "cdn-edge"
"""The function, in the fleet's placement, of the cache that UEs are sent to."""

_ROUTERS = frozenset({Role.CORE, Role.POP})

Member = tuple[str, str]
"""(appliance, driver)."""


@dataclass(frozen=True, slots=True)
class Steering:
    """A UPF at which traffic for the CDN is steered.

    key          of the UPF in the fleet document
    breakout     the UPF at whose N6 it leaves: itself, or the edge of its classifier
    classifier   None: by policy at its own N6
    """

    key: str
    upf: Upf
    breakout: Upf
    site: str
    cache: CachePlace
    classifier: Classifier | None = None

    @property
    def member(self) -> Member:
        """Who answers for it."""
        if self.classifier is not None:
            return self.classifier.appliance, CLASSIFIER_DRIVER
        return self.upf.appliance, N6_DRIVER

    @property
    def tuns(self) -> tuple[str, ...]:
        return tuple(sorted(tun_name(self.upf, dnn) for dnn in self.upf.dnns))

    @property
    def requires(self) -> tuple[str, ...]:
        """Ordering facts of its N6: the TUN devices, and the interface behind which the cache is."""
        facts = [tun_fact(self.upf.appliance, tun) for tun in self.tuns]
        if self.cache.interface is not None:
            facts.append(interface_fact(self.upf.appliance, self.cache.interface))
        return tuple(sorted(facts))


class Places:
    """References of the fleet that do not resolve are left out where another planner names them as problems."""

    def __init__(self, fleet: Fleet, core: Core5g) -> None:
        self.fleet = fleet
        self.core = core
        self.appliances: Mapping[str, Appliance] = {one.id: one for one in fleet.spec.appliances}
        self.upfs: Mapping[str, Upf] = {upf.id: upf for upf in core.upfs}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._links = {endpoint: link.endpoints for link in fleet.spec.links for endpoint in link.endpoints}
        self.steering: dict[str, Steering] = {}
        self._find()

    def _find(self) -> None:
        numbered = [(f"{KEY}.upfs[{number}]", upf) for number, upf in enumerate(self.core.upfs)]
        at_n6 = [(key, upf) for key, upf in numbered if upf.steering == "n6" and upf.appliance in self.appliances]
        self.problems += unique(
            "another UPF of this appliance steers at its N6 already: {first}",
            "steer at one UPF of an appliance",
            ((f"{key}.steering", upf.appliance, upf.steering) for key, upf in at_n6),
        )
        for key, upf in at_n6:
            cache = self._cache(upf, f"{key}.steering")
            if cache is not None:
                site = self.appliances[upf.appliance].site
                self.steering.setdefault(upf.id, Steering(key, upf, upf, site, cache))
                self.warnings += _idle(f"{key}.steering", upf, cache)
        self.problems += self._classifiers()
        classified = {one.upf: one for one in self.core.classifiers}
        for key, upf in numbered:
            if upf.steering == "classifier":
                self._classified(key, upf, classified.get(upf.id))

    def _classifiers(self) -> Iterator[Problem]:
        named = [(f"{KEY}.classifiers[{number}]", one) for number, one in enumerate(self.core.classifiers)]
        yield from unique(
            "this appliance has a classifier already: {first}",
            "an appliance runs one PFCP proxy",
            ((f"{key}.appliance", one.appliance, one.appliance) for key, one in named),
        )
        for key, one in named:
            if one.appliance not in self.appliances:
                yield unknown("appliance in the fleet", f"{key}.appliance", one.appliance, self.appliances)
            elif not one.address.is_loopback and one.address not in _addresses(self.appliances[one.appliance]):
                rule = f"{one.appliance} does not have this address"
                remedy = "name one of an interface of it, or its loopback"
                yield Problem(rule, remedy, key=f"{key}.address", value=str(one.address))
            for part, name in (("upf", one.upf), ("edge", one.edge)):
                if name not in self.upfs:
                    yield unknown("UPF in the fleet's equipment core5g", f"{key}.{part}", name, self.upfs)
            if one.upf == one.edge:
                remedy = "name another UPF, or steer at its N6"
                yield Problem("the edge is the UPF itself", remedy, key=f"{key}.edge", value=one.edge)
            elif one.edge in self.upfs and self.upfs[one.edge].steering != "n6":
                rule = "what the classifier sends there leaves by the default exit: the edge does not steer at its N6"
                yield Problem(rule, f"write steering: n6 at the UPF {one.edge}", key=f"{key}.edge", value=one.edge)
            if not any(function.kind == "smf" for function in self.core.functions):
                remedy = "add a function of kind smf"
                yield Problem("there is no SMF that could set up sessions", remedy, key=f"{key}.upf", value=one.upf)

    def _classified(self, key: str, upf: Upf, classifier: Classifier | None) -> None:
        if classifier is None:
            remedy = "add one to classifiers, or steer at its N6"
            self.problems.append(
                Problem("the UPF has no classifier", remedy, key=f"{key}.steering", value=upf.steering)
            )
            return
        edge = self.steering.get(classifier.edge)
        if edge is not None and classifier.appliance in self.appliances:
            self.steering[upf.id] = Steering(key, upf, edge.upf, edge.site, edge.cache, classifier)

    # -- the cache ----------------------------------------------------------------------------------------------------

    def _cache(self, upf: Upf, key: str) -> CachePlace | None:
        """At the UPF's site: its own appliance, else the first that it shares a link with. None: a problem."""
        own = self.appliances[upf.appliance]
        here = [
            name
            for name in self.fleet.placed(CACHE)
            if name in self.appliances and self.appliances[name].site == own.site
        ]
        if own.id in here and (address := self._listens(own)) is not None:
            return CachePlace(own.id, address, own.loopback6, https=https_port(self.fleet, own.id))
        for name in here:
            found = self._beside(own, self.appliances[name])
            if found is not None:
                return found
        if here:
            rule = f"no cache of the site {own.site} is on a link with {own.id}: {', '.join(here)}"
            remedy = "add the link to the fleet, or place cdn-edge on the UPF's own appliance"
        else:
            rule = f"the site {own.site} has no cache to steer to"
            remedy = f"place {CACHE} on an appliance of the site, or write steering: none"
        self.problems.append(Problem(rule, remedy, key=key, value=upf.steering))
        return None

    def _beside(self, own: Appliance, other: Appliance) -> CachePlace | None:
        address = self._listens(other)
        for face in own.interfaces:
            ends = self._links.get(f"{own.id}:{face.name}", ())
            for there in other.interfaces:
                if f"{other.id}:{there.name}" in ends and address is not None and other is not own:
                    via = there.address.ip
                    return CachePlace(
                        appliance=other.id,
                        address=address,
                        interface=face.name,
                        via=None if via == address else via,
                        https=https_port(self.fleet, other.id),
                        vips=vips(self.fleet, other.id),
                    )
        return None

    def _listens(self, appliance: Appliance) -> IPv4Address | None:
        """Where its cache listens at any rate: on its loopback, else on a link of receivers, else on its first."""
        if appliance.loopback is not None and not appliance.loopback.is_loopback:
            return appliance.loopback
        access = [face for face in appliance.interfaces if self._is_access(appliance, face.name)]
        faces = access or list(appliance.interfaces)
        return faces[0].address.ip if faces else None

    def _is_access(self, appliance: Appliance, face: str) -> bool:
        ends = self._links.get(f"{appliance.id}:{face}", ())
        others = {end.partition(":")[0] for end in ends} - {appliance.id}
        known = [self.appliances[name] for name in others if name in self.appliances]
        return bool(ends) and not any(one.role in _ROUTERS for one in known)

    # -- addresses ----------------------------------------------------------------------------------------------------

    def link_subnets(self) -> Mapping[Network, str]:
        """The fleet's own networks, each with what it is."""
        found: dict[Network, str] = {}
        for appliance in sorted(self.appliances.values(), key=lambda one: one.id):
            for face in appliance.interfaces:
                found.setdefault(face.address.network, f"the subnet of {appliance.id}:{face.name}")
            if appliance.loopback is not None:
                found.setdefault(IPv4Network(appliance.loopback), f"the loopback of {appliance.id}")
            if appliance.loopback6 is not None:
                found.setdefault(IPv6Network(appliance.loopback6), f"the IPv6 loopback of {appliance.id}")
        return found

    def gives(self, upf: Upf, version: int) -> bool:
        """Whether its UEs get addresses of this version of IP."""
        pools = (pool for network in self.core.networks if network.dnn in upf.dnns for pool in network.pools)
        return any(pool.version == version for pool in pools)

    def gateways(self, upf: Upf) -> tuple[IPv4Address, ...]:
        """The IPv4 addresses of its TUN devices: the first of each pool of its DNNs."""
        return tuple(
            IPv4Address(int(pool.network_address) + 1)
            for network in self.core.networks
            if network.dnn in upf.dnns
            for pool in network.pools
            if isinstance(pool, IPv4Network)
        )

    def own_addresses(self, upf: Upf) -> frozenset[IPv4Address]:
        """Where a resolver on the UPF's appliance could listen."""
        return frozenset(self.gateways(upf)) | _addresses(self.appliances[upf.appliance])


def _idle(key: str, upf: Upf, cache: CachePlace) -> Iterator[Problem]:
    if not cache.local and not cache.vips:
        rule = f"no path can be steered here: the cache is on {cache.appliance}, which takes no connections for a CDN's"
        remedy = f"place {CACHE} on {upf.appliance}, or give {cache.appliance} addresses by equipment anycast"
        yield Problem(f"{rule} addresses", remedy, key=key, value=upf.steering)


def _addresses(appliance: Appliance) -> frozenset[IPv4Address]:
    loopback = [] if appliance.loopback is None else [appliance.loopback]
    return frozenset([*loopback, *(face.address.ip for face in appliance.interfaces)])
