"""Agencies: where and how a product is handed over to each (TS 102 232-1). Names never leave this process in clear."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote
from uuid import UUID

from pydantic import with_config

from lawful_intercept.administration.records import CLOSED, Codec
from lawful_intercept.x1.extensions import HandoverSettings, handover_extension
from lawful_intercept.x1.messages import DeliveryType, DestinationDetails, Extension, SocketAddress
from nf.errors import InputError

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,38}")
_LIID: Final = "{liid}"
_LONGEST: Final = "/" * 25


@functools.lru_cache(maxsize=4096)
def extension_of(settings: HandoverSettings) -> Extension:
    """As X1 carries it."""
    return handover_extension(settings)


@with_config(CLOSED)
@dataclass(frozen=True, slots=True, repr=False)
class AgencySettings:
    """What an LI administrator writes.

    address, port  where its LEMF listens; `handover.hi2_port` and `hi3_port` where the two are apart
    mediation      the element that hands over to it; "" = the only one there is

    `{liid}` in the reference of a payload key stands for the LIID of each warrant, in percent-encoding, which is a
    name of a file as well as of a token's key (RFC 7512). Raises InputError.
    """

    name: str
    address: IPv4Address | IPv6Address
    port: int
    handover: HandoverSettings
    mediation: str = ""

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise InputError("not a name of an agency", remedy="lower-case letters, digits, hyphens; at most 39")
        SocketAddress(self.address, self.port)
        self.handover_for(_LONGEST)

    def handover_for(self, liid: str) -> HandoverSettings:
        """As it is for one warrant, with a payload key of its own."""
        encryption = self.handover.encryption
        if encryption is None:
            return self.handover
        name = re.sub(r"^\.", "%2E", quote(liid, safe=""))
        return replace(self.handover, encryption=replace(encryption, key=encryption.key.replace(_LIID, name)))

    @property
    def key_of_all(self) -> bool:
        """Whether payloads of all LIIDs are encrypted with one key."""
        encryption = self.handover.encryption
        return encryption is not None and _LIID not in encryption.key


@dataclass(frozen=True, slots=True, repr=False)
class Agency:
    """`number`: opaque, for audit and store. `did`: of its destination at the mediation element."""

    number: UUID
    did: UUID
    settings: AgencySettings

    @property
    def destination(self) -> DestinationDetails:
        address = SocketAddress(self.settings.address, self.settings.port)
        return DestinationDetails(
            self.did, DeliveryType.X2_AND_X3, address, extensions=(extension_of(self.settings.handover),)
        )


AGENCY: Final = Codec(Agency, "an agency")
AGENCY_SETTINGS: Final = Codec(AgencySettings, "an agency")
