"""pysnmp behind one call: any request, every wire type, contexts, SNMPv3 with its own discovery.

Some fifty times slower than `headend.snmp.session`'s polls; it does what those cannot: SET, walks that keep the wire
type, contexts, and telling why an agent does not accept us.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pyasn1.error import PyAsn1Error
from pyasn1.type.univ import Null
from pysnmp.carrier.asyncio.dgram import udp, udp6
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413.cmdgen import CommandGenerator
from pysnmp.error import PySnmpError
from pysnmp.proto import errind, rfc1902, rfc1905
from pysnmp.proto.api import v2c

from headend.snmp.errors import AgentSilentError, SnmpError, SnmpSecurityError, status_name
from headend.snmp.target import AuthProtocol, Community, Credentials, PrivacyProtocol, Target, Usm
from headend.snmp.values import Syntax, Varbind, Wire, plain_oid
from nf.errors import InputError

AUTH_PROTOCOLS: Final = {
    None: config.USM_AUTH_NONE,
    AuthProtocol.MD5: config.USM_AUTH_HMAC96_MD5,
    AuthProtocol.SHA: config.USM_AUTH_HMAC96_SHA,
    AuthProtocol.SHA224: config.USM_AUTH_HMAC128_SHA224,
    AuthProtocol.SHA256: config.USM_AUTH_HMAC192_SHA256,
    AuthProtocol.SHA384: config.USM_AUTH_HMAC256_SHA384,
    AuthProtocol.SHA512: config.USM_AUTH_HMAC384_SHA512,
}
PRIVACY_PROTOCOLS: Final = {
    None: config.USM_PRIV_NONE,
    PrivacyProtocol.DES: config.USM_PRIV_CBC56_DES,
    PrivacyProtocol.AES128: config.USM_PRIV_CFB128_AES,
    PrivacyProtocol.AES192: config.USM_PRIV_CFB192_AES_BLUMENTHAL,
    PrivacyProtocol.AES256: config.USM_PRIV_CFB256_AES_BLUMENTHAL,
}
_TYPES: Final = {
    Syntax.INTEGER: rfc1902.Integer32,
    Syntax.GAUGE32: rfc1902.Gauge32,
    Syntax.COUNTER32: rfc1902.Counter32,
    Syntax.COUNTER64: rfc1902.Counter64,
    Syntax.TIMETICKS: rfc1902.TimeTicks,
    Syntax.OCTETS: rfc1902.OctetString,
    Syntax.OID: rfc1902.ObjectIdentifier,
    Syntax.IPADDRESS: rfc1902.IpAddress,
    Syntax.NULL: Null,
    Syntax.OPAQUE: rfc1902.Opaque,
}
_SYNTAXES: Final = {type_.tagSet: syntax for syntax, type_ in _TYPES.items()}
_EXCEPTIONS: Final = {
    rfc1905.NoSuchObject.tagSet: "noSuchObject",
    rfc1905.NoSuchInstance.tagSet: "noSuchInstance",
    rfc1905.EndOfMibView.tagSet: "endOfMibView",
}
_US: Final = "us"
_SILENT: Final = (errind.RequestTimedOut, errind.EmptyResponse)


class Request(Enum):
    """PDUs that an agent answers."""

    GET = v2c.GetRequestPDU
    GETNEXT = v2c.GetNextRequestPDU
    GETBULK = v2c.GetBulkRequestPDU
    SET = v2c.SetRequestPDU


@dataclass(frozen=True, slots=True)
class Answered:
    """One binding of an answer; `exception` is noSuchObject, noSuchInstance or endOfMibView, else ""."""

    varbind: Varbind
    exception: str = ""


def to_wire(value: Any) -> tuple[Wire, Syntax]:
    """A pyasn1 value of an SNMP type as our plain value. KeyError for a type that SMIv2 does not have."""
    syntax = _SYNTAXES[value.tagSet]
    if syntax is Syntax.NULL:
        return None, syntax
    if syntax is Syntax.OID:
        return str(value), syntax
    if syntax is Syntax.IPADDRESS:
        return ".".join(str(octet) for octet in value.asOctets()), syntax
    return (value.asOctets() if syntax in (Syntax.OCTETS, Syntax.OPAQUE) else int(value)), syntax


def from_wire(varbind: Varbind) -> tuple[Any, Any]:
    """Name and value as pysnmp wants them. Raises InputError when the value does not fit its type."""
    try:
        value = Null("") if varbind.syntax is Syntax.NULL else _TYPES[varbind.syntax](varbind.value)
        return rfc1902.ObjectName(plain_oid(varbind.oid)), value
    except (PyAsn1Error, PySnmpError, ValueError, TypeError) as error:
        raise InputError(f"{varbind.value!r} is no {varbind.syntax.value}", where=varbind.oid) from error


def answered(name: Any, value: Any) -> Answered:
    """Raises SnmpError for a type that SMIv2 does not have."""
    oid = str(name)
    exception = _EXCEPTIONS.get(value.tagSet, "")
    if exception:
        return Answered(Varbind(oid, None, Syntax.NULL), exception)
    try:
        wire, syntax = to_wire(value)
    except KeyError:
        raise SnmpError("malformed", 0, oid) from None
    return Answered(Varbind(oid, wire, syntax))


class _Engine:
    """pysnmp's engine with one set of credentials; destinations are added as they come."""

    def __init__(self, credentials: Credentials) -> None:
        self.engine = SnmpEngine()
        self._context = credentials.context if isinstance(credentials, Usm) else ""
        self._destinations: dict[tuple[str, int, float, int], str] = {}
        self._under_way = 0
        self._retired = False
        if isinstance(credentials, Community):
            config.add_v1_system(self.engine, _US, credentials.name)
            config.add_target_parameters(self.engine, _US, _US, "noAuthNoPriv", 0 if credentials.version == "v1" else 1)
            return
        config.add_v3_user(
            self.engine,
            credentials.user,
            AUTH_PROTOCOLS[credentials.auth_protocol],
            credentials.auth_key.get_secret_value() or None,
            PRIVACY_PROTOCOLS[credentials.privacy_protocol],
            credentials.privacy_key.get_secret_value() or None,
        )
        config.add_target_parameters(self.engine, _US, credentials.user, credentials.level, 3)

    def _destination(self, target: Target, timeout_s: float, retries: int) -> str:
        key = (target.address, target.port, timeout_s, retries)
        if key not in self._destinations:
            module, transport = (
                (udp6, udp6.Udp6AsyncioTransport) if ":" in target.address else (udp, udp.UdpAsyncioTransport)
            )
            if config.get_transport(self.engine, module.DOMAIN_NAME) is None:
                config.add_transport(self.engine, module.DOMAIN_NAME, transport().open_client_mode())
            name = f"to{len(self._destinations)}"
            address = (target.address, target.port)
            config.add_target_address(self.engine, name, module.DOMAIN_NAME, address, _US, timeout_s * 100, retries)
            self._destinations[key] = name
        return self._destinations[key]

    async def exchange(self, target: Target, pdu: Any, timeout_s: float, retries: int) -> tuple[Any, Any]:
        """pysnmp's error indication or None, and the answer's PDU."""
        future: asyncio.Future[tuple[Any, Any]] = asyncio.get_running_loop().create_future()

        def done(_engine: Any, _handle: Any, indication: Any, answer: Any, _context: Any) -> None:
            if not future.done():
                future.set_result((indication, answer))

        destination = self._destination(target, timeout_s, retries)
        self._under_way += 1
        try:
            CommandGenerator().send_pdu(self.engine, destination, None, self._context, pdu, done, None)
            # pysnmp's own timeouts, and its up to four rounds of discovery, end before.
            async with asyncio.timeout(6.0 * timeout_s * (1 + retries) + 1.0):
                return await future
        except TimeoutError:  # an answer that made pysnmp stumble, or an engine that was closed meanwhile
            return errind.requestTimedOut, None
        finally:
            self._under_way -= 1
            if self._retired and not self._under_way:
                self.close()

    def retire(self) -> None:
        """Close as soon as nobody waits for an answer."""
        self._retired = True
        if not self._under_way:
            self.close()

    def close(self) -> None:
        self.engine.close_dispatcher()


