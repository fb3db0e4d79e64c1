"""The satellite's way back: from carriers that are set and PoPs that receive them to paths of type `dvb-s2x`.

Transponders, carriers and devices stay as the fleet has them: they are what an operator wrote, and nothing on a device
tells whose they are.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TypeVar

from pydantic import ValidationError

from headend.satellite.documents import (
    ReceivedService,
    ReceiverSection,
    SatelliteOutput,
    SatellitePath,
    SwitchRules,
    UplinkCarrier,
    UplinkSection,
    UplinkService,
)
from headend.satellite.names import RECEIVER, UPLINK
from nf.contracts.adopter import Adopted, AdoptedPath, Observed
from nf.documents.fleet import Fleet
from nf.documents.lineup import Failover
from nf.documents.model import DocumentModel
from nf.documents.quantities import format_duration

S = TypeVar("S", bound=DocumentModel)
_ALTERED = "altered"
_Taken = dict[tuple[str, str, str], dict[str, ReceivedService]]
"""(carrier, channel, path) -> site -> what its PoP takes."""


class SatelliteAdopter:
    @property
    def name(self) -> str:
        return "satellite"

    @property
    def sections(self) -> frozenset[str]:
        return frozenset({UPLINK, RECEIVER, "snmp-devices"})

    def adopt(self, observed: Observed, known: Fleet) -> Adopted:
        problems: list[str] = []
        site_of = {appliance.id: appliance.site for appliance in known.spec.appliances}
        taken: _Taken = defaultdict(dict)
        for appliance, received in _sections(observed, RECEIVER, ReceiverSection, problems):
            for carrier in received.carriers:
                for service in carrier.services:
                    taken[carrier.carrier, service.channel, service.path][site_of[appliance]] = service
        paths = [
            path
            for _, uplink in _sections(observed, UPLINK, UplinkSection, problems)
            for carrier in uplink.carriers
            for service in carrier.services
            if (path := _path(carrier, service, taken, problems)) is not None
        ]
        return Adopted(paths=tuple(paths), problems=tuple(problems))


def _sections(observed: Observed, name: str, model: type[S], problems: list[str]) -> list[tuple[str, S]]:
    found = []
    for appliance, sections in sorted(observed.items()):
        if (value := sections.get(name)) is None:
            continue
        where = f"{appliance}, section {name}"
        if _ALTERED in value:
            problems.append(f"{where}: {_ALTERED}: {value[_ALTERED]}")
        try:
            found.append((appliance, model.model_validate({k: v for k, v in value.items() if k != _ALTERED})))
        except ValidationError as error:
            told = error.errors()[0]
            problems.append(f"{where}: {'.'.join(map(str, told['loc']))}: {told['msg']}")
    return found


def _path(carrier: UplinkCarrier, service: UplinkService, taken: _Taken, problems: list[str]) -> AdoptedPath | None:
    """None when something stands against it: then that is a problem."""
    name = f"{service.channel}/{service.path}"
    sites = taken.get((carrier.carrier.id, service.channel, service.path), {})
    given = {(one.group, one.port, one.fallback, one.failover) for one in sites.values()}
    if not sites:
        problems.append(f"{name} is sent on carrier {carrier.carrier.id}, and no PoP that was seen receives it")
        return None
    if len(given) > 1:
        problems.append(f"{name} is given out in several ways ({', '.join(sorted(sites))}); a path has one")
        return None
    ((group, port, fallback, rules),) = given
    try:
        path = SatellitePath(
            id=service.path,
            type="dvb-s2x",
            priority=service.priority,
            rate_bps=service.rate_bps,
            min_rate_bps=service.min_rate_bps if service.min_rate_bps != service.rate_bps else None,
            carrier=carrier.carrier.id,
            service_id=service.service_id,
            pmt_pid=service.pmt_pid if service.pmt_pid != 16 * service.service_id else None,
            input=service.input_port,
            output=SatelliteOutput(group=group, port=port),
            fallback=fallback,
            sites=tuple(sorted(sites)),
        )
    except ValidationError as error:
        problems.append(f"{name}: {error.errors()[0]['msg']}")
        return None
    return AdoptedPath(service.channel, path, failover=_failover(rules))


def _failover(rules: SwitchRules | None) -> Failover | None:
    if rules is None:
        return None
    return Failover.model_validate(
        {
            "detect": format_duration(rules.detect_ms),
            "hold_down": format_duration(rules.hold_down_ms),
            "max_per_hour": rules.max_per_hour,
            "failback": {"after": format_duration(rules.failback_after_ms), "approve": rules.failback_approve},
        }
    )
