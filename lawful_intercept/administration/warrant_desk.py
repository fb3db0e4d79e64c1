"""What officers do with warrants. Each function is one method of the API; `office.perform` has checked the role."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID, uuid4

from lawful_intercept.administration import hi1, warrants
from lawful_intercept.administration.office import Caller, Office
from lawful_intercept.administration.records import spelled
from lawful_intercept.administration.tasking import require_own_key, tasks_of
from lawful_intercept.administration.warrants import CONTENT, ENDED, Content, Service, State, Warrant
from nf.contracts.json import Json, JsonObject
from nf.errors import InputError, RefusedError


async def create(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{content, submit} -> {number, state}."""
    warrant = _drafted(office, caller, CONTENT.read(arguments.get("content")))
    if arguments.get("submit"):
        warrant = _submitted(office, caller, warrant)
    await office.keep_warrants(caller.deed("warrant.create", _thing(warrant), _state(warrant)), warrant, new=True)
    return _brief(warrant)


async def import_(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{xml, agency, services} -> [{number, state}]: all of a message, submitted, or none."""
    xml, agency, services = arguments.get("xml"), arguments.get("agency", ""), arguments.get("services", [])
    if not isinstance(xml, str) or not isinstance(agency, str):
        raise InputError("a message is text", remedy="nf-li warrant import FILE")
    if not isinstance(services, list) or not {*map(str, services)} <= {one.value for one in Service}:
        raise InputError("no such service", remedy="--service voice, data or both")
    message = hi1.read(xml.encode(), agency=agency, services=frozenset(Service(str(one)) for one in services))
    made: list[Warrant] = []
    for content in message.contents:
        warrant = _drafted(office, caller, content, also=made)
        made.append(_submitted(office, caller, warrant))
    await office.keep_warrants(caller.deed("warrant.import", "warrant", _numbers(made)), *made, new=True)
    return [_brief(warrant) for warrant in made]


async def submit(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{number} -> {number, state}."""
    warrant = _submitted(office, caller, office.warrant(_number(arguments)))
    return await _kept(office, caller, "warrant.submit", warrant)


async def approve(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{number} -> {number, state}: by somebody else than who wrote and submitted it, and only what can be done."""
    warrant = warrants.approve(office.warrant(_number(arguments)), caller.name, office.now)
    _require_doable(office, warrant)
    return await _kept(office, caller, "warrant.approve", warrant)


async def reject(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{number} -> {number, state}."""
    warrant = warrants.reject(office.warrant(_number(arguments)), caller.name, office.now)
    return await _kept(office, caller, "warrant.reject", warrant)


async def revoke(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{number} -> {number, state}: interception ends now."""
    warrant = warrants.revoke(office.warrant(_number(arguments)), caller.name, office.now)
    return await _kept(office, caller, "warrant.revoke", warrant)


async def list_(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{state, all} -> warrants without their targets; those that have ended only with `all` or their state."""
    wanted = arguments.get("state")
    if wanted is not None and wanted not in [state.value for state in State]:
        raise InputError("no such state", remedy=", ".join(state.value for state in State))
    shown = [
        one
        for one in office.warrants.values()
        if one.state.value == wanted or (wanted is None and (arguments.get("all") or one.state not in ENDED))
    ]
    await office.store.read(caller.deed("warrant.list", "warrant"))
    return [_listed(one) for one in sorted(shown, key=lambda one: (one.content.start, str(one.number)))]


async def show(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{number} -> all of it, its history, and how it stands at each element."""
    warrant = office.warrant(_number(arguments))
    await office.store.read(caller.deed("warrant.show", _thing(warrant)))
    shown = warrants.WARRANT.json(warrant)
    shown["elements"] = list(_elements(office, warrant))
    return shown


async def export(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{numbers, receiver: {country, identifier}} -> {xml}."""
    numbers, receiver = arguments.get("numbers"), arguments.get("receiver")
    if not isinstance(numbers, list) or not numbers or not isinstance(receiver, dict):
        raise InputError("an export names warrants and who it is for", remedy="nf-li warrant export NUMBER...")
    chosen = [office.warrant(str(number)) for number in numbers]
    party = hi1.Party(str(receiver.get("country", "")), str(receiver.get("identifier", "")))
    xml = hi1.write({one.number: one.content for one in chosen}, office.party, party, office.now)
    await office.store.read(caller.deed("warrant.export", "warrant", _numbers(chosen)))
    return {"xml": xml.decode()}


def _drafted(office: Office, caller: Caller, content: Content, also: Iterable[Warrant] = ()) -> Warrant:
    if content.agency not in office.agencies:
        raise RefusedError("no such agency", remedy="nf-li agency list; an LI administrator adds one")
    taken = {(one.content.agency, one.content.liid) for one in (*office.warrants.values(), *also)}
    if (content.agency, content.liid) in taken:
        raise RefusedError("this LIID was given for that agency before", remedy="agree another one with the agency")
    return warrants.create(uuid4(), uuid4(), content, caller.name, office.now)


def _submitted(office: Office, caller: Caller, warrant: Warrant) -> Warrant:
    """Refused where it could not be done as it is ordered."""
    _require_doable(office, warrant)
    return warrants.submit(warrant, caller.name, office.now)


def _require_doable(office: Office, warrant: Warrant) -> None:
    tasks_of(warrant, office.site)
    agency = office.agencies[warrant.content.agency].settings
    require_own_key(agency, office.warrants.values(), warrant.content.liid)


async def _kept(office: Office, caller: Caller, action: str, warrant: Warrant) -> Json:
    await office.keep_warrants(caller.deed(action, _thing(warrant), _state(warrant)), warrant)
    return _brief(warrant)


def _elements(office: Office, warrant: Warrant) -> Iterable[JsonObject]:
    try:
        tasks = tasks_of(warrant, office.site)
    except RefusedError:
        return
    for name, task in sorted(tasks.items()):
        standing = office.standings.get(name)
        holds = standing is not None and warrant.xid in standing.tasks
        yield {"element": name, "task": "held" if holds else "not held", "targets": len(task.targets)}


def _number(arguments: JsonObject) -> str:
    number = arguments.get("number")
    if not isinstance(number, str):
        raise InputError("which warrant?", remedy="nf-li warrant list")
    return number


def _thing(warrant: Warrant) -> str:
    return f"warrant/{warrant.number}"


def _state(warrant: Warrant) -> JsonObject:
    return {"state": warrant.state.value}


def _numbers(found: Iterable[Warrant]) -> JsonObject:
    return {"warrants": [str(one.number) for one in found]}


def _brief(warrant: Warrant) -> JsonObject:
    return {"number": str(warrant.number), "state": warrant.state.value}


def _listed(warrant: Warrant) -> JsonObject:
    content = warrant.content
    services: list[Json] = [*sorted(service.value for service in content.services)]
    return {
        **_brief(warrant),
        "liid": content.liid,
        "reference": content.reference,
        "agency": content.agency,
        "scope": content.scope.value,
        "services": services,
        "start": spelled(content.start),
        "stop": spelled(content.stop),
    }


def thing(office: Office, arguments: JsonObject) -> str:
    """What a call is about, for the audit of a refusal: a warrant that is there, or none."""
    number = arguments.get("number")
    found = [one for one in office.warrants if isinstance(number, str) and number and str(one).startswith(number)]
    return f"warrant/{found[0]}" if len(found) == 1 else "warrant"


def numbers_of(xids: Iterable[UUID], office: Office) -> dict[UUID, UUID]:
    """The warrants of tasks, by XID."""
    wanted = set(xids)
    return {one.xid: one.number for one in office.warrants.values() if one.xid in wanted}
