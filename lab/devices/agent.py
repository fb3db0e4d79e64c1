"""The SNMP agent of a simulated device: v2c and v3 (USM, SHA-256 and AES-128), GET, GETNEXT, GETBULK, SET, traps.

pysnmp does the protocol; what is answered is the device's own `Tree`. Faults change what is answered, or whether.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config, engine
from pysnmp.entity.rfc3413 import cmdrsp, context, ntforg
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c
from pysnmp.smi import error as smi_error
from pysnmp.smi.instrum import AbstractMibInstrumController

from lab.devices.config import Snmp, TrapTarget
from lab.devices.control import DeviceFault, Weather
from lab.devices.objects import NF_LAB, Oid, Syntax, Value
from lab.devices.tree import Changes, DiedError, Refusal, Request, SetRefusedError, Tree, UnfitError
from nf.errors import UnavailableError

_TYPES = {
    Syntax.INTEGER: rfc1902.Integer32,
    Syntax.UNSIGNED: rfc1902.Unsigned32,
    Syntax.GAUGE: rfc1902.Gauge32,
    Syntax.COUNTER32: rfc1902.Counter32,
    Syntax.COUNTER64: rfc1902.Counter64,
    Syntax.TIMETICKS: rfc1902.TimeTicks,
    Syntax.TEXT: rfc1902.OctetString,
    Syntax.OCTETS: rfc1902.OctetString,
    Syntax.IPADDRESS: rfc1902.IpAddress,
    Syntax.OID: rfc1902.ObjectIdentifier,
}
_WRAPS = {Syntax.COUNTER32: 1 << 32, Syntax.COUNTER64: 1 << 64, Syntax.GAUGE: 1 << 32}
_ERRORS = {
    Refusal.NO_CREATION: smi_error.NoCreationError,
    Refusal.NOT_WRITABLE: smi_error.NotWritableError,
    Refusal.WRONG_TYPE: smi_error.WrongTypeError,
    Refusal.WRONG_LENGTH: smi_error.WrongLengthError,
    Refusal.WRONG_VALUE: smi_error.WrongValueError,
    Refusal.INCONSISTENT_VALUE: smi_error.InconsistentValueError,
}
_READER, _WRITER = "community-read", "community-write"
_EVERYTHING = (1,)
_USM = 3
_NO_AUTH, _AUTH_PRIV = 1, 3
_RECEIVE_BUFFER = 1 << 20
_GARBAGE = b"#ERR"
_TRAP_OID: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)

log = logging.getLogger("lab.devices")


class Behind(Protocol):
    """What an agent stands in front of."""

    tree: Tree

    def weather(self) -> Weather: ...

    def change(self, changes: Changes) -> None:
        """Do a SET, all of it. Raises UnfitError, and DiedError when there will be no answer."""


class _Instrumentation(AbstractMibInstrumController):  # type: ignore[misc]  # pysnmp has no types
    """Answers from the tree. `askers`: who may read, by security name, and whether they may write too."""

    def __init__(self, device: Behind, askers: Mapping[str, bool]) -> None:
        self._device = device
        self._askers = askers

    def read_variables(self, *bindings: Any, **about: Any) -> list[tuple[Any, Any]]:
        self._check(bindings, about, write=False)
        return [(name, self._value(tuple(name))) for name, _ in bindings]

    def read_next_variables(self, *bindings: Any, **about: Any) -> list[tuple[Any, Any]]:
        self._check(bindings, about, write=False)
        found = [(name, self._device.tree.after(tuple(name))) for name, _ in bindings]
        return [
            (name, rfc1905.endOfMibView) if behind is None else (rfc1902.ObjectName(behind[0]), self._value(behind[0]))
            for name, behind in found
        ]

    def write_variables(self, *bindings: Any, **about: Any) -> list[tuple[Any, Any]]:
        self._check(bindings, about, write=True)
        requests = [Request(tuple(name), _syntaxes(value), _plain(value)) for name, value in bindings]
        try:
            changes = self._device.tree.changes(requests)
        except SetRefusedError as refused:
            raise _error(refused.refusal, refused.index, bindings) from None
        try:
            self._write(changes)
        except UnfitError as unfit:
            keys = list(changes)
            raise _error(unfit.refusal, keys.index(unfit.key) if unfit.key in keys else 0, bindings) from None
        except DiedError:
            raise smi_error.PySnmpError from None  # which pysnmp leaves unanswered
        return list(bindings)

    def _write(self, changes: Changes) -> None:
        weather = self._device.weather()
        if weather.has(DeviceFault.IGNORED_SET):
            return
        if weather.has(DeviceFault.ALTERED_SET):
            changes = {key: value // 2 if isinstance(value, int) else value for key, value in changes.items()}
        self._device.change(changes)

    def _check(self, bindings: Sequence[Any], about: Any, *, write: bool) -> None:
        """Views are all or nothing: who may read sees everything, who may write sets what can be set."""
        asked = about["snmpEngine"].observer.get_execution_context("rfc3412.receiveMessage:request")
        asker = str(asked["securityName"])
        level = _AUTH_PRIV if asked["securityModel"] == _USM else _NO_AUTH
        if asked["securityLevel"] != level or asker not in self._askers:
            raise smi_error.AuthorizationError(idx=0, name=bindings[0][0])
        if write and not self._askers[asker]:
            raise smi_error.NoAccessError(idx=0, name=bindings[0][0])

    def _value(self, oid: Oid) -> Any:
        instance = self._device.tree.get(oid)
        if instance is None:
            return rfc1905.noSuchInstance if self._has_object(oid) else rfc1905.noSuchObject
        value = instance.read()
        if (
            instance.spec is not None
            and isinstance(value, int)
            and self._device.weather().has(DeviceFault.WRONG_ANSWER)
        ):
            return rfc1902.OctetString(_GARBAGE)
        return _wire(instance.syntax, value)

    def _has_object(self, oid: Oid) -> bool:
        behind = self._device.tree.after(oid[:-1])
        return oid[: len(NF_LAB)] == NF_LAB and behind is not None and behind[0][:-1] == oid[:-1]


def _error(refusal: Refusal, index: int, bindings: Sequence[Any]) -> Exception:
    return _ERRORS[refusal](idx=index, name=bindings[index][0])  # type: ignore[no-any-return]  # pysnmp has no types


def _wire(syntax: Syntax, value: Value) -> Any:
    if isinstance(value, int) and syntax in _WRAPS:
        value = min(value, _WRAPS[syntax] - 1) if syntax is Syntax.GAUGE else value % _WRAPS[syntax]
    return _TYPES[syntax](value)


def _syntaxes(value: Any) -> frozenset[Syntax]:
    return frozenset(syntax for syntax, kind in _TYPES.items() if kind.tagSet == value.tagSet)


def _plain(value: Any) -> Value:
    if isinstance(value, rfc1902.OctetString):  # an IpAddress is one of them
        return bytes(value)
    try:
        return int(value)
    except (TypeError, ValueError):
        return b""  # no object here is written with such a type: refused as the wrong one


class _SetResponder(cmdrsp.SetCommandResponder):  # type: ignore[misc]  # pysnmp has no types
    """Names the variable that was refused, which pysnmp's own does not when there are several."""

    def handle_management_operation(self, engine: Any, state: Any, context_name: Any, pdu: Any) -> None:
        try:
            super().handle_management_operation(engine, state, context_name, pdu)
        except smi_error.SmiError as refused:
            status = self.SMI_ERROR_MAP.get(type(refused))
            if status is None or "idx" not in refused or refused["idx"] is None:
                raise
            self.send_varbinds(engine, state, status, refused["idx"] + 1, v2c.apiPDU.get_varbinds(pdu))


