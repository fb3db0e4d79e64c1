"""The service in a real NOC: set, called over mutual TLS, its influence at the agents, made good to who was away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core5g.steering.influence import engine as engine_module
from core5g.steering.influence.catalogue import Catalogue
from core5g.steering.influence.service import TrafficInfluence
from nf.noc import services as hosting_module
from nf.noc.services import write_settings
from nf.trust.roles import OperatorRole
from tests.core5g.steering.influence.hosting import Consumer
from tests.core5g.steering.mobile_fleet import MobileFleet, mobile_fleet
from tests.support.fleet import DOMAIN

NAME = "traffic-influence"


@pytest.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MobileFleet]:
    monkeypatch.setattr(hosting_module, "_LOOK_S", 0.05)
    monkeypatch.setattr(engine_module, "LOOK_S", 0.05)
    monkeypatch.setattr(engine_module, "_SHORTEST_S", 0.2)
    async with mobile_fleet(tmp_path) as running:
        actor = f"spiffe://{DOMAIN}/operator/eve"
        await write_settings(running.node.book.store, TrafficInfluence(), {"address": "127.0.0.1:0"}, actor)
        await running.until(lambda: _port(running) > 0)
        yield running


def _port(fleet: MobileFleet) -> int:
    assert fleet.noc is not None
    return int(fleet.noc.services.facts.get(NAME, {}).get("port", 0))


async def consumer(fleet: MobileFleet, directory: Path, name: str, role: OperatorRole) -> Consumer:
    host: Any = SimpleNamespace(authority=fleet.node.authority, port=_port(fleet))
    return Consumer(host, directory, await fleet.operator(name, role))


def app_id(fleet: MobileFleet) -> str:
    current = fleet.node.lineups.current
    return str(Catalogue(current.lineup, current.fleet).applications[0].id)


async def test_from_the_consumer_to_the_upfs_and_back(fleet: MobileFleet, tmp_path: Path) -> None:
    ada = await consumer(fleet, tmp_path, "ada", OperatorRole.ENGINEER)
    body = {"apiConsumerId": "ada-tv", "appId": app_id(fleet)}
    answer = await ada.ask("POST", json=body)
    assert answer.status_code == 201, answer.text
    identity = answer.json()["trafficInfluenceID"]
    await ada.until(identity, "active")
    for steering in fleet.steering.values():
        assert steering.held[identity]["prefixes"] == ["203.0.113.0/24"]
        assert steering.held[identity]["author"] == f"spiffe://{DOMAIN}/operator/ada"
    records = await fleet.node.book.store.audit_records(50)
    assert {"traffic-influence.create", "operation.influence"} <= {record.action for record in records}

    vic = await consumer(fleet, tmp_path, "vic", OperatorRole.VIEWER)
    assert (await vic.ask("POST", json=body)).status_code == 403
    assert any(r.outcome == "denied" for r in await fleet.node.book.store.audit_records(50))

    await fleet.node.operators.remove("ada")
    assert (await ada.ask("GET")).status_code == 401


async def test_who_was_away_gets_it_when_it_returns(fleet: MobileFleet, tmp_path: Path) -> None:
    ada = await consumer(fleet, tmp_path, "ada", OperatorRole.ENGINEER)
    await fleet.kill_agent("pop")
    await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
    answer = await ada.ask("POST", json={"apiConsumerId": "ada-tv", "appId": app_id(fleet)})
    identity = answer.json()["trafficInfluenceID"]
    await fleet.until(lambda: identity in fleet.steering["core"].held)
    await ada.until(identity, "created")
    await fleet.start_agent("pop")
    await ada.until(identity, "active")
    assert identity in fleet.steering["pop"].held
    await ada.ask("DELETE", f"/traffic-influences/{identity}")
    await ada.until(identity, "deleted")
    assert fleet.steering["pop"].held == {}


async def test_a_noc_that_starts_again_has_it_still(fleet: MobileFleet, tmp_path: Path) -> None:
    ada = await consumer(fleet, tmp_path, "ada", OperatorRole.ENGINEER)
    answer = await ada.ask("POST", json={"apiConsumerId": "ada-tv", "appId": app_id(fleet)})
    identity = answer.json()["trafficInfluenceID"]
    await ada.until(identity, "active")
    ada.session.close()
    await fleet.stop_noc()
    await fleet.start_noc()
    await fleet.until(lambda: _port(fleet) > 0)
    again = await consumer(fleet, tmp_path, "ada", OperatorRole.ENGINEER)
    assert await again.state(identity) == "active"
