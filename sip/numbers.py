"""Whom a number leads to: rules of the number plan, services, subscribers and emergency calls. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from nf.documents.rules import unique, unknown
from nf.errors import Problem
from sip.documents import Voice


def problems(voice: Voice, root: str) -> Iterator[Problem]:
    """`root`: key of the equipment."""
    return chain(
        _domain_problems(voice, root),
        _service_problems(voice, root),
        _number_problems(voice, root),
        _plan_problems(voice, root),
        _emergency_problems(voice, root),
        _limit_problems(voice, root),
    )


def _domain_problems(voice: Voice, root: str) -> Iterator[Problem]:
    yield from unique(
        "this domain stands here already: {first}",
        "remove one",
        ((f"{root}.domains[{number}]", domain, domain) for number, domain in enumerate(voice.domains)),
    )
    for number, one in enumerate(voice.subscribers):
        if one.domain not in voice.domains:
            key = f"{root}.subscribers[{number}].domain"
            yield unknown(f"domain in {root}.domains", key, one.domain, voice.domains)
    yield from unique(
        "this subscriber stands here already: {first}",
        "put all that is said of a subscriber into one entry",
        (
            (f"{root}.subscribers[{number}].user", (one.user, one.domain), f"{one.user}@{one.domain}")
            for number, one in enumerate(voice.subscribers)
        ),
    )


def _service_problems(voice: Voice, root: str) -> Iterator[Problem]:
    if voice.services and not voice.media_servers:
        rule = "services are answered by media servers, and the fleet has none"
        remedy = f"add one to {root}.media_servers, or remove the services"
        yield Problem(rule, remedy, key=f"{root}.services", value=voice.services[0].number)


def _number_problems(voice: Voice, root: str) -> Iterator[Problem]:
    """A number leads to one place."""
    urgent = voice.emergency.numbers if voice.emergency is not None else ()
    yield from unique(
        "this number leads somewhere else already: {first}",
        "let each number lead to one place",
        (
            *((f"{root}.emergency.numbers[{index}]", one, one) for index, one in enumerate(urgent)),
            *((f"{root}.services[{n}].number", one.number, one.number) for n, one in enumerate(voice.services)),
            *(
                (f"{root}.subscribers[{n}].numbers[{index}]", number, number)
                for n, one in enumerate(voice.subscribers)
                for index, number in enumerate(one.numbers)
            ),
        ),
    )


def _plan_problems(voice: Voice, root: str) -> Iterator[Problem]:
    trunks = [one.id for one in voice.trunks]
    yield from unique(
        "this prefix stands here already: {first}",
        "name all trunks of a prefix in one entry, in the order in which they are tried",
        ((f"{root}.plan[{n}].prefix", one.prefix, one.prefix or '""') for n, one in enumerate(voice.plan)),
    )
    for number, route in enumerate(voice.plan):
        yield from _trunk_problems(route.trunks, trunks, f"{root}.plan[{number}].trunks", root)
        if route.strip > len(route.prefix):
            rule = f"it takes {route.strip} digits away from what begins with {len(route.prefix)} known ones"
            remedy = f"write strip: {len(route.prefix)}, or a longer prefix"
            yield Problem(rule, remedy, key=f"{root}.plan[{number}].strip", value=str(route.strip))


def _emergency_problems(voice: Voice, root: str) -> Iterator[Problem]:
    if voice.emergency is not None:
        trunks = [one.id for one in voice.trunks]
        yield from _trunk_problems(voice.emergency.trunks, trunks, f"{root}.emergency.trunks", root)


def _trunk_problems(named: tuple[str, ...], known: list[str], key: str, root: str) -> Iterator[Problem]:
    for index, name in enumerate(named):
        if name not in known:
            yield unknown(f"trunk in {root}.trunks", f"{key}[{index}]", name, known)
        elif name in named[:index]:
            yield Problem("the trunk is named twice", "remove one", key=f"{key}[{index}]", value=name)


def _limit_problems(voice: Voice, root: str) -> Iterator[Problem]:
    least, most = voice.limits.registration
    if least > most:
        rule = "the least time of a registration is longer than the most"
        yield Problem(rule, f"write [{most}, {least}]", key=f"{root}.limits.registration", value=f"[{least}, {most}]")


def warnings(voice: Voice, root: str) -> Iterator[Problem]:
    if voice.emergency is None:
        rule = "no number is an emergency number: such calls are limited, and drained away, like any other"
        yield Problem(rule, f"write {root}.emergency with the trunks that take such calls", key=f"{root}.emergency")
    reached = {name for route in voice.plan for name in route.trunks}
    reached |= {*voice.emergency.trunks} if voice.emergency is not None else {*()}
    for number, trunk in enumerate(voice.trunks):
        if trunk.id not in reached:
            rule = "nothing that is dialled goes to this trunk; it only brings calls in"
            yield Problem(rule, f"name it in {root}.plan", key=f"{root}.trunks[{number}].id", value=trunk.id)
    known = {one.number for one in voice.services} | {n for one in voice.subscribers for n in one.numbers}
    for number, service in enumerate(voice.services):
        for key, target in sorted(service.options.items()):
            if target not in known and not any(target.startswith(route.prefix) for route in voice.plan):
                rule = f"key {key} of the menu leads to a number that is nobody's"
                remedy = "name a service, a subscriber's number or one of the number plan"
                yield Problem(rule, remedy, key=f"{root}.services[{number}].options.{key}", value=target)
