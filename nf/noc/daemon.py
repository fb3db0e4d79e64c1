"""The NOC process: its servers around one node, its certificate, its start and its graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from nf.clock import Clock, RealClock
from nf.contracts.adopter import Adopter
from nf.contracts.json import canonical
from nf.contracts.planner import Planner
from nf.contracts.service import Service
from nf.control.authorization import Authorizer, GuardInterceptor, admit_anybody
from nf.control.server import ControlServer, ServerLimits, server_credentials
from nf.control.v1 import (
    admin_pb2_grpc,
    fleet_pb2_grpc,
    noc_pb2_grpc,
    operations_pb2_grpc,
    paths_pb2_grpc,
    upgrade_pb2_grpc,
)
from nf.documents.fleet import Fleet
from nf.documents.loader import Loaded
from nf.documents.model import API_VERSION
from nf.errors import NotFoundError, RefusedError, StorageError
from nf.noc.admin import NocAdminService
from nf.noc.adoption import Adoption, load_adopters
from nf.noc.fleet_service import EnrolmentService, FleetService
from nf.noc.lineups import draft
from nf.noc.node import Node
from nf.noc.operations_service import OperationsService
from nf.noc.paths_service import PathsService
from nf.noc.records import Book, put_configs, put_current, put_revision
from nf.noc.replica import Replica
from nf.noc.service import NocService
from nf.noc.services import Services, load_services
from nf.noc.support import Support
from nf.noc.upgrade_service import UpgradeService
from nf.planning.compiler import load_planners
from nf.store.audit import AuditEntry
from nf.store.contract import Put
from nf.store.sqlite import SqliteStore
from nf.trust.authority import NOC_LIFETIME_S, Authority
from nf.trust.identity import Identity, key_pem, new_key
from nf.trust.keys import AuditKey
from nf.trust.spiffe import SpiffeId

_log = logging.getLogger(__name__)

_SETTINGS: Final = "settings"
_EMPTY = f"apiVersion: {API_VERSION}\nkind: LineUp\nmetadata:\n  name: empty\nspec: {{}}\n"
_DEFAULT_ADDRESS: Final = "[::]:7443"
_DEFAULT_ENROLMENT: Final = "[::]:7444"


@dataclass(frozen=True)
class NocConfig:
    """`names`: DNS names and addresses in the NOC's certificate, which are also those that appliances dial.

    planners   None = every installed one; adopters and services likewise
    limits     of connections; tests shorten them
    replica    a second place, where a copy of the state is kept all the time; None = nowhere
    """

    state_dir: Path
    address: str = _DEFAULT_ADDRESS
    enrolment_address: str = _DEFAULT_ENROLMENT
    names: tuple[str, ...] = ()
    planners: tuple[Planner, ...] | None = None
    adopters: tuple[Adopter, ...] | None = None
    services: tuple[Service, ...] | None = None
    clock: Clock = field(default_factory=RealClock)
    limits: ServerLimits = field(default_factory=ServerLimits)
    offline_after_s: float = 5.0
    replica: Path | None = None


async def open_store(state_dir: Path, clock: Clock) -> SqliteStore:
    """The NOC's store, its audit chain signed. Raises StorageError, IntegrityError."""
    return await SqliteStore.open(
        state_dir / "noc.db", sign=AuditKey.load_or_create(state_dir / "audit.key").sign, clock=clock
    )


async def init_noc(  # noqa: PLR0917 - the signature that the command and the lab know
    state_dir: Path,
    domain: str,
    address: str,
    enrolment_address: str,
    names: Sequence[str],
    fleet: Loaded[Fleet],
    *,
    planners: Sequence[Planner] | None = None,
    clock: Clock | None = None,
) -> None:
    """CA, store, and revision 1: the empty line-up on `fleet`, which is the underlay.

    Raises RefusedError when `state_dir` is initialised already, DocumentError when the fleet does not compile.
    """
    clock = clock or RealClock()
    fleet_text = fleet.document.model_dump_json(by_alias=True, exclude_none=True)
    first = draft(
        tuple(planners) if planners is not None else load_planners(), ("empty.yaml", _EMPTY), (fleet.file, fleet_text)
    )
    _make_directory(state_dir)
    Authority.create(state_dir / "ca", domain, clock)
    store = await open_store(state_dir, clock)
    try:
        if await Book(store).current_number():
            raise RefusedError("is initialised already", where=str(state_dir), remedy="start it: nf noc run")
        actor = str(SpiffeId(domain, "noc", "noc"))
        record = replace(first.record(1, clock.now(), actor, "the underlay"), outcome="confirmed")
        settings = {"address": address, "enrolment_address": enrolment_address, "names": list(names)}
        await store.write(
            [
                Put(_SETTINGS, "noc", canonical(settings).encode()),
                put_revision(record),
                put_current(1),
                *put_configs(first.configs, first.digests),
            ],
            AuditEntry(actor, "noc.init", "revision/1", "confirmed", {"fleet": fleet.file, "domain": domain}),
        )
    finally:
        await store.close()


def _make_directory(state_dir: Path) -> None:
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        remedy = "run it as root, or choose a directory that can be written"
        raise StorageError(error.strerror or str(error), where=str(state_dir), remedy=remedy) from error


