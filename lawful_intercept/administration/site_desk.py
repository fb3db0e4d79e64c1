"""What LI administrators do: officers, agencies, elements; status and alarms. No target passes here."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

from lawful_intercept.administration.agencies import AGENCY, AGENCY_SETTINGS, Agency, AgencySettings
from lawful_intercept.administration.alarms import REMEDIES, Code
from lawful_intercept.administration.elements import ELEMENT, ELEMENT_SETTINGS, Element, ElementSettings, Kind
from lawful_intercept.administration.office import AGENCIES, ELEMENTS, OFFICERS, Caller, Office
from lawful_intercept.administration.officers import ALONE, OFFICER, Officer, Role
from lawful_intercept.administration.records import spelled
from lawful_intercept.administration.tasking import Site, require_own_key, tasks_of
from lawful_intercept.administration.warrants import ENDED, State
from nf.contracts.json import Json, JsonObject
from nf.errors import InputError, NotFoundError, RefusedError


async def officer_add(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{name, roles} -> the officer."""
    name, roles = _name(arguments), arguments.get("roles")
    if not isinstance(roles, list) or not set(map(str, roles)) <= {role.value for role in Role}:
        raise InputError("no such role", remedy=f"one of {', '.join(role.value for role in Role)}")
    if name in office.officers:
        raise RefusedError(
            "there is, or was, an officer of this name",
            where=f"officer/{name}",
            remedy="a name is one person's for ever",
        )
    officer = Officer(name, frozenset(Role(str(role)) for role in roles), office.now)
    await _keep_officer(office, caller, "officer.add", officer)
    return OFFICER.json(officer)


async def officer_list(office: Office, caller: Caller, arguments: JsonObject) -> Json:  # noqa: ARG001
    """-> officers, those who were removed too."""
    await office.store.read(caller.deed("officer.list", "officer"))
    return [OFFICER.json(one) for _, one in sorted(office.officers.items())]


