"""Whether two sets of times are of one distribution: two-sample Kolmogorov-Smirnov, judged by permutation of blocks.

Packets of one run are no independent samples: a machine that is busy for a second makes fifty of them late together,
and tables of the statistic would call that a difference. So runs are made in rounds, each of some without a task and
one with, in random order; were the task without effect, any of a round could be the one. p is the share of all ways to
choose one of each round that differ as much from the rest as those with the task do (an exact test: Fisher, 1935).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

GRID: Final = 5e-6
"""Seconds: times are counted in steps of it, which is finer than what a kernel's time stamp means."""
MOST: Final = 20_000
"""Ways to choose that are tried; of more, so many at random."""
LEVEL: Final = 0.005
_TOGETHER: Final = 256
ROUNDS: Final = 5
"""As few rounds of three runs have 243 ways: with fewer, p cannot fall below `LEVEL`."""

Samples = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """statistic  the greatest distance of the two distributions, 0..1, after `grain` seconds of shift are forgiven
    plain      the same with nothing forgiven
    p          see above; 1.0 when there are too few rounds to say
    median     seconds by which the median with a task is above that of the runs without
    """

    statistic: float
    plain: float
    p: float
    median: float
    without: int
    with_: int

    @property
    def differs(self) -> bool:
        return self.statistic > 0 and self.p <= LEVEL

    def text(self) -> str:
        return (
            f"D = {self.statistic:.3f} (plain {self.plain:.3f}), p = {self.p:.4f}, median {self.median * 1e6:+.0f} us, "
            f"n = {self.without} without, {self.with_} with"
        )


def distance(first: Samples, second: Samples, grain: float = 0.0) -> float:
    """The two-sample Kolmogorov-Smirnov statistic; where `grain` is given, what a shift by so many seconds explains is
    left out. Of nothing: 0."""
    if not first.size or not second.size:
        return 0.0
    places, counts = _counts([first, second])
    return float(_distances(counts[:1], counts[1:], _later(places, grain))[0])


def compare(rounds: Sequence[tuple[Sequence[Samples], Samples]], grain: float = 0.0, seed: int = 1) -> Comparison:
    """Of each round: the runs without a task, and the one with. `grain` in seconds."""
    blocks = [block for without, with_ in rounds for block in (with_, *without)]
    sizes = [len(without) + 1 for without, _ in rounds]
    starts = np.cumsum([0, *sizes[:-1]])
    places, counts = _counts(blocks)
    whole, later = counts.sum(axis=0)[None, :], _later(places, grain)
    ways = starts[None, :] + _ways(sizes, seed)
    found = np.concatenate(
        [_distances(chosen := counts[part].sum(axis=1), whole - chosen, later) for part in _parts(ways)]
    )
    p = float(np.mean(found >= found[0] - 1e-12)) if len(rounds) >= ROUNDS else 1.0
    observed = np.concatenate([with_ for _, with_ in rounds])
    rest = np.concatenate([block for without, _ in rounds for block in without])
    median = float(np.median(observed) - np.median(rest)) if observed.size and rest.size else 0.0
    return Comparison(float(found[0]), distance(observed, rest), p, median, int(rest.size), int(observed.size))


def _counts(blocks: Sequence[Samples]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The places of the grid that any sample is at, and of each block how many of its samples are there."""
    steps = [np.rint(block / GRID) for block in blocks]
    places, at = np.unique(np.concatenate(steps), return_inverse=True)
    counts = np.zeros((len(blocks), max(1, places.size)))
    ends = np.cumsum([block.size for block in blocks])
    for row, end, block in zip(counts, ends, blocks, strict=True):
        np.add.at(row, at[end - block.size : end], 1)
    return places * GRID, counts


def _later(places: Samples, grain: float) -> NDArray[np.int64]:
    """Of each place, the last one that is at most `grain` behind it."""
    found: NDArray[np.int64] = np.searchsorted(places, places + grain + GRID / 2, side="right") - 1
    return found if found.size else np.zeros(1, np.int64)


def _distances(ones: Samples, others: Samples, later: NDArray[np.int64]) -> Samples:
    """Row by row, of counts at places. Where one lies above even what the other reaches later, no shift explains it."""
    first, second = _cumulated(ones), _cumulated(others)
    found: Samples = np.maximum((first - second[:, later]).max(axis=1), (second - first[:, later]).max(axis=1))
    return np.maximum(found, 0.0)


def _cumulated(rows: Samples) -> Samples:
    sums = rows.sum(axis=1, keepdims=True)
    cumulated: Samples = np.cumsum(rows, axis=1) / np.where(sums == 0, 1, sums)
    return cumulated


def _ways(sizes: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Rows of indices, one index for each round; the first row is what was done (0 of each)."""
    if np.prod([float(size) for size in sizes]) <= MOST:
        return np.array(list(itertools.product(*(range(size) for size in sizes))), np.int64)
    dice = np.random.default_rng(seed)
    drawn = np.stack([dice.integers(0, size, MOST) for size in sizes], axis=1)
    return np.concatenate([np.zeros((1, len(sizes)), np.int64), drawn])


def _parts(ways: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [ways[start : start + _TOGETHER] for start in range(0, len(ways), _TOGETHER)]
