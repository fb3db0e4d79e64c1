"""What somebody without a warrant can see of one run: items of text, figures, and samples of time.

Each belongs to a source, `KIND:NAME`, such as `log:kamailio` or `rtp:transit to the called`; the mask speaks of kinds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


@dataclass(slots=True)
class Evidence:
    """items    source -> texts, each compared as a whole: a SIP message with all its octets, a line of a log, one value
             of an answer with the path to it. Their order is not compared, as it is nobody's
    figures  source -> a number of this run, such as packets that an interface sent in it
    samples  source -> seconds, of which the distribution is compared
    """

    items: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    samples: dict[str, Seconds] = field(default_factory=dict)

    def add(self, source: str, items: Iterable[str]) -> None:
        """A source that said nothing is there too: one that is silent in one run alone is a difference."""
        self.items.setdefault(source, []).extend(items)

    def add_text(self, source: str, text: str) -> None:
        """Lines; the values of it when it is JSON, one document or one on each line."""
        self.add(source, lines(text))

    def add_figures(self, source: str, figures: Mapping[str, float]) -> None:
        self.figures.update({f"{source} {name}": value for name, value in figures.items()})

    def add_samples(self, source: str, seconds: Iterable[float]) -> None:
        before = self.samples.get(source, np.zeros(0))
        self.samples[source] = np.concatenate([before, np.fromiter(seconds, np.float64)])


def lines(text: str) -> list[str]:
    found: list[str] = []
    try:
        return list(flat(json.loads(text)))
    except ValueError:
        pass
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            found += flat(json.loads(line)) if line.lstrip().startswith("{") else [line]
        except ValueError:
            found.append(line)
    return found


def flat(value: Any, path: str = "") -> Iterable[str]:
    """Each value with the path to it: `hops[].verdict: "up"`. An empty list or object is a value too."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from flat(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for part in value:
            yield from flat(part, f"{path}[]")
    else:
        yield f"{path}: {json.dumps(value)}"
