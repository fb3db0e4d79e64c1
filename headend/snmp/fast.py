"""gufo-snmp with the recovery that SNMPv3 needs: a kept socket, keys localised once, one resynchronisation.

gufo-snmp tells neither why a REPORT came nor whose engine it was; both are asked for apart when it matters.
"""

from __future__ import annotations

from typing import Final

from gufo.snmp import NoSuchInstance, SnmpAuthError, SnmpDecodeError, SnmpVersion
from gufo.snmp import SnmpError as GufoError
from gufo.snmp.aio import SnmpSession

from headend.snmp import walk
from headend.snmp.engine import EngineTime, discover
from headend.snmp.errors import AgentSilentError, SnmpError, SnmpSecurityError
from headend.snmp.keys import MasterKeys
from headend.snmp.stack import Stack
from headend.snmp.target import Community, Target, Usm
from headend.snmp.wire import Wire
from nf.errors import InputError, NfError

RECEIVE_BUFFER: Final = 262_144
SYS_UP_TIME: Final = "1.3.6.1.2.1.1.3.0"


class UnreadableAnswerError(Exception):
    """There was an answer, and it cannot be read. Internal to this package."""


class FastAgent:
    """GETs of one agent. Not for several tasks at once.

    Errors of all calls: AgentSilentError, SnmpSecurityError, InputError for what is no address.
    """

    def __init__(self, target: Target, stack: Stack) -> None:
        self.target = target
        self.engine_id = b""
        self.resynchronised = 0  # how often, since this was made
        self._stack = stack
        self._session: SnmpSession | None = None
        self._wire: Wire | None = None
        self._keys = MasterKeys(target.credentials) if isinstance(target.credentials, Usm) else None

    def close(self) -> None:
        """Let go of the socket; the next GET opens another."""
        if self._wire is not None:
            self._wire.close()
        self._session = self._wire = None

    async def get_many(self, oids: list[str]) -> dict[str, object]:
        """One GET. What the agent has not got, and everything when it answers with an error-status, is left out.

        Repeated as the target says, and once more after a resynchronisation. Raises UnreadableAnswerError.
        """
        tries, fresh = 1 + self.target.retries, True
        while True:
            wire = self._wire or await self._open()
            try:
                return await wire.get_many(oids)
            except SnmpAuthError:
                if not fresh:
                    raise await self._not_accepted() from None
                fresh = False
                await self._resynchronise()
            except (TimeoutError, SnmpDecodeError) as error:
                tries -= 1
                if tries:
                    continue
                if isinstance(error, SnmpDecodeError):
                    raise UnreadableAnswerError from None
                if not fresh or not await self._engine_changed():
                    raise self._silent() from None
                fresh, tries = False, 1
            except OSError as error:
                raise self._unreachable(error) from error

    async def get_one(self, oid: str) -> object:
        """One OID alone; KeyError when the agent says that it has not got it, None for NULL or an error-status."""
        wire = self._wire or await self._open()
        try:
            return await wire.get(oid)
        except NoSuchInstance:
            raise KeyError(oid) from None
        except TimeoutError:
            raise self._silent() from None
        except GufoError:
            raise UnreadableAnswerError from None
        except OSError as error:
            raise self._unreachable(error) from error

    async def discovered(self) -> EngineTime:
        """The engine as it calls itself, unauthenticated."""
        try:
            return await discover(self.target)
        except OSError as error:
            raise self._unreachable(error) from error

    async def _open(self) -> Wire:
        if self._keys is not None:
            return await self._open_engine(self._keys, await self.discovered())
        return self._kept(self._connect(None, b""))

    async def _open_engine(self, keys: MasterKeys, engine: EngineTime) -> Wire:
        session = self._connect(keys, engine.engine_id)
        await self._refresh(session)
        self.engine_id = engine.engine_id
        return self._kept(session)

    def _kept(self, session: SnmpSession) -> Wire:
        self.close()
        self._session, self._wire = session, Wire(session, self.target.timeout_s)
        return self._wire

    def _connect(self, keys: MasterKeys | None, engine_id: bytes) -> SnmpSession:
        target, credentials = self.target, self.target.credentials
        community = credentials.name if isinstance(credentials, Community) else ""
        v1 = isinstance(credentials, Community) and credentials.version == "v1"
        plain = SnmpVersion.v1 if v1 else SnmpVersion.v2c
        try:
            return SnmpSession(
                target.address,
                target.port,
                community,
                engine_id or None,
                keys.user if keys else None,
                SnmpVersion.v3 if keys else plain,
                timeout=target.timeout_s,
                recv_buffer=RECEIVE_BUFFER,
            )
        except OSError as error:
            raise InputError(f"not an IP address and port: {error}", where=str(target)) from error

    async def _refresh(self, session: SnmpSession) -> None:
        try:
            await session.refresh()
        except TimeoutError:
            raise self._silent() from None
        except GufoError:
            raise await self._not_accepted() from None

    async def _resynchronise(self) -> None:
        """After a REPORT: learn the engine's boots and time, or another engine altogether (RFC 3414 clause 2.3)."""
        self.resynchronised += 1
        if self._keys is None:
            return
        engine = await self.discovered()
        if engine.engine_id != self.engine_id or self._session is None:
            await self._open_engine(self._keys, engine)
            return
        session = self._session
        self.close()  # while gufo-snmp reads its socket itself, nobody else may
        await self._refresh(session)
        self._kept(session)

    async def _engine_changed(self) -> bool:
        """Whether the silence has the reason that another engine is there now; then that one is taken up."""
        if self._keys is None:
            return False
        engine = await self.discovered()
        if engine.engine_id == self.engine_id:
            return False
        self.resynchronised += 1
        await self._open_engine(self._keys, engine)
        return True

    def _silent(self) -> AgentSilentError:
        return AgentSilentError("no answer", where=str(self.target), remedy="is it up, is the community right?")

    def _unreachable(self, error: OSError) -> AgentSilentError:
        return AgentSilentError(f"cannot be reached: {error}", where=str(self.target), remedy="see routes and cables")

    async def _not_accepted(self) -> NfError:
        """pysnmp can tell which REPORT it was."""
        try:
            await walk.get(self._stack, self.target, [SYS_UP_TIME])
        except (SnmpSecurityError, AgentSilentError) as error:
            return error
        except SnmpError:
            pass
        return SnmpSecurityError("not accepted", where=str(self.target), remedy="see user, protocols and keys")
