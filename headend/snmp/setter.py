"""SET: never repeated blindly, and an answer that only looks like success is none."""

from __future__ import annotations

from collections.abc import Sequence

from headend.snmp.errors import SnmpError
from headend.snmp.stack import Request, Stack
from headend.snmp.target import Target
from headend.snmp.values import Varbind, plain_oid


class Setter:
    """Sets variables, all of one call in one PDU: by RFC 3416 clause 4.2.5 an agent sets all or none.

    What was set must be read back by the caller: agents have been seen that answer noError and do nothing.
    """

    def __init__(self, stack: Stack | None = None) -> None:
        self._stack = stack or Stack()

    def close(self) -> None:
        self._stack.close()

    async def set(self, target: Target, varbinds: Sequence[Varbind], timeout_s: float | None = None) -> None:
        """One SET PDU, sent once: after silence nobody knows what it did, and the caller reads back.

        Errors: SnmpError with the agent's error-status, or with noSuchObject/noSuchInstance where an agent puts such
        a *value* into an answer without error (it has set nothing); AgentSilentError; SnmpSecurityError; InputError.
        """
        if not varbinds:
            return
        answers = await self._stack.request(target, Request.SET, varbinds, timeout_s=timeout_s, retries=0)
        for index, answer in enumerate(answers, 1):
            if answer.exception:
                remedy = "the object is not there, or it is read-only"
                raise SnmpError(answer.exception, index, answer.varbind.oid, where=str(target), remedy=remedy)
        if [answer.varbind.oid for answer in answers] != [plain_oid(varbind.oid) for varbind in varbinds]:
            raise SnmpError("malformed", where=str(target), remedy="its answer names other objects than the SET did")
