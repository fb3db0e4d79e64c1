"""Receive sites whose own downlink fades: they leave for their next path and come back with hysteresis."""

from __future__ import annotations

from collections.abc import Mapping

from headend.satellite.actions import LeaveSite, ReturnSite
from headend.satellite.fade import FadeEstimate


class SiteWatch:
    """Which sites are away. One leaves when its own fade takes its margin, and returns after `hold_s` of reception."""

    def __init__(self, *, onset_db: float, leave_margin_db: float, return_margin_db: float, hold_s: float) -> None:
        self._onset_db = onset_db
        self._leave_margin_db = leave_margin_db
        self._return_margin_db = return_margin_db
        self._hold_s = hold_s
        self._good_since_s: dict[str, float] = {}
        self.away: frozenset[str] = frozenset()

    def judge(
        self,
        now_s: float,
        es_n0_db: Mapping[str, float | None],
        estimate: FadeEstimate,
        *,
        required_es_n0_db: float,
        relocking: bool,
    ) -> list[LeaveSite | ReturnSite]:
        """What changes now. While receivers are `relocking`, one that is out of lock says nothing about its weather."""
        actions: list[LeaveSite | ReturnSite] = []
        for site, value in es_n0_db.items():
            margin = None if value is None else value - required_es_n0_db
            if site in self.away:
                if margin is None or margin < self._return_margin_db:
                    self._good_since_s.pop(site, None)
                elif now_s - self._good_since_s.setdefault(site, now_s) >= self._hold_s:
                    del self._good_since_s[site]
                    self.away -= {site}
                    actions.append(ReturnSite(site))
                continue
            if margin is None and relocking:
                continue
            own_fade = estimate.site_db.get(site, 0.0) >= self._onset_db
            if own_fade and (margin is None or margin < self._leave_margin_db):
                self.away |= {site}
                actions.append(LeaveSite(site))
        return actions
