"""Many `nf` commands in one process: `python -m lab.interception.asking`, a JSON list of their words on stdin.

On stdout a JSON list: of each its exit code, what it printed, and what it said on stderr. Most of a short command is
the start of a program.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Sequence

from nf.cli.main import main


def ask(words: Sequence[str]) -> tuple[int, str, str]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(words)
    return code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    json.dump([ask(words) for words in json.load(sys.stdin)], sys.stdout)
