"""What somebody without a warrant can see of one run: items of text, figures, and samples of time.

Each belongs to a source, `KIND:NAME`, such as `log:kamailio` or `rtp:transit to the called`; the mask speaks of kinds.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
_NAMES: Final = ("name", "appliance")


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

    def save(self, path: Path) -> None:
        """To be judged again, without the network. Raises OSError."""
        samples = {name: values.tolist() for name, values in self.samples.items()}
        made = {"items": self.items, "figures": self.figures, "samples": samples}
        with gzip.open(path, "wt", encoding="utf-8") as file:
            json.dump(made, file)

    @classmethod
    def load(cls, path: Path) -> Evidence:
        """Raises OSError, ValueError."""
        with gzip.open(path, "rt", encoding="utf-8") as file:
            made = json.load(file)
        samples = {name: np.array(values, np.float64) for name, values in made["samples"].items()}
        return cls(made["items"], made["figures"], samples)


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
    """Each value with the path to it: `hops[pop1].verdict: "up"`, by the name of a row that has one. An empty list or
    object is a value too."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from flat(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for part in value:
            yield from flat(part, f"{path}[{_name(part)}]")
    else:
        yield f"{path}: {json.dumps(value)}"


def _name(row: Any) -> str:
    told = (row.get(key) for key in _NAMES) if isinstance(row, dict) else ()
    return next((one for one in told if isinstance(one, str)), "")
