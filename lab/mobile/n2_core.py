"""A 5G core that is reached as a gNB reaches it: UEs register over N2 and ask for their sessions by NAS.

Requests wait for their answers, as those to the SMF model do; what the AMF sends by itself is taken by `received`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lab.mobile import MODEL, identities, ngap
from lab.mobile.gnb import N3, Connection, GnbNode
from lab.mobile.n2_link import N2Error
from lab.mobile.n4 import Tunnel
from lab.mobile.nas_sessions import N1Session, SessionState
from lab.mobile.nas_ue import State, Ue
from lab.mobile.ngap import Gnb, NgapError
from lab.mobile.pfcp import address_of
from lab.mobile.usim import Usim

_LIMIT_S = 60.0
_SETUP_S = 30.0
"""An AMF that is ending may take an association and never speak."""


class Link(Protocol):
    """`N2Link`. Raises N2Error."""

    def send(self, data: bytes) -> None: ...
    def take(self, wait_s: float) -> bytes | None: ...


@dataclass(slots=True)
class _Known:
    """A UE here. `end`: of the session's tunnel; `paged`: since it is idle."""

    ue: Ue
    connection: Connection | None = None
    end: N3 | None = None
    paged: int = 0


class N2Core:
    """`usims`: by SUPI. `limit_s`: of one procedure."""

    def __init__(
        self,
        gnb: Gnb,
        usims: Mapping[str, Usim],
        link: Link,
        limit_s: float = _LIMIT_S,
    ) -> None:
        self._usims, self._link, self._limit_s = usims, link, limit_s
        self._known: dict[str, _Known] = {}
        self.node = GnbNode(gnb, self._paged)
        self.amf = self._set_up()

    def _set_up(self) -> str:
        self._link.send(ngap.setup_request(self.node.gnb))
        try:
            return ngap.amf_name(self._next(min(self._limit_s, _SETUP_S), "NG setup"))
        except NgapError as error:
            raise N2Error(str(error)) from error

    def _next(self, wait_s: float, what: str) -> bytes:
        data = self._link.take(wait_s)
        if data is None:
            raise N2Error(f"{what}: the AMF does not answer in time")
        return data

    # As the user plane asks.

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Registers the UE if it is not, then asks for its session. Raises N2Error."""
        supi, psi = str(asked["supi"]), int(asked.get("psi", 1))
        if asked.get("pdn_type", "ipv4") != "ipv4":
            raise N2Error(
                "over N2 a session has IPv4: what an IPv6 prefix comes by, router advertisements, is not here"
            )
        known = self._registered(supi)
        connection = self._connected(known)
        end = N3(_tunnel(asked["gnb"]))
        known.end = connection.ends[psi] = end
        self._link.send(self.node.uplink(connection, known.ue.request_session(psi, str(asked["dnn"]))))

        def over() -> bool:
            state = known.ue.sessions.by_psi.get(psi, _NONE).state
            return state is SessionState.REFUSED or (state is SessionState.ACTIVE and end.upf is not None)

        self._until(over, known, f"{supi}: session {psi}")
        session = known.ue.sessions.by_psi[psi]
        if session.state is SessionState.REFUSED:
            connection.ends.pop(psi, None)
            raise N2Error(f"{supi}: session {psi} for {session.dnn}: {session.refused}")
        return self._told(supi, known, session)

    def sessions(self) -> list[dict[str, Any]]:
        return [
            self._told(supi, known, session)
            for supi, known in self._known.items()
            for session in known.ue.sessions.by_psi.values()
            if session.state is SessionState.ACTIVE
        ]

    def idle(self, key: str) -> None:
        """The gNB has the UE released. Raises N2Error."""
        supi, known, _ = self._by_key(key)
        connection = self._connected(known)
        self._link.send(self.node.release_request(connection))
        self._until(lambda: connection.ran_id not in self.node.connections, known, f"{supi}: release")

    def gnb(self, key: str, act: str, end: dict[str, Any]) -> None:
        """`active`: a service request from idle, with the tunnel `end`. Raises N2Error."""
        if act != "active":
            raise N2Error(f"{act} is not modelled over N2")
        supi, known, psi = self._by_key(key)
        if self._connection(known) is not None:
            return
        if known.ue.state is not State.REGISTERED:
            raise N2Error(f"{supi} is not registered: {known.ue.refused}")
        paged, known.paged = known.paged > 0, 0
        connection = self._connect(known, known.ue.request_service(paged=paged), "mt-Access" if paged else "mo-Data")
        made = N3(_tunnel(end))
        known.end = connection.ends[psi] = made
        ue = known.ue
        self._until(lambda: ue.state is State.REGISTERED and made.upf is not None, known, f"{supi}: service request")

    def delete(self, key: str) -> None:
        """Lets the session go, where the UE is connected, and the UE is deregistered. Raises N2Error."""
        supi, known, psi = self._by_key(key)
        ue, connection = known.ue, self._connection(known)
        if ue.state is not State.REGISTERED:
            del self._known[supi]
            return
        if connection is not None:
            self._link.send(self.node.uplink(connection, ue.release_session(psi)))
            session = ue.sessions.by_psi[psi]
            self._until(lambda: session.state is not SessionState.RELEASING, known, f"{supi}: release of {psi}")
            self._link.send(self.node.uplink(connection, ue.deregister()))
        else:
            connection = self._connect(known, ue.deregister(), "mo-Signalling")
        self._until(lambda: connection.ran_id not in self.node.connections, None, f"{supi}: deregistration")
        del self._known[supi]

    def lost(self, supi: str) -> bool:
        """Whether the UE has no session here."""
        known = self._known.get(supi)
        return known is None or known.ue.state is State.DEREGISTERED or not known.ue.sessions.active

    def received(self) -> None:
        """What the AMF has sent by itself. Raises N2Error when it is gone."""
        while (data := self._link.take(0)) is not None:
            self._handle(data)

    # One UE.

    def _registered(self, supi: str) -> _Known:
        known = self._known.get(supi)
        if known is not None and known.ue.state is State.REGISTERED:
            return known
        usim = self._usims.get(supi)
        if usim is None:
            raise N2Error(f"{supi}: its keys are not given")
        gnb = self.node.gnb
        sst, sd = gnb.slices[0]
        known = self._known[supi] = _Known(Ue(usim, gnb.mcc, gnb.mnc, sst, sd))
        try:
            first = known.ue.register()
        except ValueError as error:
            raise N2Error(str(error)) from error
        connection = self._connect(known, first, "mo-Signalling")
        ue = known.ue
        self._until(lambda: ue.state is State.REGISTERED and connection.secured, known, f"{supi}: registration")
        return known

    def _connect(self, known: _Known, nas: bytes, cause: str) -> Connection:
        known.connection, first = self.node.connect(known.ue, nas, cause)
        self._link.send(first)
        return known.connection

    def _connection(self, known: _Known) -> Connection | None:
        found = known.connection
        return found if found is not None and found.ran_id in self.node.connections else None

    def _connected(self, known: _Known) -> Connection:
        found = self._connection(known)
        if found is None:
            raise N2Error(f"imsi-{known.ue.usim.imsi} is idle")
        return found

    def _by_key(self, key: str) -> tuple[str, _Known, int]:
        """Raises N2Error."""
        supi, _, psi = key.rpartition("-")
        if supi not in self._known:
            raise N2Error(f"no session {key}")
        return supi, self._known[supi], int(psi)

    def _told(self, supi: str, known: _Known, session: N1Session) -> dict[str, Any]:
        end, address = known.end, session.address
        upf = None if end is None or end.upf is None else {"address": str(end.upf.address), "teid": end.upf.teid}
        return {
            "model": MODEL,
            "id": f"{supi}-{session.psi}",
            "supi": supi,
            "dnn": session.dnn,
            "ue_ips": [] if address is None else [str(address)],
            "upf": upf,
            "gnb": None if end is None else {"address": str(end.gnb.address), "teid": end.gnb.teid},
            "qfi": 0 if end is None else end.qfi,
            "state": "idle" if self._connection(known) is None else "active",
            "paged": known.paged,
        }

    # The wire.

    def _until(self, over: Callable[[], bool], known: _Known | None, what: str) -> None:
        """Raises N2Error: in time, or when the UE has lost its registration."""
        deadline = time.monotonic() + self._limit_s
        while not over():
            if known is not None and known.ue.state is State.DEREGISTERED:
                raise N2Error(f"{what}: {known.ue.refused}")
            self._handle(self._next(deadline - time.monotonic(), what))

    def _handle(self, data: bytes) -> None:
        try:
            answers = self.node.received(data)
        except NgapError as error:
            raise N2Error(f"from the AMF: {error}") from error
        for answer in answers:
            self._link.send(answer)

    def _paged(self, identity: bytes) -> None:
        for known in self._known.values():
            if known.ue.guti and identities.s_tmsi(known.ue.guti) == identity:
                known.paged += 1


_NONE = N1Session(0, 0, "")


def _tunnel(end: Mapping[str, Any]) -> Tunnel:
    return Tunnel(int(end["teid"]), address_of(str(end["address"])))
