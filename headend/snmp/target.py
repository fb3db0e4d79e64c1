"""Where an agent is, and how it knows us. No secret shows in a repr."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

from pydantic import SecretStr

from nf.errors import InputError

NO_KEY: Final = SecretStr("")
SHORTEST_KEY: Final = 8
"""Characters of a USM password at least (RFC 3414 clause 11.2)."""


class AuthProtocol(Enum):
    """RFC 3414 (MD5, SHA) and RFC 7860 (SHA-2)."""

    MD5 = "MD5"
    SHA = "SHA"
    SHA224 = "SHA-224"
    SHA256 = "SHA-256"
    SHA384 = "SHA-384"
    SHA512 = "SHA-512"


class PrivacyProtocol(Enum):
    """RFC 3414 (DES), RFC 3826 (AES-128); AES-192 and -256 with Blumenthal's key expansion, as net-snmp has it."""

    DES = "DES"
    AES128 = "AES-128"
    AES192 = "AES-192"
    AES256 = "AES-256"


@dataclass(frozen=True, slots=True)
class Community:
    """v1 or v2c; the community is a secret like any other."""

    name: str = field(repr=False)
    version: Literal["v1", "v2c"] = "v2c"


@dataclass(frozen=True, slots=True)
class Usm:
    """A user of the User-based Security Model; keys are passwords, localised here to each engine (RFC 3414 A.2).

    Errors: InputError for privacy without authentication, a protocol without its key, a key under eight characters.
    """

    user: str
    auth_protocol: AuthProtocol | None = None
    auth_key: SecretStr = NO_KEY
    privacy_protocol: PrivacyProtocol | None = None
    privacy_key: SecretStr = NO_KEY
    context: str = ""

    def __post_init__(self) -> None:
        if self.privacy_protocol is not None and self.auth_protocol is None:
            raise InputError("SNMPv3 privacy needs authentication", where=self.user, remedy="name an auth_protocol")
        keys = (
            ("auth_key", self.auth_protocol, self.auth_key),
            ("privacy_key", self.privacy_protocol, self.privacy_key),
        )
        for name, protocol, key in keys:
            if protocol is not None and len(key.get_secret_value()) < SHORTEST_KEY:
                raise InputError(f"{name} has fewer than {SHORTEST_KEY} characters", where=self.user)

    @property
    def level(self) -> Literal["noAuthNoPriv", "authNoPriv", "authPriv"]:
        """The security level of every message (RFC 3411 clause 3.4.3)."""
        if self.auth_protocol is None:
            return "noAuthNoPriv"
        return "authNoPriv" if self.privacy_protocol is None else "authPriv"


Credentials = Community | Usm


@dataclass(frozen=True, slots=True)
class Target:
    """An agent: IP address, UDP port, credentials; `timeout_s` for each try, `retries` after the first."""

    address: str
    port: int
    credentials: Credentials
    timeout_s: float = 1.0
    retries: int = 1

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
