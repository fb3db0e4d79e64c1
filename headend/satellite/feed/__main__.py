"""`python -m headend.satellite.feed --config FILE --directory DIR --memory DIR`: the feed of a carrier, until ended."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from headend.satellite.feed.process import run
from nf.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(prog="satellite-feed", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON of one carrier of the section")
    parser.add_argument("--directory", type=Path, required=True, help="for status.sock and control.sock")
    parser.add_argument("--memory", type=Path, help="for what outlives a boot; unit files of before have none")
    given = parser.parse_args()
    try:
        run(given.config, given.directory, given.memory or given.directory)
    except (OSError, InputError) as error:
        sys.stderr.write(f"satellite feed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
