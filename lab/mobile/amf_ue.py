"""A UE at the stand-in AMF: what its NAS messages lead to (TS 24.501 clause 5). NGAP is not here: see `amf`."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import IPv4Address
from typing import Any, ClassVar

from lab.mobile import amf_nas, amf_security
from lab.mobile.amf_nas import NasFormatError
from lab.mobile.amf_security import Challenge, Link, Subscription
from lab.mobile.core import CoreError

_MAC_FAILURE, _SYNC_FAILURE = 20, 21
_ILLEGAL_UE = 3
_NO_RESOURCES = 26
_KSI = 0
_ABBA = b"\0\0"


class Step(Enum):
    CHALLENGED = auto()
    SECURING = auto()
    ACCEPTING = auto()
    REGISTERED = auto()
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Profile:
    """`network`: serving network name. `ciphering`: 0 or 2. `sst`: the one slice. `label`: the network's name."""

    network: bytes
    plmn: bytes
    tac: int
    ciphering: int
    sst: int = 1
    label: str = "SV-LAB"


@dataclass(frozen=True, slots=True)
class Give:
    """What the AMF is to do besides: `what`, and of which session."""

    what: str
    psi: int = 0
    told: Any = None


Told = list[bytes | Give]
"""NAS messages for the UE, and what is to be done, in order."""


