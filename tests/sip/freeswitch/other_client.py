"""Where `genesis` is: an interpreter of its own, since it holds typer, rich and protobuf at old versions.

`make setup` puts it into `.venv/genesis`; NF_GENESIS_PYTHON names another one.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[3]


def python() -> str:
    return os.environ.get("NF_GENESIS_PYTHON") or str(ROOT / ".venv" / "genesis" / "bin" / "python")


def here() -> bool:
    return os.access(python(), os.X_OK)
