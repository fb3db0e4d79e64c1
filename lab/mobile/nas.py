"""5GS NAS messages (TS 24.501 clauses 8 and 9) by pycrate: names of messages and of their elements are pycrate's.

Only the form is pycrate's; what an element says is octets here. pycrate is a tool of the lab, loaded when it is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from typing import Any

from lab.mobile.nas_security import EPD_5GMM

_EPD_5GSM = 0x2E


class NasError(Exception):
    """No message that TS 24.501 knows, or one that misses what it must have. `cause`: 5GMM cause to be told."""

    def __init__(self, why: str, cause: int = 111) -> None:
        super().__init__(why)
        self.cause = cause


class Mm(IntEnum):
    """5GMM message types (clause 9.7)."""

    REGISTRATION_REQUEST = 0x41
    REGISTRATION_ACCEPT = 0x42
    REGISTRATION_COMPLETE = 0x43
    REGISTRATION_REJECT = 0x44
    DEREGISTRATION_REQUEST = 0x45
    DEREGISTRATION_ACCEPT = 0x46
    DEREGISTRATION_COMMAND = 0x47
    DEREGISTRATION_COMMAND_ACCEPT = 0x48
    SERVICE_REQUEST = 0x4C
    SERVICE_REJECT = 0x4D
    SERVICE_ACCEPT = 0x4E
    CONFIGURATION_COMMAND = 0x54
    CONFIGURATION_COMPLETE = 0x55
    AUTHENTICATION_REQUEST = 0x56
    AUTHENTICATION_RESPONSE = 0x57
    AUTHENTICATION_REJECT = 0x58
    AUTHENTICATION_FAILURE = 0x59
    IDENTITY_REQUEST = 0x5B
    IDENTITY_RESPONSE = 0x5C
    SECURITY_MODE_COMMAND = 0x5D
    SECURITY_MODE_COMPLETE = 0x5E
    SECURITY_MODE_REJECT = 0x5F
    STATUS = 0x64
    UPLINK_TRANSPORT = 0x67
    DOWNLINK_TRANSPORT = 0x68


class Sm(IntEnum):
    """5GSM message types (clause 9.7)."""

    ESTABLISHMENT_REQUEST = 0xC1
    ESTABLISHMENT_ACCEPT = 0xC2
    ESTABLISHMENT_REJECT = 0xC3
    RELEASE_REQUEST = 0xD1
    RELEASE_REJECT = 0xD2
    RELEASE_COMMAND = 0xD3
    RELEASE_COMPLETE = 0xD4
    STATUS = 0xD6


@dataclass(frozen=True, slots=True)
class Nas:
    """A plain message: its type, and octets of the elements that are in it, by their names without tag and length.

    `psi`, `pti`: of a 5GSM message. Half octets are a number in one octet.
    """

    type: int
    ies: Mapping[str, bytes]
    psi: int = 0
    pti: int = 0

    def need(self, name: str, least: int = 1) -> bytes:
        """An element of that many octets. Raises NasError with cause 96, invalid mandatory information."""
        value = self.ies.get(name, b"")
        if len(value) < least:
            raise NasError(f"{name} is missing in message {self.type:#x}, or too short", 96)
        return value

    def number(self, name: str, default: int = 0) -> int:
        return int.from_bytes(self.ies[name]) if name in self.ies else default


def _module(name: str) -> Any:
    # It warns that its own NAS security is not there, which is not used.
    logging.getLogger("pycrate_mobile").setLevel(logging.ERROR)
    return import_module(f"pycrate_mobile.{name}")


def _class(kind: Mm | Sm) -> Any:
    mm, sm = _module("TS24501_FGMM"), _module("TS24501_FGSM")
    table = mm.FGMMTypeClasses if isinstance(kind, Mm) else sm.FGSMTypeClasses
    return table[int(kind)]


def mm(kind: Mm, **ies: bytes | int) -> bytes:
    """A plain 5GMM message. Names may have a leading underscore, for those that begin with a digit."""
    return _encoded(_class(kind)(val={name.lstrip("_"): value for name, value in ies.items()}))


def sm(kind: Sm, psi: int, pti: int, **ies: bytes | int) -> bytes:
    """A 5GSM message; `pti`: 0 where the network began."""
    made = _class(kind)(val={name.lstrip("_"): value for name, value in ies.items()})
    made[0]["PDUSessID"].set_val(psi)
    made[0]["PTI"].set_val(pti)
    return _encoded(made)


def _encoded(made: Any) -> bytes:
    data: bytes = made.to_bytes()
    return data


def parse(data: bytes) -> Nas:
    """A plain message. Raises NasError with the cause of clause 7."""
    if len(data) < 3 or data[0] not in (EPD_5GMM, _EPD_5GSM) or (data[0] == _EPD_5GSM and len(data) < 4):
        raise NasError(f"no NAS message: {data[:4].hex()}")
    if data[0] == EPD_5GMM and data[1] & 0x0F:
        raise NasError("a security header within a message")
    try:
        message, cause = _module("NAS5G").parse_NAS5G(data, inner=False, sec_hdr=False)
    except Exception as error:  # pycrate raises what its decoder meets
        raise NasError(f"malformed message {data[2]:#x}: {error!r}", 96) from error
    if message is None:
        raise NasError(f"no message of type {data[2]:#x}", cause)
    present = [(ie._name, ie) for ie in list(message)[1:] if not ie.get_trans()]  # noqa: SLF001 - no other way to it
    ies = {name: _value(ie) for name, ie in present if name != "spare"}
    if data[0] == EPD_5GMM:
        return Nas(data[2], ies)
    return Nas(data[3], ies, psi=data[1], pti=data[2])


def _value(ie: Any) -> bytes:
    value = ie[-1]
    if 0 < value.get_bl() < 8:
        return bytes((value.to_uint(),))
    return bytes(value.to_bytes())
