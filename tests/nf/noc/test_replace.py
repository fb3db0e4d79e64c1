"""Other hardware under the same name: the old machine is out at once, the new one enrols and catches up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from nf.control.channel import noc_channel
from nf.control.v1 import fleet_pb2, fleet_pb2_grpc
from nf.control.v1 import noc_pb2 as pb
from nf.errors import DeniedError, IdentityError, InputError, NotFoundError, RefusedError
from nf.noc.hardware import follow, substituted
from nf.noc.node import OFFLINE
from nf.trust.roles import OperatorRole
from tests.support.fleet import Daemon, InProcessFleet, fleet_text, refused

OLD, NEW = "SV-POP", "SV-POP-2"


def order(serial: str = NEW, appliance: str = "pop", reason: str = "power supply burnt") -> pb.ReplaceApplianceRequest:
    return pb.ReplaceApplianceRequest(appliance=appliance, serial=serial, reason=reason)


async def new_machine(fleet: InProcessFleet, serial: str = NEW) -> None:
    """An empty machine in the place of `pop`, with the enrolment file that an operator made for it."""
    async with fleet.client() as noc:
        token = await noc.IssueEnrolmentToken(pb.IssueEnrolmentTokenRequest(appliance="pop"))
    assert json.loads(token.enrolment_json)["serial"] == serial
    fleet.directory /= "new"
    home = fleet.home("pop")
    home.mkdir(parents=True)
    (home / "serial").write_text(serial)
    (home / "enrolment.json").write_bytes(token.enrolment_json)
    fleet.daemons["pop"] = Daemon()


async def test_the_old_machine_is_out_while_it_still_runs(fleet: InProcessFleet) -> None:
    identity = fleet.agents["pop"].uplink._identity()
    async with fleet.client() as noc:
        done = await noc.ReplaceAppliance(order())
        assert (done.serial, done.replaced_serial) == (NEW, OLD)
        assert (done.was_enrolled, done.session_closed) == (True, True)
        await fleet.until(lambda: fleet.node.sessions.get("pop") is None)
        summary = (await noc.GetAppliance(pb.GetApplianceRequest(id="pop"))).summary
        assert (summary.serial, summary.enrolled, summary.current) == (NEW, False, False)
    async with noc_channel(f"127.0.0.1:{fleet._ports[0]}", identity) as channel:
        stub: Any = fleet_pb2_grpc.FleetStub(channel)

        async def hello() -> Any:
            yield fleet_pb2.AgentMessage(hello=fleet_pb2.Hello(appliance="pop"))
            await asyncio.Event().wait()

        assert isinstance(await refused(stub.Session(hello())), IdentityError)
        assert isinstance(await refused(stub.Telemetry(iter(()))), IdentityError)
    with pytest.raises(IdentityError, match="not enrolled"):
        await fleet.agents["pop"].uplink._keyring.renew()
    assert fleet.rows("pop") == {}  # it goes on serving what it last confirmed, cut off as it is
    assert fleet.daemons["pop"].rows == {"underlay": "1"}


async def test_whose_machine_was_replaced_is_to_be_enrolled(fleet: InProcessFleet) -> None:
    def remedies() -> list[str]:
        return [alarm.remedy for _, alarm in fleet.node.telemetry.alarms("pop") if alarm.cause == OFFLINE]

    fleet.node._offline_after_s = 0.0
    await fleet.kill_agent("pop")
    await fleet.until(lambda: bool(remedies()))
    assert "power" in remedies()[0]
    async with fleet.client() as noc:
        await noc.ReplaceAppliance(order())
    await fleet.until(lambda: "nf appliance enroll pop" in remedies()[0])
    assert "nf appliance enroll pop" in fleet.node.sessions.offline("pop").remedy


async def test_telemetry_that_is_open_ends_with_the_identity(fleet: InProcessFleet) -> None:
    identity = fleet.agents["pop"].uplink._identity()
    opened = asyncio.Event()

    async def batches() -> Any:
        yield fleet_pb2.TelemetryBatch()
        opened.set()
        await asyncio.Event().wait()

    async with noc_channel(f"127.0.0.1:{fleet._ports[0]}", identity) as channel:
        stub: Any = fleet_pb2_grpc.FleetStub(channel)
        stream = asyncio.ensure_future(refused(stub.Telemetry(batches())))
        await opened.wait()
        async with fleet.client() as noc:
            await noc.ReplaceAppliance(order())
        async with asyncio.timeout(90):
            assert isinstance(await stream, IdentityError)


async def test_a_session_that_has_not_said_hello_is_cut_too(fleet: InProcessFleet) -> None:
    identity = fleet.agents["pop"].uplink._identity()
    await fleet.kill_agent("pop")
    replaced = asyncio.Event()

    async def late() -> Any:
        await replaced.wait()
        yield fleet_pb2.AgentMessage(hello=fleet_pb2.Hello(appliance="pop"))
        await asyncio.Event().wait()

    async with noc_channel(f"127.0.0.1:{fleet._ports[0]}", identity) as channel:
        stub: Any = fleet_pb2_grpc.FleetStub(channel)
        waiting = asyncio.ensure_future(refused(stub.Session(late())))
        await fleet.until(lambda: "pop" in {peer.name for peer, _ in fleet.node.calls.certificates()})
        async with fleet.client() as noc:
            await noc.ReplaceAppliance(order())
        replaced.set()
        assert isinstance(await waiting, IdentityError)
    assert fleet.node.sessions.get("pop") is None


async def test_the_new_machine_enrols_and_catches_up_also_after_a_restart(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101})
    async with fleet.client() as noc:
        await noc.ReplaceAppliance(order())
    await fleet.stop_noc()
    await fleet.start_noc()
    await fleet.online("head", "core", "recv")
    await fleet.kill_agent("pop")
    await new_machine(fleet)
    await fleet.start_agent("pop")
    await fleet.current("pop")
    assert fleet.rows("pop") == {"ch1": "101"}
    assert (await fleet.commit({"ch1": 101, "ch2": 102})).outcome == pb.OUTCOME_CONFIRMED
    records = await fleet.node.book.store.audit_records(100)
    (told,) = [record for record in records if record.action == "appliance.replace"]
    assert (told.actor.rpartition("/")[2], told.object) == ("eve", "appliance/pop")
    assert json.loads(told.detail_json) == {"serial": NEW, "replaced_serial": OLD, "reason": "power supply burnt"}


async def test_documents_that_name_the_old_serial_mean_the_new_machine(fleet: InProcessFleet) -> None:
    """An engineer's file of yesterday, and a rollback, bring no dead machine back."""
    await fleet.commit({"ch1": 101})
    async with fleet.client() as noc:
        await noc.ReplaceAppliance(order())
    await fleet.kill_agent("pop")
    await new_machine(fleet)
    await fleet.start_agent("pop")
    await fleet.current()
    stale = pb.DocumentText(file="fleet.yaml", text=fleet_text(fleet.places, fleet.optional).encode())
    await fleet.commit({"ch2": 102}, fleet=stale)
    async with fleet.client() as noc:
        summary = (await noc.GetAppliance(pb.GetApplianceRequest(id="pop"))).summary
        assert (summary.serial, summary.enrolled) == (NEW, True)
        # and back to the machine that was repaired
        done = await noc.ReplaceAppliance(order(OLD))
        assert done.replaced_serial == NEW
        assert (await noc.GetAppliance(pb.GetApplianceRequest(id="pop"))).summary.serial == OLD


