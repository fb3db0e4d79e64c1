"""`python -m headend.multicast.output --config FILE --directory DIR`: the outputs of a PoP, until it is ended."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from headend.multicast.output.process import run
from nf.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(prog="multicast-output", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON of the section")
    parser.add_argument("--directory", type=Path, required=True, help="for status.sock and control.sock")
    given = parser.parse_args()
    try:
        run(given.config, given.directory)
    except (OSError, InputError) as error:
        sys.stderr.write(f"multicast output: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
