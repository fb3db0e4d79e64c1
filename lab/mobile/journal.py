"""How the models log: lines as the daemons write them, to the error output and to `logger.file`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from lab.mobile import MODEL


class Journal:
    """The first line says that it is a model. SIGHUP: `reopen`, which is all that Open5GS does with it too."""

    def __init__(self, kind: str, data: dict[str, Any]) -> None:
        self.kind = kind
        logger = data.get("logger")
        file = logger.get("file") if isinstance(logger, dict) else None
        path = file.get("path") if isinstance(file, dict) else file
        self._path = Path(str(path)) if path else None
        self.info(f"{MODEL} of open5gs-{kind}d")

    def info(self, text: str) -> None:
        self._write("INFO", text)

    def warning(self, text: str) -> None:
        self._write("WARNING", text)

    def error(self, text: str) -> None:
        self._write("ERROR", text)

    def _write(self, level: str, text: str) -> None:
        line = f"{time.strftime('%m/%d %H:%M:%S')}.000: [{self.kind}] {level}: {text}\n"
        sys.stderr.write(line)
        sys.stderr.flush()
        if self._path is not None:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:
                sys.stderr.write(f"cannot open {self._path}: {error.strerror}\n")
                self._path = None
