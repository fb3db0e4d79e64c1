"""Test calls and what operators ask, from the equipment `voice`: sections, probes, hops and operations. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from nf.contracts.json import canonical
from nf.contracts.planner import Contribution, FleetOperation, Hop
from nf.documents.appliance import ProbeTarget
from nf.documents.fleet import Fleet, Role
from nf.documents.lineup import LineUp
from nf.documents.model import DocumentModel
from nf.documents.rules import unique, unknown
from nf.errors import Problem
from sip import rules
from sip.calling.documents import SECTION, Answered, AnswerPlan, TestCallPlan, Traced, VoiceCallsSection
from sip.documents import EQUIPMENT, Proxy, TestCall, Voice
from sip.operations import (
    CALLS,
    CHANNEL,
    DRAIN,
    EVERY,
    HANGUP,
    HOLD_RELAYS,
    MEDIA,
    NODES,
    RECORDS,
    REGISTRATIONS,
    RELAY_REPORT,
    TEST_CALL,
    TRACE,
    WAIT_EMPTY,
    pop,
    pop_back,
)
from sip.placement import MEDIA_DRIVER, PROXY_DRIVER, RELAY_DRIVER, draining_order

_KEY: Final = f"{rules.KEY}.tests"
_BUDGET: Final = "60s"
"""From the commit to the end of a call: the proxy may have been restarted by it."""
_OF_PROXIES: Final = (CALLS, REGISTRATIONS, NODES, HANGUP, RECORDS)


class CallingPlanner:
    """Planner of test calls; the line-up says nothing to it but that no channel may be called `voice`."""

    @property
    def name(self) -> str:
        return SECTION

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        voice = fleet.spec.equipment.get(EQUIPMENT)
        if not isinstance(voice, Voice) or rules.problems(voice, fleet):
            return Contribution()  # those are told by the planner of proxies
        problems = (*_channel_problems(lineup), *test_problems(voice, fleet))
        if problems:
            return Contribution(problems=problems)
        tests = _Tests(voice)
        sections: dict[str, dict[str, DocumentModel]] = {
            name: {SECTION: section} for name, section in tests.sections().items()
        }
        return Contribution(
            sections=sections,
            # An underlay comes up one appliance after the other: calls are tried in it, and not waited for.
            probes=tests.probes(required=bool(lineup.spec.channels)),
            hops=tests.hops(),
            operations=tuple(operations(voice, fleet)),
        )


def _channel_problems(lineup: LineUp) -> Iterator[Problem]:
    for number, channel in enumerate(lineup.spec.channels):
        if channel.id == CHANNEL:
            rule = "test calls are told of under this name"
            yield Problem(rule, "give the channel another id", key=f"spec.channels[{number}].id", value=CHANNEL)


# -- rules ------------------------------------------------------------------------------------------------------------


def test_problems(voice: Voice, fleet: Fleet) -> Iterator[Problem]:
    boxes = {one.id: one for one in fleet.spec.appliances}
    ways = _ways(voice)
    emergency = voice.emergency.numbers if voice.emergency is not None else ()
    yield from unique(
        "a test call has this name already: {first}",
        "give it a name of its own",
        ((f"{_KEY}[{number}].id", one.id, one.id) for number, one in enumerate(voice.tests)),
    )
    for number, test in enumerate(voice.tests):
        key = f"{_KEY}[{number}]"
        box = boxes.get(test.appliance)
        if box is None:
            yield unknown("appliance in the fleet", f"{key}.appliance", test.appliance, boxes)
        elif box.role not in {Role.PROBE, Role.POP}:
            rule = f"its role is {box.role.value}; test calls come from where callers are"
            yield Problem(rule, "name a probe or a PoP", key=f"{key}.appliance", value=test.appliance)
        if test.answered_by is not None and test.answered_by not in boxes:
            yield unknown("appliance in the fleet", f"{key}.answered_by", test.answered_by, boxes)
        if test.proxy not in ways:
            yield unknown("proxy or virtual address in the voice core", f"{key}.proxy", test.proxy, ways)
        elif ways[test.proxy] is None:
            rule = f"{test.proxy} has no listener of transport udp, by which test calls go"
            yield Problem(rule, "add {transport: udp, port: 5060}", key=f"{key}.proxy", value=test.proxy)
        if test.domain is not None and test.domain not in voice.domains:
            yield unknown("domain of the voice core", f"{key}.domain", test.domain, voice.domains)
        if test.called in emergency:
            rule = "an emergency number: a test would alert people"
            yield Problem(rule, "call another number", key=f"{key}.called", value=test.called)
        if test.answered_by is not None and test.called == test.caller:
            rule = "the caller and the called are one account"
            yield Problem(rule, "give the called an account of its own", key=f"{key}.called", value=test.called)
    yield from _answering_problems(voice)


def _answering_problems(voice: Voice) -> Iterator[Problem]:
    """Whose account is registered in two places is rung at both, and each test hears the other's call."""
    answering: dict[tuple[str, str], tuple[str, str]] = {}
    for number, test in enumerate(voice.tests):
        if test.answered_by is None:
            continue
        account = (test.called, test.domain or voice.domains[0])
        first = answering.setdefault(account, (test.id, test.answered_by))
        if first[1] != test.answered_by or (first[0] != test.id and test.answered_by != test.appliance):
            rule = f"{test.called} answers the test call {first[0]} at {first[1]} too"
            remedy = "give each test call that another appliance answers an account of its own"
            yield Problem(rule, remedy, key=f"{_KEY}[{number}].called", value=test.called)