class Certificate:
    """The NOC's own certificate: made at start, renewed at 2/3 of its life, shown at the next handshake."""

    def __init__(self, authority: Authority, names: Sequence[str], clock: Clock) -> None:
        self._authority = authority
        self._dns = [name for name in names if not _is_ip(name)]
        self._ip = [name for name in names if _is_ip(name)]
        self._clock = clock
        self.identity = self._issue()

    def _issue(self) -> Identity:
        key = new_key()
        spiffe_id = SpiffeId(self._authority.domain, "noc", "noc")
        pem = self._authority.issue(spiffe_id, key.public_key(), NOC_LIFETIME_S, self._dns, self._ip)
        return Identity(key_pem(key), pem, self._authority.ca_pem)

    async def renew(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(self.identity.renew_at() - self._clock.now())
            self.identity = self._issue()
            _log.info("the NOC's certificate is renewed")


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class RunningNoc:
    """A NOC that serves. The ports are those it really listens on."""

    node: Node
    port: int
    enrolment_port: int
    services: Services
    replica: Replica | None = None


@asynccontextmanager
async def running_noc(config: NocConfig) -> AsyncIterator[RunningNoc]:
    """Serve inside the block. Raises NotFoundError (not initialised), UnavailableError (address taken)."""
    clock = config.clock
    if not (config.state_dir / "noc.db").exists():
        raise NotFoundError("there is no NOC here", where=str(config.state_dir), remedy="run `nf noc init` first")
    authority = Authority.open(config.state_dir / "ca", clock)
    certificate = Certificate(authority, config.names, clock)
    async with contextlib.AsyncExitStack() as stack:
        store = await open_store(config.state_dir, clock)
        node = Node(
            store=store,
            authority=authority,
            clock=clock,
            planners=load_planners() if config.planners is None else config.planners,
            addresses=(_dialled(config.names, config.address), _dialled(config.names, config.enrolment_address)),
            state_dir=config.state_dir,
            offline_after_s=config.offline_after_s,
        )
        stack.push_async_callback(node.close)
        await node.start()
        replica = await _replicating(config, node, stack)
        server, enrolment = _servers(config, node, certificate, replica)
        renewing = asyncio.create_task(certificate.renew(), name="certificate")
        stack.push_async_callback(_cancel, renewing)
        stack.push_async_callback(server.stop)
        await server.start()
        stack.push_async_callback(enrolment.stop)
        await enrolment.start()
        installed = load_services() if config.services is None else config.services
        services = Services(node, installed, config.state_dir / "services", lambda: certificate.identity)
        stack.callback(node.sessions.close)
        stack.push_async_callback(services.close)
        services.start()
        _log.info("serving on %s, enrolment on %s", config.address, config.enrolment_address)
        yield RunningNoc(node, server.port, enrolment.port, services, replica)


async def _replicating(config: NocConfig, node: Node, stack: contextlib.AsyncExitStack) -> Replica | None:
    """The continuous copy, when there is a second place. Raises RefusedError when it may not be used."""
    if config.replica is None:
        return None
    replica = await asyncio.to_thread(Replica, config.state_dir, config.replica, config.clock, node.telemetry.alarm)
    stack.push_async_callback(_cancel, asyncio.create_task(replica.run(), name="replica"))
    return replica


def _servers(
    config: NocConfig, node: Node, certificate: Certificate, replica: Replica | None
) -> tuple[ControlServer, ControlServer]:
    authorizer = Authorizer(node.authority.domain, node)
    server = ControlServer(
        config.address,
        server_credentials(lambda: certificate.identity, client_certificates=True),
        interceptors=[GuardInterceptor(authorizer.admit)],
        limits=config.limits,
    )
    fleet_service = FleetService(
        node.sessions,
        node.telemetry,
        node.calls,
        welcome=node.welcome,
        came=node.came,
        heard=node.heard,
        gone=node.gone,
        false_claim=node.false_claim,
        bundle=node.bundle_for,
    )
    fleet_pb2_grpc.add_FleetServicer_to_server(fleet_service, server.server)
    noc_pb2_grpc.add_NocServicer_to_server(NocService(node), server.server)
    operations_pb2_grpc.add_OperationsServicer_to_server(OperationsService(node), server.server)
    paths_pb2_grpc.add_PathsServicer_to_server(PathsService(node), server.server)
    upgrade_pb2_grpc.add_UpgradesServicer_to_server(UpgradeService(node), server.server)
    adoption = Adoption(node, load_adopters() if config.adopters is None else config.adopters)
    admin = NocAdminService(node, replica, Support(node), adoption)
    admin_pb2_grpc.add_NocAdminServicer_to_server(admin, server.server)
    enrolment = ControlServer(
        config.enrolment_address,
        server_credentials(lambda: certificate.identity, client_certificates=False),
        interceptors=[GuardInterceptor(admit_anybody)],
        limits=config.limits,
    )
    fleet_pb2_grpc.add_EnrolmentServicer_to_server(EnrolmentService(node.enrolment), enrolment.server)
    return server, enrolment


async def run_noc(config: NocConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises NotFoundError (not initialised), UnavailableError (address taken)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with running_noc(config):
            await stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _dialled(names: Sequence[str], address: str) -> tuple[str, ...]:
    """What appliances dial: every name of the certificate with the port of `address`."""
    port = address.rpartition(":")[2]
    return tuple(f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names)
