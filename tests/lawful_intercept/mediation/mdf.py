"""`python mdf.py CONFIG`: mediation as `nf-li run mdf` has it, for tests that kill it. It says its ports."""

from __future__ import annotations

import sys
from pathlib import Path

from lawful_intercept import configuration, isolation
from lawful_intercept.mediation.process import Mediation, run
from lawful_intercept.mediation.settings import MediationSettings
from nf.clock import RealClock


def ready(mediation: Mediation) -> None:
    print(mediation.x1.port, mediation.x2x3.port, flush=True)


if __name__ == "__main__":
    settings = configuration.load(Path(sys.argv[1]), MediationSettings)
    isolation.unseen()
    isolation.run(lambda: run(settings, RealClock(), ready=ready))
