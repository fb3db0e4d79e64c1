"""A fleet in one process: a real NOC and real agents over mTLS on loopback; their daemons are dictionaries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc

from nf.agent.daemon import Agent, AgentConfig, serve
from nf.clock import RealClock
from nf.contracts.driver import Context, Drift, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution, Hop
from nf.contracts.probe import PathSample
from nf.control.channel import FullJitter, noc_channel
from nf.control.errors import from_rpc_error
from nf.control.v1 import noc_pb2 as pb
from nf.control.v1 import noc_pb2_grpc
from nf.documents.appliance import ApplianceConfig, ProbeTarget
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_config, load_fleet
from nf.documents.model import DocumentModel
from nf.documents.registry import Extension, Registry
from nf.errors import DriverError, NfError, RefusedError
from nf.noc.daemon import NocConfig, RunningNoc, init_noc, running_noc
from nf.transaction.model import Timings
from nf.trust.identity import Identity
from nf.trust.roles import OperatorRole

DOMAIN = "lab.example"
SECTION = "table"


class Table(DocumentModel):
    """The section of the fake driver: what its daemon is to hold."""

    rows: Mapping[str, str] = {}


_REGISTRY = Registry([Extension(sections={SECTION: Table})])


def load_test_config(data: JsonObject) -> ApplianceConfig:
    return load_config(data, extensions=_REGISTRY)


@dataclass
class Daemon:
    """What outlives the agent. `gate`: applies wait until it is set; `reached`: set when one waits."""

    rows: dict[str, str] = field(default_factory=dict)
    applied: list[str] = field(default_factory=list)
    refuse: str = ""
    fail_apply: str = ""
    lie: bool = False
    gate: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)


class TableDriver:
    """Implements the driver contract on a `Daemon`."""

    name = SECTION
    section = SECTION
    owns = Ownership()
    operations: Mapping[str, Operation] = {}

    def __init__(self, daemon: Daemon, requires: Mapping[str, str] | None = None) -> None:
        self._daemon = daemon
        self._requires = requires or {}

    async def observe(self) -> State:
        return State({"rows": dict(self._daemon.rows)}, frozenset(f"row.{key}" for key in self._daemon.rows))

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        value = have.value or {}
        rows: Any = value.get("rows", {})
        wanted = dict(want.rows) if isinstance(want, Table) else {}
        steps = []
        for key in sorted({*rows, *wanted}):
            if rows.get(key) != wanted.get(key):
                requires = {self._requires[key]} if key in self._requires and key in wanted else set()
                steps.append(
                    Step(
                        id=f"row-{key}",
                        kind="row",
                        arguments={"key": key, "value": wanted.get(key)},
                        requires=frozenset(requires),
                        provides=frozenset({f"row.{key}"} if key in wanted else ()),
                        budget_s=2.0,
                        undo_budget_s=1.0,
                        summary=f"{key}={wanted.get(key)}",
                    )
                )
        return tuple(steps)

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        if self._daemon.refuse and steps:
            raise RefusedError(self._daemon.refuse, where=SECTION, remedy="ask it nicely")

    async def prepare(self, step: Step) -> Undo:
        key = str(step.arguments["key"])
        return Undo("row", {"key": key, "value": self._daemon.rows.get(key)})

    async def apply(self, step: Step, context: Context) -> None:
        daemon = self._daemon
        if daemon.gate is not None:
            context.progress(0.5, "at the gate")
            daemon.reached.set()
            await daemon.gate.wait()
        if daemon.fail_apply:
            raise DriverError(daemon.fail_apply, where=SECTION, remedy="mend it")
        self._set(step.arguments)
        daemon.applied.append(step.id)

    async def undo(self, undo: Undo, context: Context) -> None:
        self._set(undo.data)

    def _set(self, data: JsonObject) -> None:
        if data["value"] is None:
            self._daemon.rows.pop(str(data["key"]), None)
        else:
            self._daemon.rows[str(data["key"])] = str(data["value"])

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        return Drift(("the daemon says otherwise",) if self._daemon.lie else ())

    async def events(self) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        for event in ():
            yield event


class TablePlanner:
    """Every channel is a row on every appliance; probe-role appliances probe it when `probes` is set."""

    name = SECTION

    def __init__(self, *, probes: bool = False, budget_ms: int = 5_000) -> None:
        self._probes = probes
        self._budget_ms = budget_ms

    def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
        rows = {"underlay": "1"} | {channel.id: str(channel.lcn) for channel in lineup.spec.channels}
        names = [appliance.id for appliance in fleet.spec.appliances]
        receivers = [a.id for a in fleet.spec.appliances if a.role.value == "probe"] if self._probes else []
        targets = tuple(
            ProbeTarget(id=f"{c.id}-path", kind="fake", channel=c.id, path="path", budget=f"{self._budget_ms}ms")
            for c in lineup.spec.channels
        )
        hops = [Hop(c.id, "path", 0, names[0], "source") for c in lineup.spec.channels]
        hops += [Hop(c.id, "path", 9, name, "receiver") for c in lineup.spec.channels for name in receivers]
        return Contribution(
            sections={name: {SECTION: Table(rows=rows)} for name in names},
            probes=dict.fromkeys(receivers, targets),
            hops=tuple(hops),
        )


class FakeProbe:
    """Up while its daemon holds the channel's row."""

    kind = "fake"

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    async def run(self, target: ProbeTarget, context: Context) -> AsyncIterator[PathSample]:
        packets = 0
        while not context.cancel.is_set():
            up = target.channel in self._daemon.rows and not self._daemon.lie
            packets += 10 * up
            yield PathSample(
                target.id, target.channel, target.path, context.clock.now(), up, 1e6 * up, packets, 0,
                1.0 if packets else None, 20.0 if packets else None, "" if up else "nothing arrives",
            )  # fmt: skip
            await context.clock.sleep(0.2)


