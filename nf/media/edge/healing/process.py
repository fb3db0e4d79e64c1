"""Healing as a process: `python -m nf.media.edge.healing.process --section JSON --root DIRECTORY --status SOCKET`.

Every shield is probed by itself. One that is put out is so in two ways: Traffic Server is told (`host down`), which
takes as long as a command takes, and the requests that wait for the shield are ended at once and again until nothing
asks it any more. So they are answered by another shield, also while no command gets through. What it decided is said
again from time to time, since a Traffic Server that was started anew has forgotten it.

It needs neither the agent nor the NOC. While it is dead itself, everything stays as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import pwd
import signal
import sys
import time
from pathlib import Path

from nf.contracts.json import JsonObject
from nf.errors import NfError
from nf.media.answering import answering
from nf.media.documents import EdgeSection, Parent
from nf.media.edge.healing.control import down_hosts, set_host
from nf.media.edge.healing.machine import Shields, State
from nf.media.edge.healing.sockets import end_requests
from nf.media.edge.render import USER
from nf.media.server_probe import probe

_AGAIN_S = 0.02
"""After a failure the next probe is soon."""
_LATE_S, _DOUBTFUL = 0.1, 3
"""A probe that ended so long after its time is not counted; so many in a row are."""
_CUT_S, _CUT_FOR_S = 0.05, 3.0
"""How often waiting requests are ended, and for how long before that is left to each probe."""
_LOOK_S = 0.5
"""How often it is looked whether something is to be said."""
_SAY_OUT_AGAIN_S, _SAY_IN_AGAIN_S = 5.0, 60.0
_INSIST_S, _INSIST_FOR_S = 1.0, 10.0
"""A Traffic Server that was started anew believes what it had written down last, which may be long ago."""


class Healer:
    def __init__(self, section: EdgeSection, root: Path, uid: int) -> None:
        self._section = section
        self._root = root
        self._uid = uid
        self._parents = {str(parent.address): parent for parent in section.shields}
        self._shields = Shields(self._parents, section.healing.hold_ms / 1000, time.time())
        self._stirred = {name: asyncio.Event() for name in self._parents}
        self._is_out = {name: asyncio.Event() for name in self._parents}
        self._probes = dict.fromkeys(self._parents, 0)
        self._outs = dict.fromkeys(self._parents, 0)
        self._ended = 0
        self._errors = 0
        self._last_error = ""
        self._out: frozenset[str] = frozenset()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: shields that are out stay out for the next life, which finds them so."""
        down = await down_hosts(self._root, tuple(self._parents))
        hold_s = self._section.healing.hold_ms / 1000
        self._shields = Shields(self._parents, hold_s, time.time(), down=down)
        self._decide()
        async with asyncio.TaskGroup() as tasks:
            made = [
                tasks.create_task(work(name, parent))
                for name, parent in self._parents.items()
                for work in (self._watch, self._command, self._cut)
            ]
            await stop.wait()
            for task in made:
                task.cancel()

    async def _watch(self, name: str, parent: Parent) -> None:
        healing, machine = self._section.healing, self._shields.machines[name]
        doubtful = 0
        while True:
            began = time.monotonic()
            failure = await probe(parent.address, parent.port, healing.path, healing.timeout_ms)
            self._probes[name] += 1
            # When this process had to wait for a processor, it is no fault of the shield's; but not for ever.
            late_s = time.monotonic() - began - healing.timeout_ms / 1000
            doubtful = doubtful + 1 if failure and late_s > _LATE_S else 0
            if not 0 < doubtful <= _DOUBTFUL:
                machine.probed(failure, time.time())
                self._decide()
            soon = doubtful or machine.state is State.SUSPECT
            pause = _AGAIN_S if soon else healing.interval_ms / 1000
            await asyncio.sleep(max(_AGAIN_S, began + pause - time.monotonic()))

    def _decide(self) -> None:
        before, self._out = self._out, self._shields.out
        for name in before ^ self._out:
            if name in self._out:
                self._outs[name] += 1
                self._is_out[name].set()
            else:
                self._is_out[name].clear()
            self._stirred[name].set()

    async def _command(self, name: str, _parent: Parent) -> None:
        """Bring Traffic Server to what is decided, and keep it there."""
        said: bool | None = None
        said_at = insist_until = float("-inf")
        started: tuple[float, ...] = ()
        while True:
            self._stirred[name].clear()
            wanted, now = name in self._out, time.monotonic()
            if started != (started := _started(self._root)):
                insist_until = now + _INSIST_FOR_S
            again_s = _INSIST_S if now < insist_until else _SAY_OUT_AGAIN_S if wanted else _SAY_IN_AGAIN_S
            known = self._shields.machines[name].state is not State.UNKNOWN
            if known and (said is not wanted or now - said_at >= again_s):
                try:
                    await set_host(self._root, name, down=wanted)
                    said, said_at = wanted, now
                except NfError as error:
                    self._note(str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._stirred[name].wait()

    async def _cut(self, name: str, parent: Parent) -> None:
        """End the requests that wait at a shield which is out."""
        while True:
            await self._is_out[name].wait()
            until = time.monotonic() + _CUT_FOR_S
            while self._is_out[name].is_set():
                try:
                    self._ended += end_requests(parent.address, parent.port, self._uid)
                except OSError as error:
                    self._note(f"requests cannot be ended: {error.strerror or error}")
                fresh = time.monotonic() < until
                await asyncio.sleep(_CUT_S if fresh else self._section.healing.interval_ms / 1000)

    def _note(self, error: str) -> None:
        self._errors += 1
        self._last_error = error

    def status(self) -> JsonObject:
        """Times in seconds since the epoch; counters since this life began."""
        return {
            "version": 1,
            "pid": os.getpid(),
            "shields": {
                name: {
                    "state": machine.state.value,
                    "out": name in self._out,
                    "why": machine.why,
                    "since": machine.since,
                    "probes": self._probes[name],
                    "outs": self._outs[name],
                }
                for name, machine in self._shields.machines.items()
            },
            "requests_ended": self._ended,
            "errors": self._errors,
            "last_error": self._last_error,
        }


def _started(root: Path) -> tuple[float, ...]:
    """When Traffic Server and its manager were started, by what they write then."""
    times = []
    for name in ("manager.lock", "server.lock"):
        with contextlib.suppress(OSError):
            times.append((root / "run" / name).stat().st_mtime)
    return tuple(times)


async def main_loop(section: EdgeSection, root: Path, status: Path) -> None:
    """Until SIGTERM or SIGINT. Raises OSError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    healer = Healer(section, root, pwd.getpwnam(USER).pw_uid)
    async with answering(status, healer.status):
        await healer.run(stop)


def main() -> int:
    parser = argparse.ArgumentParser(prog="edge-healing", description=__doc__)
    parser.add_argument("--section", required=True, help="JSON")
    parser.add_argument("--root", type=Path, required=True, help="Traffic Server's runroot")
    parser.add_argument("--status", type=Path, required=True, help="unix socket")
    given = parser.parse_args()
    try:
        section = EdgeSection.model_validate_json(given.section)
        asyncio.run(main_loop(section, given.root, given.status))
    except (OSError, ValueError, KeyError, NfError) as error:
        sys.stderr.write(f"edge-healing: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
