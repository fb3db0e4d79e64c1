"""No difference beyond the noise that runs without a task show as well: the judge, who knows no lab and no network.

Runs are made in rounds: some without a task, and one with. Of items, what is there with a task and in no run without is
a difference, and so is how often it is there, or a figure, when it is further from those of the runs without than they
are from each other. Of times, see `lab.interception.timing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from lab.interception.evidence import Evidence
from lab.interception.mask import Mask, Masking, Number
from lab.interception.timing import Comparison, compare

_LONGEST: Final = 400
_FEW: Final = 4


@dataclass(frozen=True, slots=True)
class Round:
    without: tuple[Evidence, ...]
    with_: Evidence

    @classmethod
    def kept(cls, folder: Path) -> Round:
        """Of evidence that was saved as `with` and `without-NUMBER`. Raises OSError, ValueError."""
        without = tuple(Evidence.load(path) for path in sorted(folder.glob("without-*.json.gz")))
        return cls(without, Evidence.load(folder / "with.json.gz"))


@dataclass(frozen=True, slots=True)
class Difference:
    """source  whose view it is
    item    the field: of a value its path, else the whole item as it is compared, or the figure's name
    what    what is wrong with it: the values of each run
    """

    source: str
    item: str
    what: str

    def text(self) -> str:
        return f"{self.source}: {self.item[:_LONGEST]}: {self.what}" if self.item else f"{self.source}: {self.what}"


@dataclass(slots=True)
class Verdict:
    """compared  source -> how many different items, figures or samples were looked at
    unused    parts of the mask about these sources that had nothing to do: it masks no more than it has to
    """

    differences: list[Difference] = field(default_factory=list)
    compared: dict[str, int] = field(default_factory=dict)
    times: dict[str, Comparison] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return not self.differences and bool(self.compared)

    def text(self) -> str:
        return "\n".join(one.text() for one in self.differences)

    def about(self, kind: str) -> list[Difference]:
        return [one for one in self.differences if one.source.startswith(kind)]


def judge(rounds: Sequence[Round], mask: Mask) -> Verdict:
    """Raises ValueError when there is nothing to tell noise from: a round has two runs without a task."""
    if not rounds or any(len(one.without) < 2 for one in rounds):
        raise ValueError("noise is what two runs without a task differ by: each round needs two of them")
    verdict = Verdict()
    masking = Masking(mask)
    _items(rounds, masking, verdict)
    _figures(rounds, mask, verdict)
    _times(rounds, mask, verdict)
    verdict.unused = tuple(masking.unused(verdict.compared))
    return verdict


def compare_runs(first: Evidence, second: Evidence, with_task: Evidence, mask: Mask) -> Verdict:
    """Of one round. Too few for a statement about times (`timing.ROUNDS`): those are measured and not judged."""
    return judge([Round((first, second), with_task)], mask)


def _sources(rounds: Sequence[Round], part: str) -> list[str]:
    return sorted({name for one in rounds for run in (*one.without, one.with_) for name in getattr(run, part)})


def _items(rounds: Sequence[Round], masking: Masking, verdict: Verdict) -> None:
    for source in _sources(rounds, "items"):
        runs = [run for one in rounds for run in (*one.without, one.with_)]
        there = {source in run.items for run in runs}
        if len(there) > 1 and not all(source in run.items for one in rounds for run in one.without):
            verdict.differences.append(Difference(source, "", "it was not there in every run, so nothing can be said"))
        without = [_seen(run, source, masking) for one in rounds for run in one.without]
        with_ = [_seen(one.with_, source, masking) for one in rounds]
        texts = {text for one in (*without, *with_) for text in one.counts}
        verdict.compared[source] = len(texts)
        for text in sorted(texts):
            known = any(one.counts[text] for one in without)
            slack = masking.mask.slack(source, 0.0) if known else 0.0
            told = _apart([one.counts[text] for one in without], [one.counts[text] for one in with_], slack)
            if not told and known:
                told = next(filter(None, (_apart_measured(pick, text, without, with_) for pick in (min, max))), "")
            if told:
                verdict.differences.append(Difference(source, text, told))


@dataclass(slots=True)
class _Counted:
    """Of a run: how often each item is there, and the numbers of those that have one."""

    counts: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, list[float]] = field(default_factory=dict)
    parts: dict[str, Number] = field(default_factory=dict)


def _seen(run: Evidence, source: str, masking: Masking) -> _Counted:
    counted = _Counted()
    for item in run.items.get(source, ()):
        seen = masking.item(source, item)
        if seen is None:
            continue
        counted.counts[seen.text] += 1
        if seen.part is not None:
            counted.parts[seen.text] = seen.part
            counted.numbers.setdefault(seen.text, []).append(seen.number)
    return counted


def _apart_measured(
    pick: Callable[[Iterable[float]], float], text: str, without: Sequence[_Counted], with_: Sequence[_Counted]
) -> str:
    """The least or the greatest of a run's numbers; runs that have none say nothing."""
    part = next((one.parts[text] for one in (*without, *with_) if text in one.parts), None)
    if part is None:
        return ""
    before, after = ([pick(one.numbers[text]) for one in runs if text in one.numbers] for runs in (without, with_))
    return _apart(before, after, part.absolute + part.relative * max(map(abs, before)))


def _figures(rounds: Sequence[Round], mask: Mask, verdict: Verdict) -> None:
    for source in _sources(rounds, "figures"):
        missing = [source not in run.figures for one in rounds for run in (*one.without, one.with_)]
        if any(missing):
            verdict.differences.append(Difference(source, "", "a figure that is not there in every run"))
            continue
        without = [run.figures[source] for one in rounds for run in one.without]
        with_ = [one.with_.figures[source] for one in rounds]
        slack = mask.slack(source, max(map(abs, without)))
        verdict.compared[source] = 1
        told = _apart(without, with_, slack)
        if told:
            verdict.differences.append(Difference(source, "", told))


def _apart(without: Sequence[float], with_: Sequence[float], slack: float) -> str:
    """What is wrong: some run with a task is further from those without than these are from each other."""
    low, high = min(without), max(without)
    room = high - low + slack
    if all(low - room <= one <= high + room for one in with_):
        return ""
    return f"without a task {_told(without)}, with one {_told(with_)}"


def _told(values: Sequence[float]) -> str:
    """Run by run where they are few."""
    low, high = min(values), max(values)
    if low == high:
        return f"{low:g}"
    return ", ".join(f"{one:g}" for one in values) if len(values) <= _FEW else f"{low:g} to {high:g}"


def _times(rounds: Sequence[Round], mask: Mask, verdict: Verdict) -> None:
    nothing = np.zeros(0)
    for source in _sources(rounds, "samples"):
        made = [
            ([run.samples.get(source, nothing) for run in one.without], one.with_.samples.get(source, nothing))
            for one in rounds
        ]
        seconds, share = mask.grain(source)
        found = verdict.times[source] = compare(made, seconds)
        verdict.compared[source] = found.without + found.with_
        if any(not block.size for without, with_ in made for block in (*without, with_)):
            verdict.differences.append(Difference(source, "", "a run in which nothing was timed"))
        elif found.differs and found.statistic > share:
            verdict.differences.append(Difference(source, "", found.text()))
