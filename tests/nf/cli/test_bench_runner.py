"""The benchmarks' runner: interleaved rounds, verdicts against targets, figures on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import __main__ as runner
from tests.bench.harness import Benchmark


def bench(
    name: str, values: list[float], target: float, trace: list[str] | None = None, sense: str = "<="
) -> Benchmark:
    left: Iterator[float] = iter(values)

    def run() -> float:
        if trace is not None:
            trace.append(name)
        return next(left)

    return Benchmark(name, "a peer", sense, target, run, len(values))  # type: ignore[arg-type]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "build" / "bench.json"
    monkeypatch.setattr(runner, "RESULTS", path)
    return path


def test_rounds_are_interleaved_and_figures_kept(
    monkeypatch: pytest.MonkeyPatch, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace: list[str] = []
    benches = [bench("a.x", [1.0, 3.0, 2.0], 2.0, trace), bench("b.y", [120.0, 90.0], 100, trace, ">=")]
    monkeypatch.setattr(runner, "discover", lambda: benches)
    assert runner.main([]) == 0
    assert trace == ["a.x", "b.y", "a.x", "b.y", "a.x"]
    first, second = json.loads(results.read_text())
    assert first == {
        "name": "a.x",
        "peer": "a peer",
        "ratio": 2.0,
        "target": 2.0,
        "runs": {"min": 1.0, "median": 2.0, "max": 3.0},
    }
    assert second["ratio"] == 105.0
    assert capsys.readouterr().out.count("met") == 2


def test_a_missed_target_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "discover", lambda: [bench("a", [3.0], 2.0), bench("b", [1.0], 2.0, None, ">=")])
    assert runner.main([]) == 1
    assert capsys.readouterr().out.count("missed") == 2


def test_one_alone_and_names_that_are_none(monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    monkeypatch.setattr(runner, "discover", lambda: [bench("a", [1.0], 2.0), bench("b", [3.0], 2.0)])
    assert runner.main(["a"]) == 0
    assert [entry["name"] for entry in json.loads(results.read_text())] == ["a"]
    assert runner.main(["c"]) == 2


def test_a_missing_program_is_named_and_hides_nobody(
    monkeypatch: pytest.MonkeyPatch, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> float:
        raise FileNotFoundError(2, "No such file", "vtysh")

    broken = Benchmark("frr.read", "vtysh", ">=", 100.0, run)
    monkeypatch.setattr(runner, "discover", lambda: [broken, bench("b", [1.0], 2.0)])
    assert runner.main([]) == 1
    assert "not here: vtysh" in capsys.readouterr().out
    first, second = json.loads(results.read_text())
    assert (first["ratio"], first["runs"], second["ratio"]) == (None, None, 1.0)


def test_the_projects_own_are_found_and_named_once() -> None:
    names = [benchmark.name for benchmark in runner.discover()]
    assert names
    assert len(names) == len(set(names))
