"""All of interception on loopback, beside the small voice core of tests/sip/interception, as it is run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.interception.bring_up import bring_up
from lab.interception.places import PLAIN, SEALED, Agency, Plan, Point
from lab.scenarios.console import Answer, ScenarioError
from lawful_intercept.configuration import load
from lawful_intercept.keys import store_key
from lawful_intercept.mediation.alarms import Alarm, Alarms
from lawful_intercept.mediation.settings import MediationSettings
from lawful_intercept.mediation.state import State
from nf.clock import RealClock

BIN = Path(sys.executable).parent
AGENCIES = (Agency("agency1", "127.0.0.21", PLAIN), Agency("agency2", "127.0.0.22", SEALED, encrypted=True))


def plan(run_dir: Path, address: str, agencies: Sequence[Agency] = AGENCIES) -> Plan:
    """One appliance, whose observation point listens below `run_dir`; `address`: of its proxy."""
    points = {"sip": {"content": "media", "address": address}}
    point = Point("pop1", "127.0.0.11", points, ("voice",), run_dir=str(run_dir))
    return Plan("li.test", "li", "127.0.0.10", (point,), tuple(agencies))


@dataclass
class LocalSite:
    plan: Plan
    root: Path
    _running: dict[tuple[str, ...], subprocess.Popen[bytes]] = field(default_factory=dict)

    def folder(self, node: str, user: str = "") -> Path:
        place = self.root / node
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place

    def home(self, node: str, user: str = "") -> Path:
        return self.folder(node, user)

    def owned(self, node: str, user: str) -> str:
        return ""

    def run(self, node: str, *argv: str) -> Answer:
        done = subprocess.run([BIN / argv[0], *argv[1:]], capture_output=True, text=True, timeout=120, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, node: str, *argv: str) -> None:
        with (self.root / f"{argv[2]}-{node}.log").open("ab") as log:
            self._running[node, *argv] = subprocess.Popen([BIN / argv[0], *argv[1:]], stdout=log, stderr=log)

    def wait(self, what: str, ready: Callable[[], bool], timeout_s: float = 60.0) -> float:
        start = time.monotonic()
        while not ready():
            if time.monotonic() - start > timeout_s * 3:
                raise ScenarioError(f"not seen: {what}; {self.said()}")
            time.sleep(0.1)
        return time.monotonic() - start

    def said(self) -> str:
        """What processes wrote, which is nothing but where something failed."""
        logs = [(path.name, path.read_text(errors="replace")[-1000:]) for path in self.root.glob("*.log")]
        return "; ".join(f"{name}: {text}" for name, text in logs if text)

    def kill(self, kind: str, node: str = "") -> float:
        """SIGKILL to `nf-li run KIND` (of the node), and a new one: seconds between them."""
        found = [key for key in self._running if key[3] == kind and node in {"", key[0]}]
        start = time.monotonic()
        for key in found:
            process = self._running.pop(key)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            self.start(*key)
        assert found
        return time.monotonic() - start

    def alarms_of_mediation(self) -> list[Alarm]:
        """What it keeps for LI officers: it ends in order, is read, and goes on."""
        (key,) = [key for key in self._running if key[3] == "mdf"]
        process = self._running.pop(key)
        process.terminate()
        assert process.wait(60) == 0
        settings = load(self.home(key[0]) / "mdf.yaml", MediationSettings)
        with (
            store_key(settings.store_key, settings.state) as secret,
            closing(State(settings.state / "state", secret)) as state,
        ):
            found = Alarms(state, RealClock()).all()
        self.start(*key)
        return found

    def running(self) -> dict[str, int]:
        """Kind and node -> PID."""
        return {f"{key[3]} {key[0]}": process.pid for key, process in self._running.items()}

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def interception(root: Path, run_dir: Path, address: str, agencies: Sequence[Agency] = AGENCIES) -> Iterator[LocalSite]:
    root.mkdir(mode=0o700)
    site = LocalSite(plan(run_dir, address, agencies), root)
    try:
        bring_up(site)
        yield site
    finally:
        site.stop()
