"""pysnmp behind one call: any request, every wire type, contexts, SNMPv3 with its own discovery.

Some fifty times slower than `headend.snmp.session`'s polls; it does what those cannot: SET, walks that keep the wire
type, contexts, and telling why an agent does not accept us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pyasn1.error import PyAsn1Error
from pyasn1.type.univ import Null
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413.cmdgen import CommandGenerator
from pysnmp.error import PySnmpError
from pysnmp.hlapi.v3arch.asyncio import CommunityData, Udp6TransportTarget, UdpTransportTarget, UsmUserData
from pysnmp.hlapi.v3arch.asyncio.lcd import CommandGeneratorLcdConfigurator
from pysnmp.proto import errind, rfc1902, rfc1905
from pysnmp.proto.api import v2c

from headend.snmp.errors import AgentSilentError, SnmpError, SnmpSecurityError, status_name
from headend.snmp.target import AuthProtocol, Community, Credentials, PrivacyProtocol, Target, Usm
from headend.snmp.values import Syntax, Varbind, Wire
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
        return rfc1902.ObjectName(varbind.oid.removeprefix(".")), value
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


class Stack:
    """Our side of SNMP by pysnmp. One engine for each credentials, kept; thrown away when it lost touch with an agent.

    An engine costs about 0.1 s to make. Belongs to the event loop that first uses it; `close` it there.
    """

    def __init__(self) -> None:
        self._engines: dict[Credentials, SnmpEngine] = {}

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close_dispatcher()
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
        pairs = [from_wire(varbind) for varbind in varbinds]
        transport = await self._transport(
            target, target.timeout_s if timeout_s is None else timeout_s, target.retries if retries is None else retries
        )
        engine = self._engine(target.credentials)
        try:
            pdu = await self._exchange(engine, target, transport, _pdu(request, pairs, repetitions))
        except SnmpSecurityError:
            self._drop(target.credentials, engine)
            raise
        except (PySnmpError, PyAsn1Error) as error:
            self._drop(target.credentials, engine)
            raise SnmpError("malformed", where=str(target)) from error
        return _answers(target, pdu)

    def _engine(self, credentials: Credentials) -> SnmpEngine:
        if credentials not in self._engines:
            self._engines[credentials] = SnmpEngine()
        return self._engines[credentials]

    def _drop(self, credentials: Credentials, engine: SnmpEngine) -> None:
        """An engine that lost touch may never find it again; what else waits for it ends by `_patience_s`."""
        if credentials in self._engines and self._engines[credentials] is engine:
            self._engines.pop(credentials).close_dispatcher()

    @staticmethod
    async def _transport(target: Target, timeout_s: float, retries: int) -> Any:
        kind = Udp6TransportTarget if ":" in target.address else UdpTransportTarget
        try:
            return await kind.create((target.address, target.port), timeout=timeout_s, retries=retries)
        except PySnmpError as error:
            raise InputError("not an IP address and port", where=str(target)) from error

    @staticmethod
    async def _exchange(engine: SnmpEngine, target: Target, transport: Any, pdu: Any) -> Any:
        credentials = target.credentials
        context = credentials.context if isinstance(credentials, Usm) else ""
        address, _ = CommandGeneratorLcdConfigurator().configure(engine, _auth(credentials), transport, context)
        future: asyncio.Future[tuple[Any, Any]] = asyncio.get_running_loop().create_future()

        def done(_engine: Any, _handle: Any, indication: Any, answer: Any, _context: Any) -> None:
            if not future.done():
                future.set_result((indication, answer))

        CommandGenerator().send_pdu(engine, address, None, context, pdu, done, None)
        try:
            async with asyncio.timeout(_patience_s(transport)):
                indication, answer = await future
        except TimeoutError:  # an answer that made pysnmp stumble, or an engine that was dropped
            indication, answer = errind.requestTimedOut, None
        if indication is None:
            return answer
        if isinstance(indication, _SILENT):
            raise AgentSilentError("no answer", where=str(target), remedy="is it up, is the community right?")
        remedy = "see user, protocols, keys and context on both sides"
        raise SnmpSecurityError(f"not accepted: {indication}", where=str(target), remedy=remedy)


def _patience_s(transport: Any) -> float:
    """pysnmp's own timeouts and its up to four rounds of discovery end before."""
    return 6.0 * float(transport.timeout) * (1 + int(transport.retries)) + 1.0


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


def _auth(credentials: Credentials) -> Any:
    if isinstance(credentials, Community):
        return CommunityData(credentials.name, mpModel=0 if credentials.version == "v1" else 1)
    return UsmUserData(
        credentials.user,
        authKey=credentials.auth_key.get_secret_value() or None,
        privKey=credentials.privacy_key.get_secret_value() or None,
        authProtocol=AUTH_PROTOCOLS[credentials.auth_protocol],
        privProtocol=PRIVACY_PROTOCOLS[credentials.privacy_protocol],
    )


def _answers(target: Target, pdu: Any) -> list[Answered]:
    status = int(v2c.apiPDU.get_error_status(pdu))
    pairs = v2c.apiPDU.get_varbinds(pdu)
    if status:
        index = int(v2c.apiPDU.get_error_index(pdu, muteErrors=True))
        oid = str(pairs[index - 1][0]) if 0 < index <= len(pairs) else ""
        raise SnmpError(status_name(status), index, oid, where=str(target))
    return [answered(name, value) for name, value in pairs]