@dataclass(slots=True)
class AmfUe:
    """`pending`: PDU sessions that are asked for, with what the SMF model has told of them."""

    profile: Profile
    guti: bytes
    subscriptions: dict[str, Subscription]
    create: Callable[[dict[str, Any]], dict[str, Any]]
    step: Step = Step.CHALLENGED
    imsi: str = ""
    capabilities: bytes = b""
    link: Link | None = None
    sessions: dict[int, dict[str, Any]] = field(default_factory=dict)
    imeisv: str = ""
    failures: list[str] = field(default_factory=list)
    wanted: tuple[int, ...] = ()
    _challenge: Challenge | None = None
    _whole: bool = False

    def received(self, data: bytes) -> Told:
        """Raises NasFormatError for what cannot be read."""
        if data[1:2] not in (b"\0", b""):
            plain = None if self.link is None else self.link.unseal(data)
            if plain is None:
                self.failures.append("a message with an ill MAC")
                return []
            kind, body = amf_nas.message(plain)
        else:
            kind, body = amf_nas.message(data)
            if self.link is not None and kind != 0x41:
                self.failures.append(f"message {kind:#x} without protection")
                return []
        handler = self._TABLE.get((self.step, kind))
        if handler is None:
            self.failures.append(f"message {kind:#x} in step {self.step.name}")
            return []
        return handler(self, body)

    def _registration(self, body: bytes) -> Told:
        identity, rest = amf_nas.wide(body[1:])
        self.imsi = amf_nas.imsi(identity)
        self.capabilities = amf_nas.optional(rest).get(0x2E, b"")
        if self.imsi not in self.subscriptions:
            self.failures.append(f"{self.imsi} is no subscriber")
            return self._refuse(amf_nas.registration_reject(_ILLEGAL_UE))
        return self._challenged()

    def _challenged(self) -> Told:
        self._challenge = self.subscriptions[self.imsi].challenge(self.profile.network)
        return [amf_nas.authentication_request(_KSI, _ABBA, self._challenge.rand, self._challenge.autn)]

    def _refuse(self, told: bytes) -> Told:
        self.step = Step.GONE
        return [told, Give("release")]

    def _answered(self, body: bytes) -> Told:
        if self._challenge is None:
            raise NasFormatError("an answer to no challenge")
        if not hmac.compare_digest(amf_nas.optional(body).get(0x2D, b""), self._challenge.expected):
            self.failures.append(f"{self.imsi}: the answer is wrong")
            return self._refuse(amf_nas.authentication_reject())
        k_amf = amf_security.derive(self._challenge.k_seaf, b"\x6d", self.imsi.encode(), _ABBA)
        self.link, self.step = Link(k_amf, self.profile.ciphering), Step.SECURING
        command = amf_nas.security_mode_command(self.profile.ciphering, 2, _KSI, self.capabilities)
        return [self.link.seal(command, 3)]

    def _failed(self, body: bytes) -> Told:
        """MAC failure ends it here; a real AMF may ask who the UE is first."""
        if not body:
            raise NasFormatError("a failure without a cause")
        auts = amf_nas.optional(body[1:]).get(0x30, b"")
        known = self._challenge is not None and body[0] == _SYNC_FAILURE and len(auts) == 14
        if known and self._challenge and self.subscriptions[self.imsi].resynchronise(self._challenge.rand, auts):
            self.failures.append(f"{self.imsi}: resynchronised")
            return self._challenged()
        self.failures.append(f"{self.imsi}: authentication failure, 5GMM cause {body[0]}")
        return self._refuse(amf_nas.authentication_reject())

    def _secured(self, body: bytes) -> Told:
        given = amf_nas.optional(body)
        self.imeisv = given.get(0x77, b"").hex()
        inner = amf_nas.message(given.get(0x71, b""))
        self._whole = inner[0] == 0x41 and 0x10 in amf_nas.optional(amf_nas.wide(inner[1][1:])[1])
        if not self._whole:
            self.failures.append(f"{self.imsi}: the registration request is not in the container")
        self.step = Step.ACCEPTING
        profile = self.profile
        accept = amf_nas.registration_accept(self.guti, profile.plmn, profile.tac, profile.sst)
        return [Give("context", told=self.sealed(accept))]

    def sealed(self, message: bytes) -> bytes:
        if self.link is None:
            raise NasFormatError("no security context")
        return self.link.seal(message, 2)

    def _completed(self, _body: bytes) -> Told:
        self.step = Step.REGISTERED
        return [self.sealed(amf_nas.configuration_command(self.profile.label))]

    def _configured(self, _body: bytes) -> Told:
        return [Give("configured")]

    def _transport(self, body: bytes) -> Told:
        container, rest = amf_nas.wide(body[1:])
        given = amf_nas.optional(rest)
        if body[0] & 15 != 1 or len(container) < 4 or container[0] != 0x2E:
            raise NasFormatError("a transport of something else than a session")
        psi, pti, kind = container[1], container[2], container[3]
        if kind == 0xC1:
            return self._session(psi, pti, given.get(0x25, b""))
        if kind == 0xD1 and psi in self.sessions:
            return [Give("end", psi, self.sealed(amf_nas.downlink(psi, amf_nas.session_release(psi, pti))))]
        return []

    def _session(self, psi: int, pti: int, labels: bytes) -> Told:
        dnn = ".".join(_labels(labels))
        asked = {"supi": f"imsi-{self.imsi}", "dnn": dnn, "psi": psi, "pdn_type": "ipv4", "tac": self.profile.tac}
        try:
            told = self.create(asked)
        except CoreError as error:
            self.failures.append(f"{self.imsi}: session {psi}: {error}")
            reject = amf_nas.session_reject(psi, pti, _NO_RESOURCES)
            return [self.sealed(amf_nas.downlink(psi, reject))]
        self.sessions[psi] = told
        address = IPv4Address(told["ue_ip"])
        accept = amf_nas.session_accept((psi, pti), address, told["qfi"], labels, self.profile.sst)
        return [Give("session", psi, self.sealed(amf_nas.downlink(psi, accept)))]

    def _leaving(self, _body: bytes) -> Told:
        accept = self.sealed(amf_nas.deregistration_accept())
        self.step = Step.GONE
        return [Give("end all"), accept, Give("release")]

    def _service(self, body: bytes) -> Told:
        """From idle: the sessions whose data wait in the UE, which only the ciphered container says."""
        _identity, rest = amf_nas.wide(body[1:])
        container = amf_nas.optional(rest).get(0x71, b"")
        if container and self.link is not None:
            _kind, inner = amf_nas.message(self.link.cipher(self.link.up - 1, 0, container))
            rest = amf_nas.wide(inner[1:])[1]
        bits = int.from_bytes(amf_nas.optional(rest).get(0x40, b"\0\0"), "little")
        self.wanted = tuple(psi for psi in self.sessions if bits >> psi & 1)
        return [Give("context", told=self.sealed(amf_nas.service_accept()))]

    _TABLE: ClassVar[dict[tuple[Step, int], Callable[[AmfUe, bytes], Told]]] = {
        (Step.CHALLENGED, 0x41): _registration,
        (Step.CHALLENGED, 0x57): _answered,
        (Step.CHALLENGED, 0x59): _failed,
        (Step.SECURING, 0x5E): _secured,
        (Step.ACCEPTING, 0x43): _completed,
        (Step.REGISTERED, 0x55): _configured,
        (Step.REGISTERED, 0x67): _transport,
        (Step.REGISTERED, 0x45): _leaving,
        (Step.REGISTERED, 0x4C): _service,
    }


def _labels(data: bytes) -> list[str]:
    """Of a DNN (TS 23.003 clause 9.1). Raises NasFormatError."""
    found, at = [], 0
    while at < len(data):
        end = at + 1 + data[at]
        if end > len(data):
            raise NasFormatError(f"no DNN: {data.hex()}")
        found.append(data[at + 1 : end].decode("ascii", "replace"))
        at = end
    return found
