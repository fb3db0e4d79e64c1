"""An upgrade of pop1 as the NOC's operator sees it: each state with its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.scenarios.appliance import POP, Place
from lab.scenarios.console import ScenarioError

ENDED = frozenset({"good", "fell-back", "failed", "left-out", "cancelled"})
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """`at`: seconds since the upgrade was begun; `state` and `text` as `nf upgrade status` shows them for pop1."""

    at: float
    state: str
    fraction: float
    text: str


@dataclass(slots=True)
class Progress:
    """What was seen of one upgrade; only changes are kept."""

    id: str
    began: float
    brought_s: float  # so long the bundle took from the operator to the NOC
    samples: list[Sample] = field(default_factory=list)

    @property
    def last(self) -> Sample:
        return self.samples[-1] if self.samples else Sample(0.0, "pending", 0.0, "")

    @property
    def ended(self) -> bool:
        return self.last.state in ENDED

    def split(self) -> dict[str, float]:
        """Seconds in each part: transfer, verify, write, activate, boot, trial; as far as it came."""
        parts: dict[str, float] = {}
        for now, then in zip(self.samples, self.samples[1:], strict=False):
            part = _part(now)
            if part:
                parts[part] = parts.get(part, 0.0) + then.at - now.at
        return parts


def _part(sample: Sample) -> str:
    if sample.state == "install":
        judged = any(word in sample.text.lower() for word in ("verif", "check", "signature", "determin"))
        return "verify" if judged else "write"
    names = {
        "transfer": "transfer",
        "activate": "activate",
        "reboot": "boot",
        "trial": "trial",
        "installed": "activate",
    }
    return names.get(sample.state, "")


def begin(place: Place, bundle: Path, *options: str) -> Progress:
    """The bundle to the NOC, and the upgrade begun. Raises ScenarioError."""
    console = place.console
    start = time.monotonic()
    order = ("upgrade", "start", POP, "--bundle", str(bundle.resolve()), "--detach", "--json", *options)
    started = console.must(console.nf(*order, timeout_s=600.0)).json()
    now = time.monotonic()
    return Progress(id=str(started["id"]), began=now, brought_s=now - start)


def look(place: Place, progress: Progress) -> Sample:
    """The state of pop1 in the upgrade now; a change is kept."""
    answer = place.console.nf("upgrade", "status", progress.id, "--json")
    if answer.code == 0:
        told: dict[str, Any] = answer.json()
        member = next((one for one in told["members"] if one["appliance"] == POP), None)
        if member is not None:
            text = str(member.get("text", ""))
            at = time.monotonic() - progress.began
            sample = Sample(at, str(member["state"]), float(member.get("fraction", 0.0)), text)
            before = progress.last
            if not progress.samples or (before.state, before.text) != (sample.state, sample.text):
                progress.samples.append(sample)
            return sample
    return progress.last


def follow(
    place: Place,
    progress: Progress,
    patience_s: float,
    *,
    until: Callable[[Sample], bool] = lambda sample: sample.state in ENDED,
) -> Sample:
    """Look until it is so. Raises ScenarioError with what was seen."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        sample = look(place, progress)
        if until(sample):
            return sample
        time.sleep(_LOOK_S)
    seen = "; ".join(f"{one.at:.0f} s {one.state} {one.text}".strip() for one in progress.samples)
    raise ScenarioError(f"upgrade {progress.id} did not come that far within {patience_s:.0f} s: {seen}")
