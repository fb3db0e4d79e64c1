"""How an appliance gets its identity and keeps it: enrolment by token, renewal by the device key.

On disk, below the state directory: `identity/` (key, certificate, CA), `device.key`, and `noc.json` (who it is and whom
it dials). Nothing that serves depends on any of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from nf.clock import Clock
from nf.contracts.json import canonical
from nf.control.channel import FullJitter, enrolment_channel
from nf.control.errors import call
from nf.control.v1 import fleet_pb2 as pb
from nf.control.v1 import fleet_pb2_grpc
from nf.errors import IdentityError, InputError, NfError, NotFoundError, UnavailableError
from nf.trust.certificates import fingerprint
from nf.trust.files import read_private, write_private
from nf.trust.identity import DeviceKey, Identity, key_pem, make_csr, new_key
from nf.trust.spiffe import SpiffeId

_log = logging.getLogger(__name__)

_CALL_S: Final = 15.0
_LOOK_S: Final = 1.0

_Ask = Callable[["fleet_pb2_grpc.EnrolmentAsyncStub"], Awaitable[pb.EnrolResponse]]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Who this appliance is and whom it dials. `token_sha256`: the token that was used for it."""

    appliance: str
    serial: str
    domain: str
    noc: tuple[str, ...]
    enrolment: tuple[str, ...]
    ca_sha256: str
    token_sha256: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """The enrolment file: an `Enrolled` to be, its token and the CA that it will meet."""

    enrolled: Enrolled
    token: str
    ca_pem: bytes


def read_ticket(path: Path) -> Ticket:
    """Raises NotFoundError (no such file), InputError (malformed), IdentityError (its CA is not the one it names)."""
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFoundError(
            "there is no enrolment file", where=str(path), remedy="make one: nf appliance enroll"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), remedy="copy it again") from error
    try:
        ticket = Ticket(
            Enrolled(
                appliance=str(data["appliance"]),
                serial=str(data["serial"]),
                domain=str(data["domain"]),
                noc=tuple(map(str, data["noc"])),
                enrolment=tuple(map(str, data["enrolment"])),
                ca_sha256=str(data["ca_sha256"]),
                token_sha256=hashlib.sha256(str(data["token"]).encode()).hexdigest(),
            ),
            str(data["token"]),
            str(data["ca_pem"]).encode(),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"is not an enrolment file: {error}", where=str(path), remedy="copy it again") from error
    _check_ca(ticket.ca_pem, ticket.enrolled.ca_sha256)
    return ticket


def _check_ca(ca_pem: bytes, expected: str) -> None:
    if fingerprint(ca_pem) != expected:
        raise IdentityError(
            "the CA is not the one that the enrolment file names",
            where=expected[:16],
            remedy="somebody may stand between; check the addresses and make a new enrolment file",
        )


