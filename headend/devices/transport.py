"""What devices need of SNMP; `headend.snmp`'s Session and Setter have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from headend.snmp.target import Target
from headend.snmp.values import Reading, Varbind


class Reader(Protocol):
    async def get(self, oids: Sequence[str]) -> Mapping[str, Reading]:
        """Every OID asked for has its reading; what the agent does not have or say is in the quality."""

    async def walk(self, root: str) -> Sequence[Varbind]:
        """What lies beneath `root`, duplicates and disorder survived. Raises AgentSilentError."""


class Writer(Protocol):
    async def set(self, target: Target, varbinds: Sequence[Varbind], timeout_s: float | None = None) -> None:
        """One PDU. Raises SnmpError, SnmpSecurityError, AgentSilentError."""
