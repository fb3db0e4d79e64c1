"""Everything that people of the NOC can look at in the reference network, as evidence for the judge.

What they cannot look at is left out: the nodes of interception and its interface. What root of an appliance sees is
said in docs/interception-proof.md.
"""

from __future__ import annotations

import io
import json
import sqlite3
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from lab.interception.evidence import Evidence, lines
from lab.native.handle import Lab
from lab.scenarios.console import Answer, Console

APPLIANCES: Final = ("c1", "c2", "pop1", "pop2")
OBSERVED: Final = ("c1", "pop1", "pop2")
"""Where observation points are, and a POI beside them."""

OWN: Final = frozenset({"li", "agency1", "agency2"})
MEANWHILE: Final[tuple[tuple[str, ...], ...]] = (
    ("sip", "nodes"),
    ("sip", "calls"),
    ("sip", "registrations"),
    ("steer", "list"),
    ("channel", "show", "voice"),
    ("alarms",),
)
"""What is asked while a call is up."""
AFTERWARDS: Final[tuple[tuple[str, ...], ...]] = (
    ("appliance", "list"),
    *(("appliance", "show", name) for name in APPLIANCES),
    ("alarms", "--cleared"),
    ("channel", "list"),
    ("sip", "cdr"),
    ("subscriber", "list"),
    ("device", "list"),
    ("override", "list"),
    ("lineup", "history"),
    ("lineup", "show"),
    ("lineup", "diff"),
    ("audit", "show"),
    ("noc", "status"),
    ("noc", "service", "list"),
)
_BUNDLE = "/tmp/interception-proof.tar.gz"  # noqa: S108 - inside a node of the lab
_BACKUP = "/tmp/interception-proof.backup"  # noqa: S108 - inside a node of the lab
_PASSPHRASE = "a passphrase of the lab"  # noqa: S105 - of a file that is looked into and thrown away
_DEVICES = "/proc/net/dev"
_METRICS = ("curl", "-s", "http://127.0.0.1:9470/metrics")
METRICS_SERVICE: Final = ("noc", "service", "set", "metrics", "address=127.0.0.1:9470")


def standing(console: Console) -> frozenset[str]:
    """Alarms that stand, by their names."""
    return frozenset(str(one["id"]) for one in console.must(console.nf("alarms", "--json")).json())


def look_meanwhile(console: Console, evidence: Evidence) -> None:
    """While a call is up."""
    for node in OBSERVED:
        evidence.add(f"processes:{node}", _as_nobody(console, node, "ps", "-e", "-o", "user,ni,nlwp,args"))
        evidence.add(f"sockets:{node}", _as_nobody(console, node, "ss", "-Htuln"))
    _ask(console, evidence, MEANWHILE)


def look_afterwards(console: Console, evidence: Evidence) -> None:
    console.must(console.sh("noc", "rm", "-f", _BUNDLE, _BACKUP))
    made = (("support-bundle", _BUNDLE, "--appliance", "pop1"), ("backup", "create", _BACKUP))
    _ask(console, evidence, AFTERWARDS, made)
    root = Lab.find(console.lab).root("noc")
    for name, text in bundled((root / _BUNDLE.lstrip("/")).read_bytes()):
        evidence.add_text(f"bundle:{name}", text)
    for name, items in backed_up((root / _BACKUP.lstrip("/")).read_bytes()):
        evidence.add(f"backup:{name}", items)


def _ask(
    console: Console, evidence: Evidence, commands: Sequence[Sequence[str]], more: Sequence[Sequence[str]] = ()
) -> None:
    """What each prints as JSON; `more`: what has to be done besides. Raises ScenarioError when that fails."""
    asked = [*([*one, "--json"] for one in commands), *(list(one) for one in more)]
    argv = ("env", f"NF_BACKUP_PASSPHRASE={_PASSPHRASE}", sys.executable, "-m", "lab.interception.asking")
    told = console.must(console.sh("noc", *argv, stdin=json.dumps(asked).encode(), timeout_s=600.0)).json()
    for command, (_, out, err) in zip(commands, told, strict=False):
        name = f"noc:nf {' '.join(command)}"
        evidence.add_text(name, out)
        evidence.add_text(f"{name}, errors", err)
    for code, out, err in told[len(commands) :]:
        console.must(Answer(code, out, err))


def _as_nobody(console: Console, node: str, *argv: str) -> list[str]:
    plain = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    return console.must(console.sh(node, *plain, *argv)).stdout.splitlines()


