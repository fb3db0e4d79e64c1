"""The policy's alarms at the NOC: those of a channel at a site as they are to stand, and of whole sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from nf.contracts.paths import PathHealth, Ranking
from nf.noc.policy_measure import Measurements
from nf.noc.policy_places import Pair, Spot
from nf.noc.policy_records import SpotRecord
from nf.noc.policy_view import Told, alarms_of
from nf.noc.telemetry import NOC, Telemetry
from nf.telemetry.alarms import Severity

SITE_OUT: Final = "site-out"


class PolicyAlarms:
    def __init__(self, telemetry: Telemetry, measurements: Measurements) -> None:
        self._telemetry = telemetry
        self._measurements = measurements
        self._standing: dict[Pair, frozenset[tuple[str, str]]] = {}
        self._sites_out: frozenset[str] = frozenset()

    def tell(
        self, spot: Spot, health: Mapping[str, PathHealth], record: SpotRecord, now: float, *, barred: str
    ) -> None:
        by_id = {at.path.id: at for at in spot.paths}

        def said(cause: str, path: str) -> bool:
            """By an appliance of the site, which is nearer to it."""
            at = by_id[path]
            if self._measurements.fallback(spot.channel, at) is not None:
                return True
            find = self._telemetry.standing
            return any(find(name, cause, f"{spot.channel}/{path}/{name}") is not None for name in at.here)

        self._put(spot.key, alarms_of(spot, health, record, now, said=said, barred=barred))

    def drop(self, key: Pair) -> None:
        self._put(key, ())
        self._standing.pop(key, None)

    def _put(self, key: Pair, told: Iterable[Told]) -> None:
        standing = set()
        for one in told:
            standing.add((one.cause, one.subject))
            known = self._telemetry.standing(NOC, one.cause, one.subject)
            if known is None or (known.text, known.severity) != (one.text, one.severity):
                self._telemetry.alarm(one.cause, one.subject, one.severity, one.text, one.remedy)
        for cause, subject in self._standing.get(key, frozenset()) - standing:
            self._telemetry.clear(cause, subject)
        self._standing[key] = frozenset(standing)

    def tell_sites(self, rankings: Iterable[Ranking]) -> tuple[frozenset[str], frozenset[str]]:
        """Sites at which no channel has a path that can be used: those that are out now, and those that are back."""
        by_site: dict[str, bool] = {}
        for ranking in rankings:
            by_site[ranking.site] = by_site.get(ranking.site, True) and not ranking.active
        out = frozenset(site for site, nothing in by_site.items() if nothing)
        gone, back = out - self._sites_out, self._sites_out - out
        for site in gone:
            text = "no channel has a path left that can be used here"
            remedy = f"nf path list --site {site} says why of each; then its appliances"
            self._telemetry.alarm(SITE_OUT, site, Severity.CRITICAL, text, remedy)
        for site in back:
            self._telemetry.clear(SITE_OUT, site)
        self._sites_out = out
        return gone, back