class Stack:
    """Our side of SNMP by pysnmp. One engine for each credentials, kept; thrown away when it lost touch with an agent.

    An engine costs about 0.1 s to make. Belongs to the event loop that first uses it; `close` it there.
    """

    def __init__(self) -> None:
        self._engines: dict[Credentials, _Engine] = {}

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()

    async def request(
        self,
        target: Target,
        request: Request,
        varbinds: Sequence[Varbind],
        *,
        timeout_s: float | None = None,
        retries: int | None = None,
        repetitions: int = 25,
    ) -> list[Answered]:
        """One PDU and its answer. `timeout_s`, `retries`: the target's unless given.

        Errors: SnmpError (error-status), AgentSilentError, SnmpSecurityError, InputError (a value that does not fit).
        """
        _check_address(target)
        pdu = _pdu(request, [from_wire(varbind) for varbind in varbinds], repetitions)
        timeout_s = target.timeout_s if timeout_s is None else timeout_s
        retries = target.retries if retries is None else retries
        engine = self._engine(target.credentials)
        try:
            indication, answer = await engine.exchange(target, pdu, timeout_s, retries)
        except (PySnmpError, PyAsn1Error) as error:
            self._drop(target.credentials, engine)
            raise SnmpError("malformed", where=str(target)) from error
        if indication is None:
            return _answers(target, answer)
        if isinstance(indication, _SILENT):
            raise AgentSilentError("no answer", where=str(target), remedy="is it up, is the community right?")
        self._drop(target.credentials, engine)
        remedy = "see user, protocols, keys and context on both sides"
        raise SnmpSecurityError(f"not accepted: {indication}", where=str(target), remedy=remedy)

    def _engine(self, credentials: Credentials) -> _Engine:
        if credentials not in self._engines:
            self._engines[credentials] = _Engine(credentials)
        return self._engines[credentials]

    def _drop(self, credentials: Credentials, engine: _Engine) -> None:
        """An engine that lost touch may never find it again; what else waits for it is still answered."""
        if self._engines.get(credentials) is engine:
            del self._engines[credentials]
            engine.retire()


