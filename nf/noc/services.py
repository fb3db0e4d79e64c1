"""Services of domains, hosted by the NOC: found by entry point, configured in the store, supervised as tasks."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nf.clock import Clock
from nf.contracts.json import JsonObject, canonical
from nf.contracts.noc_client import NodeOutcome, OperationOutcome
from nf.contracts.paths import Paths
from nf.contracts.service import Caller, Committed, Note, Progress, Service, silent
from nf.contracts.telemetry import Telemetry
from nf.documents.model import DocumentModel, RuleError
from nf.errors import DeniedError, IdentityError, InputError, IntegrityError, NfError, NotFoundError
from nf.noc.node import Node
from nf.noc.outcomes import DONE, Event
from nf.noc.tasks import Tasks
from nf.store.audit import AuditEntry
from nf.store.contract import Delete, Put, Store
from nf.telemetry.alarms import Severity
from nf.trust.certificates import Peer, check_peer
from nf.trust.identity import Identity
from nf.trust.roles import OperatorRole

_log = logging.getLogger(__name__)

GROUP: Final = "nf.services"
DOWN: Final = "service-down"
SETTINGS: Final = "settings"
RECORDS: Final = "services"
_LOOK_S: Final = 2.0
"""So often a change of the settings, which another process makes, is looked for."""
_STABLE_S: Final = 60.0
"""Who ran for so long begins with the shortest pause again."""
_SHORTEST_S, _LONGEST_S = 1.0, 60.0


def pause_s(failures: int) -> float:
    """How long until the next start, after so many failures in a row. Pure."""
    return min(_SHORTEST_S * 2.0 ** min(failures - 1, 16), _LONGEST_S)


def load_services() -> tuple[Service, ...]:
    """Those of everything that is installed, by name; one whose domain cannot be loaded is logged and left out."""
    found: dict[str, Service] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        try:
            service: Service = point.load()()
        except Exception:  # noqa: BLE001 - a domain's fault of any kind must not take the NOC with it
            _log.exception("the service %s cannot be loaded", point.name)
            continue
        if service.name in found:
            raise IntegrityError(f"two services are called {service.name!r}", where=point.value)
        found[service.name] = service
    return tuple(found[name] for name in sorted(found))


# ---- settings ----


def settings_key(name: str) -> str:
    return f"service/{name}"


def parse_settings(service: Service, data: object) -> DocumentModel:
    """Raises InputError with all that is wrong."""
    try:
        return service.settings.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(map(_told, error.errors()))
        known = ", ".join(field.alias or name for name, field in service.settings.model_fields.items())
        raise InputError(wrong[:1000], where=service.name, remedy=f"it takes: {known}") from None


def _told(error: ErrorDetails) -> str:
    place = ".".join(map(str, error["loc"])) or "settings"
    rule = error.get("ctx", {}).get("error")
    if isinstance(rule, RuleError):
        return f"{place}: {rule.rule}; {rule.remedy}"
    return f"{place}: {'no such setting' if error['type'] == 'extra_forbidden' else error['msg']}"


async def read_settings(store: Store, name: str) -> JsonObject | None:
    """As they were set; None: it is off."""
    entry = await store.get(SETTINGS, settings_key(name))
    if entry is None:
        return None
    value: JsonObject = json.loads(entry.value)
    return value


async def write_settings(store: Store, service: Service, data: JsonObject | None, actor: str) -> None:
    """None turns it off. A NOC that runs takes it up by itself. Raises InputError."""
    key = settings_key(service.name)
    if data is None:
        audit = AuditEntry(actor, "service.unset", service.name, "done", {})
        await store.write([Delete(SETTINGS, key)], audit)
        return
    parse_settings(service, data)
    audit = AuditEntry(actor, "service.set", service.name, "done", {"settings": data})
    await store.write([Put(SETTINGS, key, canonical(data).encode())], audit)


# ---- what a service is given ----


class StoredRecords:
    """Implements `nf.contracts.service.Records` in a bucket that all services share, each below its name."""

    def __init__(self, store: Store, service: str) -> None:
        self._store = store
        self._prefix = f"{service}/"

    async def all(self) -> Mapping[str, JsonObject]:
        entries = await self._store.list(RECORDS, self._prefix)
        return {entry.key.removeprefix(self._prefix): json.loads(entry.value) for entry in entries}

    async def put(self, key: str, value: JsonObject, note: Note | None = None) -> None:
        change = Put(RECORDS, self._prefix + key, canonical(value).encode())
        await self._store.write([change], _audit(note))

    async def remove(self, key: str, note: Note | None = None) -> None:
        await self._store.write([Delete(RECORDS, self._prefix + key)], _audit(note))


def _require(caller: Caller, role: OperatorRole) -> None:
    """As the table of calls has it: everything may be read from every site, the fleet changed by who is bound to none.

    Raises DeniedError.
    """
    name = caller.spiffe_id.name
    if caller.role < role:
        remedy = f"ask somebody with the role {role.value}"
        raise DeniedError(f"needs the role {role.value}, {name} has {caller.role.value}", remedy=remedy)
    if caller.sites and role > OperatorRole.VIEWER:
        sites = ", ".join(sorted(caller.sites))
        raise DeniedError(f"{name} is bound to the sites {sites}", remedy="ask somebody who is not")


def _audit(note: Note | None) -> AuditEntry | None:
    return None if note is None else AuditEntry(note.actor, note.action, note.object, note.outcome, note.detail)


class HostedContext:
    """Implements `nf.contracts.service.ServiceContext` on a node."""

    def __init__(
        self,
        node: Node,
        service: Service,
        settings: DocumentModel,
        *,
        state_dir: Path,
        identity: Callable[[], Identity],
        ready: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._node = node
        self._name = service.name
        self._settings = settings
        self._state_dir = state_dir
        self._records = StoredRecords(node.book.store, service.name)
        self._ready = ready
        self._raised: set[tuple[str, str]] = set()
        self.identity = identity

    @property
    def settings(self) -> DocumentModel:
        return self._settings

    @property
    def state_dir(self) -> Path:
        return self._state_dir

    @property
    def clock(self) -> Clock:
        return self._node.clock

    @property
    def records(self) -> StoredRecords:
        return self._records

    @property
    def paths(self) -> Paths:
        return self._node.policy

    @property
    def telemetry(self) -> Telemetry:
        return self._node.exports

    async def authorize(self, certificate_der: bytes, role: OperatorRole, act: str) -> Caller:
        actor = "unknown"
        try:
            peer = self._peer(certificate_der)
            actor = str(peer.spiffe_id)
            caller = await self._caller(peer)
            _require(caller, role)
        except (DeniedError, IdentityError) as error:
            await self._node.denied(actor, f"{self._name}/{act}", str(error))
            raise
        return caller

    def _peer(self, certificate_der: bytes) -> Peer:
        pem = ssl.DER_cert_to_PEM_cert(certificate_der).encode()
        return check_peer(pem, self._node.authority.ca_pem, self.clock.now())

    async def _caller(self, peer: Peer) -> Caller:
        where = str(peer.spiffe_id)
        if await self._node.is_revoked(peer.spiffe_id, peer.serial):
            raise IdentityError("this identity is revoked", where=where, remedy="`nf operator add` at the NOC")
        found = await self._node.operator(peer.spiffe_id.name) if peer.spiffe_id.kind == "operator" else None
        if found is None:
            raise IdentityError("no operator of this NOC", where=where, remedy="add it with `nf operator add`")
        return Caller(peer.spiffe_id, *found)

    def committed(self) -> Committed:
        current = self._node.lineups.current
        return Committed(current.record.revision, current.lineup, current.fleet)

    async def run_operation(
        self,
        name: str,
        target: str,
        arguments: JsonObject,
        *,
        author: str,
        past_failures: bool = False,
        progress: Progress = silent,
    ) -> OperationOutcome:
        last = Event()
        async for event in self._node.operations.run(name, target, arguments, author, past_failures=past_failures):
            last = event
            if event.appliance:
                progress(event.appliance, event.state, event.fraction, event.text)
        nodes = tuple(
            NodeOutcome(one.appliance, one.driver, one.stage, one.state, one.text, one.result) for one in last.outcomes
        )
        return OperationOutcome(last.state == DONE, nodes, last.duration_s, {})

    async def submit_operations(
        self, name: str, target: str, several: Sequence[JsonObject], *, author: str
    ) -> tuple[int, ...]:
        return tuple(order.seq for order in await self._node.operations.submit(name, target, several, author))

    async def operation_objects(self, name: str) -> frozenset[str]:
        known = await self._node.lineups.operations()
        return frozenset(operation.object for operation in known if operation.name == name)

    def alarm(self, cause: str, subject: str, severity: Severity, text: str = "", remedy: str = "") -> None:
        subject = f"{self._name}/{subject}"
        (self._raised.discard if severity is Severity.CLEARED else self._raised.add)((cause, subject))
        self._node.telemetry.alarm(cause, subject, severity, text, remedy)

    def close(self) -> None:
        """Who does not run any more says nothing: what still holds is raised by its next life."""
        for cause, subject in self._raised:
            self._node.telemetry.clear(cause, subject)

    def ready(self, **facts: Any) -> None:
        self._ready(facts)


# ---- supervision ----


class Services:
    """Keeps every configured service running. Nothing that one does takes the NOC down.

    `facts`: what each said when it was ready, such as the port on which it listens.
    """

    def __init__(
        self, node: Node, services: Iterable[Service], state_dir: Path, identity: Callable[[], Identity]
    ) -> None:
        self._node = node
        self._services = tuple(services)
        self._state_dir = state_dir
        self._identity = identity
        self._tasks = Tasks("service")
        self.facts: dict[str, Mapping[str, Any]] = {}

    def start(self) -> None:
        for service in self._services:
            self._tasks.start(self._keep(service))

    async def close(self) -> None:
        await self._tasks.close()

    async def _keep(self, service: Service) -> None:
        """Until cancelled: run it while it is configured, start it again when it fails or its settings change."""
        clock, failures, name = self._node.clock, 0, service.name
        while True:
            wanted = await self._wanted(service)
            if wanted is None:
                failures = 0
                self._node.telemetry.clear(DOWN, name)
                await clock.sleep(_LOOK_S)
                continue
            began = clock.monotonic()
            reason = await self._once(service, wanted)
            self.facts.pop(name, None)
            if reason is None:
                failures = 0
                continue
            failures = 1 if clock.monotonic() - began >= _STABLE_S else failures + 1
            pause = pause_s(failures)
            self._tell(name, f"{reason}; it is started again in {pause:.0f} s, after {failures} failures in a row")
            await clock.sleep(pause)

    def _tell(self, name: str, text: str) -> None:
        _log.warning("the service %s is down: %s", name, text)
        remedy = f"see the NOC's log; `nf noc service show {name}` has its settings"
        self._node.telemetry.alarm(DOWN, name, Severity.MAJOR, text[:1000], remedy)

    async def _wanted(self, service: Service) -> JsonObject | None:
        """Its settings. What cannot be read now is not taken for a change."""
        while True:
            try:
                return await read_settings(self._node.book.store, service.name)
            except (NfError, ValueError) as error:
                self._tell(service.name, f"its settings cannot be read: {error}")
            await self._node.clock.sleep(_LOOK_S)

    async def _once(self, service: Service, wanted: JsonObject) -> str | None:
        """One life: why it ended; None when other settings ended it."""
        name = service.name

        def ready(facts: Mapping[str, Any]) -> None:
            self.facts[name] = facts
            self._node.telemetry.clear(DOWN, name)
            _log.info("the service %s is ready: %s", name, dict(facts))

        try:
            settings = parse_settings(service, wanted)
            directory = self._state_dir / name
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except (NfError, OSError) as error:
            return str(error)
        context = HostedContext(
            self._node, service, settings, state_dir=directory, identity=self._identity, ready=ready
        )
        work = asyncio.create_task(_guarded(service, context), name=f"service {name}")
        changed = asyncio.create_task(self._changed(service, wanted), name=f"settings of {name}")
        try:
            await asyncio.wait({work, changed}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            for task in (work, changed):
                task.cancel()
            await asyncio.gather(work, changed, return_exceptions=True)
            context.close()

    async def _changed(self, service: Service, wanted: JsonObject) -> None:
        while await self._wanted(service) == wanted:
            await self._node.clock.sleep(_LOOK_S)


async def _guarded(service: Service, context: HostedContext) -> str:
    """Why it ended. A library's `sys.exit` ends the service, not the process."""
    try:
        await service.run(context)
    except NfError as error:
        return str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a service may fail in any way; the NOC goes on
        _log.error("the service %s failed", service.name, exc_info=error)
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        return str(cause) if isinstance(cause, NfError) else f"{type(cause).__name__}: {cause}"
    return "it ended by itself"


def find_service(services: Iterable[Service], name: str) -> Service:
    """Raises NotFoundError."""
    known = {service.name: service for service in services}
    if name not in known:
        remedy = f"one of: {', '.join(sorted(known))}" if known else "no installed domain has one"
        raise NotFoundError("no such service", where=name, remedy=remedy)
    return known[name]