class Keyring:
    """The identity of this machine, on disk and in use."""

    def __init__(self, state_dir: Path, enrolment_file: Path, serial_file: Path, clock: Clock) -> None:
        self._state_dir = state_dir
        self._file = enrolment_file
        self._serial_file = serial_file
        self._clock = clock
        self._told = ""
        self.identity: Identity | None = None
        self.enrolled: Enrolled | None = None

    def load(self) -> None:
        """What is on disk. Raises IntegrityError when it is corrupt."""
        try:
            data = json.loads(read_private(self._state_dir / "noc.json", "the enrolment record"))
            self.identity = Identity.load(self._state_dir / "identity")
        except NotFoundError:
            return
        self.enrolled = Enrolled(**{**data, "noc": tuple(data["noc"]), "enrolment": tuple(data["enrolment"])})

    async def wait(self) -> Enrolled:
        """Return once this machine is enrolled; says once what it waits for, and again when that changes."""
        delays = FullJitter(base_s=1.0, cap_s=20.0)
        while self.enrolled is None:
            try:
                await self.enrol_if_asked()
            except NotFoundError as error:
                self._tell(f"not enrolled yet: {error}; looking for it every second")
                await self._clock.sleep(_LOOK_S)
            except NfError as error:
                self._tell(f"enrolment failed: {error}; it is tried again")
                await self._clock.sleep(_LOOK_S + delays.next_s())
        return self.enrolled

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            _log.warning("%s", text)

    async def enrol_if_asked(self) -> bool:
        """Use the enrolment file when its token was not used yet. True when a new identity came of it."""
        ticket = read_ticket(self._file)
        if self.enrolled is not None and self.enrolled.token_sha256 == ticket.enrolled.token_sha256:
            return False
        serial = await asyncio.to_thread(self._serial)
        if serial != ticket.enrolled.serial:
            raise IdentityError(
                f"the enrolment file is for serial {ticket.enrolled.serial}, this machine is {serial}",
                where=ticket.enrolled.appliance,
                remedy="copy it to the machine that it was made for",
            )
        await self._enrol(ticket)
        return True

    def _serial(self) -> str:
        try:
            return self._serial_file.read_text().strip()
        except OSError as error:
            raise NotFoundError(
                "this machine does not know its serial", where=str(self._serial_file), remedy="write it there"
            ) from error

    async def _enrol(self, ticket: Ticket) -> None:
        enrolled, device, key = ticket.enrolled, self._device_key(), new_key()
        csr = make_csr(key, SpiffeId(enrolled.domain, "appliance", enrolled.appliance))

        async def ask(stub: fleet_pb2_grpc.EnrolmentAsyncStub) -> pb.EnrolResponse:
            nonce = await self._challenge(stub, enrolled.appliance)
            request = pb.EnrolRequest(
                appliance=enrolled.appliance,
                serial=enrolled.serial,
                token=ticket.token,
                csr_der=csr,
                device_public_key=device.public_der,
                nonce=nonce,
                nonce_signature=device.sign(nonce + csr),
            )
            return await call(stub.Enrol(request, timeout=_CALL_S))

        try:
            response = await self._ask(enrolled.enrolment, ticket.ca_pem, ask)
        except IdentityError as refusal:
            # The token may be spent on this very machine, and the answer was lost: then the NOC knows its device key.
            response, key = await self._renewed(enrolled, ticket.ca_pem, refusal)
        self._take(Identity(key_pem(key), response.certificate_pem, response.ca_pem), enrolled)
        write_private(self._state_dir / "noc.json", canonical(_record(enrolled)).encode())
        self.enrolled = enrolled
        _log.info("enrolled as %s", enrolled.appliance)

    async def renew(self) -> None:
        """A new certificate by the device key, also for an expired one. Raises IdentityError, UnavailableError."""
        enrolled, identity = self.enrolled, self.identity
        if enrolled is None or identity is None:
            raise IdentityError("not enrolled", remedy="make an enrolment file: nf appliance enroll")
        response, key = await self._renew(enrolled, identity.ca_pem)
        self._take(Identity(key_pem(key), response.certificate_pem, response.ca_pem), enrolled)
        _log.info("the certificate is renewed")

    async def _renewed(
        self, enrolled: Enrolled, ca_pem: bytes, refusal: IdentityError
    ) -> tuple[pb.EnrolResponse, EllipticCurvePrivateKey]:
        """Raises `refusal` when the NOC does not know the device key under this name either."""
        try:
            return await self._renew(enrolled, ca_pem)
        except IdentityError:
            raise refusal from None

    async def _renew(self, enrolled: Enrolled, ca_pem: bytes) -> tuple[pb.EnrolResponse, EllipticCurvePrivateKey]:
        device, key = self._device_key(), new_key()
        csr = make_csr(key, SpiffeId(enrolled.domain, "appliance", enrolled.appliance))

        async def ask(stub: fleet_pb2_grpc.EnrolmentAsyncStub) -> pb.EnrolResponse:
            nonce = await self._challenge(stub, enrolled.appliance)
            request = pb.RenewRequest(
                appliance=enrolled.appliance, csr_der=csr, nonce=nonce, nonce_signature=device.sign(nonce + csr)
            )
            return await call(stub.Renew(request, timeout=_CALL_S))

        return await self._ask(enrolled.enrolment, ca_pem, ask), key

    def _device_key(self) -> DeviceKey:
        return DeviceKey.load_or_create(self._state_dir / "device.key")

    def _take(self, identity: Identity, enrolled: Enrolled) -> None:
        _check_ca(identity.ca_pem, enrolled.ca_sha256)
        if identity.spiffe_id != SpiffeId(enrolled.domain, "appliance", enrolled.appliance):
            raise IdentityError(
                f"the NOC answered with a certificate for {identity.spiffe_id}", where=enrolled.appliance
            )
        identity.save(self._state_dir / "identity")
        self.identity = identity

    @staticmethod
    async def _challenge(stub: fleet_pb2_grpc.EnrolmentAsyncStub, appliance: str) -> bytes:
        response = await call(stub.Challenge(pb.ChallengeRequest(appliance=appliance), timeout=_CALL_S))
        return response.nonce

    @staticmethod
    async def _ask(addresses: Sequence[str], ca_pem: bytes, ask: _Ask) -> pb.EnrolResponse:
        """The first address that can be reached answers. Raises what it raises, or UnavailableError."""
        last: NfError = UnavailableError("no enrolment address is known", remedy="make a new enrolment file")
        for address in addresses:
            async with enrolment_channel(address, ca_pem) as channel:
                try:
                    return await ask(fleet_pb2_grpc.EnrolmentStub(channel))
                except UnavailableError as error:
                    last = error
        raise last


def _record(enrolled: Enrolled) -> dict[str, object]:
    return {
        "appliance": enrolled.appliance,
        "serial": enrolled.serial,
        "domain": enrolled.domain,
        "noc": list(enrolled.noc),
        "enrolment": list(enrolled.enrolment),
        "ca_sha256": enrolled.ca_sha256,
        "token_sha256": enrolled.token_sha256,
    }
