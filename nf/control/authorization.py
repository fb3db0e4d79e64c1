"""Who may call what: one table, deny by default, and the interceptor that asks it at every call.

The peer is the SPIFFE id of its client certificate. Operators have a role and may be bound to sites; what they may
call depends on both. An identity that is revoked is refused at its next call.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

import grpc
from cryptography import x509

from nf.control.errors import abort
from nf.errors import DeniedError, IdentityError, NfError
from nf.trust.roles import OperatorRole
from nf.trust.spiffe import SpiffeId

_log = logging.getLogger(__name__)


class Scope(Enum):
    """What a call touches, and therefore what an operator bound to sites may do with it."""

    READ = "read"  # everything may be read from every site
    APPLIANCE = "appliance"  # the site of the request's `appliance`
    SITE = "site"  # the request's `site`
    FLEET = "fleet"  # only operators who are bound to no site


@dataclass(frozen=True, slots=True)
class Rule:
    """`role` is the least operator role; None: the kinds in `kinds` may call it as they are."""

    kinds: frozenset[str]
    role: OperatorRole | None = None
    scope: Scope = Scope.READ


def _operator(role: OperatorRole, scope: Scope = Scope.READ) -> Rule:
    return Rule(frozenset({"operator"}), role, scope)


_APPLIANCE: Final = Rule(frozenset({"appliance"}))
_ANYBODY: Final = Rule(frozenset({"appliance", "operator", "noc"}))
_VIEW: Final = _operator(OperatorRole.VIEWER)
_CHANGE_FLEET: Final = _operator(OperatorRole.ENGINEER, Scope.FLEET)
_OPERATE: Final = _operator(OperatorRole.OPERATOR, Scope.APPLIANCE)
_OPERATE_SITE: Final = _operator(OperatorRole.OPERATOR, Scope.SITE)
_HANDLE_ALARM: Final = _operator(OperatorRole.OPERATOR)  # its site is known only once the alarm is found

_NOC: Final = "/streamverse.nf.v1.Noc/"
_ADMIN: Final = "/streamverse.nf.v1.NocAdmin/"
_OPERATIONS: Final = "/streamverse.nf.v1.Operations/"
_PATHS: Final = "/streamverse.nf.v1.Paths/"
_UPGRADES: Final = "/streamverse.nf.v1.Upgrades/"

TABLE: Final[dict[str, Rule]] = {
    "/streamverse.nf.v1.Fleet/Session": _APPLIANCE,
    "/streamverse.nf.v1.Fleet/Telemetry": _APPLIANCE,
    "/streamverse.nf.v1.Fleet/FetchBundle": _APPLIANCE,
    _NOC + "GetInfo": _VIEW,
    _NOC + "ListAppliances": _VIEW,
    _NOC + "GetAppliance": _VIEW,
    _NOC + "IssueEnrolmentToken": _operator(OperatorRole.SECURITY, Scope.APPLIANCE),
    _NOC + "CheckLineUp": _VIEW,
    _NOC + "PlanLineUp": _operator(OperatorRole.OPERATOR),
    _NOC + "CommitLineUp": _CHANGE_FLEET,
    _NOC + "ConfirmLineUp": _CHANGE_FLEET,
    _NOC + "RollbackLineUp": _CHANGE_FLEET,
    _NOC + "ListRevisions": _VIEW,
    _NOC + "GetRevision": _VIEW,
    _NOC + "DiffRevisions": _VIEW,
    _NOC + "ListChannels": _VIEW,
    _NOC + "GetChannel": _VIEW,
    _NOC + "ListAlarms": _VIEW,
    _NOC + "ShowAudit": _operator(OperatorRole.OPERATOR),
    _NOC + "VerifyAudit": _operator(OperatorRole.OPERATOR),
    _NOC + "AddOverride": _OPERATE,
    _NOC + "ListOverrides": _VIEW,
    _NOC + "EndOverride": _OPERATE,
    _NOC + "ScheduleLineUp": _CHANGE_FLEET,
    _NOC + "ListScheduled": _VIEW,
    _NOC + "UnscheduleLineUp": _CHANGE_FLEET,
    _NOC + "OpenMaintenance": _OPERATE_SITE,
    _NOC + "CloseMaintenance": _OPERATE_SITE,
    _NOC + "ListMaintenance": _VIEW,
    _NOC + "ReplaceAppliance": _operator(OperatorRole.SECURITY, Scope.APPLIANCE),
    _NOC + "WipeAppliance": _operator(OperatorRole.SECURITY, Scope.APPLIANCE),
    _NOC + "DrainSite": _OPERATE_SITE,
    _NOC + "ReturnSite": _OPERATE_SITE,
    _NOC + "ListDrains": _VIEW,
    _NOC + "AcknowledgeAlarm": _HANDLE_ALARM,
    _NOC + "ShelveAlarm": _HANDLE_ALARM,
    _NOC + "UnshelveAlarm": _HANDLE_ALARM,
    _ADMIN + "GetStatus": _VIEW,
    _ADMIN + "CollectSupport": _operator(OperatorRole.ENGINEER, Scope.FLEET),
    _ADMIN + "AdoptLineUp": _operator(OperatorRole.ENGINEER),
    _OPERATIONS + "RunOperation": _operator(OperatorRole.OPERATOR, Scope.FLEET),
    _OPERATIONS + "ListFleetOperations": _VIEW,
    _PATHS + "ListPaths": _VIEW,
    _PATHS + "ListSwitches": _VIEW,
    _PATHS + "ApproveFailback": _OPERATE_SITE,
    _PATHS + "HoldPaths": _OPERATE_SITE,
    _PATHS + "ReleasePaths": _OPERATE_SITE,
    _OPERATIONS + "ListOrders": _VIEW,
    _OPERATIONS + "GetOrder": _VIEW,
    _UPGRADES + "OfferBundle": _CHANGE_FLEET,
    _UPGRADES + "SendBundle": _CHANGE_FLEET,
    _UPGRADES + "ListBundles": _VIEW,
    _UPGRADES + "RemoveBundle": _CHANGE_FLEET,
    _UPGRADES + "StartUpgrade": _CHANGE_FLEET,
    _UPGRADES + "WatchUpgrade": _VIEW,
    _UPGRADES + "ListUpgrades": _VIEW,
    _UPGRADES + "PauseUpgrade": _CHANGE_FLEET,
    _UPGRADES + "ResumeUpgrade": _CHANGE_FLEET,
    _UPGRADES + "CancelUpgrade": _CHANGE_FLEET,
    "/grpc.health.v1.Health/Check": _ANYBODY,
    "/grpc.health.v1.Health/Watch": _ANYBODY,
    "/grpc.health.v1.Health/List": _ANYBODY,
}

_RANK: Final = {role: rank for rank, role in enumerate(OperatorRole)}


@dataclass(frozen=True, slots=True)
class Peer:
    """Who calls. `role` and `sites` are set for operators; no sites = every site."""

    spiffe_id: SpiffeId
    certificate_serial: int
    role: OperatorRole | None = None
    sites: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return str(self.spiffe_id)


_PEER: ContextVar[Peer] = ContextVar("peer")


def current_peer() -> Peer:
    """The caller of the running RPC. Raises LookupError outside of one."""
    return _PEER.get()


class Directory(Protocol):
    """What authorization must know; the NOC answers from its store."""

    async def operator(self, name: str) -> tuple[OperatorRole, frozenset[str]] | None:
        """Role and sites of an operator; None = unknown."""

    async def is_revoked(self, spiffe_id: SpiffeId, certificate_serial: int) -> bool: ...

    async def site_of(self, appliance: str) -> str | None: ...

    async def denied(self, actor: str, method: str, reason: str) -> None:
        """Put a refusal on record."""


def judge(table: dict[str, Rule], method: str, peer: Peer, site: str | None) -> None:
    """Pure. Raises DeniedError unless the table allows `peer` to call `method` on something of `site`."""
    rule = table.get(method)
    name = method.rpartition("/")[2]
    if rule is None:
        raise DeniedError("this method is not open to anybody", where=name)
    if peer.spiffe_id.kind not in rule.kinds:
        kinds = " or ".join(sorted(rule.kinds))
        raise DeniedError(f"only an identity of kind {kinds} may call this", where=name, remedy="use such an identity")
    if rule.role is None or peer.spiffe_id.kind != "operator":
        return
    if peer.role is None or _RANK[peer.role] < _RANK[rule.role]:
        have = peer.role.value if peer.role else "none"
        raise DeniedError(
            f"needs the role {rule.role.value}, {peer.spiffe_id.name} has {have}",
            where=name,
            remedy=f"ask somebody with the role {rule.role.value}",
        )
    if not peer.sites or rule.scope is Scope.READ:
        return
    if rule.scope is Scope.FLEET or site not in peer.sites:
        raise DeniedError(
            f"{peer.spiffe_id.name} is bound to the sites {', '.join(sorted(peer.sites))}",
            where=name,
            remedy="ask somebody who is not",
        )


class Authorizer:
    """Turns a call's TLS peer into a `Peer`, or refuses it."""

    def __init__(self, domain: str, directory: Directory, table: dict[str, Rule] | None = None) -> None:
        self._domain = domain
        self._directory = directory
        self._table = TABLE if table is None else table

    async def peer(self, context: grpc.aio.ServicerContext[Any, Any]) -> Peer:
        """Raises IdentityError: no certificate, not one SPIFFE id of this domain, revoked, or an unknown operator."""
        auth = context.auth_context()
        names = tuple(auth.get("peer_spiffe_id", ()))
        certificates = tuple(auth.get("x509_pem_cert", ()))
        if len(names) != 1 or not certificates:
            raise IdentityError("the certificate names no SPIFFE id", remedy="enrol, or ask for an operator identity")
        spiffe_id = SpiffeId.parse(_text(names[0]))
        if spiffe_id.domain != self._domain:
            raise IdentityError(f"{spiffe_id} is of another trust domain", where=str(spiffe_id))
        serial = x509.load_pem_x509_certificate(_bytes(certificates[0])).serial_number
        if await self._directory.is_revoked(spiffe_id, serial):
            anew = "`nf operator add` at the NOC" if spiffe_id.kind == "operator" else "enrol anew"
            raise IdentityError("this identity is revoked", where=str(spiffe_id), remedy=anew)
        if spiffe_id.kind != "operator":
            return Peer(spiffe_id, serial)
        record = await self._directory.operator(spiffe_id.name)
        if record is None:
            raise IdentityError("no such operator", where=str(spiffe_id), remedy="add it with `nf operator add`")
        return Peer(spiffe_id, serial, *record)

    async def admit(self, method: str, context: grpc.aio.ServicerContext[Any, Any], request: object) -> Peer:
        """The peer, if it may make this call. Refusals are put on record."""
        actor = "unknown"
        try:
            peer = await self.peer(context)
            actor = str(peer)
            rule = self._table.get(method)
            site = None
            if rule is not None and rule.scope is Scope.APPLIANCE and peer.sites:
                site = await self._directory.site_of(getattr(request, "appliance", ""))
            elif rule is not None and rule.scope is Scope.SITE:
                site = getattr(request, "site", "")
            judge(self._table, method, peer, site)
        except (DeniedError, IdentityError) as error:
            await self._directory.denied(
                error.where if actor == "unknown" and error.where else actor, method, str(error)
            )
            raise
        return peer


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


