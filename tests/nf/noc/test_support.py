"""The bundle holds what is needed, from who is there, and none of the secrets that were planted everywhere."""

from __future__ import annotations

import gzip
import io
import json
import logging
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nf.agent.support import collect
from nf.control.authorization import TABLE
from nf.control.channel import noc_channel
from nf.control.v1 import admin_pb2 as pb
from nf.control.v1 import admin_pb2_grpc, noc_pb2
from nf.errors import DeniedError, NotFoundError
from nf.telemetry.alarms import Severity
from nf.telemetry.recent import RECENT
from nf.trust.identity import Identity, key_pem, new_key
from nf.trust.roles import OperatorRole
from tests.support.fleet import InProcessFleet, lineup_text, refused

PLANTED = {
    "environment": "Env-Pl4nted-pass",
    "log": "Log-Pl4nted-pass",
    "log of the environment": "Env-Pl4nted-pass",
    "document": "Doc-Pl4nted-pass",
    "row": "Row-Pl4nted-pass",
    "unit": "Unit-Pl4nted-pass",
    "alarm": "Alarm-Pl4nted-pass",
    "comment": "Comment-Pl4nted-pass",
    "error": "Error-Pl4nted-pass",
}


@contextmanager
def logging_to_recent() -> Iterator[None]:
    RECENT.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().addHandler(RECENT)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(RECENT)


async def collected(fleet: InProcessFleet, identity: Identity, *appliances: str) -> tuple[list[str], dict[str, str]]:
    """(progress, file -> text)"""
    lines, data = [], b""
    assert fleet.noc is not None
    async with noc_channel(f"127.0.0.1:{fleet.noc.port}", identity) as channel:
        stub = admin_pb2_grpc.NocAdminStub(channel)
        async for piece in stub.CollectSupport(pb.CollectSupportRequest(appliances=appliances)):
            lines += [piece.text] if piece.text else []
            data += piece.data
    files = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            files[member.name.removeprefix("support/")] = file.read().decode()
    return lines, files


async def test_a_bundle_holds_what_is_needed(fleet: InProcessFleet) -> None:
    await fleet.commit({"ch1": 101}, comment="one channel")
    await fleet.kill_agent("pop")
    await fleet.until(lambda: "pop" not in fleet.node.sessions.online())
    with logging_to_recent():
        logging.getLogger("nf.test").warning("a line of the log")
        lines, files = await collected(fleet, await fleet.operator())
    assert sorted(lines)[2] == "pop: is offline"
    manifest = json.loads(files["manifest.json"])
    assert manifest["missing"] == {"pop": "is offline"}
    assert sorted({*manifest["files"], "manifest.json"}) == sorted(files)
    assert "a line of the log" in files["noc/log.txt"]
    assert "ch1" in files["noc/revisions/0000000002/lineup.yaml"]
    assert json.loads(files["noc/revisions/0000000002/revision.json"])["comment"] == "one channel"
    assert {one["id"]: one["online"] for one in json.loads(files["noc/appliances.json"])}["pop"] is False
    assert json.loads(files["appliances/head/journal.json"])["confirmed_revision"] == 2
    assert json.loads(files["appliances/head/observed.json"])["sections"]["table"]["rows"]["ch1"] == "101"
    assert json.loads(files["appliances/head/configuration.json"])["appliance"] == "head"
    assert "python" in json.loads(files["appliances/core/versions.json"])
    assert "support.collect" in {one["action"] for one in json.loads(files["noc/audit.json"])}
    assert not [name for name in files if name.startswith("appliances/pop/")]