def _check_address(target: Target) -> None:
    try:
        ipaddress.ip_address(target.address)
    except ValueError as error:
        raise InputError("not an IP address and port", where=str(target)) from error


def _pdu(request: Request, pairs: Sequence[tuple[Any, Any]], repetitions: int) -> Any:
    pdu = request.value()
    if request is Request.GETBULK:
        v2c.apiBulkPDU.set_defaults(pdu)
        v2c.apiBulkPDU.set_non_repeaters(pdu, 0)
        v2c.apiBulkPDU.set_max_repetitions(pdu, repetitions)
        v2c.apiBulkPDU.set_varbinds(pdu, pairs)
    else:
        v2c.apiPDU.set_defaults(pdu)
        v2c.apiPDU.set_varbinds(pdu, pairs)
    return pdu


def _answers(target: Target, pdu: Any) -> list[Answered]:
    status = int(v2c.apiPDU.get_error_status(pdu))
    pairs = v2c.apiPDU.get_varbinds(pdu)
    if status:
        index = int(v2c.apiPDU.get_error_index(pdu, muteErrors=True))
        oid = str(pairs[index - 1][0]) if 0 < index <= len(pairs) else ""
        raise SnmpError(status_name(status), index, oid, where=str(target))
    return [answered(name, value) for name, value in pairs]