@dataclass(frozen=True)
class Place:
    """One appliance of the fleet document."""

    id: str
    site: str
    role: str = "pop"


def fleet_text(places: Sequence[Place], optional: Sequence[str] = ()) -> str:
    sites = sorted({place.site for place in places})
    spec = {
        "sites": [{"id": s, "criticality": "optional" if s in optional else "required"} for s in sites],
        "appliances": [
            {
                "id": place.id,
                "site": place.site,
                "role": place.role,
                "serial": f"SV-{place.id.upper()}",
                "management": f"172.20.{20 + index // 200}.{index % 200 + 11}",
            }
            for index, place in enumerate(places)
        ],
        "placement": [{"function": "ingest", "appliances": [places[0].id]}],
    }
    return json.dumps({"apiVersion": "streamverse.nf/v1", "kind": "Fleet", "metadata": {"name": "test"}, "spec": spec})


def lineup_text(channels: Mapping[str, int], ingest: str, *, deadline: str = "60s", name: str = "test") -> str:
    spec: dict[str, Any] = {
        "policy": {"deadline": deadline, "reconcile": "60s"},
        "sources": [{"id": "feed", "appliance": ingest, "port": 6001, "bitrate": "1M"}],
        "channels": [
            {"id": key, "name": key, "lcn": lcn, "uid": f"tag:tv.example,2026:{key}", "source": "feed"}
            for key, lcn in channels.items()
        ],
    }
    return json.dumps({"apiVersion": "streamverse.nf/v1", "kind": "LineUp", "metadata": {"name": name}, "spec": spec})


QUICK = Timings(observe_s=5, check_s=5, prepare_s=5, verify_s=2, reconcile_s=60, retry_s=0.5)


