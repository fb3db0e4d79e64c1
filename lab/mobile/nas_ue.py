"""A UE's 5GS mobility management (TS 24.501 clause 5): registration, service, deregistration. It knows no wire.

What the network sends goes into `received`, which gives what the UE answers. An input that the table has not is
answered with 5GMM STATUS; what fails the integrity check is dropped and counted (clause 4.4.4.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import ClassVar

from lab.mobile import identities, nas, nas_keys
from lab.mobile.nas import Mm, Nas, NasError
from lab.mobile.nas_security import (
    CAPABILITIES,
    EPD_5GMM,
    NEA0,
    NEA2,
    NIA2,
    HeaderType,
    NasSecurity,
    NasSecurityError,
    Protected,
)
from lab.mobile.nas_sessions import Sessions
from lab.mobile.usim import MacError, SyncError, Usim

NO_KEY = 7
_INITIAL_WITH_FOLLOW_ON = 0b1001
_NORMAL_3GPP = 0b0001
_DATA_SERVICE, _PAGED_SERVICE = 1, 2
_MAC_FAILURE, _SYNC_FAILURE, _CAPABILITIES_DIFFER, _REJECTED, _NOT_5G = 20, 21, 23, 24, 26
_STATE_MISMATCH = 98
_SEPARATION_BIT = 0x80
_UNPROTECTED = frozenset(
    {
        *(Mm.IDENTITY_REQUEST, Mm.AUTHENTICATION_REQUEST, Mm.AUTHENTICATION_REJECT),
        *(Mm.REGISTRATION_REJECT, Mm.SERVICE_REJECT, Mm.DEREGISTRATION_ACCEPT, Mm.STATUS),
    }
)
"""What a UE takes before messages are protected."""


class State(Enum):
    DEREGISTERED = auto()
    REGISTERING = auto()
    REGISTERED = auto()
    REQUESTING_SERVICE = auto()
    DEREGISTERING = auto()


@dataclass(slots=True)
class Ue:
    """`sst`, `sd`: the slice it asks for. `refused`: why it is not registered. `dropped`: messages that were ill."""

    usim: Usim
    mcc: str
    mnc: str
    sst: int = 1
    sd: str | None = None
    state: State = State.DEREGISTERED
    sessions: Sessions = field(default_factory=Sessions)
    security: NasSecurity | None = None
    guti: bytes = b""
    refused: str = ""
    dropped: list[str] = field(default_factory=list)
    resynchronised: int = 0
    _ngksi: int = NO_KEY
    _k_amf: bytes = b""
    _offered: tuple[int, bytes] | None = None
    _radio_count: int = 0
    _secure: bool = False

    # What the UE begins.

    def register(self) -> bytes:
        """An initial registration with a SUCI of the null scheme; only what may be read by anybody (clause 4.4.6)."""
        self.state, self.refused, self.security, self._secure = State.REGISTERING, "", None, False
        self.guti, self._ngksi, self._offered = b"", NO_KEY, None
        return self._registration(whole=False)

    def _registration(self, *, whole: bool) -> bytes:
        inner: dict[str, bytes] = {}
        if whole:
            slice_ = identities.s_nssai(self.sst, self.sd)
            inner = {"_5GMMCap": bytes(1), "NSSAI": bytes((len(slice_),)) + slice_}
        return nas.mm(
            Mm.REGISTRATION_REQUEST,
            NAS_KSI=NO_KEY,
            _5GSRegType=_INITIAL_WITH_FOLLOW_ON,
            _5GSID=identities.suci(self.mcc, self.mnc, self.usim.imsi),
            UESecCap=CAPABILITIES,
            **inner,
        )

    def request_session(self, psi: int, dnn: str) -> bytes:
        return self._protected(self.sessions.request(psi, dnn, self.sst, self.sd))

    def release_session(self, psi: int) -> bytes:
        return self._protected(self.sessions.release(psi))

    def request_service(self, *, paged: bool = False) -> bytes:
        """The way back from idle, for all sessions; what not everybody may read is in a container (clause 4.4.6)."""
        security = self._with_security()
        self.state, self.refused = State.REQUESTING_SERVICE, ""
        self._radio_count = security.uplink
        own: dict[str, bytes | int] = {
            "ServiceType": _PAGED_SERVICE if paged else _DATA_SERVICE,
            "NAS_KSI": self._ngksi,
            "_5GSID": identities.s_tmsi(self.guti),
        }
        bits = identities.session_bits(self.sessions.active)
        whole = nas.mm(Mm.SERVICE_REQUEST, **own, ULDataStat=bits, PDUSessStat=bits)
        outer = nas.mm(Mm.SERVICE_REQUEST, **own, NASContainer=security.container(whole))
        return security.protect(outer, HeaderType.INTEGRITY)

    def deregister(self) -> bytes:
        """An own wish, not a switch-off, so that the network answers. From idle, too."""
        security = self._with_security()
        self.state = State.DEREGISTERING
        message = nas.mm(
            Mm.DEREGISTRATION_REQUEST, NAS_KSI=self._ngksi, DeregistrationType=_NORMAL_3GPP, _5GSID=self.guti
        )
        return security.protect(message, HeaderType.CIPHERED if self._secure else HeaderType.INTEGRITY)

    def connection_lost(self) -> None:
        """The gNB has released the UE's context: idle, when it is registered."""
        self._secure = False
        if self.state is State.REGISTERING:
            self._give_up("the network has released the connection")
        elif self.state is State.DEREGISTERING:
            self.state = State.DEREGISTERED

    @property
    def k_gnb(self) -> bytes:
        """What the network should have told the gNB."""
        return nas_keys.k_gnb(self._k_amf, self._radio_count)

    def _with_security(self) -> NasSecurity:
        if self.security is None:
            raise NasSecurityError(f"{self.usim.imsi} has no security context")
        return self.security

    def _protected(self, message: bytes) -> bytes:
        return self._with_security().protect(message)

    # What the network sends.

    def received(self, data: bytes) -> list[bytes]:
        """What is answered, protected as it should be."""
        try:
            message = self._opened(data)
            return self._handler(message)(self, message)
        except NasSecurityError as error:
            self.dropped.append(str(error))
            return []
        except NasError as error:
            self.dropped.append(str(error))
            return [self._answer(nas.mm(Mm.STATUS, _5GMMCause=bytes((error.cause,))))]

    def _handler(self, message: Nas) -> _Handler:
        """Raises NasError where the table has none; a status is never answered with another."""
        if message.type == Mm.STATUS:
            return Ue.told_status
        own = self._OF.get(self.state)
        found = None if own is None else own.get(message.type) or self._ALWAYS.get(message.type)
        if found is None:
            raise NasError(f"message {message.type:#x} in state {self.state.name}", _STATE_MISMATCH)
        return found

    def _opened(self, data: bytes) -> Nas:
        if len(data) > 1 and data[0] == EPD_5GMM and not data[1] & 0x0F:
            message = nas.parse(data)
            if self._secure or message.type not in _UNPROTECTED:
                raise NasSecurityError(f"message {message.type:#x} is not protected")
            return message
        protected = Protected.parse(data)
        if protected.type in (HeaderType.INTEGRITY_NEW, HeaderType.CIPHERED_NEW):
            return self._mode_command(protected)
        message = nas.parse(self._with_security().open(protected))
        self._secure = True
        return message

    def _answer(self, message: bytes) -> bytes:
        return self._protected(message) if self._secure else message

    def _authenticate(self, message: Nas) -> list[bytes]:
        """5G AKA (clause 5.4.1.3)."""
        rand, autn = message.need("RAND", 16), message.need("AUTN", 16)
        abba, ngksi = message.need("ABBA", 2), message.need("NAS_KSI")[0]
        if not autn[6] & _SEPARATION_BIT:
            return [self._failed(_NOT_5G)]
        try:
            answer = self.usim.answer(rand, autn)
        except MacError:
            self.refused = "the network's challenge is not of this USIM's key (MAC failure)"
            return [self._failed(_MAC_FAILURE)]
        except SyncError as failure:
            self.resynchronised += 1
            return [self._failed(_SYNC_FAILURE, AUTS=failure.auts)]
        network = nas_keys.serving_network(self.mcc, self.mnc)
        seaf = nas_keys.k_seaf(nas_keys.k_ausf(answer.ck, answer.ik, network, answer.sqn_xor_ak), network)
        self._offered = (ngksi, nas_keys.k_amf(seaf, self.usim.imsi, abba))
        self.refused = ""
        res = nas_keys.res_star(answer.ck, answer.ik, network, rand, answer.res)
        return [self._answer(nas.mm(Mm.AUTHENTICATION_RESPONSE, RES=res))]

    def _failed(self, cause: int, **ies: bytes) -> bytes:
        return self._answer(nas.mm(Mm.AUTHENTICATION_FAILURE, _5GMMCause=bytes((cause,)), **ies))

    def _rejected(self, _message: Nas) -> list[bytes]:
        self._give_up(self.refused or "the network refuses what the USIM has answered")
        return []

    def _mode_command(self, protected: Protected) -> Nas:
        """Of a context that was just agreed upon: read, and checked with the keys of what it selects (5.4.2.3)."""
        message = nas.parse(protected.body)
        if message.type != Mm.SECURITY_MODE_COMMAND or protected.type is not HeaderType.INTEGRITY_NEW:
            raise NasSecurityError(f"message {message.type:#x} with a header of a new context")
        ciphering, integrity = divmod(message.need("NASSecAlgo")[0], 16)
        if self._offered is None or ciphering not in (NEA0, NEA2) or integrity != NIA2:
            return Nas(Mm.SECURITY_MODE_COMMAND, {})
        ngksi, k_amf = self._offered
        made = NasSecurity(ciphering, *nas_keys.nas_keys(k_amf, ciphering, integrity))
        try:
            made.open(protected)
        except NasSecurityError as error:
            self.dropped.append(str(error))
            return Nas(Mm.SECURITY_MODE_COMMAND, {})
        if message.need("NAS_KSI")[0] != ngksi or message.need("UESecCap", 2).rstrip(b"\0") != CAPABILITIES:
            return message
        self.security, self._k_amf, self._ngksi, self._offered = made, k_amf, ngksi, None
        return message

    def _mode(self, message: Nas) -> list[bytes]:
        """The answer, when `_mode_command` has taken it; else the old context stays (clause 5.4.2.5)."""
        if "NASSecAlgo" not in message.ies:
            return [self._answer(nas.mm(Mm.SECURITY_MODE_REJECT, _5GMMCause=bytes((_REJECTED,))))]
        if self._offered is not None:
            return [self._answer(nas.mm(Mm.SECURITY_MODE_REJECT, _5GMMCause=bytes((_CAPABILITIES_DIFFER,))))]
        security = self._with_security()
        self._radio_count, self._secure = security.uplink, True
        asked = {"IMEISV": identities.imeisv(self.imeisv)} if message.number("IMEISVReq") == 1 else {}
        again = self._registration(whole=True)
        complete = nas.mm(Mm.SECURITY_MODE_COMPLETE, **asked, NASContainer=again)
        return [security.protect(complete, HeaderType.CIPHERED_NEW)]

    @property
    def imeisv(self) -> str:
        """16 digits: a type allocation code for tests, a serial number of the IMSI's last digits."""
        return f"00101300{self.usim.imsi[-6:]}01"

    def _identify(self, message: Nas) -> list[bytes]:
        kind = message.need("5GSIDType")[0] & 7
        if kind == identities.SUCI:
            identity = identities.suci(self.mcc, self.mnc, self.usim.imsi)
        elif kind == identities.IMEISV and self._secure:
            identity = identities.imeisv(self.imeisv)
        else:
            identity = bytes(1)
        return [self._answer(nas.mm(Mm.IDENTITY_RESPONSE, _5GSID=identity))]

    def _accepted(self, message: Nas) -> list[bytes]:
        self.state = State.REGISTERED
        given = message.ies.get("GUTI", b"")
        if not identities.is_guti(given):
            return []
        self.guti = given
        return [self._answer(nas.mm(Mm.REGISTRATION_COMPLETE))]

    def _refused(self, message: Nas) -> list[bytes]:
        self._give_up(f"the network refuses with 5GMM cause {message.number('5GMMCause')}")
        return []

    def _give_up(self, why: str) -> None:
        self.refused = why
        self._drop_registration()

    def _drop_registration(self) -> None:
        self.state, self.guti, self.security, self._secure = State.DEREGISTERED, b"", None, False
        self._offered = None
        self.sessions.by_psi.clear()

    def _configured(self, message: Nas) -> list[bytes]:
        """Configuration update (clause 5.4.4.3): a new identity is taken."""
        given = message.ies.get("GUTI", b"")
        if identities.is_guti(given):
            self.guti = given
        acknowledge = message.number("ConfigUpdateInd") & 1
        return [self._answer(nas.mm(Mm.CONFIGURATION_COMPLETE))] if acknowledge else []

    def _transported(self, message: Nas) -> list[bytes]:
        return [self._answer(answer) for answer in self.sessions.received(message)]

    def _served(self, _message: Nas) -> list[bytes]:
        self.state = State.REGISTERED
        return []

    def _left(self, _message: Nas) -> list[bytes]:
        self._drop_registration()
        return []

    def _sent_away(self, _message: Nas) -> list[bytes]:
        accept = self._answer(nas.mm(Mm.DEREGISTRATION_COMMAND_ACCEPT))
        self._give_up("the network has deregistered the UE")
        return [accept]

    def told_status(self, message: Nas) -> list[bytes]:
        self.dropped.append(f"the network tells 5GMM cause {message.number('5GMMCause')}")
        return []

    _ALWAYS: ClassVar[dict[int, _Handler]] = {
        Mm.AUTHENTICATION_REQUEST: _authenticate,
        Mm.AUTHENTICATION_REJECT: _rejected,
        Mm.SECURITY_MODE_COMMAND: _mode,
        Mm.IDENTITY_REQUEST: _identify,
    }
    _OF: ClassVar[dict[State, dict[int, _Handler]]] = {
        State.REGISTERING: {Mm.REGISTRATION_ACCEPT: _accepted, Mm.REGISTRATION_REJECT: _refused},
        State.REGISTERED: {
            Mm.CONFIGURATION_COMMAND: _configured,
            Mm.DOWNLINK_TRANSPORT: _transported,
            Mm.DEREGISTRATION_COMMAND: _sent_away,
        },
        State.REQUESTING_SERVICE: {
            Mm.SERVICE_ACCEPT: _served,
            Mm.SERVICE_REJECT: _refused,
            Mm.DEREGISTRATION_COMMAND: _sent_away,
        },
        State.DEREGISTERING: {
            Mm.DEREGISTRATION_ACCEPT: _left,
            Mm.DEREGISTRATION_COMMAND: _sent_away,
            Mm.DOWNLINK_TRANSPORT: _transported,
        },
    }


_Handler = Callable[[Ue, Nas], list[bytes]]