def bundled(data: bytes) -> Iterator[tuple[str, str]]:
    """Files of a support bundle."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            yield member.name, "" if file is None else file.read().decode(errors="replace")


def backed_up(data: bytes) -> Iterator[tuple[str, list[str]]]:
    """Of a backup of the NOC: its parts, the manifest, and each row of the store by its table."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        parts = {one.name: file.read() for one in archive.getmembers() if (file := archive.extractfile(one))}
    yield "parts", sorted(parts)
    yield "manifest", lines(parts["manifest.json"].decode())
    store = sqlite3.connect(":memory:")
    try:
        store.deserialize(parts["noc.db"])
        for (table,) in store.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall():
            rows = store.execute(f"SELECT * FROM {table}")  # noqa: S608 - a name out of the schema
            names = [column[0] for column in rows.description]
            yield table, [text for row in rows for text in _row(dict(zip(names, row, strict=True)))]
    finally:
        store.close()


def _row(row: dict[str, Any]) -> Iterator[str]:
    place = " ".join(str(row[name]) for name in ("bucket", "key", "action", "object") if name in row)
    for name, value in row.items():
        text = _readable(value) if isinstance(value, bytes) else str(value)
        found = lines(text) if text.startswith(("{", "[")) else [f": {text}"]
        yield from (f"{place} {name} {one}" for one in found)


def _readable(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


class Logs:
    """What processes of the network wrote since `mark`."""

    def __init__(self, console: Console) -> None:
        self._lab = Lab.find(console.lab)
        self._ends: dict[Path, int] = {}
        self.mark()

    def files(self) -> list[Path]:
        nodes = [name for name in self._lab.nodes() if name not in OWN]
        found = [path for name in nodes for path in sorted(self._lab.folder(name).rglob("*.log")) if path.is_file()]
        return [path for path in found if path.parent.name == "log" or path.name in {"cmd.log", "exec.log"}]

    def mark(self) -> None:
        self._ends = {path: path.stat().st_size for path in self.files()}

    def look(self, evidence: Evidence) -> None:
        for path in self.files():
            with path.open("rb") as file:
                file.seek(self._ends.get(path, 0))
                name = path.relative_to(self._lab.state.directory)
                evidence.add_text(f"log:{name}", file.read().decode(errors="replace"))


class Metrics:
    """What the NOC exports: gauges as they are, counters by what they have gained since it was made."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before = self._read()[1]

    def _read(self) -> tuple[dict[str, float], dict[str, float]]:
        gauges: dict[str, float] = {}
        counters: dict[str, float] = {}
        kinds: dict[str, str] = {}
        for line in self._console.must(self._console.sh("noc", *_METRICS)).stdout.splitlines():
            if line.startswith("# TYPE "):
                name, kind = line.split()[2:4]
                kinds[name] = kind
            elif line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                kind = next((kinds[one] for one in _families(name.partition("{")[0]) if one in kinds), "")
                (gauges if kind == "gauge" else counters)[name] = float(value)
        return gauges, counters

    def look(self, evidence: Evidence) -> None:
        gauges, counters = self._read()
        evidence.add("metrics:noc", sorted((*gauges, *counters)))
        evidence.add("gauges:noc", [f"{name} {value:g}" for name, value in gauges.items()])
        gained = {name: value - self._before.get(name, 0.0) for name, value in counters.items()}
        evidence.add("counters:noc", [f"{name} {value:g}" for name, value in gained.items()])


def _families(name: str) -> Iterator[str]:
    yield name
    for end in ("_total", "_bucket", "_count", "_sum", "_created"):
        yield name.removesuffix(end)


class Counters:
    """Packets a second of every interface that is in the NOC's documents, since it was made. Not: the one of
    interception."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before = self._read()

    def _read(self) -> dict[str, tuple[float, int]]:
        """When, by the monotonic clock, and how many."""
        found: dict[str, tuple[float, int]] = {}
        for node in OBSERVED:
            told, at = self._console.must(self._console.sh(node, "cat", _DEVICES)).stdout, time.monotonic()
            for line in told.splitlines()[2:]:
                name, _, rest = line.partition(":")
                if name.strip() in {"lo", "li0", "eth0"}:
                    continue
                values = rest.split()
                found[f"{node} {name.strip()} in"] = at, int(values[1])
                found[f"{node} {name.strip()} out"] = at, int(values[9])
        return found

    def look(self, evidence: Evidence, when: str) -> None:
        rates = {}
        for name, (at, count) in self._read().items():
            since, before = self._before[name]
            rates[name] = (count - before) / (at - since)
        evidence.add_figures(f"interface:{when}", rates)


def named(console: Console, words: Sequence[bytes]) -> list[str]:
    """Files of the network's nodes, those of interception left out, that hold one of these words."""
    lab = Lab.find(console.lab)
    found = []
    for node in lab.nodes():
        if node in OWN:
            continue
        for path in lab.folder(node).rglob("*"):
            if path.is_file() and "intercept" not in path.relative_to(lab.folder(node)).parts:
                try:
                    data = path.read_bytes()
                except OSError:
                    continue
                found += [f"{node}/{path.name}: {word.decode()}" for word in words if word in data]
    return found
