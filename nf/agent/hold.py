"""A hold of reconcile, while the appliance's site is under maintenance.

Kept on disk: whoever works on a box restarts it, and may have cut its way to the NOC.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from nf.contracts.json import canonical
from nf.errors import NfError, NotFoundError
from nf.trust.files import read_private, write_private

_log = logging.getLogger(__name__)


class ReconcileHold:
    def __init__(self, file: Path, apply: Callable[[float], None]) -> None:
        """`apply` hears until when nothing is repaired, in seconds since the epoch; 0 = no longer."""
        self._file = file
        self._apply = apply
        self._until = 0.0

    def load(self) -> None:
        """What was said before a restart. A file that cannot be read holds nothing."""
        try:
            self._until = float(json.loads(read_private(self._file, "the hold of reconcile"))["until"])
        except NotFoundError:
            return
        except (NfError, ValueError, KeyError, TypeError) as error:
            _log.warning("the hold of reconcile is lost: %s", error)
            return
        self._apply(self._until)

    def set(self, until: float) -> None:
        """In effect at once, also when it cannot be written."""
        self._apply(until)
        if until == self._until:
            return
        self._until = until
        try:
            write_private(self._file, canonical({"until": until}).encode())
        except NfError as error:
            _log.warning("the hold of reconcile does not survive a restart: %s", error)
