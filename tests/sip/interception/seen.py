"""What everybody else sees of the small world of `world.py` while calls are made, as evidence for the judge."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.interception.captured import Party, capturing, packets, setup, take
from lab.interception.evidence import Evidence
from lab.interception.judge import Round
from lab.voice.phone import Call, Phone
from nf.errors import NfError
from nf.telemetry.samples import Sample
from sip.kamailio import rpc_gate
from sip.kamailio.rpc import RpcClient
from sip.kamailio.rpc_filter import READS
from sip.kamailio.telemetry import ProxyWatch, read_proxy
from sip.naming import RPC_PORT, rpc_url
from sip.rtpengine import http
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.telemetry import Reading, RelayWatch
from tests.sip.interception.asker import Asker
from tests.sip.interception.world import PHONES, PROXY, RELAY, TARGET, Point, phones
from tests.sip.kamailio.daemon import USERS, Proxy, Relay, until

ORDER = "x1"
CALLER, CALLED = (
    Party(f"the {name}", PHONES, 6000 + place, (20000 + 200 * place, 20199 + 200 * place))
    for name, place in (("caller", USERS.index("alice")), ("called", USERS.index("bob")))
)
EXPRESSION = f"udp and host {PHONES}"
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
ALWAYS = ("core.uptime", "core.echo")
"""Methods that tell nothing but the time, or what they are asked."""


@dataclass
class Seen:
    """`calls` at once, until each party has heard `heard` packets.

    plant  is told before each run whether there is an order, and spoils what it can; `added`: lines that it writes into
           the proxy's metrics
    by     the media of the called goes by this address
    """

    proxy: Proxy
    relay: Relay
    point: Point
    folder: Path
    calls: int = 2
    heard: int = 50
    plant: Callable[[bool], None] = lambda _on: None
    added: str = ""
    by: str = ""
    ended: int = 0
    _logs: dict[str, int] = field(default_factory=dict)

    async def rounds(self, count: int, asker: Asker) -> list[Round]:
        """In each, two runs without an order and one with, in random order."""
        self.ended = 0
        dice = random.Random(count)  # noqa: S311 - an order, no secret
        made = []
        async with self._gate() as gate, phones("alice", "bob") as (alice, bob):
            await self._run(gate, alice, bob, None)  # whatever is there only the first time
            for _ in range(count):
                kinds = [False, False, True]
                dice.shuffle(kinds)
                runs: dict[bool, list[Evidence]] = {False: [], True: []}
                for on in kinds:
                    runs[on].append(await self._run(gate, alice, bob, asker if on else None))
                made.append(Round(tuple(runs[False]), runs[True][0]))
        return made

    @asynccontextmanager
    async def _gate(self) -> AsyncIterator[RpcClient]:
        rpc = RpcClient(self.proxy.paths.rpc_socket, self.proxy.paths.run / "people", rpc_url(RPC_PORT))
        try:
            async with rpc_gate.serving(rpc, self.proxy.paths.run / "people.sock"):
                yield rpc
        finally:
            rpc.close()

    async def _run(self, rpc: RpcClient, alice: Phone, bob: Phone, asker: Asker | None) -> Evidence:
        evidence, file = Evidence(), self.folder / "run.pcap"
        await asyncio.to_thread(self._settled)
        self._new_lines(Evidence())
        self.plant(asker is not None)
        before = await self._figures(rpc)
        if asker is not None:
            await asker.ask("activate", ORDER, TARGET)
        with capturing("lo", EXPRESSION, file):
            pairs = await asyncio.gather(*(self._talk(alice, bob) for _ in range(self.calls)))
            talking = [one for pair in pairs for one in pair]
            await asyncio.gather(*(one.media.packets(self.heard) for one in talking))
            await self._looked_at(evidence, rpc)
            await asyncio.gather(*(call.hangup() for call, _ in pairs))
            await asyncio.gather(*(other.ended() for _, other in pairs))
        await asyncio.to_thread(self._settled)
        after = await self._figures(rpc)
        if asker is not None:
            self.ended += self.calls
            await asker.ask("ended", ORDER, self.ended)
            await asker.ask("deactivate", ORDER)
        found = list(packets(file.read_bytes()))
        changed = {name: after[name] - before.get(name, 0.0) for name in after}
        media = sum(one.source[0] == PHONES and one.source[1] not in {CALLER.sip, CALLED.sip} for one in found)
        for name in [name for name in changed if name.endswith(("} packets", "} bytes"))]:
            changed[f"{name} for each packet that a phone sent"] = round(changed.pop(name) / max(1, media), 2)
        evidence.add_figures("metric:difference", changed)
        take(evidence, found, (CALLER, CALLED))
        setup(evidence, found, CALLER)
        self._new_lines(evidence)
        evidence.add_text("records:", json.dumps(self.proxy.records()[-self.calls :]))
        return evidence

    async def _talk(self, alice: Phone, bob: Phone) -> tuple[Call, Call]:
        call = await alice.call("bob")
        other = await bob.incoming()
        other.media.host = self.by or other.media.host
        other.media.source = None  # who is called answers to where it hears the caller from
        await other.answer()
        await call.answered()
        call.media.tone(440)
        await other.media.packets(1, more=False)
        other.media.tone(700)
        return call, other

    def _settled(self) -> None:
        """A relay has a call some milliseconds longer when it was copied: until the observation point has heard of its
        end."""
        self.proxy.idle()
        until(lambda: not self.relay.sessions(), what="a call stays at the relay")

    async def _looked_at(self, evidence: Evidence, rpc: RpcClient) -> None:
        """While the calls are up."""
        for method in sorted(READS - {"cfg.get", *ALWAYS}):
            evidence.add_text(f"rpc:{method}", await _answer(rpc, method))
        ps = await asyncio.to_thread(_as_nobody, "ps", "-e", "-o", "user,ni,nlwp,args")
        evidence.add(
            "processes:", [line for line in ps if "python" in line or "kamailio" in line or "rtpengine" in line]
        )
        evidence.add("sockets:", await asyncio.to_thread(_as_nobody, "ss", "-Htuln"))

    async def _figures(self, rpc: RpcClient) -> Mapping[str, float]:
        """What the agent sends to the NOC of proxy and relay, and what their own /metrics say to it."""
        found: dict[str, float] = {}
        counted = await rpc.call("tm.stats")
        assert isinstance(counted, dict)
        found |= {f"tm.stats {name}": float(value) for name, value in counted.items() if isinstance(value, int)}
        reading = await read_proxy(rpc, None)  # type: ignore[arg-type] # it asks by `rpc` alone
        assert reading is not None
        metrics = await http.metrics()
        relay = RtpengineSection.model_validate({"relay": {"id": "r1", "appliance": "pop1", "address": RELAY}})
        told = [*ProxyWatch("pop1").take(self.proxy.section, reading, 1.0)]
        told += [*RelayWatch("pop1").take(relay, Reading(metrics), 1.0)]
        for sample in told:
            if isinstance(sample, Sample):
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                found |= {f"{sample.kind}{{{labels}}} {name}": value for name, value in sample.values.items()}
        exported = http.parse_metrics(await asyncio.to_thread(_exported) + self.added)
        # Of tm it shows what was a second ago; `tm.stats` has the same.
        own = {name: value for name, value in exported.items() if not name.startswith("kamailio_tmx_")}
        return found | own

    def _new_lines(self, evidence: Evidence) -> None:
        for file in (self.proxy.log, self.relay.log, self.point.run_dir / "point.log"):
            text = file.read_text(errors="replace")
            evidence.add_text(f"log:{file.stem}", text[self._logs.get(file.name, 0) :])
            self._logs[file.name] = len(text)


async def _answer(rpc: RpcClient, method: str) -> str:
    try:
        return json.dumps(
            await rpc.call(method, *(("all",) if method in {"stats.get_statistics", "rtpengine.show"} else ()))
        )
    except NfError as error:
        return str(error)


def _as_nobody(*argv: str) -> list[str]:
    done = subprocess.run([*NOBODY, *argv], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.splitlines()


def _exported() -> str:
    with urllib.request.urlopen(f"http://{PROXY}:{RPC_PORT}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def spoken(rounds: Sequence[Round]) -> int:
    """Packets that were timed in all."""
    return sum(run.samples["rtp:under way to the called"].size for one in rounds for run in (*one.without, one.with_))