def _ways(voice: Voice) -> dict[str, tuple[str, int] | None]:
    """Proxy or virtual address -> where it takes UDP; None: nowhere."""
    found: dict[str, tuple[str, int] | None] = {}
    for proxy in voice.proxies:
        port = _udp_port(proxy)
        found[proxy.id] = None if port is None else (str(proxy.address), port)
    for one in voice.virtual_addresses:
        port = next((_udp_port(proxy) for proxy in voice.proxies if proxy.id in one.proxies), None)
        found[one.id] = None if port is None else (str(one.address.ip), port)
    return found


def _udp_port(proxy: Proxy) -> int | None:
    return min((one.port for one in proxy.listeners if one.transport == "udp"), default=None)


# -- what is contributed ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tests:
    voice: Voice

    @property
    def ordered(self) -> list[TestCall]:
        return sorted(self.voice.tests, key=lambda one: one.id)

    def sections(self) -> dict[str, VoiceCallsSection]:
        calls: dict[str, list[TestCallPlan]] = defaultdict(list)
        traced: dict[str, list[Traced]] = defaultdict(list)
        for test in self.ordered:
            calls[test.appliance].append(self._call(test))
        for proxy in sorted(self.voice.proxies, key=lambda one: one.id):
            traced[proxy.appliance].append(self._traced(proxy))
        return {
            name: VoiceCallsSection(
                calls=tuple(calls[name]), traced=tuple(sorted(traced[name], key=lambda one: one.id))
            )
            for name in sorted({*calls, *traced})
        }

    def _traced(self, proxy: Proxy) -> Traced:
        virtual = [one.address.ip for one in self.voice.virtual_addresses if proxy.id in one.proxies]
        ports: Mapping[bool, set[int]] = {
            secure: {one.port for one in proxy.listeners if (one.transport in {"tls", "wss", "ws"}) is secure}
            for secure in (False, True)
        }
        return Traced.model_validate(
            {
                "id": proxy.id,
                "addresses": [*sorted(map(str, (proxy.address, *virtual)))],
                "ports": sorted(ports[False]),
                "hidden": sorted(ports[True]),
            }
        )

    def _call(self, test: TestCall) -> TestCallPlan:
        return TestCallPlan.model_validate(
            {
                **self._shared(test),
                "id": test.id,
                "caller": test.caller,
                "called": test.called,
                "answered": self._answered(test),
                "emergency": sorted(self.voice.emergency.numbers) if self.voice.emergency is not None else [],
                "seconds": test.seconds,
                "interval_s": test.interval,
                "least_mos": test.least_mos,
            }
        )

    def _shared(self, test: TestCall) -> dict[str, object]:
        way = _ways(self.voice)[test.proxy]
        if way is None:
            raise AssertionError(test.proxy)  # a problem above
        return {
            "proxy": way[0],
            "port": way[1],
            "domain": test.domain or self.voice.domains[0],
            "credentials": test.credentials,
            "generation": generation(self.voice),
        }

    def _answered(self, test: TestCall) -> Answered:
        if test.answered_by is not None:
            return "here" if test.answered_by == test.appliance else "there"
        kind = next((one.kind for one in self.voice.services if one.number == test.called), "")
        return "echo" if kind == "echo" else "other"

    def probes(self, *, required: bool) -> dict[str, tuple[ProbeTarget, ...]]:
        found: dict[str, list[ProbeTarget]] = defaultdict(list)
        for test in self.ordered:
            found[test.appliance].append(_target(test, test.appliance, "voice", self._call(test), required=required))
            if test.answered_by is not None and test.answered_by != test.appliance:
                answer = AnswerPlan.model_validate({**self._shared(test), "test": test.id, "user": test.called})
                found[test.answered_by].append(
                    _target(test, test.answered_by, "voice-answer", answer, required=required)
                )
        return {name: tuple(targets) for name, targets in found.items()}

    def hops(self) -> tuple[Hop, ...]:
        found = []
        for test in self.ordered:
            found.append(Hop(CHANNEL, test.id, 1, test.appliance, "receiver"))
            if test.answered_by is not None and test.answered_by != test.appliance:
                found.append(Hop(CHANNEL, test.id, 0, test.answered_by, "receiver"))
        return tuple(found)


