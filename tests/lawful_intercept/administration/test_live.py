"""An ADMF as a process of its own, officers with `nf-li`, elements on X1's own server: over TLS, for real."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from lawful_intercept import pki, tls
from lawful_intercept.commands.main import main
from lawful_intercept.keys import write_key
from lawful_intercept.x1.client import X1Client
from lawful_intercept.x1.element import Element
from lawful_intercept.x1.exchange import ReportNEIssue
from lawful_intercept.x1.messages import (
    DestinationDetails,
    DestinationStatus,
    ElementStatus,
    IssueType,
    TaskDetails,
    TaskStatus,
)
from lawful_intercept.x1.server import X1Server
from lawful_intercept.x1.services import ElementService
from nf.clock import RealClock
from tests.support.administration import SECRETS
from tests.support.ports import free_port

pytestmark = pytest.mark.usefixtures("capsys")


class Sink:
    """What an element would do, as a list of what it was told; `ended`: when each task ended."""

    def __init__(self) -> None:
        self.tasks: dict[UUID, TaskDetails] = {}
        self.destinations: dict[UUID, DestinationDetails] = {}
        self.ended: dict[UUID, float] = {}
        self.changed = asyncio.Condition()

    async def put_destination(self, details: DestinationDetails) -> None:
        self.destinations[details.did] = details
        await self._tell()

    async def remove_destination(self, details: DestinationDetails) -> None:
        del self.destinations[details.did]
        await self._tell()

    async def activate(self, task: TaskDetails) -> None:
        self.tasks[task.xid] = task
        await self._tell()

    async def modify(self, before: TaskDetails, after: TaskDetails) -> None:
        self.tasks[after.xid] = after
        await self._tell()

    async def deactivate(self, task: TaskDetails) -> None:
        del self.tasks[task.xid]
        self.ended[task.xid] = time.time()
        await self._tell()

    def task_status(self, xid: UUID) -> TaskStatus:
        return TaskStatus()

    def destination_status(self, did: UUID) -> DestinationStatus:
        return DestinationStatus()

    def status(self) -> ElementStatus:
        return ElementStatus()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, tasks: int) -> None:
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(lambda: len(self.tasks) == tasks)


@dataclass
class Site:
    folder: Path
    capture: pytest.CaptureFixture[str]
    officers: int = field(default_factory=free_port)
    x1: int = field(default_factory=free_port)
    sinks: dict[str, Sink] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    spoken: bytes = b""

    @property
    def config(self) -> Path:
        return self.folder / "admf.yaml"

    def files(self, name: str) -> pki.Issued:
        place = self.folder / "issued"
        return pki.Issued(place / f"{name}.pem", place / f"{name}.key", place / "ca.pem")

    def prepare(self) -> None:
        authority = pki.create(self.folder / "ca", "li.example", RealClock())
        for name in ("admf1", "pop1", "mdf1"):
            pki.issue(authority, pki.Who.ELEMENT, name, self.folder / "issued", ip=["127.0.0.1"])
        for name in ("anna", "bob", "chris", "dora"):
            pki.issue(authority, pki.Who.OFFICER, name, self.folder / "issued")
        write_key(self.folder / "store.key")
        paths = {key: str(getattr(self.files("admf1"), key)) for key in ("certificate", "key", "authority")}
        server = lambda port: {"listen": {"address": "127.0.0.1", "port": port}, "tls": paths}  # noqa: E731
        settings = {
            "name": "admf1",
            "state": str(self.folder / "state"),
            "store_key": f"file:{self.folder / 'store.key'}",
            "clock": {"assumed": True},
            "officers": server(self.officers),
            "x1": server(self.x1),
            "hi1": {"country": "NZ", "identifier": "svnf"},
            "heads": str(self.folder / "heads.jsonl"),
            "linger_s": 1,
            "reconcile_s": 5,
            "keepalive_s": 2,
        }
        self.config.write_text(json.dumps(settings))
        self.config.chmod(0o600)

    async def nf_li(self, *arguments: str, who: str = "") -> tuple[int, str]:
        """Exit code and what was printed."""
        profile = ["--profile", str(self.folder / "profiles" / who)] if who else []
        code = await asyncio.to_thread(main, [*profile, *arguments])
        printed = self.capture.readouterr()
        return code, printed.out + printed.err

    async def good(self, *arguments: str, who: str = "") -> str:
        code, text = await self.nf_li(*arguments, who=who)
        assert code == 0, text
        return text

    async def start(self) -> None:
        command = [sys.executable, "-m", "lawful_intercept.commands.main", "run", "admf", "--config", str(self.config)]
        self.process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ}
        )
        async with asyncio.timeout(120):
            while (await self.nf_li("status", who="chris"))[0] == 5:
                assert self.process.returncode is None
                await asyncio.sleep(0.1)  # another process: nothing tells when it listens

    async def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        spoken, _ = await self.process.communicate()
        self.spoken += spoken
        code, self.process = self.process.returncode, None
        return code if code is not None else -1

    async def serve(self, stack: AsyncExitStack, name: str, *, mediation: bool) -> None:
        sink = self.sinks[name] = Sink()
        client = X1Client(
            f"https://127.0.0.1:{self.x1}/X1/ADMF", tls.client_context(self.files(name)), name, "admf1", of_element=True
        )
        stack.push_async_callback(client.close)
        element = Element(sink, RealClock(), mediation=mediation, report=lambda _: None, keepalive_s=None)
        context = tls.server_context(self.files(name))
        server = X1Server(name, ElementService(element), context, address="127.0.0.1", port=0, peers={"admf1"})
        await stack.enter_async_context(server)
        self.ports[name] = server.port

    async def report(self, name: str, issue: ReportNEIssue) -> None:
        context = tls.client_context(self.files(name))
        client = X1Client(f"https://127.0.0.1:{self.x1}/X1/ADMF", context, name, "admf1", of_element=True)
        await client.report(issue)
        await client.close()

    async def furnish(self) -> None:
        """Officers, elements and an agency, by commands alone."""
        await self.good("officer", "add", "chris", "--role", "li-admin", "--config", str(self.config))
        for name in ("anna", "bob", "chris", "dora"):
            files = self.files(name)
            options = {
                "--administration": "admf1",
                "--url": f"https://127.0.0.1:{self.officers}",
                "--certificate": str(files.certificate),
                "--key": str(files.key),
                "--authority": str(files.authority),
                "--output": str(self.folder / "profiles" / name),
            }
            await self.good("profile", *(word for pair in options.items() for word in pair))
        await self.start()
        await self.good("officer", "add", "anna", "--role", "clerk", "--role", "approver", who="chris")
        await self.good("officer", "add", "bob", "--role", "approver", who="chris")
        await self.good("officer", "add", "dora", "--role", "auditor", who="chris")
        url = "https://127.0.0.1:{}/X1/NE"
        await self.good(
            "element", "add", "pop1", "--url", url.format(self.ports["pop1"]), "--service", "voice", who="chris"
        )
        mediation = ("--mediation", "127.0.0.1", "--x2-port", "9442", "--x3-port", "9443")
        await self.good("element", "add", "mdf1", "--url", url.format(self.ports["mdf1"]), *mediation, who="chris")
        agency = self.folder / "police.yaml"
        text = await self.good("agency", "form")
        for old, new in (("name", "police"), ("address", "127.0.0.1"), ("Country", "NZ"), ("operator", "svnf")):
            text = text.replace(f'{old}: ""', f'{old}: "{new}"', 2 if old == "Country" else 1)
        agency.write_text(text)
        await self.good("agency", "add", str(agency), who="chris")

    def form(self, seconds: float, liid: str = "NZ-0001") -> Path:
        now = datetime.now(UTC).replace(microsecond=0)
        path = self.folder / f"{liid}.yaml"
        path.write_text(
            f"liid: {liid}\nreference: HC 2026/4711\nagency: police\n"
            'targets:\n  - sipUri: sip:alice@voice.example\n  - e164Number: "491700000001"\n'
            f"services: [voice]\nscope: iri-and-cc\nstart: {now.isoformat()}\n"
            f"stop: {(now + timedelta(seconds=seconds)).isoformat()}\n"
        )
        return path

    async def submitted(self, form: Path) -> str:
        answer = json.loads(await self.good("warrant", "submit", str(form), "--json", who="anna"))
        assert answer["state"] == "submitted"
        return str(answer["number"])


@pytest.fixture
async def there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Site]:
    made = Site(tmp_path, capsys)
    made.prepare()
    async with AsyncExitStack() as stack:
        await made.serve(stack, "pop1", mediation=False)
        await made.serve(stack, "mdf1", mediation=True)
        await made.furnish()
        yield made
        if made.process is not None:
            await made.stop()


async def test_a_warrant_from_its_form_to_its_end(there: Site) -> None:
    began = time.monotonic()
    await there.good("status", who="chris")
    seconds = 3 + 12 * (time.monotonic() - began)  # a machine that is busy needs longer for the calls before its end
    number = await there.submitted(there.form(seconds))
    stop = json.loads(await there.good("warrant", "show", number, "--json", who="anna"))["content"]["stop"]

    code, text = await there.nf_li("warrant", "approve", number, "--yes", who="anna")
    assert (code, "does not approve" in text) == (6, True)
    assert "is approved" in await there.good("warrant", "approve", number[:8], "--yes", who="bob")
    for name in ("pop1", "mdf1"):
        await there.sinks[name].until(1)
    (task,) = there.sinks["pop1"].tasks.values()
    assert {target.value for target in task.targets} == {"sip:alice@voice.example", "491700000001"}

    for name in ("pop1", "mdf1"):
        await there.sinks[name].until(0)
    (ended,) = there.sinks["pop1"].ended.values()
    assert ended >= datetime.fromisoformat(stop).timestamp()
    assert "expired" in await there.good("warrant", "list", "--all", who="bob")


async def test_who_may_not_does_not_and_it_is_on_record(there: Site) -> None:
    number = await there.submitted(there.form(3600))
    refused: Sequence[tuple[str, Sequence[str]]] = (
        ("chris", ("warrant", "list")),
        ("chris", ("warrant", "show", number)),
        ("chris", ("audit", "list")),
        ("dora", ("warrant", "list")),
        ("dora", ("status",)),
        ("bob", ("warrant", "submit", str(there.form(3600, "NZ-0002")))),
        ("bob", ("officer", "list")),
        ("anna", ("element", "list")),
    )
    for who, arguments in refused:
        code, text = await there.nf_li(*arguments, who=who)
        assert (code, "may not" in text) == (6, True), (who, arguments, text)
        assert not [secret for secret in SECRETS if secret in text]
    records = json.loads(await there.good("audit", "list", "--json", who="dora"))
    told = [(one["actor"].rpartition("/")[2], one["action"]) for one in records if one["outcome"] == "refused"]
    methods = ["warrant.create" if "submit" in words else ".".join(words[:2]) for _, words in refused]
    assert told[::-1] == [(who, method) for (who, _), method in zip(refused, methods, strict=True)]
    text = json.dumps(records)
    assert not [secret for secret in SECRETS if secret in text]


async def test_an_element_that_moved_and_lost_everything_a_revocation_and_an_import(there: Site) -> None:
    number = await there.submitted(there.form(3600))
    await there.good("warrant", "approve", number, "--yes", who="bob")
    for name in ("pop1", "mdf1"):
        await there.sinks[name].until(1)
    assert "NZ-0001" in await there.good("warrant", "list", who="bob")
    assert "nothing" in await there.good("element", "check", "pop1", who="chris")
    status = json.loads(await there.good("status", "--json", who="chris"))
    assert (status["warrants"], status["elements_answering"], status["alarms"]) == ({"active": 1}, 2, 0)
    shown = json.loads(await there.good("warrant", "show", number, "--json", who="bob"))
    assert {one["element"]: one["task"] for one in shown["elements"]} == {"mdf1": "held", "pop1": "held"}

    async with AsyncExitStack() as stack:
        await there.serve(stack, "pop1", mediation=False)
        url = f"https://127.0.0.1:{there.ports['pop1']}/X1/NE"
        await there.good("element", "add", "pop1", "--url", url, "--service", "voice", "--replace", who="chris")
        await there.sinks["pop1"].until(1)
        await there.report("pop1", ReportNEIssue(IssueType.ALERT, "database is cleared", 10000))
        assert "x1.ReportNEIssue" in await there.good("audit", "list", who="dora")
        assert "is revoked" in await there.good("warrant", "revoke", number, who="anna")
        await there.sinks["pop1"].until(0)

    xml = there.folder / "out.xml"
    await there.good("warrant", "export", number, "--country", "NZ", "--receiver", "lea", "-o", str(xml), who="anna")
    code, text = await there.nf_li("warrant", "import", str(xml), "--agency", "police", who="anna")
    assert (code, "LIID was given" in text) == (3, True)
    xml.write_text(xml.read_text().replace("NZ-0001", "NZ-0003"))
    answer = json.loads(await there.good("warrant", "import", str(xml), "--agency", "police", "--json", who="anna"))
    assert [one["state"] for one in answer] == ["submitted"]


async def test_the_audit_from_outside_a_store_that_was_touched_and_what_can_be_seen(there: Site) -> None:
    number = await there.submitted(there.form(3600))
    await there.good("warrant", "approve", number, "--yes", who="bob")
    await there.sinks["pop1"].until(1)
    assert there.process is not None
    with (Path("/proc") / str(there.process.pid) / "cmdline").open("rb") as command:
        assert command.read().rstrip(b"\0") == b"nf-process"
    state = there.folder / "state"
    assert "intact" in await there.good("audit", "verify", who="dora")
    export = there.folder / "export.jsonl"
    await there.good("audit", "export", str(export), who="dora")
    key = ("--key", str(state / "audit.pub"))
    heads = ("--heads", str(there.folder / "heads.jsonl"))
    assert "intact" in await there.good("audit", "verify", str(export), *key, *heads)

    await there.stop(signal.SIGKILL)
    copy = there.folder / "copy"
    shutil.copytree(state, copy)
    assert "intact" in await there.good("audit", "verify", str(copy / "administration.db"), *heads)
    await there.start()  # what kill -9 left is whole
    assert await there.stop() == 0
    assert there.spoken == b""
    shows_nothing(state)

    store = state / "administration.db"
    octets = bytearray(store.read_bytes())
    place = octets.index(b"warrant.create")
    octets[place] ^= 1
    store.write_bytes(octets)
    code, text = await there.nf_li("audit", "verify", str(store), *key)
    assert (code, "audit record " in text) == (9, True)
    command = [sys.executable, "-m", "lawful_intercept.commands.main", "run", "admf", "--config", str(there.config)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert (process.returncode, b"audit record " in errors) == (9, True)


def shows_nothing(state: Path) -> None:
    """Nothing but the sealed entries knows a target, LIID or agency."""
    files = [path for path in state.rglob("*") if path.is_file()]
    assert files
    for path in files:
        octets = path.read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in octets], path
        assert path.stat().st_mode & 0o077 == 0
