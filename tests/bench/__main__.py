"""`make bench`: every benchmark in tests/bench/bench_*.py, runs interleaved, a table, build/bench.json.

`python -m tests.bench [NAME...]` runs those alone. Exit code 1 when a target is missed or a benchmark cannot run.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.harness import Benchmark

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent.parent / "build" / "bench.json"


@dataclass
class Result:
    """Ratios of the runs so far; `failed` says why there are no more."""

    benchmark: Benchmark
    runs: list[float] = field(default_factory=list)
    failed: str = ""

    @property
    def ratio(self) -> float:
        return statistics.median(self.runs)

    @property
    def met(self) -> bool:
        if self.failed or not self.runs:
            return False
        target = self.benchmark.target
        return self.ratio <= target if self.benchmark.sense == "<=" else self.ratio >= target

    def run(self) -> None:
        try:
            self.runs.append(self.benchmark.run())
        except FileNotFoundError as error:
            self.failed = f"not here: {error.filename or error} (make setup installs it)"
        except Exception as error:  # noqa: BLE001  # one broken benchmark must not hide the others' figures
            self.failed = f"{type(error).__name__}: {error}"

    def to_json(self) -> dict[str, object]:
        bench = self.benchmark
        if not self.runs:
            return {"name": bench.name, "peer": bench.peer, "ratio": None, "target": bench.target, "runs": None}
        spread = {"min": min(self.runs), "median": self.ratio, "max": max(self.runs)}
        return {"name": bench.name, "peer": bench.peer, "ratio": self.ratio, "target": bench.target, "runs": spread}


def discover() -> list[Benchmark]:
    """`BENCHMARKS` of every module bench_*.py, in the order of their names."""
    modules = [importlib.import_module(f"tests.bench.{path.stem}") for path in sorted(HERE.glob("bench_*.py"))]
    return [benchmark for module in modules for benchmark in module.BENCHMARKS]


def measure(benchmarks: Sequence[Benchmark], terminal: Console) -> list[Result]:
    """Round after round, one run of each: what disturbs the machine for a while disturbs all of them alike."""
    results = [Result(benchmark) for benchmark in benchmarks]
    rounds = max((benchmark.repeats for benchmark in benchmarks), default=0)
    for number in range(rounds):
        for result in results:
            if number < result.benchmark.repeats and not result.failed:
                terminal.print(f"round {number + 1}/{rounds}: {result.benchmark.name}", style="dim")
                result.run()
    return results


def picture(results: Sequence[Result]) -> Table:
    numbers = ("target", "min", "median", "max")
    table = Table("name", "peer", box=box.SIMPLE_HEAD)
    for column in numbers:
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for result in results:
        bench = result.benchmark
        spread = (min(result.runs), result.ratio, max(result.runs)) if result.runs else ()
        cells = [f"{value:.3g}" for value in spread] or ["-", "-", "-"]
        verdict = result.failed or ("met" if result.met else "missed")
        style = "green" if result.met else "bold red"
        table.add_row(bench.name, bench.peer, f"{bench.sense} {bench.target:g}", *cells, f"[{style}]{verdict}[/]")
    return table


def main(names: Sequence[str]) -> int:
    terminal = Console(stderr=True)
    found = discover()
    unknown = set(names) - {benchmark.name for benchmark in found}
    if unknown:
        known = ", ".join(sorted(benchmark.name for benchmark in found))
        terminal.print(f"no such benchmark: {', '.join(sorted(unknown))}; there are: {known or 'none'}", markup=False)
        return 2
    results = measure([benchmark for benchmark in found if not names or benchmark.name in names], terminal)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([result.to_json() for result in results], indent=2) + "\n")
    Console(width=None if sys.stdout.isatty() else 160).print(picture(results))
    return 0 if all(result.met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