async def test_no_planted_secret_is_in_the_bundle(
    fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = secrets.token_urlsafe(32)
    pem = key_pem(new_key()).decode()
    monkeypatch.setenv("S3_SECRET_ACCESS_KEY", PLANTED["environment"])
    (tmp_path / "noc" / "secrets.conf").write_text(f"password={PLANTED['document']}\n")
    text = json.loads(lineup_text({"ch1": 101}, "head"))
    text["metadata"]["description"] = f"the encoder's password: {PLANTED['document']}"
    document = noc_pb2.DocumentText(file="lineup.yaml", text=json.dumps(text).encode())
    async with fleet.client() as noc:
        request = noc_pb2.CommitLineUpRequest(lineup=document, comment=f"token={PLANTED['comment']}")
        [event async for event in noc.CommitLineUp(request)]
        issued = await noc.IssueEnrolmentToken(noc_pb2.IssueEnrolmentTokenRequest(appliance="pop"))
    fleet.daemons["head"].rows["s3"] = f"endpoint=http://s3 secret_key={PLANTED['row']}"
    fleet.daemons["core"].rows["pem"] = pem
    enrolment = json.loads(issued.enrolment_json)["token"]
    fleet.node.telemetry.alarm("test", "noc", Severity.MINOR, f"login with password '{PLANTED['alarm']}' failed")
    with logging_to_recent():
        log = logging.getLogger("nf.test")
        log.warning("connecting as admin, password=%s", PLANTED["log"])
        log.warning("PUT http://s3/x signed by %s", PLANTED["environment"])
        log.warning("token %s was used", token)
        log.warning("enrolling with %s", enrolment)
        log.warning("the key is\n%s", pem)
        log.error("nats://noc:%s@127.0.0.1:4222 refused", PLANTED["error"])
        _, files = await collected(fleet, await fleet.operator())
    whole = "\n".join(f"{name}\n{text}" for name, text in files.items())
    found = [where for where, secret in PLANTED.items() if secret in whole]
    assert not found
    assert token not in whole
    assert enrolment not in whole
    assert pem.splitlines()[1] not in whole
    for identity in (await fleet.operator(), fleet.home("head")):
        private = identity.key_pem if isinstance(identity, Identity) else next(identity.rglob("*.key")).read_bytes()
        assert private.decode().splitlines()[1] not in whole
    for key in (fleet.config.state_dir / "audit.key", fleet.config.state_dir / "ca" / "ca.key"):
        assert key.read_text().splitlines()[1] not in whole
    assert "endpoint=http://s3" in whole, "what is no secret stays"


async def test_a_units_secrets_are_taken_out_of_its_log(fleet: InProcessFleet) -> None:
    from nf.contracts.units import UnitSpec, UnitState, UnitStatus

    environment = (("ORIGIN_PASSWORD", PLANTED["unit"]),)

    class Units:
        async def list(self) -> tuple[UnitStatus, ...]:
            spec = UnitSpec("packager", ("packager",), environment)
            return (UnitStatus("packager", UnitState.READY, 1, 0.0, 0, spec=spec),)

        async def log(self, name: str, lines: int = 50) -> tuple[str, ...]:
            return (f"signing with {PLANTED['unit']} now", "segment 12 written")

    agent = fleet.agents["head"]
    units: Any = Units()
    files = await collect(agent.engine, agent.drivers, units, {})
    assert PLANTED["unit"] not in json.dumps(files)
    assert "segment 12 written" in str(files["units/packager.log"])


async def test_who_may_collect(fleet: InProcessFleet) -> None:
    engineer = await fleet.operator("ann", OperatorRole.ENGINEER)
    viewer = await fleet.operator("vic", OperatorRole.VIEWER)
    _, files = await collected(fleet, engineer, "head")
    assert {name.split("/")[1] for name in files if name.startswith("appliances/")} == {"head"}
    assert fleet.noc is not None
    async with noc_channel(f"127.0.0.1:{fleet.noc.port}", viewer) as channel:
        stub = admin_pb2_grpc.NocAdminStub(channel)
        assert (await stub.GetStatus(pb.GetStatusRequest())).online == 4
        assert isinstance(await refused(stub.CollectSupport(pb.CollectSupportRequest())), DeniedError)
        assert isinstance(await refused(stub.AdoptLineUp(pb.AdoptLineUpRequest())), DeniedError)
    async with noc_channel(f"127.0.0.1:{fleet.noc.port}", engineer) as channel:
        stub = admin_pb2_grpc.NocAdminStub(channel)
        unknown = pb.CollectSupportRequest(appliances=["nobody"])
        assert isinstance(await refused(stub.CollectSupport(unknown)), NotFoundError)


def test_every_admin_call_is_in_the_table() -> None:
    methods = pb.DESCRIPTOR.services_by_name["NocAdmin"].methods
    assert {f"/streamverse.nf.v1.NocAdmin/{method.name}" for method in methods} <= TABLE.keys()
