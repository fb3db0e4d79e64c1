"""Documents from a running fleet: over the wire, put together, and an empty plan when they are committed unchanged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headend.multicast.documents import SsmPath
from nf.contracts.adopter import Adopted, AdoptedPath, Observed
from nf.control.channel import noc_channel
from nf.control.v1 import admin_pb2 as pb
from nf.control.v1 import admin_pb2_grpc, noc_pb2
from nf.documents.fleet import Fleet, Placement
from nf.documents.lineup import Source
from nf.errors import NotFoundError, RefusedError, UnavailableError
from tests.support.fleet import InProcessFleet, in_process_fleet, refused


class TableAdopter:
    """The way back of the fake planner: every row is a channel."""

    name = "table"
    sections = frozenset({"table"})

    def adopt(self, observed: Observed, known: Fleet) -> Adopted:
        rows: dict[str, set[str]] = {}
        for name, sections in observed.items():
            value: Any = sections["table"]["rows"]
            for key in value.keys() - {"underlay"}:
                rows.setdefault(key, set()).add(name)
        source = Source(id="feed", appliance="head", port=6001, bitrate_bps=1_000_000)
        paths = []
        for number, key in enumerate(sorted(rows), start=1):
            path = SsmPath(id="iptv", type="ssm", group=f"232.10.1.{number}", rate_bps=1_000_000, sites=("edge",))
            paths.append(AdoptedPath(key, path, source, ("sites", "source.bitrate")))
        missing = [f"{key} is not everywhere" for key, where in sorted(rows.items()) if where != observed.keys()]
        placed = (Placement(function="ingest", appliances=("head",)),)
        return Adopted(placement=placed, paths=tuple(paths), problems=tuple(missing))


@pytest.fixture
async def adopting(tmp_path: Path) -> AsyncIterator[InProcessFleet]:
    async with in_process_fleet(tmp_path, start=False) as fleet:
        await fleet.stop_noc()
        fleet.config = replace(fleet.config, adopters=(TableAdopter(),))
        await fleet.start_noc()
        for place in fleet.places:
            await fleet.enrol(place.id)
            await fleet.start_agent(place.id)
        await fleet.current()
        yield fleet


async def adopt(fleet: InProcessFleet, site: str = "") -> pb.AdoptLineUpResponse:
    assert fleet.noc is not None
    async with noc_channel(f"127.0.0.1:{fleet.noc.port}", await fleet.operator()) as channel:
        stub = admin_pb2_grpc.NocAdminStub(channel)
        answer: pb.AdoptLineUpResponse = await stub.AdoptLineUp(pb.AdoptLineUpRequest(site=site))
        return answer


async def refusal(fleet: InProcessFleet, site: str = "") -> Exception:
    assert fleet.noc is not None
    async with noc_channel(f"127.0.0.1:{fleet.noc.port}", await fleet.operator()) as channel:
        return await refused(admin_pb2_grpc.NocAdminStub(channel).AdoptLineUp(pb.AdoptLineUpRequest(site=site)))


async def test_adopted_documents_plan_nothing(adopting: InProcessFleet) -> None:
    """Rows that no document asked for: brownfield."""
    for daemon in adopting.daemons.values():
        daemon.rows |= {"ch1": "1", "ch2": "2"}
    answer = await adopt(adopting)
    assert (answer.appliances, answer.channels) == (4, 2)
    assert "lineup.spec.channels[1].uid" in answer.doubts
    assert "lineup.spec.channels[0].delivery[0].priority" in answer.doubts, "nothing that runs shows it"
    assert b"lcn: 1 # please check" in b" ".join(answer.lineup.text.split(b"  "))
    request = noc_pb2.PlanLineUpRequest(lineup=answer.lineup, fleet=answer.fleet)
    async with adopting.client() as noc:
        plan = await noc.PlanLineUp(request)
        assert plan.empty, plan
        events = [
            e async for e in noc.CommitLineUp(noc_pb2.CommitLineUpRequest(lineup=answer.lineup, fleet=answer.fleet))
        ]
    assert events[-1].outcome in {noc_pb2.OUTCOME_CONFIRMED, noc_pb2.OUTCOME_UNCHANGED}
    assert not any(daemon.applied.count("row-ch1") for daemon in adopting.daemons.values())
    again = await adopt(adopting)
    assert again.channels == 2
    assert "lineup.spec.channels[1].uid" not in again.doubts, "known by now"
    assert not [doubt for doubt in again.doubts if doubt.endswith("priority")]


async def test_one_site_and_the_rest_from_the_documents(adopting: InProcessFleet) -> None:
    await adopting.commit({"ch1": 1})
    await adopting.kill_agent("core")
    await adopting.until(lambda: "core" not in adopting.node.sessions.online())
    assert isinstance(await refusal(adopting), UnavailableError)
    assert (await adopt(adopting, "edge")).channels == 1
    assert isinstance(await refusal(adopting, "nowhere"), NotFoundError)


async def test_what_fits_no_document_is_refused(adopting: InProcessFleet) -> None:
    adopting.daemons["pop"].rows["ch9"] = "9"
    error = await refusal(adopting)
    assert isinstance(error, RefusedError)
    assert [problem.rule for problem in error.problems] == ["ch9 is not everywhere"]


async def test_what_no_adopter_describes_is_told(tmp_path: Path) -> None:
    async with in_process_fleet(tmp_path) as fleet:
        answer = await adopt(fleet)
        assert "head: section table holds something that no adopter describes" in answer.doubts
