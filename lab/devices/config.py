"""Configuration files of the simulated devices: YAML, one for each device."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lab.devices.modcods import MODCODS
from nf.errors import InputError

_ANY = IPv4Address("0.0.0.0")  # noqa: S104 - a device listens on all that it has
ROLL_OFFS = {0.20: 1, 0.25: 2, 0.35: 3, 0.15: 4, 0.10: 5, 0.05: 6}  # as NfLabRollOff numbers them

Port = Annotated[int, Field(ge=1024, le=65535)]
Name = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[\x20-\x7e]+$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(_Model):
    """Where packets come in (address 0.0.0.0, or a multicast group) or go."""

    address: IPv4Address = _ANY
    port: Port


class User(_Model):
    """A user of SNMPv3: SHA-256 and AES-128 (RFC 7860, RFC 3826)."""

    name: Name
    auth_key: Annotated[SecretStr, Field(min_length=8)]
    privacy_key: Annotated[SecretStr, Field(min_length=8)]
    write: bool = False


class TrapTarget(_Model):
    """Who gets notifications; with the named user as v3, else as v2c with the community."""

    address: IPv4Address
    port: Annotated[int, Field(ge=1, le=65535)] = 162
    community: str = "public"
    user: str | None = None


class Snmp(_Model):
    address: IPv4Address = _ANY
    port: Annotated[int, Field(ge=1, le=65535)] = 161
    read_community: str = "public"
    write_community: str = "private"
    users: tuple[User, ...] = ()
    traps: tuple[TrapTarget, ...] = ()


class DeviceConfig(_Model):
    name: Name
    site: str = ""
    serial: str = "LAB-0000"
    boot_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    via: IPv4Address = _ANY  # the own address whose interface multicast uses
    snmp: Snmp = Snmp()


class Channel(_Model):
    name: Name
    input: Place
    output: Place
    bit_rate_kbps: Annotated[int, Field(ge=300, le=20_000)]
    enabled: bool = True


class EncoderConfig(DeviceConfig):
    channels: Annotated[tuple[Channel, ...], Field(min_length=1, max_length=16)]


class Service(_Model):
    name: Name
    provider: Annotated[str, Field(max_length=32)] = "StreamVerse"
    service_id: Annotated[int, Field(ge=1, le=65535)]
    input: Place
    pid_base: Annotated[int, Field(ge=32, le=8174)]
    max_bit_rate_bps: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    enabled: bool = True


class MuxConfig(DeviceConfig):
    """At most 12 services: their descriptions fit one section."""

    output: Place
    enabled: bool = True
    bit_rate_bps: Annotated[int, Field(ge=100_000, le=100_000_000)]
    mode: Literal["constant", "variable"] = "constant"
    transport_stream_id: Annotated[int, Field(ge=1, le=65535)] = 1
    original_network_id: Annotated[int, Field(ge=1, le=65535)] = 0xFF01  # private temporary use, TS 101 162
    network_name: Name = "StreamVerse lab"
    services: Annotated[tuple[Service, ...], Field(min_length=1, max_length=12)]


class Sky(_Model):
    """Where the lab's radio frequency is: a multicast group, and the own address on that network.

    `translation_mhz`: how much lower the satellite sends what it receives; receivers are tuned to the downlink.
    """

    address: IPv4Address = IPv4Address("239.255.71.1")
    port: Port = 7100
    via: IPv4Address = _ANY
    translation_mhz: Annotated[float, Field(ge=0, le=20_000)] = 0.0


class CarrierConfig(_Model):
    modcod: str = "8PSK 3/4"
    symbol_rate: Annotated[int, Field(ge=100_000, le=72_000_000, multiple_of=100)] = 2_000_000
    roll_off: float = 0.20
    pilots: bool = True
    frequency_mhz: Annotated[float, Field(ge=950, le=31_000)] = 14_250.0

    def modcod_number(self) -> int:
        """Raises InputError."""
        for modcod in MODCODS.values():
            if modcod.name == self.modcod:
                return modcod.number
        raise InputError(f"no MODCOD {self.modcod}", where="carrier.modcod", remedy="write it like 8PSK 3/4")

    def roll_off_number(self) -> int:
        """Raises InputError."""
        if self.roll_off not in ROLL_OFFS:
            remedy = f"use one of {', '.join(map(str, ROLL_OFFS))}"
            raise InputError(f"no roll-off {self.roll_off}", where="carrier.roll_off", remedy=remedy)
        return ROLL_OFFS[self.roll_off]


class ModemConfig(DeviceConfig):
    """Levels in dBm; `gain_db` from the modulator's output to EIRP."""

    input: Place
    sky: Sky = Sky()
    carrier: CarrierConfig = CarrierConfig()
    carrier_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] = "02004cfffe710001"
    level_dbm: Annotated[float, Field(ge=-50, le=20)] = -10.0
    level_maximum_dbm: Annotated[float, Field(ge=-50, le=20)] = -2.0
    gain_db: float = 90.0
    beacon_dbm: float = -60.0


class ReceiverConfig(DeviceConfig):
    """`es_n0_clear_db`, `level_clear_dbm`: at the modulator's nominal level, in clear sky."""

    sky: Sky = Sky()
    symbol_rate: Annotated[int, Field(ge=100_000, le=72_000_000, multiple_of=100)] = 2_000_000
    frequency_mhz: Annotated[float, Field(ge=950, le=31_000)] = 14_250.0
    relock_ms: Annotated[int, Field(ge=0, le=10_000)] = 500
    es_n0_clear_db: float = 13.0
    implementation_loss_db: float = 0.5
    level_clear_dbm: float = -45.0
    output: Place


CONFIGS: dict[str, type[DeviceConfig]] = {
    "encoder": EncoderConfig,
    "mux": MuxConfig,
    "modem": ModemConfig,
    "receiver": ReceiverConfig,
}

C = TypeVar("C", bound=DeviceConfig)


def load(path: Path, kind: type[C]) -> C:
    """Raises InputError."""
    try:
        return kind.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except (OSError, YAMLError, ValidationError) as error:
        text = f"the configuration cannot be used: {error}"
        raise InputError(text, where=str(path), remedy="correct the file") from None
