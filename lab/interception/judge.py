"""No difference beyond the noise that runs without a task show as well: the judge, who knows no lab and no network.

Runs are made in rounds: some without a task, and one with. Of items, what is there with a task and in no run without is
a difference, and so is how often it is there, or a figure, when it is further from those of the runs without than they
are from each other. Of times, see `lab.interception.timing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lab.interception.evidence import Evidence
from lab.interception.mask import Mask, Masking
from lab.interception.timing import Comparison, compare

_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Round:
    without: tuple[Evidence, ...]
    with_: Evidence


@dataclass(frozen=True, slots=True)
class Difference:
    source: str
    what: str

    def text(self) -> str:
        return f"{self.source}: {self.what}"


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
        without = [_counted(run, source, masking) for one in rounds for run in one.without]
        with_ = [_counted(one.with_, source, masking) for one in rounds]
        there = {source in run.items for one in rounds for run in (*one.without, one.with_)}
        if len(there) > 1 and not all(source in run.items for one in rounds for run in one.without):
            verdict.differences.append(Difference(source, "it was not there in every run, so nothing can be said"))
        texts = {text for counts in (*without, *with_) for text in counts}
        verdict.compared[source] = len(texts)
        for text in sorted(texts):
            known = any(one[text] for one in without)
            slack = masking.mask.slack(source, 0.0) if known else 0.0
            told = _apart([one[text] for one in without], [one[text] for one in with_], slack)
            if told:
                verdict.differences.append(Difference(source, f"{told}: {text[:_LONGEST]}"))


def _counted(run: Evidence, source: str, masking: Masking) -> Counter[str]:
    seen = (masking.item(source, text) for text in run.items.get(source, ()))
    return Counter(text for text in seen if text is not None)


def _figures(rounds: Sequence[Round], mask: Mask, verdict: Verdict) -> None:
    for source in _sources(rounds, "figures"):
        missing = [source not in run.figures for one in rounds for run in (*one.without, one.with_)]
        if any(missing):
            verdict.differences.append(Difference(source, "a figure that is not there in every run"))
            continue
        without = [run.figures[source] for one in rounds for run in one.without]
        with_ = [one.with_.figures[source] for one in rounds]
        slack = mask.slack(source, max(map(abs, without)))
        verdict.compared[source] = 1
        told = _apart(without, with_, slack)
        if told:
            verdict.differences.append(Difference(source, told))


def _apart(without: Sequence[float], with_: Sequence[float], slack: float) -> str:
    """What is wrong: some run with a task is further from those without than these are from each other."""
    low, high = min(without), max(without)
    room = high - low + slack
    if all(low - room <= one <= high + room for one in with_):
        return ""
    return f"without a task {_range(without)}, with one {_range(with_)}"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


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
            verdict.differences.append(Difference(source, "a run in which nothing was timed"))
        elif found.differs and found.statistic > share:
            verdict.differences.append(Difference(source, found.text()))