async def test_a_token_for_other_hardware_says_how_it_is_replaced(fleet: InProcessFleet) -> None:
    """The fleet document was changed first: the identity is still the old machine's."""
    changed = fleet_text(fleet.places, fleet.optional).replace(f'"{OLD}"', f'"{NEW}"')
    await fleet.commit({"ch1": 101}, fleet=pb.DocumentText(file="fleet.yaml", text=changed.encode()))
    async with fleet.client() as noc:
        token = pb.IssueEnrolmentTokenRequest(appliance="pop")
        error = await refused(noc.IssueEnrolmentToken(token))
        assert isinstance(error, RefusedError)
        assert error.remedy.endswith(f"nf appliance replace pop --serial {NEW}")
        assert (await noc.ReplaceAppliance(order())).replaced_serial == OLD
        assert json.loads((await noc.IssueEnrolmentToken(token)).enrolment_json)["serial"] == NEW


async def test_replacements_that_are_refused(fleet: InProcessFleet) -> None:
    session = fleet.node.sessions.get("pop")
    async with fleet.client() as noc:
        for request, error in (
            (order(appliance="nobody"), NotFoundError),
            (order(OLD), RefusedError),
            (order("SV-CORE"), RefusedError),
            (order(""), InputError),
            (order(" "), InputError),
            (order("x" * 65), InputError),
            (order("a\nb"), InputError),
            (order(reason=""), InputError),
        ):
            answer = await refused(noc.ReplaceAppliance(request))
            assert isinstance(answer, error)
            assert answer.remedy
    async with fleet.client("nils", OperatorRole.ENGINEER) as noc:
        assert isinstance(await refused(noc.ReplaceAppliance(order())), DeniedError)
    assert fleet.node.sessions.get("pop") is session


def test_chains_of_machines_end_and_have_no_circle() -> None:
    chain: dict[str, str] = {}
    for old, new in (("a", "b"), ("b", "c"), ("c", "a"), ("a", "b"), ("b", "d"), ("d", "c")):
        chain = substituted(chain, old, new)
        assert {follow(chain, serial) for serial in (old, new)} == {new}
    assert follow(chain, "a") == "c"
    assert follow(chain, "z") == "z"
    assert substituted(chain, "c", "c") == chain
