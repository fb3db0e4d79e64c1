"""`python -m nf.media.intake --channel ch1 --path ott --url URL --host HOST ...`: the intake of one channel."""

from __future__ import annotations

import sys

from nf.media.intake.process import main

if __name__ == "__main__":
    sys.exit(main())
