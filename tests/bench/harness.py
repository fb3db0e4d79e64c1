"""The benchmark contract: a benchmark returns one ratio per run, both sides interleaved inside that run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Benchmark:
    """`run()` measures both sides once, side by side, and returns ours-to-peer as one ratio.

    name     "domain.subject"
    peer     what it is measured against, in words
    target   the bound on the median ratio; `sense` says on which side of it good lies
    """

    name: str
    peer: str
    sense: Literal["<=", ">="]
    target: float
    run: Callable[[], float]
    repeats: int = 5
