"""Where observation processes run: wherever a UPF, an SMF, an AMF or a PFCP proxy stands, always.

It follows the fleet's equipment alone. Nothing that is ever asked of the processes reaches a document.
"""

from __future__ import annotations

from core5g.documents import EQUIPMENT, Core5g, CoreFunction, Upf
from core5g.observation.copying import LOOPBACK
from core5g.observation.documents import SECTION, InfoApi, N3Point, ObservationSection
from core5g.open5gs.naming import METRICS_PORTS, tun_name
from nf.contracts.planner import Contribution
from nf.documents.fleet import Appliance, Fleet
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel


class ObservationPlanner:
    """Planner of the section `core5g-observation`. Pure."""

    @property
    def name(self) -> str:
        return SECTION

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:  # noqa: ARG002 - the same for every line-up
        core = fleet.spec.equipment.get(EQUIPMENT)
        if not isinstance(core, Core5g):
            return Contribution()
        places = {
            *(upf.appliance for upf in core.upfs),
            *(classifier.appliance for classifier in core.classifiers),
            *(function.appliance for function in core.functions if function.kind in {"smf", "amf"}),
        }
        known = {appliance.id: appliance for appliance in fleet.spec.appliances}
        sections: dict[str, dict[str, DocumentModel]] = {
            place: {SECTION: _section(core, known[place])} for place in sorted(places) if place in known
        }
        return Contribution(sections=sections)


def _section(core: Core5g, appliance: Appliance) -> ObservationSection:
    upfs = sorted((upf for upf in core.upfs if upf.appliance == appliance.id), key=lambda upf: upf.id)
    anchors = sorted(upf.n3 for upf in core.upfs if _teller(core, upf) == appliance.id)
    return ObservationSection(
        smfs=tuple(_api(one, appliance) for one in _functions(core, "smf")),
        amfs=tuple(_api(one, appliance) for one in _functions(core, "amf") if one.appliance == appliance.id),
        n4=any(classifier.appliance == appliance.id for classifier in core.classifiers),
        anchors=tuple(anchors),
        elsewhere=tuple(sorted(upf.n3 for upf in core.upfs if upf.n3 not in anchors)),
        n6=tuple(sorted({tun_name(upf, dnn) for upf in upfs for dnn in upf.dnns})),
        n3=tuple(N3Point(address=upf.n3, interfaces=_interfaces(upf, appliance)) for upf in upfs),
    )


def _teller(core: Core5g, upf: Upf) -> str:
    """The appliance that tells of a UPF's sessions: where N4 can be seen, else where it stands."""
    return next((one.appliance for one in core.classifiers if one.upf == upf.id), upf.appliance)


def _functions(core: Core5g, kind: str) -> list[CoreFunction]:
    return sorted((one for one in core.functions if one.kind == kind), key=lambda one: (one.appliance, one.address))


def _api(function: CoreFunction, appliance: Appliance) -> InfoApi:
    local = function.appliance == appliance.id
    return InfoApi(address=function.address, port=METRICS_PORTS[function.kind], local=local)


def _interfaces(upf: Upf, appliance: Appliance) -> tuple[str, ...]:
    """The one that has the address; of a loopback's address GTP-U comes in by any. `lo` is where all is on one box."""
    for interface in appliance.interfaces:
        if interface.address.ip == upf.n3:
            return (interface.name,)
    return tuple(interface.name for interface in appliance.interfaces) or (LOOPBACK,)