def _target(
    test: TestCall, appliance: str, kind: str, plan: TestCallPlan | AnswerPlan, *, required: bool
) -> ProbeTarget:
    return ProbeTarget.model_validate(
        {
            "id": f"{CHANNEL}/{test.id}/{appliance}",
            "kind": kind,
            "channel": CHANNEL,
            "path": test.id,
            "arguments": plan.to_json(),
            "budget": _BUDGET,
            "required": required,
        }
    )


def generation(voice: Voice) -> str:
    """Changes with all that calls may go through: a commit is proved by a call that was placed after it."""
    return sha256(canonical(voice.model_copy(update={"tests": ()}).to_json()).encode()).hexdigest()[:16]


def operations(voice: Voice, fleet: Fleet) -> Iterator[FleetOperation]:
    proxies = sorted((one.id, one.appliance) for one in voice.proxies)
    for name in (*_OF_PROXIES, TRACE):
        driver = SECTION if name == TRACE else PROXY_DRIVER
        for proxy, appliance in proxies:
            yield FleetOperation(name, proxy, (((appliance, driver),),))
        yield FleetOperation(name, EVERY, (tuple((appliance, driver) for _, appliance in proxies),))
    for test in sorted(voice.tests, key=lambda one: one.id):
        yield FleetOperation(TEST_CALL, test.id, (((test.appliance, SECTION),),))
    yield from _reports(voice)
    yield from _drains(voice, fleet)


def _reports(voice: Voice) -> Iterator[FleetOperation]:
    """Relays and proxies tell of the same calls from either side."""
    found = sorted((one.id, one.appliance, PROXY_DRIVER) for one in voice.proxies)
    found += sorted((one.id, one.appliance, RELAY_DRIVER) for one in voice.relays)
    for name in sorted({name for name, _, _ in found}):
        nodes = tuple((appliance, driver) for one, appliance, driver in found if one == name)
        yield FleetOperation(RELAY_REPORT, name, (nodes,))
    yield FleetOperation(RELAY_REPORT, EVERY, (tuple((appliance, driver) for _, appliance, driver in found),))


def _drains(voice: Voice, fleet: Fleet) -> Iterator[FleetOperation]:
    """Of whole sites. That no new call goes to a relay is a matter of all proxies."""
    sites = {one.id: one.site for one in fleet.spec.appliances}
    proxies = sorted((one.appliance, PROXY_DRIVER) for one in voice.proxies)
    servers = sorted((one.appliance, MEDIA_DRIVER) for one in voice.media_servers)
    relays = sorted((one.appliance, RELAY_DRIVER) for one in voice.relays)
    order = draining_order(voice)
    for site in sorted({sites[appliance] for stage in order for appliance, _ in stage}):
        own = (tuple(one for one in stage if sites[one[0]] == site) for stage in order)
        stages = tuple(stage for stage in own if stage)
        yield FleetOperation(DRAIN, pop(site), stages)
        yield FleetOperation(DRAIN, pop_back(site), stages[::-1])
    for site in sorted({sites[appliance] for appliance, _ in relays}):
        yield FleetOperation(WAIT_EMPTY, pop(site), (tuple(one for one in relays if sites[one[0]] == site),))
    yield FleetOperation(WAIT_EMPTY, EVERY, (tuple(relays),))
    if servers:
        yield FleetOperation(MEDIA, EVERY, (tuple(servers),))
    yield FleetOperation(HOLD_RELAYS, EVERY, (tuple(proxies),))
