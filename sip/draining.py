"""Draining a node or a whole PoP of the voice core, and letting it take calls again, in an order that loses no call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import NocClient, NodeOutcome, OperationOutcome
from nf.errors import DriverError, NotFoundError
from sip.answers import DONE, faults
from sip.operations import DRAIN, EVERY, HOLD_RELAYS, WAIT_EMPTY, pop, pop_back

_COUNTS = ("calls", "sessions", "left")
"""Of what is left, in results: of proxies and media servers, of relays, of the WebRTC edge."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drained. `label`: what was typed; `signalling`, `back`: objects of `voice-drain`, for the one way and the
    other, empty where there is none; `relays`: which get no new call; `wait`: object of `wait-empty`."""

    label: str
    signalling: str = ""
    back: str = ""
    relays: tuple[str, ...] = ()
    wait: str = ""
    last: bool = False


def plan(client: NocClient, node: str, site: str, profile: Path | None) -> Plan:
    """Raises NotFoundError with what there is."""
    if site:
        return _of_site(client, site, profile)
    relays = [one for one in client.operation_objects(WAIT_EMPTY) if ":" not in one and one != EVERY]
    if node in relays:
        return Plan(node, relays=(node,), wait=node)
    known = [one for one in client.operation_objects(DRAIN) if ":" not in one]
    if known and node not in known:
        remedy = f"one of: {', '.join(sorted({*known, *relays}))}"
        raise NotFoundError("no node of the voice core has this name", where=node, remedy=remedy)
    return Plan(node, signalling=node, back=node)  # the NOC says it when there is none


def _of_site(client: NocClient, site: str, profile: Path | None) -> Plan:
    from nf.documents.loader import load_fleet
    from sip.documents import EQUIPMENT, Voice
    from sip.placement import draining_order

    text = client.committed(profile=profile).fleet
    fleet = load_fleet(text[1], file=text[0]).document
    voice = fleet.spec.equipment.get(EQUIPMENT)
    if not isinstance(voice, Voice):
        raise NotFoundError("the fleet has no voice core", where=site, remedy="see nf lineup show")
    here = {one.id for one in fleet.spec.appliances if one.site == site}
    relays = tuple(sorted(one.id for one in voice.relays if one.appliance in here))
    carriers = {appliance for stage in draining_order(voice) for appliance, _ in stage}
    other = bool(carriers & here)
    if not relays and not other:
        carriers |= {one.appliance for one in voice.relays}
        sites = {one.site for one in fleet.spec.appliances if one.id in carriers}
        remedy = f"one of: {', '.join(sorted(sites))}"
        raise NotFoundError("nothing of the voice core is at this site", where=site, remedy=remedy)
    signalling, back = (pop(site), pop_back(site)) if other else ("", "")
    return Plan(f"--pop {site}", signalling, back, relays, pop(site) if relays else "", last=True)


class Draining:
    def __init__(self, client: NocClient, profile: Path | None, *, json: bool) -> None:
        self._client = client
        self._profile = profile
        self._json = json
        self._nodes: list[NodeOutcome] = []

    def drain(self, steps: Plan, limits: JsonObject, *, keep: bool) -> None:
        """Proxies, the WebRTC edge, media servers, relays. Raises DriverError when calls are left, or somebody does
        not answer; what this call has drained takes calls again then, unless `keep`."""
        ended = self._run(DRAIN, steps.signalling, {**limits, "keep": keep}) if steps.signalling else True
        if ended and steps.relays:
            ended = self._hold(steps, held=True) and self._run(WAIT_EMPTY, steps.wait, limits)
        failed = [] if ended else faults(self._nodes)
        if failed and not keep:
            self._back(steps)
        self._tell()
        if failed:
            state = f"it stays drained: nf sip undrain {steps.label}" if keep else "it takes calls again"
            remedy = f"wait longer with --wait, allow more with --limit; {state}"
            raise DriverError("; ".join(failed), where=steps.label, remedy=remedy)

    def undrain(self, steps: Plan) -> None:
        """All of it, whoever fails. Raises DriverError with who did."""
        self._back(steps)
        self._tell()
        failed = faults(self._nodes)
        if failed:
            raise DriverError("; ".join(failed), where=steps.label, remedy="see nf sip nodes, and try again")

    def _back(self, steps: Plan) -> None:
        if steps.relays:
            self._hold(steps, held=False)
        if steps.back:
            self._run(DRAIN, steps.back, {"end": True}, past_failures=True)

    def _hold(self, steps: Plan, *, held: bool) -> bool:
        relays: list[Json] = [*steps.relays]
        asked: JsonObject = {"relays": relays, "held": held, "last": steps.last}
        return self._run(HOLD_RELAYS, EVERY, asked, past_failures=not held)

    def _run(self, name: str, target: str, arguments: JsonObject, *, past_failures: bool = False) -> bool:
        outcome: OperationOutcome = self._client.run_operation(
            name, target, arguments, past_failures=past_failures, profile=self._profile
        )
        self._nodes += outcome.nodes
        return outcome.complete

    def _tell(self) -> None:
        if self._json:
            nodes: list[Json] = [
                {"appliance": one.appliance, "driver": one.driver, "state": one.state, "text": one.text, **_left(one)}
                for one in self._nodes
            ]
            self._client.print_json({"complete": all(one.state == DONE for one in self._nodes), "nodes": nodes})
            return
        for one in self._nodes:
            if one.state == DONE:
                self._client.say(f"{one.appliance}: {one.text or one.state}")


def _left(node: NodeOutcome) -> JsonObject:
    found = next((node.result[name] for name in _COUNTS if name in node.result), None)
    return {"calls": found} if isinstance(found, int) else {}