class _Transport(udp.UdpAsyncioTransport):  # type: ignore[misc]  # pysnmp has no types
    """Drops or delays requests while a fault says so."""

    weather: Callable[[], Weather]

    def datagram_received(self, datagram: bytes, source: Any) -> None:
        faults = self.weather().faults
        if DeviceFault.SILENT in faults:
            return
        slow = faults.get(DeviceFault.SLOW)
        if slow is None:
            super().datagram_received(datagram, source)
            return
        self.loop.call_later(slow.get("seconds", 3.0), super().datagram_received, datagram, source)


class Agent:
    """Answers from `start` to `close`. Made inside a running event loop."""

    def __init__(self, settings: Snmp, device: Behind, *, engine_id: bytes, boots: int) -> None:
        self._settings = settings
        self._device = device
        self._engine = engine.SnmpEngine()
        self._set_identity(engine_id, boots)
        self._allow()
        answered = context.SnmpContext(self._engine)
        answered.unregister_context_name(b"")
        answered.register_context_name(b"", _Instrumentation(device, self._askers()))
        for responder in (cmdrsp.GetCommandResponder, cmdrsp.NextCommandResponder, cmdrsp.BulkCommandResponder):
            responder(self._engine, answered)
        _SetResponder(self._engine, answered)
        self._originator = ntforg.NotificationOriginator()

    def start(self) -> None:
        """Raises UnavailableError when the port cannot be had."""
        place = str(self._settings.address), self._settings.port
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        try:
            opened.bind(place)
        except OSError as error:
            opened.close()
            text = f"port {place[1]} of {place[0]} cannot be had: {error.strerror}"
            raise UnavailableError(text, where="lab.devices", remedy="end what has it, or choose another") from None
        transport = _Transport(loop=asyncio.get_running_loop())
        transport.weather = self._device.weather
        config.add_transport(self._engine, udp.DOMAIN_NAME, transport.open_server_mode(sock=opened))
        for number, target in enumerate(self._settings.traps):
            self._aim(f"trap{number}", target)

    def notify(self, trap: Oid, bindings: Sequence[tuple[Oid, Syntax, Value]], uptime: int) -> None:
        """To every target, unless the device is silent."""
        if self._device.weather().has(DeviceFault.SILENT):
            return
        sent = [
            ((1, 3, 6, 1, 2, 1, 1, 3, 0), rfc1902.TimeTicks(uptime)),
            (_TRAP_OID, rfc1902.ObjectIdentifier(trap)),
            *((oid, _wire(syntax, value)) for oid, syntax, value in bindings),
        ]
        for number in range(len(self._settings.traps)):
            self._originator.send_varbinds(self._engine, f"trap{number}", None, b"", sent)

    def close(self) -> None:
        self._engine.close_dispatcher()

    def _set_identity(self, engine_id: bytes, boots: int) -> None:
        """Kept with the device's state: pysnmp would keep it in the machine's temporary directory."""
        symbols = "snmpEngineID", "snmpEngineBoots"
        identity, booted = self._engine.get_mib_builder().import_symbols("__SNMP-FRAMEWORK-MIB", *symbols)
        identity.syntax = identity.syntax.clone(engine_id)
        booted.syntax = booted.syntax.clone(boots)
        self._engine.snmpEngineID = identity.syntax

    def _allow(self) -> None:
        settings = self._settings
        # One community for both is the one that may write.
        for community, name in {settings.read_community: _READER, settings.write_community: _WRITER}.items():
            config.add_v1_system(self._engine, name, community)
            self._let_notify(2, name, "noAuthNoPriv")
        for user in settings.users:
            config.add_v3_user(
                self._engine,
                user.name,
                config.USM_AUTH_HMAC192_SHA256,
                user.auth_key.get_secret_value(),
                config.USM_PRIV_CFB128_AES,
                user.privacy_key.get_secret_value(),
            )
            self._let_notify(3, user.name, "authPriv")

    def _let_notify(self, model: int, name: str, level: str) -> None:
        config.add_vacm_user(self._engine, model, name, level, (), (), _EVERYTHING)

    def _askers(self) -> dict[str, bool]:
        return {_READER: False, _WRITER: True} | {user.name: user.write for user in self._settings.users}

    def _aim(self, name: str, target: TrapTarget) -> None:
        if target.user is None:
            known = {self._settings.read_community: _READER, self._settings.write_community: _WRITER}
            community = known.get(target.community, name)
            if community == name:
                config.add_v1_system(self._engine, name, target.community)
                self._let_notify(2, name, "noAuthNoPriv")
            config.add_target_parameters(self._engine, name, community, "noAuthNoPriv", 1)
        else:
            config.add_target_parameters(self._engine, name, target.user, "authPriv", 3)
        place = str(target.address), target.port
        config.add_target_address(self._engine, name, udp.DOMAIN_NAME, place, name, tagList=name)
        config.add_notification_target(self._engine, name, name, name, "trap")
