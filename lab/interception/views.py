"""Everything that people of the NOC can look at in the reference network, as evidence for the judge.

What they cannot look at is left out: the nodes of interception and its interface. What root of an appliance sees is
said in docs/interception-proof.md.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from lab.interception.evidence import Evidence
from lab.native.handle import Lab
from lab.scenarios.console import Console

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
    ("audit", "show"),
    ("noc", "status"),
    ("noc", "service", "list"),
)
_BUNDLE = "/tmp/interception-proof.tar.gz"  # noqa: S108 - inside a node of the lab
_DEVICES = "/proc/net/dev"
_METRICS = ("curl", "-s", "http://127.0.0.1:9470/metrics")
METRICS_SERVICE: Final = ("noc", "service", "set", "metrics", "address=127.0.0.1:9470")


def look_meanwhile(console: Console, evidence: Evidence) -> None:
    """While a call is up."""
    for node in OBSERVED:
        evidence.add(f"processes:{node}", _as_nobody(console, node, "ps", "-e", "-o", "user,ni,nlwp,args"))
        evidence.add(f"sockets:{node}", _as_nobody(console, node, "ss", "-Htuln"))
    _ask(console, evidence, MEANWHILE)


def look_afterwards(console: Console, evidence: Evidence) -> None:
    _ask(console, evidence, AFTERWARDS)
    for line in console.sh("noc", *_METRICS).stdout.splitlines():
        if not line.startswith("#"):
            evidence.add("metrics:noc", [line.rpartition(" ")[0]])
    for name, text in _support_bundle(console):
        evidence.add_text(f"bundle:{name}", text)


def _ask(console: Console, evidence: Evidence, commands: Sequence[Sequence[str]]) -> None:
    """Two at a time: most of each is the start of a program."""
    with ThreadPoolExecutor(2) as pool:
        for command, answer in zip(commands, pool.map(lambda one: console.nf(*one, "--json"), commands), strict=True):
            name = f"noc:nf {' '.join(command)}"
            evidence.add_text(name, answer.stdout)
            evidence.add_text(f"{name}, errors", answer.stderr)


def _as_nobody(console: Console, node: str, *argv: str) -> list[str]:
    plain = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    return console.must(console.sh(node, *plain, *argv)).stdout.splitlines()


def _support_bundle(console: Console) -> Iterator[tuple[str, str]]:
    console.must(console.sh("noc", "rm", "-f", _BUNDLE))
    console.must(console.nf("support-bundle", _BUNDLE, "--appliance", "pop1"))
    data = (Lab.find(console.lab).root("noc") / _BUNDLE.lstrip("/")).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            yield member.name, "" if file is None else file.read().decode(errors="replace")


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


class Counters:
    """Packets of every interface that is in the NOC's documents, since it was made. Not: the one of interception."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before = self._read()

    def _read(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for node in OBSERVED:
            for line in self._console.must(self._console.sh(node, "cat", _DEVICES)).stdout.splitlines()[2:]:
                name, _, rest = line.partition(":")
                if name.strip() in {"lo", "li0", "eth0"}:
                    continue
                values = rest.split()
                found[f"{node} {name.strip()} in"], found[f"{node} {name.strip()} out"] = int(values[1]), int(values[9])
        return found

    def look(self, evidence: Evidence) -> None:
        after = self._read()
        changed = {name: float(value - self._before.get(name, 0)) for name, value in after.items()}
        evidence.add_figures("interface:packets", changed)


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