class InProcessFleet:
    """`async with fleet(...)`. Every agent can be killed and started again; its daemon lives on."""

    def __init__(
        self, directory: Path, places: Sequence[Place], optional: Sequence[str], planner: TablePlanner
    ) -> None:
        self.directory = directory
        self.places = tuple(places)
        self.optional = tuple(optional)
        self.planner = planner
        self.daemons = {place.id: Daemon() for place in places}
        self.requires: dict[str, dict[str, str]] = {}
        self.agents: dict[str, Agent] = {}
        self.noc: RunningNoc | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._noc_stack: AsyncExitStack | None = None
        self._ports = (0, 0)
        self.config = NocConfig(
            state_dir=directory / "noc",
            address="127.0.0.1:0",
            enrolment_address="127.0.0.1:0",
            names=("127.0.0.1",),
            planners=(planner,),
            offline_after_s=0.3,
        )
        self._identities: dict[str, Identity] = {}
        self.timings = QUICK

    # ---- the NOC ----

    @property
    def node(self) -> Any:
        assert self.noc is not None
        return self.noc.node

    async def init(self) -> None:
        text = fleet_text(self.places, self.optional)
        await init_noc(
            self.config.state_dir, DOMAIN, "127.0.0.1:0", "127.0.0.1:0", self.config.names,
            load_fleet(text, file="fleet.yaml"), planners=(self.planner,),
        )  # fmt: skip

    async def start_noc(self) -> None:
        """On the same ports as before, so that the agents find it again."""
        port, enrolment_port = self._ports
        config = replace(self.config, address=f"127.0.0.1:{port}", enrolment_address=f"127.0.0.1:{enrolment_port}")
        self._noc_stack = AsyncExitStack()
        self.noc = await self._noc_stack.enter_async_context(running_noc(config))
        self._ports = (self.noc.port, self.noc.enrolment_port)
        self.noc.node._addresses = (
            (f"127.0.0.1:{self._ports[0]}",),
            (f"127.0.0.1:{self._ports[1]}",),
        )

    async def stop_noc(self) -> None:
        if self._noc_stack is not None:
            await self._noc_stack.aclose()
        self.noc = self._noc_stack = None

    async def operator(
        self, name: str = "eve", role: OperatorRole = OperatorRole.SECURITY, sites: Sequence[str] = ()
    ) -> Identity:
        if name not in self._identities:
            self._identities[name] = await self.node.operators.add(name, role, sites)
        return self._identities[name]

    @asynccontextmanager
    async def client(self, name: str = "eve", role: OperatorRole = OperatorRole.SECURITY) -> AsyncIterator[Any]:
        identity = await self.operator(name, role)
        async with noc_channel(f"127.0.0.1:{self._ports[0]}", identity) as channel:
            yield noc_pb2_grpc.NocStub(channel)

    # ---- agents ----

    def home(self, appliance: str) -> Path:
        return self.directory / appliance

    async def enrol(self, appliance: str) -> None:
        """Put an enrolment file where the agent looks for it."""
        place = self.node.lineups.current.appliance(appliance)
        token = await self.node.enrolment.issue_token(appliance, place.serial, 600, self.node.spiffe_id)
        home = self.home(appliance)
        home.mkdir(parents=True, exist_ok=True)
        (home / "serial").write_text(place.serial)
        (home / "enrolment.json").write_text(json.dumps(self.node.enrolment_file(appliance, place.serial, token)))

    def agent_config(self, appliance: str) -> AgentConfig:
        home, daemon = self.home(appliance), self.daemons[appliance]
        return AgentConfig(
            state_dir=home / "state",
            run_dir=home / "run",
            enrolment_file=home / "enrolment.json",
            drivers=(TableDriver(daemon, self.requires.get(appliance)),),
            probes=(FakeProbe(daemon),),
            load_config=load_test_config,
            timings=self.timings,
            delays=lambda: FullJitter(base_s=0.05, cap_s=0.3),
        )

    async def start_agent(self, appliance: str) -> None:
        def started(agent: Agent) -> None:
            self.agents[appliance] = agent

        task = asyncio.create_task(serve(self.agent_config(appliance), started), name=f"agent {appliance}")
        self._tasks[appliance] = task

    async def kill_agent(self, appliance: str) -> None:
        """As SIGKILL would: nothing is told to anybody, the journal stays as it is."""
        task = self._tasks.pop(appliance)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.agents.pop(appliance, None)

    async def online(self, *appliances: str) -> None:
        for appliance in appliances or tuple(self.daemons):
            await self.node.sessions.wait_online(appliance, 15.0)

    async def current(self, *appliances: str) -> None:
        """Until each of them (all) has what the current revision says."""
        await self.online(*appliances)
        wanted = self.node.lineups.current.record.configs
        await self.until(
            lambda: all(
                (session := self.node.sessions.get(name)) is not None
                and session.standing.confirmed_digest == wanted[name]
                for name in appliances or tuple(self.daemons)
            )
        )

    async def settled(self) -> None:
        """Until no decision has yet to be carried out anywhere."""
        async with asyncio.timeout(90):
            while await self.node.book.transactions():  # noqa: ASYNC110 - the store tells nobody
                await asyncio.sleep(0.01)

    async def until(self, condition: Callable[[], bool], seconds: float = 90.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - conditions of many parts, some across the wire
                await asyncio.sleep(0.01)

    def alarms(self, cause: str = "") -> list[tuple[str, str]]:
        return [(alarm.cause, alarm.object) for _, alarm in self.node.telemetry.alarms() if cause in {"", alarm.cause}]

    # ---- what operators do ----

    async def commit(
        self, channels: Mapping[str, int], *, name: str = "eve", deadline: str = "60s", **arguments: Any
    ) -> pb.CommitEvent:
        """The last event. Raises the error tree."""
        return (await self.commit_events(channels, name=name, deadline=deadline, **arguments))[-1]

    async def commit_events(
        self, channels: Mapping[str, int], *, name: str = "eve", deadline: str = "60s", **arguments: Any
    ) -> list[pb.CommitEvent]:
        text = lineup_text(channels, self.places[0].id, deadline=deadline)
        request = pb.CommitLineUpRequest(lineup=pb.DocumentText(file="lineup.yaml", text=text.encode()), **arguments)
        async with self.client(name) as noc:
            return await collect(noc.CommitLineUp(request))

    def rows(self, appliance: str) -> dict[str, str]:
        return {key: value for key, value in self.daemons[appliance].rows.items() if key != "underlay"}

    async def close(self) -> None:
        for appliance in tuple(self._tasks):
            await self.kill_agent(appliance)
        await self.stop_noc()


async def collect(stream: Any) -> list[Any]:
    """Every message of a stream. Raises the error tree."""
    try:
        return [message async for message in stream]
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def refused(stream: Any) -> NfError:
    """The error of a call that must fail."""
    try:
        await (collect(stream) if hasattr(stream, "__aiter__") else stream)
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    except NfError as error:
        return error
    raise AssertionError("the call was accepted")


SMALL = (
    Place("head", "hub", "headend"),
    Place("core", "core", "core"),
    Place("pop", "edge", "pop"),
    Place("recv", "edge", "probe"),
)


@asynccontextmanager
async def in_process_fleet(
    directory: Path,
    places: Sequence[Place] = SMALL,
    *,
    optional: Sequence[str] = ("edge",),
    planner: TablePlanner | None = None,
    timings: Timings = QUICK,
    start: bool = True,
    kind: type[InProcessFleet] = InProcessFleet,
) -> AsyncIterator[InProcessFleet]:
    """A NOC and an enrolled, caught-up agent for each place."""
    fleet = kind(directory, places, optional, planner or TablePlanner())
    fleet.timings = timings
    try:
        await fleet.init()
        await fleet.start_noc()
        if start:
            for place in places:
                await fleet.enrol(place.id)
                await fleet.start_agent(place.id)
            await fleet.current()
        yield fleet
    finally:
        await fleet.close()


CLOCK = RealClock()
