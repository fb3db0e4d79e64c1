"""Draining a site: costs raised by overrides that end by themselves, all or none, and taken back."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from headend.multicast.documents import FrrInterface, FrrSection
from nf.agent.daemon import AgentConfig
from nf.contracts.driver import Context, Drift, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject, canonical
from nf.contracts.planner import Contribution
from nf.control.channel import noc_channel
from nf.control.v1 import noc_pb2 as pb
from nf.control.v1 import noc_pb2_grpc
from nf.documents.appliance import ApplianceConfig
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_config
from nf.documents.model import DocumentModel
from nf.documents.registry import Extension, Registry
from nf.errors import DeniedError, DriverError, InputError, NotFoundError, RefusedError, UnavailableError
from nf.noc.drains import drained
from nf.trust.roles import OperatorRole
from tests.support.fleet import (
    InProcessFleet,
    Place,
    Table,
    TablePlanner,
    collect,
    in_process_fleet,
    refused,
)

PLACES = (Place("head", "hub", "headend"), Place("core", "middle", "core"), Place("spare", "middle", "core"),
          Place("pop", "edge", "pop"))  # fmt: skip
OWN = {"eth1": 10, "eth2": 20, "lan": 10}
RAISED = {"eth1": 65535, "eth2": 65535, "lan": 10}
_REGISTRY = Registry([Extension(sections={"table": Table, "frr": FrrSection})])
_INTERFACES = (
    FrrInterface(name="eth1", cost=10),
    FrrInterface(name="eth2", cost=20),
    FrrInterface(name="lan", passive=True),
)


class RouterPlanner(TablePlanner):
    """As its base; besides, everything but the headend is a router."""

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        planned = super().plan(lineup, fleet)
        sections: dict[str, dict[str, DocumentModel]] = {n: {**own} for n, own in planned.sections.items()}
        for number, appliance in enumerate(fleet.spec.appliances):
            if appliance.role.value != "headend":
                sections[appliance.id]["frr"] = FrrSection(router_id=f"10.255.0.{number}", interfaces=_INTERFACES)
        return dataclasses.replace(planned, sections=sections)


class RouterDriver:
    """Section `frr` on a dictionary that outlives the agent."""

    name = "frr"
    section = "frr"
    owns = Ownership()
    operations: Mapping[str, Operation] = {}

    def __init__(self, router: dict[str, Any]) -> None:
        self.router = router

    async def observe(self) -> State:
        return State(self.router.get("config"), frozenset())

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        target = want.to_json() if want is not None else None
        if have.value == target:
            return ()
        return (Step("configure", "configure", {"config": target}, budget_s=1.0, undo_budget_s=1.0),)

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        if steps and self.router.get("refuse"):
            raise RefusedError("zebra is not there", where="frr", remedy="start it")

    async def prepare(self, step: Step) -> Undo:
        return Undo("configure", {"config": self.router.get("config")})

    async def apply(self, step: Step, context: Context) -> None:
        self.router["config"] = step.arguments["config"]

    async def undo(self, undo: Undo, context: Context) -> None:
        self.router["config"] = undo.data["config"]

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        return Drift(())

    async def events(self) -> AsyncIterator[Event]:
        for event in ():
            yield event


def load_router_config(data: JsonObject) -> ApplianceConfig:
    return load_config(data, extensions=_REGISTRY)


@pytest.fixture
async def routers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[InProcessFleet, Any]]:
    """The fleet, and what each router's daemon holds."""
    held: dict[str, dict[str, Any]] = {place.id: {} for place in PLACES}
    plain = InProcessFleet.agent_config

    def agent_config(fleet: InProcessFleet, appliance: str) -> AgentConfig:
        config = plain(fleet, appliance)
        drivers = (*(config.drivers or ()), RouterDriver(held[appliance]))
        return dataclasses.replace(config, drivers=drivers, load_config=load_router_config)

    monkeypatch.setattr(InProcessFleet, "agent_config", agent_config)
    async with in_process_fleet(tmp_path, PLACES, planner=RouterPlanner()) as running:
        yield running, held


def costs(router: dict[str, Any]) -> dict[str, int]:
    return {interface["name"]: interface.get("cost", 10) for interface in router["config"]["interfaces"]}


def drain(site: str, **values: Any) -> pb.DrainSiteRequest:
    return pb.DrainSiteRequest(site=site, reason=values.pop("reason", "new line card"), **values)


async def outcomes(fleet: InProcessFleet, site: str) -> list[tuple[str, str]]:
    records = await fleet.node.book.store.audit_records(100)
    return [(r.action, r.outcome) for r in records if r.object == f"site/{site}"][::-1]


