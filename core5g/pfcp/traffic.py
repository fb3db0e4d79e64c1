"""Values that say which packets, how many and how fast (TS 29.244, 8.2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from core5g.pfcp.names import IeType
from core5g.pfcp.reading import Reader, packed, text_octets
from core5g.pfcp.wire import PfcpError


@dataclass(frozen=True, slots=True)
class SdfFilter:
    """8.2.5. `flow_description` is an IPFilterRule written downlink-wise ("permit out ip from SERVER to assigned").

    tos  type of service (or traffic class) and its mask, 2 octets; spi  of IPsec; flow_label  IPv6's, 3 octets;
    filter_id  names one filter in both directions
    """

    IE: ClassVar[IeType] = IeType.SDF_FILTER

    flow_description: str | None = None
    tos: int | None = None
    spi: int | None = None
    flow_label: int | None = None
    filter_id: int | None = None

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        flags = reader.number(1)
        reader.take(1)
        return cls(
            reader.text(reader.number(2)) if flags & 1 else None,
            reader.number(2) if flags & 2 else None,
            reader.number(4) if flags & 4 else None,
            reader.number(3) if flags & 8 else None,
            reader.number(4) if flags & 16 else None,
        )

    def encode(self) -> bytes:
        flags = 0
        octets = b""
        if self.flow_description is not None:
            text = text_octets(self.IE, self.flow_description)
            flags |= 1
            octets = packed(self.IE, len(text), 2) + text
        for bit, size, number in ((2, 2, self.tos), (4, 4, self.spi), (8, 3, self.flow_label), (16, 4, self.filter_id)):
            if number is not None:
                flags |= bit
                octets += packed(self.IE, number, size)
        return bytes((flags, 0)) + octets


@dataclass(frozen=True, slots=True)
class GateStatus:
    """8.2.7: whether packets pass; Open5GS reads it and lets them pass anyway."""

    IE: ClassVar[IeType] = IeType.GATE_STATUS

    uplink_open: bool = True
    downlink_open: bool = True

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Values that are not in use yet count as closed."""
        flags = Reader(cls.IE, value).number(1)
        return cls(not flags & 0x0C, not flags & 0x03)

    def encode(self) -> bytes:
        return bytes((int(not self.uplink_open) << 2 | int(not self.downlink_open),))


@dataclass(frozen=True, slots=True)
class Mbr:
    """8.2.8, kbit/s (1,000 bits)."""

    IE: ClassVar[IeType] = IeType.MBR

    uplink_kbps: int
    downlink_kbps: int

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        return cls(reader.number(5), reader.number(5))

    def encode(self) -> bytes:
        return packed(self.IE, self.uplink_kbps, 5) + packed(self.IE, self.downlink_kbps, 5)


@dataclass(frozen=True, slots=True)
class VolumeThreshold:
    """8.2.13, octets."""

    IE: ClassVar[IeType] = IeType.VOLUME_THRESHOLD

    total: int | None = None
    uplink: int | None = None
    downlink: int | None = None

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        flags = reader.number(1)
        return cls(*(reader.number(8) if flags >> bit & 1 else None for bit in range(3)))

    def encode(self) -> bytes:
        return _counted(self.IE, (self.total, self.uplink, self.downlink))


@dataclass(frozen=True, slots=True)
class VolumeMeasurement:
    """8.2.44: octets, then packets."""

    IE: ClassVar[IeType] = IeType.VOLUME_MEASUREMENT

    total: int | None = None
    uplink: int | None = None
    downlink: int | None = None
    total_packets: int | None = None
    uplink_packets: int | None = None
    downlink_packets: int | None = None

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        flags = reader.number(1)
        return cls(*(reader.number(8) if flags >> bit & 1 else None for bit in range(6)))

    def encode(self) -> bytes:
        volumes = (self.total, self.uplink, self.downlink)
        return _counted(self.IE, (*volumes, self.total_packets, self.uplink_packets, self.downlink_packets))


def _counted(ie: IeType, numbers: tuple[int | None, ...]) -> bytes:
    flags = sum(1 << bit for bit, number in enumerate(numbers) if number is not None)
    return bytes((flags,)) + b"".join(packed(ie, number, 8) for number in numbers if number is not None)


class RuleKind(IntEnum):
    """Table 8.2.80-1."""

    PDR = 0
    FAR = 1
    QER = 2
    URR = 3
    BAR = 4


_RULE_OCTETS = {RuleKind.PDR: 2, RuleKind.FAR: 4, RuleKind.QER: 4, RuleKind.URR: 4, RuleKind.BAR: 1}


@dataclass(frozen=True, slots=True)
class FailedRuleId:
    """8.2.80: the rule that a UPF could not make or change."""

    IE: ClassVar[IeType] = IeType.FAILED_RULE_ID

    kind: RuleKind
    id: int

    @classmethod
    def decode(cls, value: bytes) -> Self:
        reader = Reader(cls.IE, value)
        number = reader.number(1) & 31
        if number > RuleKind.BAR:
            raise reader.error("no kind of rule")
        kind = RuleKind(number)
        return cls(kind, reader.number(_RULE_OCTETS[kind]))

    def encode(self) -> bytes:
        return bytes((self.kind,)) + packed(self.IE, self.id, _RULE_OCTETS[self.kind])


@dataclass(frozen=True, slots=True)
class UpFunctionFeatures:
    """8.2.25: two octets and more of flags, kept whole."""

    IE: ClassVar[IeType] = IeType.UP_FUNCTION_FEATURES

    octets: bytes

    @classmethod
    def decode(cls, value: bytes) -> Self:
        if len(value) < 2:
            raise PfcpError("value", f"UP function features {value.hex() or 'empty'}", ie=cls.IE)
        return cls(value)

    def encode(self) -> bytes:
        return self.octets

    @property
    def allocates_teids(self) -> bool:
        """FTUP: the UPF picks F-TEIDs when it is asked to."""
        return bool(self.octets[0] & 0x10)

    @property
    def allocates_ue_addresses(self) -> bool:
        """UEIP: the UPF picks the UE's address when it is asked to. Open5GS does not."""
        return len(self.octets) > 2 and bool(self.octets[2] & 0x04)