async def officer_remove(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{name} -> the officer, who may do nothing from the next call on."""
    name = _name(arguments)
    officer = office.officers.get(name)
    if officer is None or officer.removed_at is not None:
        raise NotFoundError("no such officer", where=f"officer/{name}", remedy="nf-li officer list")
    others = [one for one in office.officers.values() if one.removed_at is None and one.name != name]
    if Role.ADMIN in officer.roles and not any(Role.ADMIN in one.roles for one in others):
        raise RefusedError("nobody would be left who may add officers", where=f"officer/{name}", remedy="add one first")
    gone = Officer(name, officer.roles, officer.added_at, office.now)
    await _keep_officer(office, caller, "officer.remove", gone)
    return OFFICER.json(gone)


async def _keep_officer(office: Office, caller: Caller, action: str, officer: Officer) -> None:
    roles: list[Json] = [*sorted(role.value for role in officer.roles)]
    deed = caller.deed(action, f"officer/{officer.name}", {"roles": roles})
    place = (OFFICERS, officer.name)
    await office.store.write(deed, {place: OFFICER.json(officer)}, new=(place,) if action == "officer.add" else ())
    office.officers[officer.name] = officer


async def first_officer(office: Office, caller: Caller, name: str) -> Officer:
    """Without an API call, on the ADMF's machine, as long as there is no LI administrator. Raises RefusedError."""
    if office.has_admin:
        raise RefusedError("there is an LI administrator", remedy="that officer adds others: nf-li officer add")
    await officer_add(office, caller, {"name": name, "roles": [*(role.value for role in ALONE & {Role.ADMIN})]})
    return office.officers[name]


async def agency_add(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{settings, replace} -> {name}."""
    settings = AGENCY_SETTINGS.read(arguments.get("settings"))
    known = office.agencies.get(settings.name)
    if (known is not None) != bool(arguments.get("replace")):
        what = "there is an agency of this name" if known else "there is no agency of this name"
        raise RefusedError(what, remedy="--replace changes the one that is there; nf-li agency list")
    agency = Agency(known.number if known else uuid4(), known.did if known else uuid4(), settings)
    require_own_key(settings, office.warrants.values())
    _require_key_apart(office, settings)
    _require_tasks(office, Site(office.elements, {**office.agencies, settings.name: agency}))
    place = (AGENCIES, str(agency.number))
    await office.store.write(caller.deed("agency.add", f"agency/{agency.number}"), {place: AGENCY.json(agency)})
    office.agencies[settings.name] = agency
    office.changed.set()
    return {"name": settings.name}


async def agency_list(office: Office, caller: Caller, arguments: JsonObject) -> Json:  # noqa: ARG001
    """-> names, the numbers that alarms and audit know them by, and where each is delivered to."""
    await office.store.read(caller.deed("agency.list", "agency"))
    return [
        {
            "name": name,
            "number": str(one.number),
            "address": str(one.settings.address),
            "port": one.settings.port,
        }
        for name, one in sorted(office.agencies.items())
    ]


async def agency_show(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{name} -> its settings."""
    agency = _agency(office, arguments)
    await office.store.read(caller.deed("agency.show", f"agency/{agency.number}"))
    return AGENCY_SETTINGS.json(agency.settings)


async def agency_remove(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{name} -> {name}. Refused while a warrant is for it."""
    agency = _agency(office, arguments)
    name = agency.settings.name
    if any(one.content.agency == name and one.state not in ENDED for one in office.warrants.values()):
        raise RefusedError("warrants are for this agency", remedy="they have to end before")
    await office.store.write(
        caller.deed("agency.remove", f"agency/{agency.number}"), {}, ((AGENCIES, str(agency.number)),)
    )
    del office.agencies[name]
    office.changed.set()
    return {"name": name}


async def element_add(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{settings, replace} -> the element's settings. Refused where a warrant that stands could not be done any more."""
    settings = ELEMENT_SETTINGS.read(arguments.get("settings"))
    known = office.elements.get(settings.name)
    if (known is not None) != bool(arguments.get("replace")):
        what = "there is an element of this name" if known else "there is no element of this name"
        raise RefusedError(what, where=f"element/{settings.name}", remedy="--replace changes the one that is there")
    if known is not None and known.settings.kind is not settings.kind:
        raise RefusedError("an element does not become another kind", remedy="add it under another name")
    element = _element(known, settings)
    _require_tasks(office, Site({**office.elements, settings.name: element}, office.agencies))
    place = (ELEMENTS, settings.name)
    await office.store.write(caller.deed("element.add", f"element/{settings.name}"), {place: ELEMENT.json(element)})
    office.elements[settings.name] = element
    office.changed.set()
    return ELEMENT_SETTINGS.json(settings)


def _element(known: Element | None, settings: ElementSettings) -> Element:
    x2 = known.x2_did if known else uuid4()
    if settings.x2_port == settings.x3_port:
        return Element(settings, x2, x2)
    return Element(settings, x2, known.x3_did if known and known.x3_did != known.x2_did else uuid4())


async def element_list(office: Office, caller: Caller, arguments: JsonObject) -> Json:  # noqa: ARG001
    """-> settings and standing of each; tasks are counted, not named."""
    await office.store.read(caller.deed("element.list", "element"))
    found: list[Json] = []
    for name, element in sorted(office.elements.items()):
        standing = office.standings.get(name)
        answered = standing.answered_at if standing else None
        found.append(
            {
                **ELEMENT_SETTINGS.json(element.settings),
                "answered_at": spelled(answered) if answered else None,
                "fault": standing.fault if standing else "",
                "tasks": len(standing.tasks) if standing else 0,
            }
        )
    return found


async def element_remove(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{name} -> {name}. Refused where a warrant that stands could not be done any more, or has a task there."""
    name = _element_name(office, arguments)
    element = office.elements[name]
    rest = {key: one for key, one in office.elements.items() if key != name}
    for warrant in office.warrants.values():
        if warrant.state is State.ACTIVE and name in tasks_of(warrant, office.site):
            raise RefusedError("warrants have tasks at this element", where=f"element/{name}", remedy="they end first")
    if element.settings.kind is Kind.MEDIATION and any(
        one.settings.mediation == name for one in office.agencies.values()
    ):
        raise RefusedError("agencies are delivered to by this element", where=f"element/{name}", remedy="change them")
    _require_tasks(office, Site(rest, office.agencies))
    await office.store.write(caller.deed("element.remove", f"element/{name}"), {}, ((ELEMENTS, name),))
    del office.elements[name]
    office.standings.pop(name, None)
    office.changed.set()
    return {"name": name}


async def element_check(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{name} -> {name}: whoever asks it is recorded; the asking itself is `links.Links.check`."""
    name = _element_name(office, arguments)
    await office.store.read(caller.deed("element.check", f"element/{name}"))
    return {"name": name}


async def status(office: Office, caller: Caller, arguments: JsonObject) -> Json:  # noqa: ARG001
    """-> how many warrants are in which state, elements that answer, alarms."""
    await office.store.read(caller.deed("status", "administration"))
    states = Counter(one.state.value for one in office.warrants.values())
    answering = sum(not one.fault and one.answered_at is not None for one in office.standings.values())
    return {
        "administration": office.own.name,
        "at": spelled(office.now),
        "warrants": {state.value: states[state.value] for state in State if states[state.value]},
        "elements": len(office.elements),
        "elements_answering": answering,
        "agencies": len(office.agencies),
        "alarms": len(office.alarms),
        "clock_alarm": (Code.CLOCK, "clock") in office.alarms,
    }


async def alarms(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{clear} -> what stands. `clear`: number of one that an officer has looked into, or its beginning."""
    clear = arguments.get("clear")
    if clear is not None:
        found = [one for one in office.alarms.values() if clear and str(one.number).startswith(str(clear))]
        if len(found) != 1:
            raise NotFoundError("no such alarm", remedy="nf-li alarms")
        await office.clear_alarm(found[0].code, found[0].object, caller.deed("alarm.clear", found[0].object))
    else:
        await office.store.read(caller.deed("alarms", "administration"))
    return [
        {
            "number": str(one.number),
            "code": one.code.value,
            "object": one.object,
            "text": one.text,
            "raised_at": spelled(one.raised_at),
            "count": one.count,
            "iri_lost": one.iri,
            "cc_lost": one.cc,
            "uncounted_lost": one.uncounted,
            "remedy": REMEDIES[one.code],
        }
        for one in sorted(office.alarms.values(), key=lambda one: (one.raised_at, str(one.number)))
    ]


def _require_tasks(office: Office, site: Site) -> None:
    """Raises RefusedError when a warrant that stands could not be done at `site` and can be now."""
    for warrant in office.warrants.values():
        if warrant.state in (State.APPROVED, State.ACTIVE):
            tasks_of(warrant, site)


def _require_key_apart(office: Office, settings: AgencySettings) -> None:
    """Raises RefusedError. LIIDs of two agencies may be the same: then their keys would be."""
    encryption = settings.handover.encryption
    if encryption is not None and any(
        (other := one.settings.handover.encryption) is not None and other.key == encryption.key
        for name, one in office.agencies.items()
        if name != settings.name
    ):
        raise RefusedError("another agency has this payload key", remedy="name a key of this agency's own")


def _name(arguments: JsonObject) -> str:
    name = arguments.get("name")
    if not isinstance(name, str):
        raise InputError("of what name?", remedy="write NAME")
    return name


def _agency(office: Office, arguments: JsonObject) -> Agency:
    agency = office.agencies.get(_name(arguments))
    if agency is None:
        raise NotFoundError("no such agency", remedy="nf-li agency list")
    return agency


def _element_name(office: Office, arguments: JsonObject) -> str:
    name = _name(arguments)
    if name not in office.elements:
        raise NotFoundError("no such element", remedy="nf-li element list")
    return name


def thing(office: Office, method: str, arguments: JsonObject) -> str:
    """What a call is about, for the audit of a refusal: names of officers and elements, numbers of agencies."""
    kind, name = method.partition(".")[0], arguments.get("name")
    if kind == "agency":
        agency = office.agencies.get(name) if isinstance(name, str) else None
        return f"agency/{agency.number}" if agency else "agency"
    known = office.officers if kind == "officer" else office.elements
    return f"{kind}/{name}" if isinstance(name, str) and name in known else kind
