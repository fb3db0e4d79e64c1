"""The line-up's paths of type `upf-breakout`: what each of them is about, and what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from core5g.documents import BreakoutPath, Network
from core5g.steering.destinations import overlaps
from core5g.steering.places import CACHE, Places, Steering
from nf.contracts.json import Json, JsonObject
from nf.documents.lineup import Channel, LineUp
from nf.documents.rules import unique, unknown
from nf.errors import Problem

CDN = "cdn"
MANIFEST = "master.m3u8"
"""Name of the multivariant playlist (RFC 8216) of a channel at an edge cache."""


@dataclass(frozen=True, slots=True)
class Way:
    """A path with its place in the document. `cdn`: the path that it names, as JSON; empty when there is none."""

    key: str
    channel: Channel
    path: BreakoutPath
    cdn: JsonObject

    @property
    def name(self) -> str:
        return f"{self.channel.id}/{self.path.id}"

    @property
    def host(self) -> str:
        return str(self.cdn.get("host", ""))

    @property
    def sites(self) -> frozenset[str]:
        found: Json = self.cdn.get("sites")
        return frozenset(str(site) for site in found) if isinstance(found, list) else frozenset()

    @property
    def only6(self) -> bool:
        """Whether the CDN is known by IPv6 alone."""
        return not self.path.names and all(prefix.version == 6 for prefix in self.path.prefixes)

    def prefixes(self, versions: AbstractSet[int]) -> tuple[Network, ...]:
        """Those that are steered where the cache has addresses of these versions of IP."""
        return tuple(prefix for prefix in self.path.prefixes if prefix.version in versions)

    def address(self, versions: AbstractSet[int]) -> str:
        """By what a UE reaches the CDN where it is steered: the first address of its first prefix, else a name."""
        prefixes = self.prefixes(versions)
        if not prefixes:
            return min(self.path.names)
        first = min(prefixes, key=lambda prefix: (prefix.version, int(prefix.network_address), prefix.prefixlen))
        whole = first.prefixlen >= first.max_prefixlen - 1
        address = first.network_address if whole else first.network_address + 1
        return str(address) if address.version == 4 else f"[{address}]"

    def probe_arguments(self, versions: AbstractSet[int]) -> JsonObject:
        """Of a probe of kind `hls`, as a UE that has no route but its tunnel plays the channel."""
        return {
            "url": f"http://{self.address(versions)}/{self.channel.id}/{MANIFEST}",
            "host": self.host,
            "segment": self.cdn["segment"],
            "window": self.cdn["window"],
            "rate": self.cdn["rate"],
        }


def ways(lineup: LineUp) -> Iterator[Way]:
    for number, channel in enumerate(lineup.spec.channels):
        cdns = {path.id: path.to_json() for path in channel.delivery if path.type == CDN}
        for index, path in enumerate(channel.delivery):
            if isinstance(path, BreakoutPath):
                key = f"spec.channels[{number}].delivery[{index}]"
                yield Way(key, channel, path, cdns.get(path.of, {}))


def path_problems(way: Way, places: Places) -> Iterator[Problem]:
    """What refuses the path."""
    yield from _of(way)
    known = [places.steering[name] for name in way.path.upfs if name in places.steering]
    nowhere = way.only6 and not any(6 in steering.cache.versions for steering in known)
    if nowhere:
        rule = "what UEs ask by IPv6 leaves by the default exit, since no cache that they are sent to has IPv6"
        remedy = "give the appliance of UPF and cache loopback6, or the CDN's IPv4 prefixes too, or its names"
        yield Problem(rule, remedy, key=f"{way.key}.prefixes", value=str(way.path.prefixes[0]))
    yield from unique(
        "the UPF is listed twice: {first}",
        "list it once",
        ((f"{way.key}.upfs[{index}]", name, name) for index, name in enumerate(way.path.upfs)),
    )
    for index, name in enumerate(way.path.upfs):
        key = f"{way.key}.upfs[{index}]"
        upf = places.upfs.get(name)
        steering = places.steering.get(name)
        if upf is None:
            yield unknown("UPF in the fleet's equipment core5g", key, name, places.upfs)
        elif upf.steering == "none":
            remedy = f"write steering: n6 at the UPF {name}, or choose another"
            yield Problem("the UPF does not steer", remedy, key=key, value=name)
        elif steering is not None and way.cdn and steering.site not in way.sites:
            rule = (
                f"it breaks out at the site {steering.site}, whose cache does not serve {way.channel.id}/{way.path.of}"
            )
            yield Problem(rule, f"add {steering.site} to sites of {way.path.of}, or leave it out", key=key, value=name)
        elif steering is not None:
            yield from _unanswered(way, steering, key)
            if way.only6 and not nowhere:
                yield from _without6(steering, places, key)
    yield from _overlaps(way, places)


def _without6(steering: Steering, places: Places, key: str) -> Iterator[Problem]:
    """Of a path that is known by IPv6 alone: nothing of it would be steered at this UPF."""
    remedy = "or give the CDN's IPv4 prefixes too, or its names"
    if 6 not in steering.cache.versions:
        rule = f"the cache on {steering.cache.appliance} has no IPv6 address, and the path is known by IPv6 alone"
        remedy = f"give {steering.breakout.appliance} loopback6 and {CACHE}, {remedy}"
        yield Problem(rule, remedy, key=key, value=steering.upf.id)
    elif not places.gives(steering.upf, 6):
        rule = "its UEs have no IPv6 addresses, and the path is known by IPv6 alone"
        remedy = f"add a pool of IPv6 to one of its DNNs, {remedy}"
        yield Problem(rule, remedy, key=key, value=steering.upf.id)


def _unanswered(way: Way, steering: Steering, key: str) -> Iterator[Problem]:
    """A cache of another appliance gets packets with the CDN's own addresses, and takes those of its VIPs alone."""
    cache = steering.cache
    steered = way.prefixes(cache.versions)
    strange = [str(prefix) for prefix in steered if not _within(prefix, cache.vips)] or way.path.names
    if cache.local or not strange:
        return
    known = ", ".join(f"{vip}/32" for vip in sorted(map(str, cache.vips))) or "none yet"
    yield Problem(
        f"its cache is on {cache.appliance}, which takes no connections for {strange[0]}: UEs would wait in vain",
        f"place {CACHE} on {steering.breakout.appliance}, or let the CDN be known by addresses that equipment anycast "
        f"gives {cache.appliance}: {known}",
        key=key,
        value=steering.upf.id,
    )


