"""The keys of a SIM (K, OPc, AMF): checked, computed from OP, and sealed at rest. They show nowhere.

Open5GS reads them in clear from its database; in every document of ours they are sealed or absent. A sealed key is

    sealed:KEY:DATA     KEY   the first eight digits of the sealing key's SHA-256, so that a wrong one is known at once
                        DATA  nonce and AES-256-GCM (NIST SP 800-38D) of the 16 octets, base64url

bound to the subscriber and to its name: the text of one subscriber's K opens neither as another's nor as an OPc.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nf.contracts.json import canonical
from nf.documents.model import RuleError
from nf.errors import IntegrityError

NAMES: Final = ("k", "opc", "op", "amf")
"""What may stand in `security`. `op`: the operator's variant, from which OPc is computed."""

SECRET: Final = ("k", "opc", "op")
PREFIX: Final = "sealed:"
DEFAULT_AMF: Final = "8000"

_KEY = re.compile(r"[0-9a-f]{32}")
_AMF = re.compile(r"[0-9a-f]{4}")
_SEALED = re.compile(r"sealed:([0-9a-f]{8}):([A-Za-z0-9_-]{59})=?")
_NONCE_BYTES = 12
_SEPARATION_BIT = 0x8000


@dataclass(frozen=True, slots=True)
class Keys:
    """Of one subscriber, as hexadecimal digits in lower case."""

    k: str = field(repr=False)
    opc: str = field(repr=False)
    amf: str = DEFAULT_AMF


class Opener(Protocol):
    """Opens what was sealed."""

    def open(self, text: str, imsi: str, name: str) -> str:
        """The key as 32 hexadecimal digits. Raises RuleError, which does not quote the text."""


class Sealer:
    """Seals and opens with one key. Its text has 64 hexadecimal digits (`openssl rand -hex 32`)."""

    def __init__(self, text: str, where: str) -> None:
        """Raises IntegrityError, which does not quote the text."""
        digits = text.strip()
        if re.fullmatch(r"[0-9A-Fa-f]{64}", digits) is None:
            raise IntegrityError(
                "a sealing key has 64 hexadecimal digits", where=where, remedy="make one: openssl rand -hex 32"
            )
        key = bytes.fromhex(digits)
        self._cipher = AESGCM(key)
        self.name = hashlib.sha256(key).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"Sealer({self.name})"

    def seal(self, value: str, imsi: str, name: str) -> str:
        """`value`: 32 hexadecimal digits."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        data = nonce + self._cipher.encrypt(nonce, bytes.fromhex(value), _bound(imsi, name))
        return f"{PREFIX}{self.name}:{base64.urlsafe_b64encode(data).decode().rstrip('=')}"

    def open(self, text: str, imsi: str, name: str) -> str:
        """Raises RuleError."""
        match = _SEALED.fullmatch(text)
        if match is None:
            raise RuleError("this is not a sealed key", "seal it again: nf subscriber seal")
        if match[1] != self.name:
            raise RuleError(
                f"it is sealed with the key {match[1]}, not with {self.name}", "give the key that sealed it"
            )
        try:
            data = base64.urlsafe_b64decode(match[2] + "=")
            return self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound(imsi, name)).hex()
        except (InvalidTag, binascii.Error, ValueError):
            raise RuleError(
                "the sealed key was altered, or belongs to another subscriber or column",
                "seal it again from its source",
            ) from None


class NoSealer:
    """Where no sealing key was given."""

    def open(self, text: str, imsi: str, name: str) -> str:  # noqa: ARG002  # the signature is the contract's
        raise RuleError("it is sealed, and no sealing key is here", "add --seal-key secret:NAME")


def _bound(imsi: str, name: str) -> bytes:
    return canonical(["streamverse.nf/subscriber-key/v1", imsi, name]).encode()


def opc_of(k: str, op: str) -> str:
    """OPc = OP xor E_K(OP), TS 35.206 clause 4.1; all as 32 hexadecimal digits."""
    block = bytes.fromhex(op)
    # Milenage is defined on single blocks of the cipher.
    encryptor = Cipher(algorithms.AES128(bytes.fromhex(k)), modes.ECB()).encryptor()  # noqa: S305
    encrypted = encryptor.update(block) + encryptor.finalize()
    return bytes(a ^ b for a, b in zip(block, encrypted, strict=True)).hex()


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """Never has a value."""

    name: str
    rule: str
    remedy: str


def check(given: Mapping[str, object], imsi: str, opener: Opener) -> tuple[Keys | None, list[KeyProblem]]:
    """`given`: from `security`, in clear or sealed. Neither K nor OPc there at all: no keys and no problem."""
    found: list[KeyProblem] = []
    values = {name: given[name] for name in NAMES if given.get(name) not in (None, "")}
    if not values:
        return None, found
    clear = {name: _clear(name, values[name], imsi, opener, found) for name in SECRET if name in values}
    amf = _amf(values.get("amf", DEFAULT_AMF), found)
    if "k" not in values:
        found.append(KeyProblem("k", "K is missing", "write its 32 hexadecimal digits, or seal it"))
    if "opc" not in values and "op" not in values:
        found.append(KeyProblem("opc", "neither OPc nor OP is there", "write one of them"))
    if found:
        return None, found
    k = clear["k"]
    opc = clear.get("opc") or opc_of(k, clear["op"])
    if "opc" in clear and "op" in clear and opc_of(k, clear["op"]) != opc:
        found.append(KeyProblem("opc", "OPc does not follow from K and OP (TS 35.206)", "remove the one that is wrong"))
        return None, found
    return Keys(k, opc, amf), found


def _clear(name: str, value: object, imsi: str, opener: Opener, found: list[KeyProblem]) -> str:
    digits = re.sub(r"[\s:-]", "", value).lower() if isinstance(value, str) else ""
    if isinstance(value, str) and value.strip().startswith(PREFIX):
        try:
            return opener.open(value.strip(), imsi, name)
        except RuleError as error:
            found.append(KeyProblem(name, error.rule, error.remedy))
            return ""
    if _KEY.fullmatch(digits) is None:
        found.append(
            KeyProblem(
                name,
                f"a key has 32 hexadecimal digits; this one is not so ({len(digits)} characters)",
                "take it from the SIM's delivery file again",
            )
        )
        return ""
    return digits


def _amf(value: object, found: list[KeyProblem]) -> str:
    digits = value.strip().lower() if isinstance(value, str) else ""
    if _AMF.fullmatch(digits) is None:
        found.append(KeyProblem("amf", "an AMF has four hexadecimal digits", f"write it as {DEFAULT_AMF}"))
    elif not int(digits, 16) & _SEPARATION_BIT:
        found.append(
            KeyProblem(
                "amf",
                "its separation bit is 0: no UE takes that for 5G or LTE (TS 33.501 annex A)",
                f"write it as {DEFAULT_AMF}",
            )
        )
    return digits
