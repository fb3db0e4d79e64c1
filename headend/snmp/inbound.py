"""pysnmp as the reader of notifications: digests, decryption, decoding, the answer to an INFORM and to discovery.

What pysnmp does not do is done around it: it takes a message below its user's security level, and it takes the time
of every message that has a right digest for the time of its engine, so that an old one may be sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from pyasn1.error import PyAsn1Error
from pysnmp.carrier.asyncio.dgram import udp, udp6
from pysnmp.carrier.base import AbstractTransportDispatcher
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413.ntfrcv import NotificationReceiver
from pysnmp.error import PySnmpError

from headend.snmp.errors import SnmpError
from headend.snmp.notification import Reason
from headend.snmp.stack import AUTH_PROTOCOLS, PRIVACY_PROTOCOLS, answered
from headend.snmp.target import Usm
from headend.snmp.values import Varbind

Address = tuple[str, int]
_USM_COUNTERS: Final = {
    "usmStatsUnsupportedSecLevels": Reason.LOW_SECURITY_LEVEL,
    "usmStatsNotInTimeWindows": Reason.NOT_IN_TIME_WINDOW,
    "usmStatsUnknownUserNames": Reason.UNKNOWN_USER,
    "usmStatsUnknownEngineIDs": Reason.DISCOVERY,
    "usmStatsWrongDigests": Reason.WRONG_DIGEST,
    "usmStatsDecryptionErrors": Reason.CANNOT_DECRYPT,
}


class _Outlet(AbstractTransportDispatcher):  # type: ignore[misc]  # pysnmp is not typed
    """Where pysnmp's answers go: back through the receiver's own socket."""

    def __init__(self, send: Callable[[bytes, Address], None]) -> None:
        super().__init__()
        self._send = send

    def send_message(self, message: bytes, _domain: Any, address: Any) -> None:
        self._send(bytes(message), (address[0], address[1]))


class Inbound:
    """Decodes one datagram after the other. `engine_id` and `boots` are ours, as INFORM senders see them."""

    def __init__(self, engine_id: bytes, boots: int, send: Callable[[bytes, Address], None]) -> None:
        self._engine = SnmpEngine()
        self._outlet = _Outlet(send)
        self._engine.register_transport_dispatcher(self._outlet)
        self._become(engine_id, boots)
        self._varbinds: list[Varbind] | None = None
        self._counters = self._symbols("__SNMP-USER-BASED-SM-MIB", *_USM_COUNTERS)
        self._known: set[tuple[bytes, str]] = set()
        NotificationReceiver(self._engine, self._received)

    def _symbols(self, module: str, *names: str) -> Any:
        return self._engine.get_mib_builder().import_symbols(module, *names)

    def _become(self, engine_id: bytes, boots: int) -> None:
        """pysnmp would keep boots in a place of its own that everybody may write to."""
        symbols = self._symbols("__SNMP-FRAMEWORK-MIB", "snmpEngineID", "snmpEngineBoots")
        for symbol, value in zip(symbols, (engine_id, boots), strict=True):
            symbol.syntax = symbol.syntax.clone(value)
        self._engine.snmpEngineID = symbols[0].syntax

    def add_community(self, name: str) -> None:
        config.add_v1_system(self._engine, f"c{name.encode().hex()}", name)

    def add_user(self, usm: Usm, engine_id: bytes | None) -> None:
        """A user at an engine (its TRAPs), or at our own (INFORMs of whoever knows its keys) when that is None."""
        key = (engine_id or b"", usm.user)
        security_engine = None if engine_id is None else self._octets(engine_id)
        if key in self._known:
            config.delete_v3_user(self._engine, usm.user, security_engine)
        self._known.add(key)
        config.add_v3_user(
            self._engine,
            usm.user,
            AUTH_PROTOCOLS[usm.auth_protocol],
            usm.auth_key.get_secret_value() or None,
            PRIVACY_PROTOCOLS[usm.privacy_protocol],
            usm.privacy_key.get_secret_value() or None,
            securityEngineId=security_engine,
        )

    def remove_user(self, user: str, engine_id: bytes | None) -> None:
        key = (engine_id or b"", user)
        if key in self._known:
            self._known.discard(key)
            config.delete_v3_user(self._engine, user, None if engine_id is None else self._octets(engine_id))

    def _octets(self, octets: bytes) -> Any:
        return self._engine.snmpEngineID.clone(octets)

    def take(self, datagram: bytes, source: Address) -> list[Varbind] | Reason:
        """The bindings of a notification, or why there are none. Answers what must be answered."""
        self._outlet.handle_timer_tick(time.time())  # pysnmp forgets by its ticks
        domain, address = (udp6, udp6.Udp6TransportAddress) if ":" in source[0] else (udp, udp.UdpTransportAddress)
        before = [int(counter.syntax) for counter in self._counters]
        self._varbinds = None
        try:
            self._engine.message_dispatcher.receive_message(self._engine, domain.DOMAIN_NAME, address(source), datagram)
        except (PySnmpError, PyAsn1Error, SnmpError, ValueError, TypeError, IndexError, KeyError, AttributeError):
            return Reason.MALFORMED  # this is what pysnmp's decoders are known to raise at odd octets
        finally:
            self._forget()
        if self._varbinds is not None:
            return self._varbinds
        for counter, old, reason in zip(self._counters, before, _USM_COUNTERS.values(), strict=True):
            if int(counter.syntax) != old:
                return reason
        return Reason.MALFORMED

    def _forget(self) -> None:
        """Nothing is under way between two datagrams; pysnmp keeps the state of each one that it refuses, for ever."""
        for model in self._engine.security_models.values():
            model._cache = type(model._cache)()  # noqa: SLF001 - it has no other way to let go of it

    def _received(self, _engine: Any, _state: Any, _context_engine: Any, _context: Any, pairs: Any, _own: Any) -> None:
        self._varbinds = [answered(name, value).varbind for name, value in pairs]
