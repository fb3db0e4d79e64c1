"""What a scenario saw: each step's figure, target and verdict, printed and written to a JSON file."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console as Terminal
from rich.markup import escape


@dataclass(frozen=True, slots=True)
class Verdict:
    step: str
    figure: str
    target: str
    good: bool
    seconds: float


@dataclass(slots=True)
class Verdicts:
    terminal: Terminal
    path: Path
    rows: list[Verdict] = field(default_factory=list)
    _mark: float = field(default_factory=time.monotonic)
    _chapters: int = 0

    def chapter(self, title: str) -> None:
        self._chapters += 1
        self.terminal.print(f"\n[bold]{self._chapters}. {title}[/bold]")

    def note(self, text: str) -> None:
        self.terminal.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)

    def add(self, step: str, figure: str, target: str, *, good: bool) -> bool:
        """Record and print one step; the file is written anew each time, so that a crash loses nothing."""
        now = time.monotonic()
        self.rows.append(Verdict(step, figure, target, good, round(now - self._mark, 2)))
        self._mark = now
        mark = "[green]ok[/green] " if good else "[red]RED[/red]"
        told = f"  {mark} {step}: {escape(figure)}  [dim](target: {escape(target)})[/dim]"
        self.terminal.print(told, highlight=False, soft_wrap=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps([asdict(row) for row in self.rows], indent=2) + "\n")
        return good

    @property
    def good(self) -> bool:
        return bool(self.rows) and all(row.good for row in self.rows)
