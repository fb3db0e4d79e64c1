"""The last log lines of this process, kept in memory for whoever must find out what happened."""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

LINES: Final = 2_000
_LONGEST: Final = 2_000


class RecentLog(logging.Handler):
    """Keeps the last `LINES` lines as they were formatted, each cut at 2,000 characters."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record)[:_LONGEST])

    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)


RECENT: Final = RecentLog()
"""The one of this process; `nf ... run` adds it to the root logger."""