def _within(prefix: Network, addresses: frozenset[IPv4Address]) -> bool:
    few = isinstance(prefix, IPv4Network) and prefix.num_addresses <= len(addresses)
    return few and all(address in addresses for address in prefix)


def _of(way: Way) -> Iterator[Problem]:
    if way.cdn:
        return
    key = f"{way.key}.of"
    others = {path.id: path.type for path in way.channel.delivery}
    if way.path.of in others:
        rule = f"this path is of type {others[way.path.of]}; caches serve paths of type {CDN}"
        yield Problem(rule, f"name a path of type {CDN} of the channel", key=key, value=way.path.of)
    else:
        cdns = [name for name, kind in others.items() if kind == CDN]
        yield unknown(f"path of type {CDN} of channel {way.channel.id}", key, way.path.of, cdns)


def _overlaps(way: Way, places: Places) -> Iterator[Problem]:
    pools = [(pool, f"the pool {pool} of DNN {one.dnn}") for one in places.core.networks for pool in one.pools]
    own: list[tuple[Network, str]] = [*pools, *places.link_subnets().items()]
    for number, prefix in enumerate(way.path.prefixes):
        taken = sorted(what for network, what in own if overlaps(prefix, network))
        if taken:
            yield Problem(
                f"overlaps {taken[0]}: what is meant for it would be sent to a cache",
                "give the CDN's own prefixes, as narrow as they are",
                key=f"{way.key}.prefixes[{number}]",
                value=str(prefix),
            )


def shared_warnings(found: Sequence[Way]) -> Iterator[Problem]:
    """The same prefix for two hosts: it may be right, since a CDN has many names; a cache has to serve both."""
    known: dict[Network, Way] = {}
    for way in sorted(found, key=lambda one: one.name):
        for number, prefix in enumerate(way.path.prefixes):
            first = known.setdefault(prefix, way)
            if way.host and first.host and first.host != way.host:
                yield Problem(
                    f"{first.name} names it too, for {first.host} and not for {way.host}",
                    "nothing has to be done when one CDN serves both; else correct one of them",
                    key=f"{way.key}.prefixes[{number}]",
                    value=str(prefix),
                )
