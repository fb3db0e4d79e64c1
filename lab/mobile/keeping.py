"""Keeps UEs attached: asks the SMF for its sessions, and gives each UE that has lost its session a new one.

It asks in a thread of its own, so that packets go on while an SMF is away; what it has found is done in the gNB's loop.
An SMF that does not answer changes nothing: sessions stand in the UPF. While the UPF that suits a UE is away, an SMF
gives it to another one, where it would stay: with `home` it asks until its session is there, as a UE registers anew.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from lab.mobile.smf_client import SmfClient, SmfError

EVERY_S = 1.0
_LIMIT_S = 10.0

Ask = Callable[[str], Mapping[str, Any]]
"""What is asked of the SMF for a UE, by its SUPI."""


class Keeper:
    """`smf`: URL of the SMF model. `ask`: called in the keeper's thread. `home`: N3 address of the UEs' own UPF."""

    def __init__(self, smf: str, supis: tuple[str, ...], ask: Ask, home: str | None = None) -> None:
        self._smf = SmfClient(smf, limit_s=_LIMIT_S)
        self._supis, self._ask, self._home = supis, ask, home
        self._found: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._told = ""

    def start(self) -> None:
        threading.Thread(target=self._run, name="keeper", daemon=True).start()

    def found(self) -> list[dict[str, Any]]:
        """Sessions as the SMF tells them, one for each UE that had none; oldest first."""
        made = []
        while not self._found.empty():
            made.append(self._found.get())
        return made

    def look(self, *, known: bool) -> None:
        """Once. `known`: sessions that are there are ours, not of a gNB that was here before. Raises SmfError."""
        there = {told["supi"]: told for told in self._smf.sessions()}
        for supi in self._supis:
            if supi in there and (not known or self._abroad(there[supi])):
                self._smf.delete(there.pop(supi)["id"])
            if supi not in there:
                self._found.put(self._smf.create(dict(self._ask(supi))))

    def _abroad(self, told: Mapping[str, Any]) -> bool:
        upf = told.get("upf")
        return self._home is not None and upf is not None and upf["address"] != self._home

    def _run(self) -> None:
        known = False
        while True:
            try:
                self.look(known=known)
                known = True
                self._tell("")
            except SmfError as error:
                self._tell(str(error))
            time.sleep(EVERY_S)

    def _tell(self, error: str) -> None:
        """Each thing once."""
        if error not in ("", self._told):
            sys.stderr.write(f"WARNING: {error}\n")
        self._told = error