async def test_a_site_is_drained_and_brought_back_over_a_restart(routers: tuple[InProcessFleet, Any]) -> None:
    fleet, held = routers
    assert costs(held["core"]) == OWN
    async with fleet.client() as noc:
        events = await collect(noc.DrainSite(drain("middle", for_s=600)))
        assert [(e.appliance, e.state, e.done, e.total) for e in events] == [
            ("core", "drained", 1, 2),
            ("spare", "drained", 2, 2),
            ("", "drained", 2, 2),
        ]
        assert "receivers" not in events[-1].text
        assert costs(held["core"]) == costs(held["spare"]) == RAISED
        assert costs(held["pop"]) == OWN
        (override,) = (await noc.ListOverrides(pb.ListOverridesRequest(appliance="core"))).overrides
        assert (override.section, override.reason) == ("frr", "drain of middle: new line card")
        assert override.expires_at <= events[-1].drain.until + 1
    await fleet.stop_noc()
    await fleet.start_noc()
    await fleet.online()
    async with fleet.client() as noc:
        (standing,) = (await noc.ListDrains(pb.ListDrainsRequest())).drains
        assert (standing.site, list(standing.appliances)) == ("middle", ["core", "spare"])
        assert isinstance(await refused(noc.DrainSite(drain("middle"))), RefusedError)
        events = await collect(noc.ReturnSite(pb.ReturnSiteRequest(site="middle")))
        assert [e.state for e in events] == ["returned"] * 3
        assert costs(held["core"]) == costs(held["spare"]) == OWN
        assert not (await noc.ListDrains(pb.ListDrainsRequest())).drains
    told = [("site.drain", "begun"), ("site.drain", "done"), ("site.return", "done")]
    assert await outcomes(fleet, "middle") == told


async def test_an_edge_pop_says_what_does_not_move(routers: tuple[InProcessFleet, Any]) -> None:
    fleet, held = routers
    async with fleet.client() as noc:
        events = await collect(noc.DrainSite(drain("edge")))
    assert "receivers behind its PoP stay where they are" in events[-1].text
    assert costs(held["pop"]) == RAISED


async def test_one_refusal_takes_the_whole_drain_back(routers: tuple[InProcessFleet, Any]) -> None:
    fleet, held = routers
    held["spare"]["refuse"] = True
    async with fleet.client() as noc:
        error = await refused(noc.DrainSite(drain("middle")))
        assert isinstance(error, RefusedError | DriverError)
        assert costs(held["core"]) == costs(held["spare"]) == OWN
        assert not (await noc.ListDrains(pb.ListDrainsRequest())).drains
        assert not (await noc.ListOverrides(pb.ListOverridesRequest())).overrides
    assert await outcomes(fleet, "middle") == [("site.drain", "begun"), ("site.drain", "failed")]


async def test_a_drain_ends_by_itself(routers: tuple[InProcessFleet, Any]) -> None:
    fleet, held = routers
    async with fleet.client() as noc:
        await collect(noc.DrainSite(drain("middle", for_s=3)))
    assert costs(held["core"]) == RAISED
    await fleet.until(lambda: costs(held["core"]) == costs(held["spare"]) == OWN)
    await fleet.until(lambda: not fleet.node.drains._drains)
    assert (await outcomes(fleet, "middle"))[-1] == ("site.return", "expired")


async def test_who_is_offline_at_the_return_is_named_and_returned_later(routers: tuple[InProcessFleet, Any]) -> None:
    fleet, held = routers
    async with fleet.client() as noc:
        await collect(noc.DrainSite(drain("middle")))
        await fleet.kill_agent("spare")
        await fleet.until(lambda: fleet.node.sessions.get("spare") is None)
        back = pb.ReturnSiteRequest(site="middle")
        error = await refused(noc.ReturnSite(back))
        assert isinstance(error, UnavailableError)
        assert "spare" in error.message
        assert (costs(held["core"]), costs(held["spare"])) == (OWN, RAISED)
        await fleet.start_agent("spare")
        await fleet.online()
        await collect(noc.ReturnSite(back))
    assert costs(held["spare"]) == OWN


async def test_drains_that_are_refused(routers: tuple[InProcessFleet, Any]) -> None:
    fleet, held = routers
    async with fleet.client() as noc:
        for request, error in (
            (drain("nowhere"), NotFoundError),
            (drain("hub"), RefusedError),  # no router there
            (drain("middle", reason=""), InputError),
            (drain("middle", for_s=90_000), InputError),  # longer than an override may last
        ):
            assert isinstance(await refused(noc.DrainSite(request)), error)
        assert isinstance(await refused(noc.ReturnSite(pb.ReturnSiteRequest(site="middle"))), RefusedError)
        assert isinstance(await refused(noc.ReturnSite(pb.ReturnSiteRequest(site="nowhere"))), NotFoundError)
        await fleet.kill_agent("spare")
        await fleet.until(lambda: fleet.node.sessions.get("spare") is None)
        assert isinstance(await refused(noc.DrainSite(drain("middle"))), UnavailableError)
    identity = await fleet.operator("paul", OperatorRole.OPERATOR, ["edge"])
    async with noc_channel(f"127.0.0.1:{fleet._ports[0]}", identity) as channel:
        stub: Any = noc_pb2_grpc.NocStub(channel)
        assert isinstance(await refused(stub.DrainSite(drain("middle"))), DeniedError)
    assert costs(held["core"]) == OWN


def test_the_patch_leaves_alone_what_is_no_link_between_routers() -> None:
    section = FrrSection(router_id="10.255.0.1", interfaces=_INTERFACES).to_json()
    patch = drained(section)
    assert patch is not None
    told = {entry["name"]: entry.get("cost", 10) for entry in patch["interfaces"]}  # type: ignore[union-attr, index, call-overload]
    assert told == RAISED
    assert drained({"interfaces": [{"name": "lan", "passive": True}]}) is None
    assert drained({}) is None
    assert canonical(section) == canonical(FrrSection(router_id="10.255.0.1", interfaces=_INTERFACES).to_json())
