"""From warrants to what each element has to hold: X1 tasks and destinations. Pure.

A warrant has one XID, of all its tasks: the mediation element finds the warrant by the XID that product carries, and a
point with several targets of one warrant sees a communication between them once. What cannot be done as it was ordered
is refused as a whole: nothing is left out without a word.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from lawful_intercept.administration.agencies import Agency, AgencySettings, extension_of
from lawful_intercept.administration.elements import Element, Kind
from lawful_intercept.administration.warrants import Scope, State, Warrant
from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.x1.ending import ending_extension
from lawful_intercept.x1.messages import (
    DeliveryType,
    DestinationDetails,
    HandoverType,
    MediationDetails,
    ServiceType,
    TaskDetails,
)
from nf.errors import RefusedError


@dataclass(frozen=True, slots=True, repr=False)
class Site:
    """Elements and agencies, by name."""

    elements: Mapping[str, Element]
    agencies: Mapping[str, Agency]

    def mediation(self, agency: Agency) -> Element:
        """Raises RefusedError when it cannot be told which."""
        found = [one for one in self.elements.values() if one.settings.kind is Kind.MEDIATION]
        wanted = agency.settings.mediation
        named = [one for one in found if wanted in ("", one.settings.name)]
        if len(named) != 1:
            what = "its mediation element is not there" if not named else "there is more than one mediation element"
            raise RefusedError(
                f"{what}, so that the agency cannot be delivered to", remedy="an LI administrator: nf-li element list"
            )
        return named[0]


@dataclass(slots=True, repr=False)
class Wanted:
    """What one element has to hold, by DID and XID."""

    destinations: dict[UUID, DestinationDetails] = field(default_factory=dict)
    tasks: dict[UUID, TaskDetails] = field(default_factory=dict)


def tasks_of(warrant: Warrant, site: Site) -> Mapping[str, TaskDetails]:
    """The task of each element that takes part in a warrant. Raises RefusedError for what cannot be done."""
    content = warrant.content
    agency = site.agencies.get(content.agency)
    if agency is None:
        raise _refused(warrant, "its agency is not known", "an LI administrator adds it: nf-li agency add")
    mediation = site.mediation(agency)
    tasks = {
        name: _task_of_point(warrant, element, mediation)
        for name, element in site.elements.items()
        if _takes_part(warrant, element)
    }
    _check(warrant, [site.elements[name] for name in tasks])
    tasks[mediation.settings.name] = _task_of_mediation(warrant, agency)
    return tasks


def require_own_key(settings: AgencySettings, warrants: Iterable[Warrant], *more: str) -> None:
    """Raises RefusedError when a payload key would be that of more than one LIID. `more`: LIIDs to come.

    The initialisation vector is the sequence number, which begins at 0 for each (TS 102 232-1): under one key, alike
    beginnings of two products would be alike octets. Those of warrants that have ended are such products too.
    """
    using = {
        one.content.liid
        for one in warrants
        if one.content.agency == settings.name and (one.was_active or one.state in {State.APPROVED, State.ACTIVE})
    }
    if settings.key_of_all and len(using.union(more)) > 1:
        raise RefusedError(
            "the agency's payload key would be that of more than one LIID",
            remedy="an LI administrator: {liid} in encryption.key of the agency, and a key for each LIID at mediation",
        )


def plan(warrants: Iterable[Warrant], site: Site, now: datetime, linger: timedelta) -> Mapping[str, Wanted]:
    """What every element has to hold at `now`.

    Destinations are always there, warrant or not: what was intercepted waits for them, and nobody learns from them.
    `linger`: how long mediation keeps the task of a warrant that has ended, so that what was intercepted before its end
    and is on the way still arrives; the times in the task keep everything else out.

    A warrant that cannot be tasked (its agency or element was removed) is at no element; `tasks_of` says why.
    """
    wanted = {name: Wanted({one.did: one for one in _destinations(site, name)}) for name in site.elements}
    for warrant in warrants:
        active = warrant.state is State.ACTIVE and now < warrant.content.stop
        if not active and not (warrant.was_active and now < warrant.stopped_at + linger):
            continue
        try:
            tasks = tasks_of(warrant, site)
        except RefusedError:
            continue
        for name, task in tasks.items():
            if active or site.elements[name].settings.kind is Kind.MEDIATION:
                wanted[name].tasks[task.xid] = task
    return wanted


def _destinations(site: Site, name: str) -> Iterable[DestinationDetails]:
    """Of a point: every mediation element; of a mediation element: its agencies."""
    if site.elements[name].settings.kind is Kind.POINT:
        for element in site.elements.values():
            yield from element.destinations
        return
    for agency in site.agencies.values():
        with contextlib.suppress(RefusedError):
            if site.mediation(agency).settings.name == name:
                yield agency.destination


def _needed(warrant: Warrant, destination: DestinationDetails) -> bool:
    return warrant.content.scope is Scope.IRI_AND_CC or destination.delivery is not DeliveryType.X3_ONLY


def _takes_part(warrant: Warrant, element: Element) -> bool:
    return element.settings.kind is Kind.POINT and bool(_matched(warrant, element))


def _matched(warrant: Warrant, element: Element) -> tuple[TargetIdentifier, ...]:
    """The targets that a point can match in what is ordered."""
    forms = element.settings.matches(warrant.content.services)
    return tuple(target for target in warrant.content.targets if target.form in forms)


def _check(warrant: Warrant, points: list[Element]) -> None:
    content = warrant.content
    forms = {target.form for target in content.targets}
    for service in content.services:
        if not any(forms & point.settings.matches({service}) for point in points):
            raise _refused(warrant, f"no point can match these targets for {service.value}", "nf-li element list")
    for form in forms:
        if not any(form in point.settings.matches(content.services) for point in points):
            raise _refused(warrant, f"no point of these services can match {form}", "leave it out, or name a service")
    if content.scope is Scope.IRI_AND_CC:
        without = sorted(point.settings.name for point in points if not point.settings.content)
        if without:
            raise _refused(warrant, f"no content can be copied at {', '.join(without)}", "order the scope iri")


def _task_of_point(warrant: Warrant, element: Element, mediation: Element) -> TaskDetails:
    return TaskDetails(
        xid=warrant.xid,
        targets=_matched(warrant, element),
        delivery=_delivery(warrant),
        destinations=tuple(one.did for one in mediation.destinations if _needed(warrant, one)),
        services=_services(warrant, element),
        # Others' points do not know it: where forms are named, it is one of theirs.
        extensions=() if element.settings.forms else (ending_extension(warrant.content.stop),),
    )


def _services(warrant: Warrant, element: Element) -> tuple[ServiceType, ...]:
    """Named only where the point intercepts more than is ordered: a point that cannot tell them apart refuses it."""
    ordered = warrant.content.services
    if element.settings.services <= ordered:
        return ()
    return tuple(ServiceType(one.value) for one in sorted(ordered & element.settings.services, key=lambda s: s.value))


def _task_of_mediation(warrant: Warrant, agency: Agency) -> TaskDetails:
    content = warrant.content
    iri_only = content.scope is Scope.IRI
    return TaskDetails(
        xid=warrant.xid,
        targets=content.targets,
        delivery=_delivery(warrant),
        destinations=(agency.did,),
        mediation=(
            MediationDetails(
                liid=content.liid,
                delivery=HandoverType.HI2_ONLY if iri_only else HandoverType.HI2_AND_HI3,
                start=content.start,
                end=max(warrant.stopped_at, content.start + timedelta(seconds=1)),
                destinations=(agency.did,),
                extensions=(extension_of(agency.settings.handover_for(content.liid)),),
            ),
        ),
    )


def _delivery(warrant: Warrant) -> DeliveryType:
    return DeliveryType.X2_ONLY if warrant.content.scope is Scope.IRI else DeliveryType.X2_AND_X3


def _refused(warrant: Warrant, what: str, remedy: str) -> RefusedError:
    return RefusedError(what, where=f"warrant {warrant.number}", remedy=remedy)
