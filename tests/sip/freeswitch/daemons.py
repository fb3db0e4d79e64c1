"""Which FreeSWITCH the tests of this folder run, and whose behaviour they saw."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
MODEL: Final = ROOT / "lab" / "voice" / "bin"
BIN: Final = Path(os.environ.get("NF_FREESWITCH_BIN") or MODEL).absolute()
ESL: Final = os.environ.get("FS_ESL", "")
"""host:port[:password] of a real FreeSWITCH's event socket."""

UNVERIFIED: Final = "UNVERIFIED ON REAL FREESWITCH"
VERIFIED: Final = "on a real FreeSWITCH"
LIMIT_S: Final = 90.0


@cache
def is_model(program: Path) -> bool:
    """The real one names its version; ours says that it is a model."""
    done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return "MODEL" in (done.stdout + done.stderr).upper()


def label() -> str:
    """Of what runs the program of NF_FREESWITCH_BIN."""
    return UNVERIFIED if is_model(BIN / "freeswitch") else VERIFIED
