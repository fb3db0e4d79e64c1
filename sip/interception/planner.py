"""Where observation points run: wherever a proxy stands, always.

It follows the fleet's equipment alone. Nothing that is ever asked of the processes reaches a document.
"""

from __future__ import annotations

from nf.contracts.planner import Contribution
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from sip.documents import EQUIPMENT, Proxy, Voice
from sip.interception.documents import SECTION, InterceptionSection, RelayPoint
from sip.kamailio.sets import relay_set


class InterceptionPlanner:
    """Planner of the section `sip-interception`. Pure."""

    @property
    def name(self) -> str:
        return SECTION

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:  # noqa: ARG002 - the same for every line-up
        voice = fleet.spec.equipment.get(EQUIPMENT)
        if not isinstance(voice, Voice):
            return Contribution()
        known = {appliance.id for appliance in fleet.spec.appliances}
        sections: dict[str, dict[str, DocumentModel]] = {
            proxy.appliance: {SECTION: _section(voice, proxy)}
            for proxy in sorted(voice.proxies, key=lambda one: one.id)
            if proxy.appliance in known
        }
        return Contribution(sections=sections)


def _section(voice: Voice, proxy: Proxy) -> InterceptionSection:
    relays = sorted(voice.relays, key=lambda one: one.id)
    return InterceptionSection(
        address=proxy.address,
        relays=tuple(RelayPoint(group=relay_set(one.id), address=one.address, control=one.control) for one in relays),
    )
