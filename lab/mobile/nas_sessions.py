"""PDU sessions of a UE (5GSM, TS 24.501 clause 6): asked for, given, refused, let go."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import IPv4Address

from lab.mobile import identities, nas
from lab.mobile.nas import Mm, Nas, NasError, Sm
from lab.mobile.pfcp import dnn_labels

_IPV4, _IPV6, _IPV4V6 = 1, 2, 3
_INITIAL_REQUEST = 1
_REGULAR_DEACTIVATION, _PTI_MISMATCH, _WRONG_TYPE = 36, 47, 97
_FULL_RATE = b"\xff\xff"
"""Integrity protection of user data at any rate (clause 9.11.4.7)."""
_SSC_MODE_1 = 1
_LAST_PTI = 254


class SessionState(Enum):
    REQUESTED = auto()
    ACTIVE = auto()
    RELEASING = auto()
    REFUSED = auto()
    RELEASED = auto()


@dataclass(slots=True)
class N1Session:
    """`refused`: what was told. IPv6 has an interface identifier only; its prefix comes by router advertisement."""

    psi: int
    pti: int
    dnn: str
    state: SessionState = SessionState.REQUESTED
    address: IPv4Address | None = None
    interface: bytes = b""
    refused: str = ""


@dataclass(slots=True)
class Sessions:
    """Of one UE, by PSI. Its messages travel in 5GMM transports, which are made here unprotected."""

    by_psi: dict[int, N1Session] = field(default_factory=dict)
    _pti: int = 0

    @property
    def active(self) -> tuple[int, ...]:
        return tuple(psi for psi, session in self.by_psi.items() if session.state is SessionState.ACTIVE)

    def request(self, psi: int, dnn: str, sst: int, sd: str | None) -> bytes:
        """Asks for an IPv4 session."""
        made = N1Session(psi, self._next_pti(), dnn)
        self.by_psi[psi] = made
        asked = nas.sm(
            Sm.ESTABLISHMENT_REQUEST,
            psi,
            made.pti,
            IntegrityProtMaxDataRate=_FULL_RATE,
            PDUSessType=_IPV4,
            SSCMode=_SSC_MODE_1,
        )
        return nas.mm(
            Mm.UPLINK_TRANSPORT,
            PayloadContainerType=1,
            PayloadContainer=asked,
            PDUSessID=bytes((psi,)),
            RequestType=_INITIAL_REQUEST,
            SNSSAI=identities.s_nssai(sst, sd),
            DNN=dnn_labels(dnn),
        )

    def release(self, psi: int) -> bytes:
        """Raises KeyError."""
        session = self.by_psi[psi]
        session.pti, session.state = self._next_pti(), SessionState.RELEASING
        return _transport(psi, nas.sm(Sm.RELEASE_REQUEST, psi, session.pti, _5GSMCause=bytes((_REGULAR_DEACTIVATION,))))

    def received(self, transport: Nas) -> list[bytes]:
        """What is answered to a downlink transport. Raises NasError."""
        if transport.number("PayloadContainerType") != 1:
            return []
        message = nas.parse(transport.need("PayloadContainer"))
        session = self.by_psi.get(message.psi)
        if "5GMMCause" in transport.ies:
            # It is ours that comes back: the network could not hand it on.
            if session is not None:
                session.state = SessionState.REFUSED
                session.refused = f"not handed on, 5GMM cause {transport.number('5GMMCause')}"
            return []
        if session is None or (message.type != Sm.RELEASE_COMMAND and message.pti != session.pti):
            return [_transport(message.psi, _status(message, _PTI_MISMATCH))]
        return self._of(session, message)

    def _of(self, session: N1Session, message: Nas) -> list[bytes]:
        if message.type == Sm.ESTABLISHMENT_ACCEPT and session.state is SessionState.REQUESTED:
            _addressed(session, message.need("PDUAddress", 5))
            session.state = SessionState.ACTIVE
        elif message.type == Sm.ESTABLISHMENT_REJECT and session.state is SessionState.REQUESTED:
            session.state = SessionState.REFUSED
            session.refused = f"refused, 5GSM cause {message.number('5GSMCause')}"
        elif message.type == Sm.RELEASE_COMMAND:
            session.state = SessionState.RELEASED
            return [_transport(session.psi, nas.sm(Sm.RELEASE_COMPLETE, session.psi, message.pti))]
        elif message.type == Sm.RELEASE_REJECT:
            session.state = SessionState.ACTIVE
            session.refused = f"not released, 5GSM cause {message.number('5GSMCause')}"
        else:
            return [_transport(session.psi, _status(message, _WRONG_TYPE))]
        return []

    def _next_pti(self) -> int:
        self._pti = self._pti % _LAST_PTI + 1
        return self._pti


def _status(message: Nas, cause: int) -> bytes:
    return nas.sm(Sm.STATUS, message.psi, message.pti, _5GSMCause=bytes((cause,)))


def _transport(psi: int, container: bytes) -> bytes:
    return nas.mm(Mm.UPLINK_TRANSPORT, PayloadContainerType=1, PayloadContainer=container, PDUSessID=bytes((psi,)))


def _addressed(session: N1Session, address: bytes) -> None:
    """Clause 9.11.4.10: the type, then an interface identifier, an IPv4 address, or both."""
    kind, value = address[0] & 7, address[1:]
    if kind in (_IPV6, _IPV4V6):
        session.interface, value = value[:8], value[8:]
    if kind in (_IPV4, _IPV4V6):
        if len(value) < 4:
            raise NasError("a PDU address that is too short", 96)
        session.address = IPv4Address(value[:4])
