"""The process: the tap, the outputs and the routes to their sources, in one loop of its own. It may be told
`{"reload": true}`.
"""

from __future__ import annotations

import json
import os
import selectors
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from headend import datapath
from headend.multicast.output.channel import Channel
from headend.multicast.output.config import OutputConfig, StageConfig, load
from headend.multicast.output.ring import Buffer, Take
from headend.multicast.output.sources import Sources
from headend.multicast.output.tap import Flow, Tap
from nf.errors import InputError

_TICK_S = 0.005
_CHECK_S = 1.0
_NICE = -10
"""Streams are sent before all else on a busy machine, as its routing daemons are."""


class Stage:
    """All outputs of a PoP. Raises InputError when its first configuration is none."""

    def __init__(self, path: Path, selector: selectors.BaseSelector) -> None:
        self._path = path
        self._selector = selector
        self._tap: Tap | None = None
        self._channels: dict[str, Channel] = {}
        self._started_at = time.monotonic()
        self._next_check = self._started_at + _CHECK_S
        self._refused = ""
        self._config = load(path)
        self._sources = Sources()
        self._apply(self._config)

    def reload(self) -> None:
        """Take the file as it is now; outputs that it leaves alone go on without a break."""
        try:
            config = load(self._path)
        except InputError as error:
            self._refused = str(error)
            return
        self._refused = ""
        self._apply(config)

    def _apply(self, config: StageConfig) -> None:
        wanted = {output.key: output for output in config.outputs}
        for key, channel in list(self._channels.items()):
            if key not in wanted or channel.config != _stream(wanted[key]):
                self._channels.pop(key).close()
        for key, output in wanted.items():
            if key not in self._channels:
                self._channels[key] = Channel(_stream(output))
            self._channels[key].outputs.use(output.addresses)
        if self._tap is None or self._tap.interface != config.tap:
            if self._tap is not None:
                self._tap.close()
            self._tap = Tap(self._selector, config.tap)
        self._tap.want(_flows(self._channels.values()))
        self._sources.use(self._channels.values(), time.monotonic())
        self._config = config

    def command(self, data: bytes) -> None:
        """One datagram of the control socket. Raises ValueError when it is none of ours."""
        told = json.loads(data)
        if not isinstance(told, dict) or not told.keys() <= {"reload"}:
            raise ValueError("no `reload`")
        if told.get("reload") is True:
            self.reload()

    def tick(self, now: float) -> None:
        """Whatever has arrived is taken before anything is called lost or silent."""
        self._read()
        for channel in self._channels.values():
            channel.tick(now)
        self._sources.tick(now)
        if now >= self._next_check:
            self._next_check = now + _CHECK_S
            if self._tap is not None:
                self._tap.check()
            for channel in self._channels.values():
                channel.outputs.check()

    def _read(self) -> None:
        if self._tap is not None:
            self._tap.read()

    def status(self) -> dict[str, object]:
        """JSON. `problems`: what keeps it from doing what `config`, the digest of its configuration, says."""
        self._read()
        now = time.monotonic()
        problems = [self._tap.problem] if self._tap is not None and self._tap.problem else []
        problems += [self._refused] if self._refused else []
        outputs = []
        for _, channel in sorted(self._channels.items()):
            outputs.append({**channel.status(now), "problems": list(channel.outputs.problems)})
        return {
            "version": 1,
            "pid": os.getpid(),
            "uptime_s": now - self._started_at,
            "config": self._config.digest,
            "problems": problems,
            "packets": self._tap.packets if self._tap is not None else 0,
            "drops": self._tap.drops() if self._tap is not None else 0,
            "outputs": outputs,
            "sources": self._sources.status(),
            "route_problem": self._sources.problem,
        }

    def close(self) -> None:
        self._sources.close()
        if self._tap is not None:
            self._tap.close()
        for channel in self._channels.values():
            channel.close()


def _stream(output: OutputConfig) -> OutputConfig:
    """What makes it another output when it changes: all but the addresses it is sent from."""
    return replace(output, addresses=())


def _flows(channels: Iterable[Channel]) -> dict[Flow, Take]:
    """Each flow with who hears it, which are several where two outputs have a feed in common."""
    found: dict[Flow, list[Take]] = defaultdict(list)
    for channel in channels:
        for flow, take in channel.flows():
            found[flow].append(take)
    return {flow: takes[0] if len(takes) == 1 else partial(_all, takes) for flow, takes in found.items()}


def _all(takes: list[Take], data: Buffer, start: int, end: int, at: float) -> None:
    for take in takes:
        take(data, start, end, at)


def prefer() -> None:
    """Be run before others, where that is allowed."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)


def run(config: Path, directory: Path) -> None:
    """Until SIGTERM or SIGINT. Raises InputError, and OSError when the unix sockets cannot be had."""
    prefer()
    datapath.run(directory, lambda selector: Stage(config, selector), tick_s=_TICK_S, gather_s=0.0)
