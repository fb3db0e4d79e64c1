"""Whose daemons the live tests run: those of the folder `NF_OPEN5GS_BIN`, else the lab's models.

Sessions are made at the SMF by `/model/sessions`, which the model alone has: where a test needs some, the SMF is the
model whatever the folder has, and the UPFs are the folder's.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MODELS: Final = ROOT / "lab" / "mobile" / "bin"
BIN: Final = Path(os.environ.get("NF_OPEN5GS_BIN") or MODELS).absolute()
LIMIT_S: Final = 90.0

UNVERIFIED: Final = "UNVERIFIED ON REAL OPEN5GS"
VERIFIED: Final = "on the daemons of NF_OPEN5GS_BIN"


def program(kind: str) -> Path:
    return BIN / f"open5gs-{kind}d"


SMF_MODEL: Final = MODELS / "open5gs-smfd"


@cache
def is_model(binary: Path) -> bool:
    """Real daemons name their version; ours say that they are models."""
    done = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return "MODEL" in done.stdout + done.stderr


def label(kind: str = "upf") -> str:
    return UNVERIFIED if is_model(program(kind)) else VERIFIED
