"""The gate as a process: `python -m nf.media.anycast.gate --section JSON --status SOCKET`.

It asks the cache, and what it hears decides whether the VIPs are announced. It needs neither the agent nor the NOC.
While it is dead itself everything stays as it was: the supervisor starts it again, and its first questions decide.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path

from nf.contracts.json import JsonObject
from nf.errors import NfError
from nf.media.answering import answering
from nf.media.anycast import kernel
from nf.media.anycast.documents import AnycastSection, Target
from nf.media.anycast.machine import Effect, State, VipMachine
from nf.media.server_probe import probe

_AGAIN_S = 0.03
"""After a first failure the next question is soon: one that is lost is no reason, and two are enough."""


class Gate:
    def __init__(self, section: AnycastSection, *, announced: bool) -> None:
        self._section = section
        health = section.health
        self._machine = VipMachine(health.hold_ms / 1000, time.time(), announced=announced)
        self._applied: Effect | None = self._machine.effect if announced else None
        self._probes = self._ended = self._withdrawn = self._errors = 0
        self._last_error = ""

    async def run(self, stop: asyncio.Event) -> None:
        health = self._section.health
        while not stop.is_set():
            began = time.monotonic()
            self._machine.probed(await self._ask(), time.time())
            self._probes += 1
            await self._act()
            soon = self._machine.state in {State.DOUBTED, State.ARMED}
            rest = _AGAIN_S if soon else health.interval_ms / 1000 - (time.monotonic() - began)
            try:
                async with asyncio.timeout(max(0.0, rest)):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _ask(self) -> str:
        """By the VIPs while they are this host's, by the cache's own addresses while packets for them go elsewhere."""
        own = self._machine.effect.own
        addresses = [vip.address for vip in self._section.vips] if own else [None]
        answers = await asyncio.gather(
            *(
                self._probe(target, address or target.address)
                for target in self._section.targets
                for address in addresses
            )
        )
        return next((answer for answer in answers if answer), "")

    async def _probe(self, target: Target, address: IPv4Address) -> str:
        found = await probe(
            address, target.port, target.path, self._section.health.timeout_ms, host=target.host, tls=target.tls
        )
        return f"{address}:{target.port}: {found}" if found else ""

    async def _act(self) -> None:
        effect = self._machine.effect
        if effect == self._applied:
            return
        try:
            ended = await kernel.apply(self._section.vips, effect)
        except NfError as error:
            self._errors += 1
            self._last_error = str(error)  # done again after the next question
            return
        self._withdrawn += self._applied is not None and self._applied.announced and not effect.announced
        self._ended += ended
        self._applied = effect

    def answer(self) -> JsonObject:
        applied = self._applied
        return {
            "version": 1,
            "pid": os.getpid(),
            "state": self._machine.state.value,
            "announced": applied is not None and applied.announced,
            "why": self._machine.why,
            "since": self._machine.since,
            "vips": [str(vip.address) for vip in self._section.vips],
            "probes": self._probes,
            "withdrawals": self._withdrawn,
            "connections_ended": self._ended,
            "errors": self._errors,
            "last_error": self._last_error,
        }


async def main_loop(section: AnycastSection, status: Path) -> None:
    """Until SIGTERM or SIGINT. Raises OSError, DriverError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    held = await kernel.read()
    announced = all(vip.announced in held.announced and vip.address in held.own for vip in section.vips)
    gate = Gate(section, announced=announced)
    async with answering(status, gate.answer):
        await gate.run(stop)


def main() -> int:
    parser = argparse.ArgumentParser(prog="anycast-gate", description=__doc__)
    parser.add_argument("--section", required=True, help="JSON")
    parser.add_argument("--status", type=Path, required=True, help="unix socket")
    given = parser.parse_args()
    try:
        section = AnycastSection.model_validate_json(given.section)
        asyncio.run(main_loop(section, given.status))
    except (OSError, ValueError, NfError) as error:
        sys.stderr.write(f"anycast-gate: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
