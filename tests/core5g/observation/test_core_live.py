"""The process beside a whole core: SMF, UPF and a gNB with two UEs, with and without a PFCP proxy between.

The SMF is a model that follows recordings of a real one; the UPF too, unless `NF_OPEN5GS_BIN` has a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core5g.observation.client import connect
from core5g.observation.documents import InfoApi, N3Point, ObservationSection
from core5g.observation.units import alive_path, directory
from core5g.pfcp.proxy.documents import ProxySection, ServedUpf
from core5g.pfcp.proxy.units import events_socket, status_socket
from nf.contracts.interception import Content, Direction, Event
from tests.core5g.conformance.network import UPF_YAML, Network, daemon
from tests.core5g.conformance.radio import Gnb, echo
from tests.core5g.daemons import ROOT, SMF_MODEL
from tests.core5g.observation.world import LIMIT_S, OTHER, TARGET, Taker, order, until

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("labelled")]

SMF, PROXY, UPF, GNB = "10.50.0.4", "10.50.0.9", "10.50.0.7", "10.50.0.2"
API = f"http://{SMF}:9090"
SMF_YAML = """
logger: {{file: {{path: {log}}}, level: info}}
smf:
  sbi: {{server: [{{address: 10.50.0.4, port: 7777}}], client: {{nrf: [{{uri: "http://10.50.0.10:7777"}}]}}}}
  pfcp: {{server: [{{address: 10.50.0.4}}], client: {{upf: [{{address: {upf}, dnn: internet}}]}}}}
  gtpu: {{server: [{{address: 10.50.0.4}}]}}
  metrics: {{server: [{{address: 10.50.0.4, port: 9090}}]}}
  session:
    - {{subnet: 10.45.0.0/16, gateway: 10.45.0.1, dnn: internet}}
"""


async def ask(path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    def asked() -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(API + path, data, method=method)  # noqa: S310 - http alone
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None

    return await asyncio.to_thread(asked)


async def associated() -> bool:
    with contextlib.suppress(OSError):
        peers = await ask("/model/peers")
        return all(peer["associated"] for peer in peers)
    return False


@contextlib.asynccontextmanager
async def process(*command: str) -> AsyncIterator[None]:
    running = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        await asyncio.wait_for(running.wait(), LIMIT_S)


@pytest.fixture
def network(require_root: Callable[[], None]) -> Iterator[Network]:
    require_root()
    with Network() as made:
        subprocess.run(["ip", "address", "add", f"{PROXY}/24", "dev", made.bridge], check=True)
        made.upf_namespace("upf", UPF)
        yield made


def proxy(run_dir: Path) -> list[str]:
    section = ProxySection(listen=PROXY, smfs=(SMF,), upf=ServedUpf(id="upf1", address=UPF))
    words = ["-m", "core5g.pfcp.proxy.process", "--section", section.model_dump_json()]
    words += ["--status", str(status_socket(run_dir)), "--events", str(events_socket(run_dir))]
    return [sys.executable, *words, "--store", str(run_dir / "sessions.sqlite")]


@contextlib.asynccontextmanager
async def observed(network: Network, folder: Path, *, n4: bool) -> AsyncIterator[Taker]:
    """A core with both points of copies ordered of the target, as references `n3` and `n6`."""
    run_dir, namespace = folder / "run", network.namespaces["upf"]
    directory(run_dir).mkdir(parents=True)
    section = ObservationSection(
        smfs=(InfoApi(address=SMF),),
        n4=n4,
        anchors=(UPF,),
        n6=("ogstun",),
        n3=(N3Point(address=UPF, interfaces=("n3",)),),
    )
    observing = ["ip", "netns", "exec", namespace, sys.executable, "-m", "core5g.observation.process"]
    observing += [
        "--section",
        section.model_dump_json(),
        "--run-dir",
        str(run_dir),
        "--caller",
        "nf-intercept-test",
        "--poll",
        "0.1",
    ]
    (folder / "smf.yaml").write_text(SMF_YAML.format(log=folder / "smf.log", upf=PROXY if n4 else UPF))
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(daemon(namespace, "upf", UPF_YAML.format(address=UPF, log=folder / "upf.log"), folder))
        if n4:
            await stack.enter_async_context(process(*proxy(run_dir)))
        await stack.enter_async_context(process(str(SMF_MODEL), "-c", str(folder / "smf.yaml")))
        await stack.enter_async_context(process(*observing))
        await until(alive_path(run_dir).exists)
        await until(associated)
        point = await connect(run_dir)
        taker = Taker(point)
        await point.activate(order(content="n6", reference="n6"))
        await point.activate(order(content="n3", reference="n3"))

        async def sources() -> bool:
            return all((await point.status()).sources.values())

        await until(sources)
        yield taker
        await taker.stop()
        await point.close()


def of(taker: Taker, kind: str) -> list[Event]:
    """Of one of the two orders: both are told the same."""
    return [one for one in taker.of(Event) if one.kind.value == kind and one.reference == "n6"]


@pytest.mark.parametrize("n4", [True, False])
async def test_a_target_is_told_and_copied_from_its_session_to_its_end(
    network: Network, tmp_path: Path, *, n4: bool
) -> None:
    async with observed(network, tmp_path, n4=n4) as taker:
        made = {}
        for number, supi in enumerate((TARGET, OTHER), 1):
            body = {"supi": supi, "dnn": "internet", "gnb": {"address": GNB, "teid": number}}
            made[supi] = await ask("/model/sessions", body)

        def known() -> bool:
            """Both ends of its tunnel, and its id, which only the SMF knows."""
            told = [one.details for one in (*of(taker, "session-begin"), *of(taker, "session-change"))]
            return any(
                one.get("pdu_session_id") == 1 and any(end["end"] == "gnb" for end in one["fteids"]) for one in told
            )

        await until(known)
        with contextlib.closing(Gnb(GNB, UPF)) as gnb:
            for _ in range(20):
                for supi in (TARGET, OTHER):
                    gnb.send(made[supi]["upf"]["teid"], echo(made[supi]["ue_ip"], "203.0.113.10"))
            await until(lambda: len(taker.of(Content)) >= 80)
        copies = Counter((one.reference, one.direction) for one in taker.of(Content))
        both = (Direction.FROM_TARGET, Direction.TO_TARGET)
        assert copies == {(reference, direction): 20 for reference in ("n3", "n6") for direction in both}
        for one in taker.of(Content):
            at = 12 if one.direction is Direction.FROM_TARGET else 16
            assert ".".join(map(str, one.octets[at : at + 4])) == made[TARGET]["ue_ip"]
        for one in made.values():
            await ask(f"/model/sessions/{one['id']}", method="DELETE")
        await until(lambda: bool(of(taker, "session-end")))
        (begin,), (end,) = of(taker, "session-begin"), of(taker, "session-end")
        assert (begin.details["dnn"], begin.details["ue_ip"]) == ("internet", [made[TARGET]["ue_ip"]])
        assert (begin.details["s_nssai"]["sst"], begin.details["source"]) == (1, "n4" if n4 else "smf")
        assert {one.session for one in (*taker.of(Content), begin, end)} == {begin.session}
        assert {one.details["supi"] for one in taker.of(Event)} == {TARGET}
