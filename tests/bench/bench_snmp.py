"""Polling a fleet: our poller against pysnmp's get_cmd, the same agents, the same twenty objects.

What is compared is the manager's processor time for one agent. The agents are other processes; on a quiet machine the
manager is what a poll waits for, and on a busy one wall time would measure the neighbours.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
import warnings
from collections.abc import Callable, Iterator

with warnings.catch_warnings():  # pysnmp's own use of pysmi is out of date, which is none of our readers' business
    warnings.simplefilter("ignore", DeprecationWarning)
    from pysnmp.hlapi.v3arch.asyncio import (
        USM_AUTH_HMAC192_SHA256,
        USM_PRIV_CFB128_AES,
        CommunityData,
        ContextData,
        ObjectIdentity,
        ObjectType,
        SnmpEngine,
        UdpTransportTarget,
        UsmUserData,
        get_cmd,
    )

from headend.snmp.poller import Poller, PollGroup
from headend.snmp.target import Community, Credentials, Target
from nf.clock import RealClock
from tests.bench.harness import Benchmark
from tests.support.snmp import AUTH_KEY, PRIVACY_KEY, TWENTY_OIDS, Snmpd, snmpd, usm

AGENTS, THEIRS, ROUNDS = 200, 20, 3


@contextlib.contextmanager
def fleet() -> Iterator[list[Snmpd]]:
    """200 ports of net-snmp's agent, in two processes."""
    if shutil.which("snmpd", path="/usr/sbin:/usr/bin") is None:
        raise FileNotFoundError(2, "not found", "snmpd")
    with snmpd(ports=AGENTS // 2) as first, snmpd(ports=AGENTS // 2) as second:
        yield [first, second]


async def _ours(poller: Poller) -> float:
    """Seconds of processor for one agent, the sessions kept from poll to poll."""
    start = time.process_time()
    results = await asyncio.gather(*(poller.refresh(name) for name in poller.names()))
    passed = time.process_time() - start
    if not all(reading.good for readings in results for reading in readings.values()):
        raise RuntimeError("an agent did not answer")
    return passed / len(results)


class Pysnmp:
    """pysnmp as its documentation says, its engine and transport targets kept."""

    def __init__(self, credentials: Credentials) -> None:
        self._engine = SnmpEngine()
        self._auth = (
            CommunityData("public")
            if isinstance(credentials, Community)
            else UsmUserData(credentials.user, AUTH_KEY, PRIVACY_KEY, USM_AUTH_HMAC192_SHA256, USM_PRIV_CFB128_AES)
        )

    async def get(self, transport: UdpTransportTarget) -> None:
        question = [ObjectType(ObjectIdentity(oid)) for oid in TWENTY_OIDS]
        failed, status, _, values = await get_cmd(self._engine, self._auth, transport, ContextData(), *question)
        if failed or status or len(values) != len(TWENTY_OIDS):
            raise RuntimeError(str(failed or status))

    async def poll(self, transports: list[UdpTransportTarget]) -> float:
        """Seconds of processor for one agent."""
        start = time.process_time()
        await asyncio.gather(*(self.get(transport) for transport in transports))
        return (time.process_time() - start) / len(transports)

    def close(self) -> None:
        self._engine.close_dispatcher()


async def _ratio(agents: list[Snmpd], credentials: Credentials) -> float:
    targets = [
        Target("127.0.0.1", port, credentials, timeout_s=10.0, retries=3) for agent in agents for port in agent.ports
    ]
    poller, pysnmp = Poller(RealClock()), Pysnmp(credentials)
    some = [await UdpTransportTarget.create(("127.0.0.1", target.port), 10.0, 3) for target in targets[:THEIRS]]
    for target in targets:
        poller.add(str(target), target, [PollGroup(TWENTY_OIDS, 1.0)])
    await _ours(poller)
    await pysnmp.poll(some)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        ours.append(await _ours(poller))
        theirs.append(await pysnmp.poll(some))
    pysnmp.close()
    return sum(theirs) / sum(ours)


def _run(credentials: Credentials) -> Callable[[], float]:
    def run() -> float:
        with fleet() as agents:
            return asyncio.run(_ratio(agents, credentials))

    return run


BENCHMARKS = [
    Benchmark(
        "snmp.fleet_poll",
        peer="pysnmp's get_cmd, 200 agents x 20 OIDs, v2c",
        sense=">=",
        target=50.0,
        run=_run(Community("public")),
    ),
    Benchmark(
        "snmp.v3_poll",
        peer="pysnmp's get_cmd, 200 agents x 20 OIDs, SHA-256 and AES-128",
        sense=">=",
        target=5.0,
        run=_run(usm()),
    ),
]
