"""N2 of a gNB that goes on when its AMF goes: the association, the core behind it, and both anew."""

from __future__ import annotations

import selectors
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lab.mobile.core import CoreError
from lab.mobile.n2_core import N2Core
from lab.mobile.n2_link import N2Error, N2Link
from lab.mobile.ngap import Gnb
from lab.mobile.usim import Usim

_EVERY_S = 1.0


class N2Client:
    """A `Core`. `associate`: makes an association with the AMF. Raises N2Error."""

    def __init__(
        self,
        gnb: Gnb,
        usims: Mapping[str, Usim],
        associate: Callable[[], N2Link],
        selector: selectors.BaseSelector,
    ) -> None:
        self._gnb, self._usims, self._associate, self._selector = gnb, usims, associate, selector
        self._link: N2Link | None = None
        self._core: N2Core | None = None

    def connect(self) -> None:
        """Does nothing while the association stands. All registrations are lost with it. Raises N2Error."""
        if self._link is not None and not self._link.ended:
            return
        self._drop()
        link = self._associate()
        try:
            self._core = N2Core(self._gnb, self._usims, link)
        except N2Error:
            link.close()
            raise
        self._link = link
        self._selector.register(link, selectors.EVENT_READ, self._received)
        sys.stderr.write(f"AMF {self._core.amf} has accepted the gNB\n")

    def _drop(self) -> None:
        if self._link is not None:
            self._selector.unregister(self._link)
            self._link.close()
        self._link = self._core = None

    def _received(self) -> None:
        try:
            self._there.received()
        except N2Error as error:
            sys.stderr.write(f"WARNING: {error}\n")
            if self._link is not None and self._link.ended:
                self._drop()

    @property
    def _there(self) -> N2Core:
        if self._core is None:
            raise N2Error("there is no association with the AMF")
        return self._core

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self._there.create(asked)

    def sessions(self) -> list[dict[str, Any]]:
        return self._there.sessions()

    def idle(self, key: str) -> None:
        self._there.idle(key)

    def gnb(self, key: str, act: str, end: dict[str, Any]) -> None:
        self._there.gnb(key, act, end)

    def delete(self, key: str) -> None:
        self._there.delete(key)

    def lost(self, supi: str) -> bool:
        """Whether the UE has no session."""
        return self._core is None or self._core.lost(supi)

    def close(self) -> None:
        self._drop()


class _Attaching(Protocol):
    """What the keeper needs of the gNB's user plane."""

    def attach(self, supi: str, tun: str | None = None) -> Any: ...


def keeper(client: N2Client, names: Mapping[str, str | None], ran: _Attaching) -> Callable[[], None]:
    """To be called in the gNB's loop: once a second it sees to the association and to UEs without a session.

    `names`: TUNs by SUPI. What fails is told once, and tried again.
    """
    told: list[str] = [""]
    due = [0.0]

    def keep() -> None:
        if time.monotonic() < due[0]:
            return
        error = ""
        try:
            client.connect()
            for supi in [supi for supi in names if client.lost(supi)]:
                ran.attach(supi, names[supi])
        except CoreError as failure:
            error = str(failure)
        if error not in ("", told[0]):
            sys.stderr.write(f"WARNING: {error}\n")
        told[0], due[0] = error, time.monotonic() + _EVERY_S

    return keep
