"""Values that say who: subscribers, slices, data networks (TS 29.244, 8.2)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Self

from core5g.pfcp.names import IeType
from core5g.pfcp.reading import (
    Reader,
    digits_of,
    labels_of_name,
    name_of_labels,
    packed,
    tbcd_of,
    text_octets,
)
from core5g.pfcp.wire import PfcpError


@dataclass(frozen=True, slots=True)
class UserId:
    """8.2.101. `imsi`, `imei` and `msisdn` are digits; the others text as in TS 29.571 (`imsi-...`, `msisdn-...`)."""

    IE: ClassVar[IeType] = IeType.USER_ID

    imsi: str | None = None
    imei: str | None = None
    msisdn: str | None = None
    nai: str | None = None
    supi: str | None = None
    gpsi: str | None = None
    pei: str | None = None

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        flags = reader.number(1)
        found: list[str | None] = []
        for bit in range(7):
            if not flags >> bit & 1:
                found.append(None)
            elif bit < 3:
                found.append(digits_of(cls.IE, reader.take(reader.number(1))))
            else:
                found.append(reader.text(reader.number(1)))
        return cls(*found)

    def encode(self) -> bytes:
        flags = 0
        octets = b""
        for bit, field in enumerate(fields(self)):
            text: str | None = getattr(self, field.name)
            if text is None:
                continue
            flags |= 1 << bit
            part = tbcd_of(self.IE, text) if bit < 3 else text_octets(self.IE, text)
            octets += packed(self.IE, len(part), 1) + part
        return bytes((flags,)) + octets

    @property
    def subscriber(self) -> str | None:
        """The SUPI as the rest of a 5G core writes it, from whichever field carries it."""
        if self.supi is not None:
            return self.supi
        return f"imsi-{self.imsi}" if self.imsi else None

    @property
    def number(self) -> str | None:
        """The GPSI, likewise."""
        if self.gpsi is not None:
            return self.gpsi
        return f"msisdn-{self.msisdn}" if self.msisdn else None

    @property
    def equipment(self) -> str | None:
        """The PEI, likewise: the digits of an IMEISV are 16 (TS 23.003 clause 6.2)."""
        if self.pei is not None:
            return self.pei
        return f"{'imeisv' if len(self.imei) == 16 else 'imei'}-{self.imei}" if self.imei else None


@dataclass(frozen=True, slots=True)
class SNssai:
    """IE 257: slice/service type and differentiator; `sd` None is the value that stands for none."""

    IE: ClassVar[IeType] = IeType.S_NSSAI
    NONE: ClassVar[int] = 0xFFFFFF

    sst: int
    sd: int | None = None

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        sst, sd = reader.number(1), reader.number(3)
        return cls(sst, None if sd == cls.NONE else sd)

    def encode(self) -> bytes:
        return packed(self.IE, self.sst, 1) + packed(self.IE, self.NONE if self.sd is None else self.sd, 3)

    def __str__(self) -> str:
        return str(self.sst) if self.sd is None else f"{self.sst}-{self.sd:06x}"


@dataclass(frozen=True, slots=True)
class ApnDnn:
    """8.2.117: the name of a data network, dotted."""

    IE: ClassVar[IeType] = IeType.APN_DNN

    name: str

    @classmethod
    def decode(cls, value: bytes) -> Self:
        name = name_of_labels(value)
        if name is None:
            raise PfcpError("value", f"APN/DNN {value.hex() or 'empty'}: no name", ie=cls.IE)
        return cls(name)

    def encode(self) -> bytes:
        return labels_of_name(self.IE, self.name)

    def __str__(self) -> str:
        return self.name
