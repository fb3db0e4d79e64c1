"""Upgrades over a real NOC and real agents. Only the machine below is a STAND-IN (`tests.support.machine`)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from images.update import manager, watch
from images.update.manager import Updater
from nf.agent.daemon import AgentConfig
from nf.clock import RealClock
from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import JsonObject
from nf.contracts.planner import FleetOperation
from nf.control.channel import noc_channel
from nf.control.v1 import fleet_pb2, fleet_pb2_grpc, upgrade_pb2_grpc
from nf.control.v1 import noc_pb2 as noc_messages
from nf.control.v1 import upgrade_pb2 as pb
from nf.errors import BusyError, CommitRefused, DeniedError, InputError, NfError, NotFoundError, RefusedError
from nf.noc.drains import Drains, Event
from nf.noc.lineups import LineUps
from nf.trust.roles import OperatorRole
from tests.support.bundles import bundle
from tests.support.fleet import SECTION, InProcessFleet, Place, TableDriver, collect, in_process_fleet, refused
from tests.support.machine import COMPATIBLE, FakeMachine

PLACES = (
    Place("head", "hub", "headend"),
    Place("pop1", "s1"),
    Place("pop2", "s2"),
    Place("pop3", "s3"),
)
POPS = ("pop1", "pop2", "pop3")
GOOD = bundle("0.2.0")
DIGEST = hashlib.sha256(GOOD).hexdigest()


@dataclass
class Box:
    """One appliance that runs from an image. `off`: it stays off after its next reboot."""

    fleet: InProcessFleet
    name: str
    fake: FakeMachine = field(default_factory=lambda: FakeMachine(versions={DIGEST: "0.2.0"}))
    off: asyncio.Event = field(default_factory=asyncio.Event)
    health: asyncio.Task[None] | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.off.set()
        self.fake.rebooting = self._restarts
        self.fake.start()

    def config(self, plain: AgentConfig) -> AgentConfig:
        machine = self.fake.machine()
        watching = watch.Watch(machine, plain.state_dir, plain.run_dir, RealClock())
        self.health = asyncio.create_task(watching.run(), name=f"health of {self.name}")
        return replace(plain, image=lambda context: Updater(context, machine))

    def _restarts(self) -> None:
        task = asyncio.create_task(self._restart())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _restart(self) -> None:
        await self.fleet.kill_agent(self.name)
        await self.stop()
        await self.off.wait()
        run_dir = self.fleet.home(self.name) / "run"
        for left in ("health.json", "image-settled"):
            (run_dir / left).unlink(missing_ok=True)
        self.fake.start()
        self.fleet.daemons[self.name].lie = False
        await self.fleet.start_agent(self.name)

    async def stop(self) -> None:
        if self.health is not None:
            self.health.cancel()
            await asyncio.gather(self.health, return_exceptions=True)


@dataclass
class Images:
    fleet: InProcessFleet
    boxes: dict[str, Box]

    @asynccontextmanager
    async def client(self, name: str = "eve", role: OperatorRole = OperatorRole.SECURITY) -> AsyncIterator[Any]:
        identity = await self.fleet.operator(name, role)
        async with noc_channel(f"127.0.0.1:{self.fleet._ports[0]}", identity) as channel:
            yield upgrade_pb2_grpc.UpgradesStub(channel)

    async def bring(self, data: bytes = GOOD, offset: int = 0, name: str = "") -> pb.Bundle:
        sha256 = name or hashlib.sha256(data).hexdigest()

        async def pieces() -> AsyncIterator[pb.BundlePiece]:
            yield pb.BundlePiece(sha256=sha256, size=len(data), offset=offset)
            for start in range(offset, len(data), 100_000):
                yield pb.BundlePiece(data=data[start : start + 100_000])

        async with self.client() as noc:
            answer: pb.Bundle = await noc.SendBundle(pieces())
            return answer

    async def begin(self, targets: Sequence[str] = ("pop",), **values: Any) -> pb.Upgrade:
        settings = {"sha256": DIGEST, "hold_s": 1, "patience_s": 60, "soak_s": 0} | values
        async with self.client() as noc:
            started: pb.Upgrade = await noc.StartUpgrade(pb.StartUpgradeRequest(targets=targets, **settings))
            return started

    async def refusal(self, targets: Sequence[str] = ("pop",), **values: Any) -> NfError:
        return await refused(self.begin(targets, **values))

    async def watched(self, upgrade: str) -> list[pb.Upgrade]:
        async with self.client("vera", OperatorRole.VIEWER) as noc:
            return await collect(noc.WatchUpgrade(pb.WatchUpgradeRequest(id=upgrade)))

    async def call(self, method: str, **values: Any) -> pb.Upgrade:
        async with self.client() as noc:
            request = getattr(pb, f"{method}Request")(**values)
            answer: pb.Upgrade = await getattr(noc, method)(request)
            return answer

    def state(self, name: str) -> str:
        record = self.fleet.node.upgrades.all()[0]
        return str(record.member(name).state.value)

    async def until(self, name: str, *states: str) -> None:
        await self.fleet.until(lambda: self.state(name) in states, 60)

    def versions(self) -> dict[str, str]:
        return {name: box.fake.version for name, box in self.boxes.items()}


@pytest.fixture
async def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Images]:
    for module in (manager, watch):
        monkeypatch.setattr(module, "_LOOK_S", 0.05)
    boxes: dict[str, Box] = {}
    plain = InProcessFleet.agent_config

    def agent_config(fleet: InProcessFleet, appliance: str) -> AgentConfig:
        config = plain(fleet, appliance)
        if appliance not in POPS:
            return config
        if appliance not in boxes:
            boxes[appliance] = Box(fleet, appliance)
        return boxes[appliance].config(config)

    monkeypatch.setattr(InProcessFleet, "agent_config", agent_config)
    async with in_process_fleet(tmp_path, places=PLACES, optional=("s1", "s2", "s3")) as fleet:
        fleet.node.upgrades.poll_s = 0.05
        one = Images(fleet, boxes)
        await fleet.until(lambda: all((fleet.node.image_of(name) or _NONE).good for name in POPS))
        yield one
        for box in boxes.values():
            box.off.set()
            for task in tuple(box.tasks):
                await asyncio.gather(task, return_exceptions=True)
            await box.stop()


class _NONE:
    good = False


async def test_the_canary_goes_first_then_the_wave_and_everybody_says_what_it_runs(images: Images) -> None:
    fleet = images.fleet
    brought = await images.bring()
    assert (brought.role, brought.version, brought.sha256) == ("pop", "0.2.0", DIGEST)
    started = await images.begin(canary="pop2", wave=2, soak_s=1, reason="spring")
    records = await images.watched(started.id)
    last = records[-1]
    assert (last.state, [one.state for one in last.members]) == ("done", ["good"] * 3)
    assert [(one.appliance, one.wave) for one in last.members] == [("pop2", 0), ("pop1", 1), ("pop3", 1)]
    for record in records:  # nobody of the wave moved before the canary was good and had soaked
        states = {one.appliance: one.state for one in record.members}
        assert states["pop2"] == "good" or states["pop1"] == states["pop3"] == "pending"
    assert any(record.soak_until for record in records)
    assert images.versions() == dict.fromkeys(POPS, "0.2.0")
    async with fleet.client() as noc:
        listed = await noc.ListAppliances(noc_messages.ListAppliancesRequest())
    shown = {one.id: one.image for one in listed.appliances}
    assert (shown["pop1"].version, shown["pop1"].slot, shown["pop1"].good) == ("0.2.0", "B", True)
    assert (shown["pop1"].other_version, shown["head"].version) == ("0.1.0", "")
    audited = [(one.action, one.outcome) for one in await fleet.node.book.store.audit_records(50)]
    assert ("upgrade.start", "begun") in audited
    assert ("upgrade.start", "done") in audited
    assert audited.count(("upgrade.appliance", "good")) == 3
    assert ("bundle.bring", "done") in audited
    assert not fleet.alarms("image-fell-back")


async def test_a_canary_that_falls_back_pauses_it_with_the_reason_and_a_resume_tries_again(images: Images) -> None:
    fleet = images.fleet
    await images.bring()
    fleet.daemons["pop1"].rows["stray"] = "1"  # wrong before: not the new system's doing
    box, daemon = images.boxes["pop2"], fleet.daemons["pop2"]
    plain = box.fake.start

    def sick() -> str:
        slot = plain()
        if box.fake.version == "0.2.0":
            daemon.rows["drift"], daemon.refuse = "1", "it does not take that"
        else:
            daemon.rows.pop("drift", None)
            daemon.refuse = ""
        return slot

    box.fake.start = sick  # type: ignore[method-assign]
    started = await images.begin(canary="pop2", patience_s=10)  # as long as a sick one is waited for
    last = (await images.watched(started.id))[-1]
    assert last.state == "paused"
    assert "pop2: fell back from 0.2.0 to 0.1.0: driver table: not converged" in last.text
    assert [one.state for one in last.members] == ["fell-back", "pending", "pending"]
    assert images.versions() == dict.fromkeys(POPS, "0.1.0")
    assert fleet.alarms("upgrade-paused") == [("upgrade-paused", started.id)]
    await fleet.until(lambda: fleet.alarms("image-fell-back") == [("image-fell-back", "pop2")])
    image = fleet.node.image_of("pop2")
    assert image.fell_back.startswith("fell back from 0.2.0 in slot B: driver table: not converged")
    box.fake.start = plain  # type: ignore[method-assign]
    resumed = await images.call("ResumeUpgrade")
    assert resumed.state == "running"
    assert (await images.watched(started.id))[-1].state == "done"
    assert images.versions() == dict.fromkeys(POPS, "0.2.0")
    await fleet.until(lambda: not fleet.alarms("image-fell-back") and not fleet.alarms("upgrade-paused"))


async def test_what_does_not_fit_is_refused_and_says_how_it_would(images: Images) -> None:
    await images.bring()
    older, core = bundle("0.0.9"), bundle("0.3.0", "streamverse-nf-core-amd64")
    same = bundle("0.1.0")
    for data in (older, core, same):
        await images.bring(data)

    def name(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    assert "runs from no image" in str(await images.refusal(["head"]))
    assert "later than 0.0.9" in str(await images.refusal(sha256=name(older)))
    assert "the bundle is for streamverse-nf-core-amd64" in str(await images.refusal(sha256=name(core)))
    again = await images.refusal(["pop1"], sha256=name(same))
    assert isinstance(again, RefusedError)
    assert "--again" in str(again)
    assert isinstance(await images.refusal(["nobody"]), NotFoundError)
    assert isinstance(await images.refusal(sha256="f" * 64), NotFoundError)
    assert isinstance(await images.refusal(canary="head"), InputError)
    with pytest.raises(DeniedError):
        async with images.client("otto", OperatorRole.OPERATOR) as noc:
            raise await refused(noc.StartUpgrade(pb.StartUpgradeRequest(targets=["pop"], sha256=DIGEST)))
    fake = images.boxes["pop1"].fake
    fake.versions[name(older)] = "0.0.9"
    started = await images.begin(["pop1"], sha256=name(older), allow_downgrade=True)
    assert (await images.watched(started.id))[-1].state == "done"
    assert fake.version == "0.0.9"


async def test_a_commit_and_an_upgrade_keep_out_of_each_others_way(images: Images) -> None:
    fleet = images.fleet
    await images.bring()
    await fleet.commit({"ch1": 1}, confirm_within_s=60)
    busy = await images.refusal()
    assert isinstance(busy, BusyError)
    assert "held" in str(busy)
    async with fleet.client() as noc:
        await collect(noc.ConfirmLineUp(noc_messages.ConfirmLineUpRequest()))
    await fleet.settled()
    box = images.boxes["pop1"]
    box.off.clear()
    started = await images.begin(["pop1"])
    await images.until("pop1", "reboot")
    with pytest.raises(CommitRefused, match="being upgraded: pop1"):
        await fleet.commit({"ch1": 1, "ch2": 2})
    assert "already, by" in str(await images.refusal(["pop1"]))
    box.off.set()
    assert (await images.watched(started.id))[-1].state == "done"
    assert box.fake.version == "0.2.0"
    await fleet.current("pop1")
    await fleet.commit({"ch1": 1, "ch2": 2})


async def test_a_restart_of_the_noc_goes_on_where_it_was(images: Images) -> None:
    fleet = images.fleet
    await images.bring()
    box = images.boxes["pop1"]
    box.off.clear()
    started = await images.begin(["pop1", "pop2"], canary="pop1")
    await images.until("pop1", "reboot")
    await fleet.stop_noc()
    box.off.set()
    await fleet.until(lambda: box.fake.version == "0.2.0")  # it restarts while there is no NOC
    await fleet.start_noc()
    fleet.node.upgrades.poll_s = 0.05
    assert (await images.watched(started.id))[-1].state == "done"
    assert images.versions() == {"pop1": "0.2.0", "pop2": "0.2.0", "pop3": "0.1.0"}
    assert box.fake.reboots == 1


async def test_who_is_away_is_left_out_or_gets_it_when_back(images: Images) -> None:
    fleet = images.fleet
    await images.bring()
    await fleet.kill_agent("pop3")
    await images.boxes["pop3"].stop()
    await fleet.until(lambda: fleet.node.sessions.get("pop3") is None)
    assert "cannot go first" in str(await images.refusal(canary="pop3"))
    started = await images.begin(["pop1", "pop3"], when_back=True)
    await images.until("pop1", "good")
    await fleet.until(lambda: "waits for pop3" in fleet.node.upgrades.find(started.id).text)
    await fleet.start_agent("pop3")
    assert (await images.watched(started.id))[-1].state == "done"
    assert images.versions()["pop3"] == "0.2.0"
    await fleet.kill_agent("pop2")
    await images.boxes["pop2"].stop()
    await fleet.until(lambda: fleet.node.sessions.get("pop2") is None)
    left = (await images.watched((await images.begin(again=True)).id))[-1]
    states = {one.appliance: (one.state, one.text) for one in left.members}
    assert (left.state, left.text) == ("done", "1 left out")
    assert states["pop2"] == ("left-out", "is offline")


async def test_a_pause_keeps_everybody_from_restarting_and_a_cancel_drops_it(images: Images) -> None:
    fleet = images.fleet
    await images.bring()
    later = await images.begin(after_s=3600)
    assert later.state == "waiting"
    assert (await images.call("CancelUpgrade", reason="not tonight")).state == "cancelled"
    await fleet.node.maintenance.open("s2", 600, "new roof", fleet.node.spiffe_id)
    started = await images.begin(["pop1", "pop2"], canary="pop1", when_back=True)
    await images.call("PauseUpgrade", reason="wait")
    record = fleet.node.upgrades.find(started.id)
    assert record.phase.value == "paused"
    assert not fleet.alarms("upgrade-paused"), "who pauses it knows"
    cancelled = await images.call("CancelUpgrade", id=started.id)
    assert {one.state for one in cancelled.members} <= {"cancelled", "good"}
    assert images.versions()["pop2"] == "0.1.0"
    async with images.client() as noc:
        removed = await noc.RemoveBundle(pb.RemoveBundleRequest(sha256=DIGEST[:10]))
        assert removed.bundle.version == "0.2.0"
        assert not (await noc.ListBundles(pb.ListBundlesRequest())).bundles


async def test_transit_goes_round_a_site_before_it_restarts_and_back_when_it_is_through(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str, str]] = []

    async def drain(_self: Drains, site: str, _for_s: int, _reason: str, _author: str) -> AsyncIterator[Event]:
        told.append(("drain", site, images.boxes["pop1"].fake.version))
        yield Event("drained", text="the other routers go round it")

    async def bring_back(_self: Drains, site: str, _author: str) -> AsyncIterator[Event]:
        told.append(("return", site, images.boxes["pop1"].fake.version))
        yield Event("returned")

    await images.bring()
    with monkeypatch.context() as patched:
        patched.setattr(Drains, "drain", drain)
        patched.setattr(Drains, "bring_back", bring_back)
        started = await images.begin(["pop1"], drain=True)
        assert (await images.watched(started.id))[-1].state == "done"
    assert told == [("drain", "s1", "0.1.0"), ("return", "s1", "0.2.0")]
    again = await images.begin(["pop2"], drain=True)  # no transit goes through it: that keeps nobody from it
    assert (await images.watched(again.id))[-1].state == "done"


async def test_what_it_serves_is_drained_before_it_restarts_and_let_in_again_after(
    images: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nf.noc.emptying")
    asked: list[tuple[JsonObject, str]] = []

    class Gate:
        async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:
            asked.append((arguments, images.boxes["pop1"].fake.version))
            return {"text": "2 of 3 left", "before": 3, "left": 2}

    async def operations(_self: LineUps) -> tuple[FleetOperation, ...]:
        members = [(name, (((name, SECTION),),)) for name in ("pop1", "pop2")]
        return tuple(
            FleetOperation("drain", name, stages, before=frozenset({(name, "row-x")})) for name, stages in members
        )

    monkeypatch.setattr(LineUps, "operations", operations)
    monkeypatch.setattr(TableDriver, "operations", {"drain": Gate()})
    await images.bring()
    started = await images.begin(["pop1"], drain=True)
    seen = await images.watched(started.id)
    assert seen[-1].state == "done"
    assert [(one.get("keep", False), one.get("end", False), version) for one, version in asked] == [
        (True, False, "0.1.0"),
        (False, True, "0.2.0"),
    ]
    assert "pop1 restarts: 2 of 3 left" in caplog.messages


async def test_a_bundle_is_given_to_those_it_is_for_and_goes_on_where_it_broke(images: Images) -> None:
    fleet = images.fleet
    half = len(GOOD) // 2

    async def broken() -> AsyncIterator[pb.BundlePiece]:
        yield pb.BundlePiece(sha256=DIGEST, size=len(GOOD), offset=0, data=GOOD[:half])

    async with images.client() as noc:
        assert "octets came" in str(await refused(noc.SendBundle(broken())))
        offer = await noc.OfferBundle(pb.OfferBundleRequest(sha256=DIGEST, size=len(GOOD)))
    assert offer.offset == half
    await images.bring(offset=half)
    identity = fleet.agents["pop1"].uplink._identity()
    async with noc_channel(f"127.0.0.1:{fleet._ports[0]}", identity) as channel:
        stub: Any = fleet_pb2_grpc.FleetStub(channel)
        asked = fleet_pb2.FetchBundleRequest(sha256=DIGEST, offset=1000)
        assert isinstance(await refused(stub.FetchBundle(asked)), DeniedError)
        box = images.boxes["pop1"]
        box.off.clear()
        started = await images.begin(["pop1"])
        pieces = await collect(stub.FetchBundle(asked))
        assert b"".join(piece.data for piece in pieces) == GOOD[1000:]
        box.off.set()
    assert (await images.watched(started.id))[-1].state == "done"
    status = json.loads((fleet.home("pop1") / "state/update/record.json").read_bytes())
    assert [name for name, _ in status["steps"]] == [
        "transfer", "fetched", "installing", "installed", "activating", "activated", "trial", "healthy",
    ]  # fmt: skip
    assert status["compatible"] == COMPATIBLE
