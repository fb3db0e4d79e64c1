"""The process: sockets, time and the services of one carrier, in one loop of its own.

It may be told `{"reception": "good"}` or `"bad"`, `{"reload": true}`, and `{"failback": "ch1/sat"}`: an operator lets
that service return to the satellite. What policy has to remember lies beside the sockets, so that a restart of the
process is no reason to switch.
"""

from __future__ import annotations

import json
import os
import selectors
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from headend import datapath
from headend.multicast.outputs import Outputs
from headend.satellite.feed.config import FeedConfig, Handed, ServiceConfig, load
from headend.satellite.feed.inputs import CarrierInput, FallbackInput, HandedInput
from headend.satellite.feed.memory import Memory
from headend.satellite.feed.policy import AS_BEFORE
from headend.satellite.feed.programme import Multiplex
from headend.satellite.feed.service import Service
from nf.errors import InputError

_TICK_S = 0.05
_CHECK_S = 1.0
_GATHER_S = 0.004
"""What arrives within so long is taken in one turn: far fewer turns for a delay that any jitter buffer swallows."""


class _Channel:
    """A service with its sockets."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        config: ServiceConfig,
        now: float,
        remembered: Mapping[str, Any] | None = None,
    ) -> None:
        self.outputs = Outputs(config.group, config.port)
        self.service = Service(config, self.outputs.send, now, remembered)
        self.fallback: FallbackInput | HandedInput | None = None
        if config.fallback is not None and self.service.fallback is not None:
            given = config.fallback
            self.fallback = (
                HandedInput(selector, given) if isinstance(given, Handed) else FallbackInput(selector, given)
            )
            self.fallback.multiplex.follow([self.service.fallback])

    def tick(self, now: float) -> None:
        self.service.tick(now)
        if self.fallback is not None:
            self.fallback.fetch(self.outputs.addresses)

    def check(self) -> None:
        self.outputs.check()
        if self.fallback is not None:
            self.fallback.check()

    def close(self, now: float) -> None:
        self.service.output.flush(now)
        self.outputs.close()
        if self.fallback is not None:
            self.fallback.close()

    def status(self, now: float) -> dict[str, object]:
        service, output = self.service, self.service.output
        at = service.switched_at
        return {
            "channel": service.config.channel,
            "path": service.config.path,
            "service_id": service.config.service_id,
            "state": service.state.value,
            "input": "fallback" if service.on_fallback else "satellite",
            "packets": output.packets,
            "continuity_errors": output.continuity_errors,
            "age_ms": None if output.last_at is None else max(0.0, now - output.last_at) * 1000,
            "switches": service.switches,
            "waiting": service.policy.waiting,
            "reason": service.policy.reason,
            "switched_ago_ms": None if at is None else (now - at) * 1000,
            "send_errors": self.outputs.send_errors,
            "last_send_error": self.outputs.last_error,
            "satellite": asdict(service.satellite.counters(now)),
            "fallback": None if service.fallback is None else asdict(service.fallback.counters(now)),
            "fallback_problem": "" if self.fallback is None else self.fallback.problem,
        }


class Feed:
    """One carrier. Raises InputError when its first configuration is none."""

    def __init__(self, path: Path, selector: selectors.BaseSelector, memory: Path) -> None:
        self._path = path
        self._selector = selector
        self._multiplex = Multiplex()
        self._input: CarrierInput | None = None
        self._channels: dict[str, _Channel] = {}
        self._reception = True
        self._started_at = time.monotonic()
        self._next_check = self._started_at + _CHECK_S
        self._refused = ""
        self._memory = Memory(memory)
        self._config = load(path)
        self._apply(self._config)

    def reload(self) -> None:
        """Take the file as it is now; services that it leaves alone go on without a break."""
        try:
            config = load(self._path)
        except InputError as error:
            self._refused = str(error)
            return
        self._refused = ""
        self._apply(config)

    def _apply(self, config: FeedConfig) -> None:
        now = time.monotonic()
        place = (config.address, config.port)
        if self._input is None or self._input.place != place:
            if self._input is not None:
                self._input.close()
            self._input = CarrierInput(self._selector, *place, self._multiplex)
        wanted = {_stream(service): service for service in config.services}
        for key, channel in list(self._channels.items()):
            if channel.service.config not in wanted:
                self._channels.pop(key).close(now)
        self._memory.keep(service.key for service in config.services)
        for stream, service in wanted.items():
            if service.key not in self._channels:
                remembered = self._memory.services.get(service.key)
                self._channels[service.key] = _Channel(self._selector, stream, now, remembered)
            self._channels[service.key].outputs.use(service.outputs)
            self._channels[service.key].service.use(service.rules)
        self._multiplex.follow(channel.service.satellite for channel in self._channels.values())
        self._config = config
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        for channel in self._channels.values():
            channel.service.reception(good=self._reception, now=now)

    def command(self, data: bytes) -> None:
        """One datagram of the control socket. Raises ValueError when it is none of ours."""
        told = json.loads(data)
        if not isinstance(told, dict) or not told.keys() <= {"reception", "reload", "failback"}:
            raise ValueError("neither `reception` nor `reload` nor `failback`")
        if told.get("reception") in ("good", "bad"):
            self._reception = told["reception"] == "good"
            self._tell()
        if told.get("failback") in self._channels:
            self._channels[told["failback"]].service.approve()
        if told.get("reload") is True:
            self.reload()

    def tick(self, now: float) -> None:
        """Whatever has arrived is counted before anything is called silent."""
        self._drain()
        for key, channel in self._channels.items():
            channel.tick(now)
            news = channel.service.news()
            if news is not None:
                self._memory.note(key, news)
        if now >= self._next_check:
            self._next_check = now + _CHECK_S
            if self._input is not None:
                self._input.check()
            for channel in self._channels.values():
                channel.check()

    def _drain(self) -> None:
        if self._input is not None:
            self._input.drain()
        for channel in self._channels.values():
            if channel.fallback is not None:
                channel.fallback.drain()

    def status(self) -> dict[str, object]:
        """JSON. `problems`: what keeps it from doing what `config`, the digest of its configuration, says."""
        self._drain()
        now = time.monotonic()
        last, place = self._multiplex.last_at, (self._config.address, self._config.port)
        problems = [] if self._input is None or not self._input.problem else [self._input.problem]
        problems += [self._refused] if self._refused else []
        for key, channel in self._channels.items():
            problems += [f"{key}: {problem}" for problem in channel.outputs.problems]
        return {
            "version": 1,
            "pid": os.getpid(),
            "uptime_s": now - self._started_at,
            "carrier": self._config.carrier,
            "config": self._config.digest,
            "problems": problems,
            "reception": "good" if self._reception else "bad",
            "input": "" if self._input is None or self._input.problem else f"{place[0]}:{place[1]}",
            "datagrams": self._multiplex.datagrams,
            "sync_errors": self._multiplex.sync_errors,
            "transport_errors": self._multiplex.transport_errors,
            "age_ms": None if last is None else max(0.0, now - last) * 1000,
            "services": [channel.status(now) for _, channel in sorted(self._channels.items())],
        }

    def close(self) -> None:
        now = time.monotonic()
        if self._input is not None:
            self._input.close()
        for channel in self._channels.values():
            channel.close(now)


def _stream(service: ServiceConfig) -> ServiceConfig:
    """What makes it another stream when it changes: all but the addresses it is sent from and the limits of policy."""
    return replace(service, outputs=(), rules=AS_BEFORE)


def run(config: Path, directory: Path, memory: Path) -> None:
    """`directory` for its sockets, `memory` for what outlives a boot.

    Until SIGTERM or SIGINT. Raises InputError, and OSError when the unix sockets cannot be had.
    """
    datapath.run(directory, lambda selector: Feed(config, selector, memory), tick_s=_TICK_S, gather_s=_GATHER_S)
