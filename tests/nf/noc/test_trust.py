"""Who may do what, on the wire: roles, foreign and expired identities, claimed names, replayed tokens, revocation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from nf.clock import RealClock
from nf.control.authorization import TABLE
from nf.control.channel import noc_channel
from nf.control.errors import call
from nf.control.v1 import fleet_pb2, fleet_pb2_grpc, noc_pb2_grpc
from nf.control.v1 import noc_pb2 as pb
from nf.errors import DeniedError, IdentityError, UnavailableError
from nf.noc.daemon import open_store
from nf.trust.allowance import REFUSALS_PER_NAME
from nf.trust.authority import Authority
from nf.trust.enrolment import Enrolment
from nf.trust.identity import Identity, key_pem, new_key
from nf.trust.roles import OperatorRole
from nf.trust.spiffe import SpiffeId
from tests.support.fleet import DOMAIN, InProcessFleet, Place, collect, in_process_fleet, refused

ONE = (Place("head", "hub", "headend"), Place("pop", "edge", "pop"))


@pytest.fixture
async def pair(tmp_path: Path) -> Any:
    async with in_process_fleet(tmp_path, ONE) as running:
        yield running


def address(fleet: InProcessFleet) -> str:
    return f"127.0.0.1:{fleet._ports[0]}"


def issue(authority: Authority, kind: Any, name: str, domain: str = DOMAIN) -> Identity:
    key = new_key()
    return Identity(
        key_pem(key), authority.issue(SpiffeId(domain, kind, name), key.public_key(), 3600), authority.ca_pem
    )


async def actions(fleet: InProcessFleet) -> list[tuple[str, str, str]]:
    records = await fleet.node.book.store.audit_records(50)
    return [(record.actor, record.action, record.outcome) for record in records]


async def test_a_role_that_is_too_low_is_denied_and_on_record(pair: InProcessFleet) -> None:
    async with pair.client("vera", OperatorRole.VIEWER) as noc:
        assert (await noc.GetInfo(pb.GetInfoRequest())).role == "viewer"
        error = await refused(noc.CommitLineUp(pb.CommitLineUpRequest()))
        assert isinstance(error, DeniedError)
        assert "engineer" in error.message
        assert isinstance(await refused(noc.IssueEnrolmentToken(pb.IssueEnrolmentTokenRequest())), DeniedError)
    assert ("spiffe://lab.example/operator/vera", "call", "denied") in await actions(pair)


async def test_an_operator_bound_to_a_site_does_not_reach_another(pair: InProcessFleet) -> None:
    identity = await pair.operator("paul", OperatorRole.ENGINEER, ["edge"])
    async with noc_channel(address(pair), identity) as channel:
        noc: Any = noc_pb2_grpc.NocStub(channel)
        request = pb.AddOverrideRequest(section="table", patch_json=b"{}", reason="x", ttl_s=60)
        request.appliance = "head"
        assert isinstance(await refused(noc.AddOverride(request)), DeniedError)
        assert isinstance(await refused(noc.CommitLineUp(pb.CommitLineUpRequest())), DeniedError)
        request.appliance, request.patch_json = "pop", b'{"rows": {"extra": "1"}}'
        assert (await noc.AddOverride(request)).appliance == "pop"


async def test_an_appliance_may_not_call_what_operators_call(pair: InProcessFleet) -> None:
    identity = pair.agents["pop"].uplink._identity()
    async with noc_channel(address(pair), identity) as channel:
        noc: Any = noc_pb2_grpc.NocStub(channel)
        assert isinstance(await refused(noc.ListAlarms(pb.ListAlarmsRequest())), DeniedError)


async def test_an_appliance_that_claims_another_name_is_refused_and_on_record(pair: InProcessFleet) -> None:
    identity = pair.agents["pop"].uplink._identity()
    session = pair.node.sessions.get("head")

    async def hello() -> Any:
        yield fleet_pb2.AgentMessage(hello=fleet_pb2.Hello(appliance="head"))
        await asyncio.Event().wait()

    async with noc_channel(address(pair), identity) as channel:
        stub: Any = fleet_pb2_grpc.FleetStub(channel)
        error = await refused(stub.Session(hello()))
    assert isinstance(error, DeniedError)
    assert "claims to be head" in error.message
    assert pair.node.sessions.get("head") is session
    assert ("spiffe://lab.example/appliance/pop", "session.hello", "refused") in await actions(pair)


async def test_identities_that_nobody_here_issued(pair: InProcessFleet, tmp_path: Path) -> None:
    """Another CA, the right CA with an unregistered name, an unknown operator."""
    foreign = Authority.create(tmp_path / "other", DOMAIN, RealClock())
    async with noc_channel(address(pair), issue(foreign, "operator", "eve")) as channel:
        noc: Any = noc_pb2_grpc.NocStub(channel)
        with pytest.raises(UnavailableError):
            await call(noc.GetInfo(pb.GetInfoRequest(), timeout=60))
    for kind, name in (("operator", "nobody"), ("appliance", "pop")):
        async with noc_channel(address(pair), issue(pair.node.authority, kind, name)) as channel:
            noc = noc_pb2_grpc.NocStub(channel)
            assert isinstance(await refused(noc.GetInfo(pb.GetInfoRequest())), IdentityError)


async def test_a_client_does_not_talk_to_a_noc_of_another_ca(pair: InProcessFleet, tmp_path: Path) -> None:
    foreign = Authority.create(tmp_path / "other", DOMAIN, RealClock())
    identity = await pair.operator()
    with pytest.raises(IdentityError):
        Identity(identity.key_pem, identity.certificate_pem, foreign.ca_pem)


async def test_an_expired_certificate_gets_nowhere(pair: InProcessFleet) -> None:
    class Yesterday(RealClock):
        def now(self) -> float:
            return super().now() - 86_400

    authority = Authority.open(pair.config.state_dir / "ca", Yesterday())
    async with noc_channel(address(pair), issue(authority, "operator", "eve")) as channel:
        noc: Any = noc_pb2_grpc.NocStub(channel)
        with pytest.raises(UnavailableError):
            await call(noc.GetInfo(pb.GetInfoRequest(), timeout=60))


async def test_a_revoked_appliance_is_refused_at_its_next_call(pair: InProcessFleet) -> None:
    identity = pair.agents["pop"].uplink._identity()
    await pair.node.enrolment.revoke("pop", pair.node.spiffe_id)
    async with noc_channel(address(pair), identity) as channel:
        stub: Any = fleet_pb2_grpc.FleetStub(channel)
        error = await refused(stub.Telemetry(iter(())))
    assert isinstance(error, IdentityError)
    assert "revoked" in error.message


async def test_who_is_refused_for_ever_does_not_fill_the_audit(pair: InProcessFleet) -> None:
    identity = await pair.operator("vic", OperatorRole.VIEWER)
    async with noc_channel(address(pair), identity) as channel:
        noc = noc_pb2_grpc.NocStub(channel)
        for _ in range(REFUSALS_PER_NAME + 5):
            with pytest.raises(DeniedError):
                await call(noc.ShowAudit(pb.ShowAuditRequest(), timeout=60))
    denied = [action for action in await actions(pair) if action == (str(identity.spiffe_id), "call", "denied")]
    assert len(denied) == REFUSALS_PER_NAME


async def test_calls_of_a_revoked_appliance_end_at_once(pair: InProcessFleet) -> None:
    """Long before its connection is of age; whoever revokes may be another process on the same store."""
    session, other = pair.node.sessions.get("pop"), pair.node.sessions.get("head")
    identity = pair.agents["pop"].uplink._identity()

    async def silent() -> AsyncIterator[fleet_pb2.TelemetryBatch]:
        yield fleet_pb2.TelemetryBatch()
        await asyncio.Event().wait()

    async with noc_channel(address(pair), identity) as channel:
        stub: Any = fleet_pb2_grpc.FleetStub(channel)
        stream = asyncio.ensure_future(refused(stub.Telemetry(silent())))
        await pair.until(lambda: len(pair.node.calls._calls) == 5)
        store = await open_store(pair.config.state_dir, pair.node.clock)
        await Enrolment(store, pair.node.authority, pair.node.clock).revoke("pop", pair.node.spiffe_id)
        await store.close()
        async with asyncio.timeout(90):
            assert "revoked" in (await stream).message
    await pair.until(lambda: "pop" not in pair.node.sessions.online())
    assert session.closed.is_set()
    assert pair.node.sessions.get("head") is other
    assert not other.closed.is_set()


async def test_a_token_works_once_and_on_its_own_machine(pair: InProcessFleet) -> None:
    await pair.kill_agent("pop")
    used = (pair.home("pop") / "enrolment.json").read_bytes()
    other = InProcessFleet(pair.directory / "other", ONE, (), pair.planner)
    home = other.home("pop")
    home.mkdir(parents=True)
    (home / "enrolment.json").write_bytes(used)
    (home / "serial").write_text("SV-POP")
    await other.start_agent("pop")
    try:
        await pair.until(lambda: not other._tasks["pop"].done())
        async with asyncio.timeout(90):
            while ("spiffe://lab.example/appliance/pop", "enrolment.enrol", "refused") not in await actions(pair):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert "pop" not in other.agents
    finally:
        await other.close()


async def test_the_enrolment_file_names_everything_an_appliance_needs(pair: InProcessFleet) -> None:
    async with pair.client() as noc:
        answer = await noc.IssueEnrolmentToken(pb.IssueEnrolmentTokenRequest(appliance="pop", ttl_s=60))
    data = json.loads(answer.enrolment_json)
    assert data["appliance"] == "pop"
    assert data["serial"] == "SV-POP"
    assert {"token", "domain", "noc", "enrolment", "ca_sha256", "ca_pem"} <= data.keys()
    assert answer.expires_at > pair.node.clock.now()


async def test_health_is_served_to_whoever_is_known(pair: InProcessFleet) -> None:
    async with noc_channel(address(pair), await pair.operator()) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_every_method_of_the_services_has_a_rule() -> None:
    for module in (fleet_pb2, pb):
        for service in module.DESCRIPTOR.services_by_name.values():
            if service.name != "Enrolment":
                for method in service.methods:
                    assert f"/{service.full_name}/{method.name}" in TABLE


async def test_a_method_that_has_no_rule_is_closed(pair: InProcessFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TABLE, "/streamverse.nf.v1.Noc/ListAlarms")
    async with pair.client() as noc:
        error = await refused(noc.ListAlarms(pb.ListAlarmsRequest()))
    assert isinstance(error, DeniedError)
    assert "not open to anybody" in error.message


async def test_a_stranger_without_a_certificate_is_not_let_in(pair: InProcessFleet) -> None:
    credentials = grpc.ssl_channel_credentials(pair.node.authority.ca_pem)
    async with grpc.aio.secure_channel(address(pair), credentials) as channel:
        noc: Any = noc_pb2_grpc.NocStub(channel)
        with pytest.raises(UnavailableError):
            await collect(noc.CommitLineUp(pb.CommitLineUpRequest(), timeout=60))
