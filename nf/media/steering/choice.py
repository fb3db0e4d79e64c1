"""Which pathway a player at a site should take, and when it should ask again. Pure.

A pathway is a site of the path (its edges, by `SITE.HOST`), or `any`: the path's own host, whoever answers there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nf.contracts.json import JsonObject
from nf.contracts.paths import PathHealth, Ranking, Verdict
from nf.documents.lineup import Channel, LineUp
from nf.media.documents import MAX_LISTED, SHARED_PATHWAY, CdnPath, pathway_host

# Nobody measures it: that is no reason to send its viewers elsewhere.
_WORSE: Mapping[Verdict, int] = {Verdict.UP: 0, Verdict.UNKNOWN: 0, Verdict.DEGRADED: 1, Verdict.DOWN: 2}
_DOWN = _WORSE[Verdict.DOWN]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the NOC knows, for quick answers. `health`: by (channel, path, site); `rankings`: by (channel, site)."""

    health: Mapping[tuple[str, str, str], Verdict]
    rankings: Mapping[tuple[str, str], Ranking]

    @classmethod
    def of(cls, health: Iterable[PathHealth], rankings: Iterable[Ranking]) -> Knowledge:
        return cls(
            {(one.channel, one.path, one.site): one.verdict for one in health},
            {(one.channel, one.site): one for one in rankings},
        )

    def badness(self, channel: str, path: str, site: str) -> int:
        """0: it may be taken. A site at which nothing of the channel can be used is out, whatever its probes said."""
        ranking = self.rankings.get((channel, site))
        if ranking is not None and not ranking.active:
            return _DOWN
        return _WORSE[self.health.get((channel, path, site), Verdict.UNKNOWN)]


@dataclass(frozen=True, slots=True)
class Ttl:
    """So many seconds until a player asks again."""

    calm_s: int
    alert_s: int


@dataclass(frozen=True, slots=True)
class Choice:
    """`priority`: pathways, the one to take first before the others. `calm`: it is as the line-up would have it."""

    priority: tuple[str, ...]
    ttl_s: int
    calm: bool


def steered_path(lineup: LineUp, channel: str, path: str = "") -> tuple[Channel, CdnPath] | None:
    """The path of that name, or the channel's first one that is steered."""
    for one in lineup.spec.channels:
        if one.id == channel:
            for found in one.delivery:
                if isinstance(found, CdnPath) and found.steering is not None and path in {"", found.id}:
                    return one, found
    return None


def choose(channel: Channel, path: CdnPath, site: str, known: Knowledge, ttl: Ttl) -> Choice:
    """For a player at `site`, which may be empty or none of the path's: then it begins where the path's host leads."""
    badness = {one: known.badness(channel.id, path.id, one) for one in path.sites}
    at_home = site in badness
    places = {one: (badness[one], one != site, number) for number, one in enumerate(path.sites)}
    order = sorted(path.sites, key=places.__getitem__)
    if at_home or any(badness.values()):
        last_good = sum(1 for one in order if badness[one] < _DOWN)
        order.insert(last_good, SHARED_PATHWAY)
    else:
        order.insert(0, SHARED_PATHWAY)
    wanted = site if at_home else SHARED_PATHWAY
    calm = order[0] == wanted and not any(_alerts(channel.id, site if at_home else "", known))
    return Choice(tuple(order), max(1, ttl.calm_s if calm else ttl.alert_s), calm)


def _alerts(channel: str, site: str, known: Knowledge) -> Iterable[bool]:
    """At the site, or anywhere when it is not known."""
    return (one.alert for key, one in known.rankings.items() if key[0] == channel and site in {"", key[1]})


def manifest(choice: Choice, form: str, path: CdnPath, reload_uri: str) -> JsonObject:
    """The steering manifest (draft-pantos-content-steering, section 3; ETSI TS 103 998 for DASH).

    Sites that the multivariant playlist does not list are clones of the shared pathway, on a host of their own.
    """
    made: JsonObject = {
        "VERSION": 1,
        "TTL": choice.ttl_s,
        "RELOAD-URI": reload_uri,
        "PATHWAY-PRIORITY": [*choice.priority],
    }
    unlisted: Sequence[str] = path.sites[MAX_LISTED:] if form == "hls" else ()
    if unlisted:
        made["PATHWAY-CLONES"] = [
            {"BASE-ID": SHARED_PATHWAY, "ID": one, "URI-REPLACEMENT": {"HOST": pathway_host(path.host, one)}}
            for one in unlisted
        ]
    return made
