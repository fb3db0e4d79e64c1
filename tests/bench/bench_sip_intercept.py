"""What observation for lawful intercept costs a proxy: our configuration with and without it, side by side on loopback.

Compared is the processor time that the scheduler accounts to the daemons' processes per call, in turns: wall time is
noise here. Beside the one with it runs its observation point, with orders for none, one in a hundred, or all callers.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from nf.contracts.interception import Identity, IdentityKind, Loss, Order
from sip.interception.client import connect
from sip.interception.documents import InterceptionSection
from tests.bench.bench_sip_calls import (
    OURS,
    PEER,
    PHONES,
    RELAY,
    SCENARIOS,
    Load,
    _bound,
    _fields,
    _serves,
    load,
    used_ms,
)
from tests.bench.harness import Benchmark
from tests.sip.interception.world import Point
from tests.sip.kamailio.daemon import DOMAIN, Proxy, Relay, section, until

ROUNDS, CALLS, PER_SECOND = 10, 200, 100
_FRAGMENT: Final = re.compile(r"\n# ---- interception\.cfg\n.*?(?=\n# ---- )", re.DOTALL)
_HOOK: Final = re.compile(r'^.*(route\(OBSERVE\w*\)|t_on_reply\("GOODBYE"\)|\$var\((what|its)\) = ).*\n', re.MULTILINE)


class Without(Proxy):
    """The same, before anybody thought of it."""

    def write(self) -> None:
        super().write()
        file = self.folder / "kamailio.cfg"
        text = _HOOK.sub("", _FRAGMENT.sub("", file.read_text()))
        # What was only there for a hook is empty now.
        text = re.sub(r"[ \t]*if \([^\n]*\) \{\n[ \t]*\}(?: else \{\n[ \t]*\})?\n", "", text)
        assert "OBSERVE" not in text
        file.write_text(text)


class _Asking:
    """Whoever has orders, in a thread of its own; takes all that comes."""

    def __init__(self, run_dir: Path, users: tuple[str, ...]) -> None:
        self.taken = self.lost = 0
        self._users, self._run_dir = users, run_dir
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main)
        self._thread.start()
        self._ready.wait(60)

    def _main(self) -> None:
        self._task = self._loop.create_task(self._run())
        self._loop.run_until_complete(asyncio.wait([self._task]))

    async def _run(self) -> None:
        point = await connect(self._run_dir)
        for user in self._users:
            identity = Identity(IdentityKind.SIP_URI, f"sip:{user}@{DOMAIN}")
            await point.activate(Order(user, identity))
        self._ready.set()
        try:
            async for delivery in point.deliveries():
                self.taken += 1
                self.lost += isinstance(delivery, Loss)
        finally:
            await point.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(30)
        self._loop.close()


@contextmanager
def _both() -> Iterator[tuple[Path, Proxy, Proxy, Point]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("ours", "peer"):
            (folder / name).mkdir()
        relay = Relay(RELAY, folder)
        stack.callback(relay.stop)
        made: list[Proxy] = []
        for name, kind, address in (("ours", Proxy, OURS), ("peer", Without, PEER)):
            listens = {"id": "p1", "appliance": "pop1", "address": address}
            wanted = section(
                proxy={**listens, "listeners": [{"transport": "udp", "port": 5060}]},
                relays=[{"id": "r1", "appliance": "pop1", "address": RELAY}],
                limits={"calls_per_subscriber": 1000, "rate": 10_000, "contacts": 100},
            )
            made.append(kind(folder / name, wanted))
            if kind is Without:
                object.__setattr__(made[-1].paths, "rpc_port", 8091)  # theirs beside ours
            made[-1].start()
            stack.callback(made[-1].stop)
        point = Point(made[0], InterceptionSection.model_validate({"address": OURS}))
        point.start()
        stack.callback(point.stop)
        answers = subprocess.Popen(
            ["sipp", "-sf", str(SCENARIOS / "answer.xml"), "-i", PHONES, "-p", "7000", "-nostdin"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(answers.wait)
        stack.callback(answers.kill)
        until(lambda: _bound(7000))
        for target in (OURS, PEER):
            load(folder, target, Load("register.xml", _fields("bob", "7000"), 1, 10), 6500)
            until(lambda target=target: _serves(folder, target), what="no call comes through")
        yield folder, made[0], made[1], point


def _ratio(name: str, users: tuple[str, ...], fields: str, *, told: bool) -> float:
    ratios: list[float] = []
    each: list[tuple[float, float]] = []
    with _both() as (folder, ours, peer, point):
        asking, what = _Asking(point.run_dir, users), Load("call.xml", fields, CALLS, PER_SECOND)
        try:
            sides = [(ours, OURS), (peer, PEER)]
            for turn in range(ROUNDS + 1):
                used: dict[str, float] = {}
                for proxy, address in sides if turn % 2 else sides[::-1]:
                    used[address] = used_ms(folder, proxy, address, what)
                if turn:  # the first one warms both
                    ratios.append(used[OURS] / used[PEER])
                    each.append((used[OURS], used[PEER]))
            for proxy, _ in sides:  # what is refused costs little
                answered = sum(one["result"] == "answered" for one in proxy.records())
                assert answered >= 0.98 * CALLS * (ROUNDS + 1), f"{answered} calls were answered"
            assert (asking.taken > 0) == told
            assert asking.lost == 0
        finally:
            asking.stop()
    ratios.sort()
    low, high = ratios[1], ratios[-2]
    mine, theirs = (statistics.median(column) for column in zip(*each, strict=True))
    print(
        f"    a call, {name}: {mine:.3f} ms against {theirs:.3f} ms of processor each; ratio"
        f" {statistics.median(ratios):.3f}, of {ROUNDS} rounds all but the two outermost {low:.3f} to {high:.3f};"
        f" {asking.taken} deliveries; load average {os.getloadavg()[0]:.1f}"
    )
    return statistics.median(ratios)


def _empty() -> float:
    return _ratio("nobody sought", (), _fields("alice", "bob"), told=False)


def _some() -> float:
    lines = [_fields("carol" if number == 50 else "alice", "bob") for number in range(100)]
    return _ratio("one in a hundred sought", ("carol",), "\n".join(lines), told=True)


def _all() -> float:
    return _ratio("all sought", ("alice",), _fields("alice", "bob"), told=True)


_BASE: Final = "the same configuration without observation"
BENCHMARKS: Final = (
    Benchmark("sip.intercept_cost", _BASE, "<=", 1.1, _empty, repeats=1),
    Benchmark("sip.intercept_cost_some", _BASE, "<=", 1.1, _some, repeats=1),
    Benchmark("sip.intercept_cost_all", _BASE, "<=", 1.3, _all, repeats=1),
)
