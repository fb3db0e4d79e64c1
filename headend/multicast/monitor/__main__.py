"""`python -m headend.multicast.monitor --config FILE --directory DIR`: the PoP's monitor, until it is ended."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from headend.multicast.monitor.process import run
from nf.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(prog="multicast-monitor", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON of the section")
    parser.add_argument("--directory", type=Path, required=True, help="for status.sock")
    given = parser.parse_args()
    try:
        run(given.config, given.directory)
    except (OSError, InputError) as error:
        sys.stderr.write(f"multicast monitor: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