Admit = Callable[[str, grpc.aio.ServicerContext[Any, Any], object], Awaitable[Peer | None]]


async def admit_anybody(_method: str, _context: grpc.aio.ServicerContext[Any, Any], _request: object) -> None:
    """For the enrolment service, whose callers have no certificate yet: the service itself checks the token."""


class GuardInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler: who is it, may it, and what an error looks like on the wire.

    `HandlerCallDetails` does not know the peer, so the check runs inside the wrapped handler.
    """

    def __init__(self, admit: Admit) -> None:
        self._admit = admit

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None  # grpc answers UNIMPLEMENTED
        method = _text(handler_call_details.method)
        build, inner = _shape(handler)
        wrapped = self._stream(method, inner) if handler.response_streaming else self._unary(method, inner)
        built: grpc.RpcMethodHandler[Any, Any] = build(
            wrapped,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return built

    def _unary(self, method: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                peer = await self._admit(method, context, request)
                if peer is not None:
                    _PEER.set(peer)
                return await inner(request, context)
            except NfError as error:
                await abort(context, error)
            except (OSError, ValueError, LookupError, TypeError, AssertionError, RuntimeError) as error:
                await _fault(method, context, error)

        return guarded

    def _stream(self, method: str, inner: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            try:
                peer = await self._admit(method, context, request)
                if peer is not None:
                    _PEER.set(peer)
                async with aclosing(inner(request, context)) as messages:  # type: ignore[type-var]
                    async for message in messages:
                        yield message
            except NfError as error:
                await abort(context, error)
            except (OSError, ValueError, LookupError, TypeError, AssertionError, RuntimeError) as error:
                await _fault(method, context, error)

        return guarded


async def _fault(method: str, context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    """A mistake of ours: logged with its trace here, told without it there."""
    _log.error("%s failed", method, exc_info=error)
    await abort(context, NfError("internal error", where=method, remedy="the NOC's log has the details"))


def _shape(handler: Any) -> tuple[Callable[..., Any], Any]:
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler, handler.stream_stream
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary
