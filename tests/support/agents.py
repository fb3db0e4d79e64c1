"""pysnmp agents in a thread, for what real ones do not do on demand: an engine whose boots and time a test sets."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any, Self

from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdrsp, context

from headend.snmp.target import Credentials, Target
from tests.support.ports import free_port
from tests.support.snmp import AUTH_KEY, PRIVACY_KEY


class SettableEngine:
    """An SNMPv3 agent (user `nf`, SHA-256, AES-128) with pysnmp's own objects."""

    def __init__(self) -> None:
        self.port = free_port()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._engine: Any

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def target(self, credentials: Credentials) -> Target:
        return Target("127.0.0.1", self.port, credentials, timeout_s=2.0)

    @property
    def boots(self) -> int:
        return int(self._symbol("snmpEngineBoots").syntax)

    @boots.setter
    def boots(self, value: int) -> None:
        symbol = self._symbol("snmpEngineBoots")
        symbol.syntax = symbol.syntax.clone(value)

    def jump(self, seconds: int) -> None:
        """The engine's time goes forth, or back."""
        symbol = self._symbol("snmpEngineTime")  # pysnmp keeps the time of its start there
        symbol.syntax = type(symbol.syntax)(int(symbol.syntax) - seconds)

    def _symbol(self, name: str) -> Any:
        (symbol,) = self._engine.get_mib_builder().import_symbols("__SNMP-FRAMEWORK-MIB", name)
        return symbol

    def _run(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        engine = self._engine = SnmpEngine()
        config.add_transport(
            engine, udp.DOMAIN_NAME, udp.UdpAsyncioTransport(loop=self._loop).open_server_mode(("127.0.0.1", self.port))
        )
        config.add_v3_user(
            engine, "nf", config.USM_AUTH_HMAC192_SHA256, AUTH_KEY, config.USM_PRIV_CFB128_AES, PRIVACY_KEY
        )
        config.add_vacm_user(engine, 3, "nf", "authPriv", (1, 3, 6), (1, 3, 6))
        cmdrsp.GetCommandResponder(engine, context.SnmpContext(engine))
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        engine.close_dispatcher()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
