"""What the satellite link adds to the documents: transponders and carriers, the path type `dvb-s2x`, its sections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from headend.devices.claims import Claim
from headend.devices.derived import DerivedGroup
from headend.devices.documents import (
    Flapping,
    Position,
    RedundancyGroup,
    SnmpDevice,
    SwitchedParameter,
    SwitchEffect,
)
from headend.devices.redundancy import Mode
from headend.multicast.documents import Encapsulation, SsmGroup
from headend.satellite.claims import BY_ROLE
from headend.satellite.ground import Longitude, Polarizations, RainRecord, ReceiveStation, TransmitStation
from headend.satellite.modcod import by_name
from headend.satellite.names import MUX_PORT_BASE, STANDBY_PORT_OFFSET
from headend.satellite.quantities import Frequency, SymbolRate
from headend.satellite.threshold import Losses
from nf.documents.lineup import DeliveryPath, LineUp, Taking
from nf.documents.model import Address, DocumentModel, Name, Port, RuleError, Whole
from nf.documents.quantities import BitRate, DurationMs
from nf.documents.registry import Extension
from nf.errors import InputError


def _modcod(name: str) -> str:
    try:
        return by_name(name).name
    except InputError as error:
        raise RuleError(error.message, error.remedy) from None


_ROLL_OFFS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.35)


def _roll_off(value: float) -> float:
    if value not in _ROLL_OFFS:
        raise RuleError(
            "a roll-off is 0.35, 0.25 or 0.20 (EN 302 307-1), or 0.15, 0.10 or 0.05 (EN 302 307-2)", "write one of them"
        )
    return value


RollOff = Annotated[float, AfterValidator(_roll_off)]

ModcodName = Annotated[str, AfterValidator(_modcod)]


class Transponder(DocumentModel):
    """`centre` is its downlink centre frequency; `guard` lies between two carriers and at both edges; `translation` is
    what the satellite takes from the uplink's frequency. `position`: degrees east on the orbit, for link budgets."""

    id: Name
    satellite: str = ""
    centre_hz: Frequency = Field(alias="centre")
    bandwidth_hz: Frequency = Field(alias="bandwidth")
    guard_hz: Annotated[Whole, Field(ge=0)] = Field(alias="guard", default=0)
    translation_hz: Frequency = Field(alias="translation")
    position_deg: Longitude | None = Field(alias="position", default=None)
    polarization: Polarizations = Polarizations()


class Power(DocumentModel):
    """Transmit level of the modem, in dBm. `clear`: in clear sky; `cap`: never more (EIRP density of the licence)."""

    clear_dbm: float = Field(alias="clear", ge=-60, le=10)
    cap_dbm: float = Field(alias="cap", ge=-60, le=10)
    slew_db_s: float = Field(alias="slew", default=0.5, gt=0, le=2)

    @model_validator(mode="after")
    def _cap_above(self) -> Self:
        if self.cap_dbm < self.clear_dbm:
            raise RuleError("the cap is below the level in clear sky", "raise the cap or lower the clear level")
        return self


class Margins(DocumentModel):
    """dB above the ideal threshold of a MODCOD. `implementation`: what real receivers lose; `down`: below that much
    margin the carrier steps down; `up`: with that much margin over the next better MODCOD, for `hold`, it steps up.
    `saturated`: one carrier drives the transponder into saturation (thresholds of the hard limiter channel)."""

    implementation_db: float = Field(alias="implementation", default=0.5, ge=0, le=4)
    down_db: float = Field(alias="down", default=0.5, ge=0, le=4)
    up_db: float = Field(alias="up", default=1.2, gt=0, le=6)
    hold_ms: DurationMs = Field(alias="hold", default=30_000)
    dwell_ms: DurationMs = Field(alias="dwell", default=10_000)
    saturated: bool = False

    @property
    def losses(self) -> Losses:
        """What receivers need above the ideal thresholds."""
        return Losses(implementation_db=self.implementation_db, saturated=self.saturated)

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.up_db <= self.down_db:
            raise RuleError("`up` is not more than `down`: the carrier would go to and fro", "raise `up`")
        return self


class ReceiveSite(DocumentModel):
    """`device`: the receiver there; `clear_es_n0`: what it sees in clear sky, in dB. `output`: where it sends the
    transport stream to, an address of the site's PoP. `station`: its antenna, for link budgets."""

    site: Name
    device: Name
    output: Address
    output_port: Port = 5100
    clear_es_n0_db: float = Field(alias="clear_es_n0", ge=-5, le=40)
    station: ReceiveStation | None = None


class EncoderBackup(DocumentModel):
    """A second encoder, 1+1: it encodes all the time, at the same rates, and the mux takes its input from one of them.

    The contributions come to it too, at the same UDP ports. The rest is as in a redundancy group.
    """

    device: Name
    mode: Mode = Mode.REVERTING
    triggers: Annotated[tuple[Name, ...], Field(min_length=1)] = ("device-silent", "encoder-input-lost")
    switch_delay_ms: DurationMs = Field(alias="switch_delay", default=2_000)
    switch_back_delay_ms: DurationMs = Field(alias="switch_back_delay", default=30_000)
    backup_must_be_clean: bool = True
    flap: Flapping = Flapping()


class Carrier(DocumentModel):
    """A broadcast carrier (CCM) in a transponder, and the chain of devices that makes it.

    modcods   that it may use, the best first; it is at the first in clear sky
    reserve   share of the net rate that services never use; `si_rate`: PSI/SI tables
    cid       DVB-CID (TS 103 129) is on unless a licence says otherwise

    For link budgets: `station` that transmits it, `interference` (each C/I in dB: neighbours, other polarization,
    intermodulation), and `availability` in per cent of an average year that every site is to have of it.
    """

    id: Name
    transponder: Name
    appliance: Name
    encoder: Name
    encoder_backup: EncoderBackup | None = None
    mux: Name
    modem: Name
    centre_hz: Frequency = Field(alias="centre")
    symbol_rate_baud: SymbolRate = Field(alias="symbol_rate")
    roll_off: RollOff = 0.2
    pilots: bool = True
    modcods: Annotated[tuple[ModcodName, ...], Field(min_length=1, max_length=16)]
    reserve: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    si_rate_bps: BitRate = Field(alias="si_rate", default=50_000)
    transport_stream_id: Annotated[Whole, Field(ge=1, le=65535)] = 1
    cid: bool = True
    power: Power
    margins: Margins = Margins()
    beacon_clear_dbm: float = Field(alias="beacon_clear", default=-60.0)
    receivers: tuple[ReceiveSite, ...] = ()
    station: TransmitStation | None = None
    interference_db: tuple[Annotated[float, Field(ge=0, le=60)], ...] | None = Field(alias="interference", default=None)
    availability_percent: float | None = Field(alias="availability", default=None, gt=0, lt=100)

    @property
    def occupied_hz(self) -> float:
        """Symbol rate x (1 + roll-off)."""
        return self.symbol_rate_baud * (1 + self.roll_off)

    def as_made(self) -> Carrier:
        """Without what only budgets are computed from, and how the encoders are switched: the chain is not touched when
        a dish is written down or a delay is changed."""
        receivers = tuple(receiver.model_copy(update={"station": None}) for receiver in self.receivers)
        bare = {"encoder_backup": None, "station": None, "interference_db": None, "availability_percent": None}
        return self.model_copy(update={"receivers": receivers, **bare})


class SatelliteEquipment(DocumentModel):
    """Part `satellite` of a fleet's equipment. `rain`: tables of the sites, which `nf link rain` makes and writes."""

    transponders: tuple[Transponder, ...] = ()
    carriers: tuple[Carrier, ...] = ()

    rain: tuple[RainRecord, ...] = ()

    def device_claims(self) -> Iterator[Claim]:
        """The chain of a carrier is the carrier's to set (`headend.devices.claims`)."""
        for carrier in self.carriers:
            remedy = f"change carrier {carrier.id} or its services; what it is now: nf link show {carrier.id}"
            for role, parameters in BY_ROLE.items():
                yield Claim(str(getattr(carrier, role)), parameters, f"carrier {carrier.id}", remedy)
            if carrier.encoder_backup is not None:
                yield Claim(carrier.encoder_backup.device, BY_ROLE["encoder"], f"carrier {carrier.id}", remedy)

    def device_groups(self, lineup: LineUp) -> Iterator[DerivedGroup]:
        """Which of a carrier's encoders the mux listens to is a redundancy group's (`headend.devices.derived`)."""
        for number, carrier in enumerate(self.carriers):
            paths = [path for channel in lineup.spec.channels for path in channel.delivery]
            mine = [path for path in paths if isinstance(path, SatellitePath) and path.carrier == carrier.id]
            if carrier.encoder_backup is not None and mine and len(carrier.id) <= LONGEST_WITH_BACKUP:
                key = f"spec.equipment.satellite.carriers[{number}].encoder_backup.device"
                yield DerivedGroup(key, encoder_group(carrier, carrier.encoder_backup, len(mine)))


class SatelliteOutput(DocumentModel):
    """Where a PoP gives the programme to its receivers: `group` with the PoP's own address on their LAN as source."""

    group: SsmGroup
    port: Port = 5000


class SatellitePath(DeliveryPath):
    """DVB-S2X broadcast: the channel as a service of a carrier's transport stream, given out by the PoPs at `sites`.

    rate        of the service in clear sky; `min_rate`: the least that it is still worth sending at
    priority    who leaves first when the MODCOD carries less: 9 before 1
    input       UDP port of the carrier's encoder at which the contribution arrives
    pmt_pid     the service has this PID and the 15 after it; 16 x service_id when not given
    fallback    the path that a PoP takes while its reception is bad, of the same channel: multicast, or one that the
                PoP can have handed over, such as the CDN's
    """

    type: Literal["dvb-s2x"]
    carrier: Name
    service_id: Annotated[Whole, Field(ge=1, le=65535)]
    pmt_pid: Annotated[Whole, Field(ge=32, le=8175)] | None = None
    min_rate_bps: BitRate | None = Field(alias="min_rate", default=None)
    input: Port
    output: SatelliteOutput
    fallback: Name | None = None
    sites: Annotated[tuple[Name, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _rates_and_pids(self) -> Self:
        if self.rate_bps % 1000 or (self.min_rate_bps or 0) % 1000:
            raise RuleError("encoders take whole kbit/s", "round rate and min_rate, such as 1200k")
        if self.min_rate_bps is not None and self.min_rate_bps > self.rate_bps:
            raise RuleError("min_rate is more than rate", "lower min_rate")
        if self.pmt_pid is None and not 32 <= 16 * self.service_id <= 8175:
            raise RuleError("the service id gives no PID of its own", "write pmt_pid, 32 to 8175")
        return self

    def takes(self) -> Taking | None:
        return None if self.fallback is None else Taking(self.fallback, self.sites)

    @property
    def first_pid(self) -> int:
        return self.pmt_pid if self.pmt_pid is not None else 16 * self.service_id


LONGEST_WITH_BACKUP = 31
"""So long may the name of a carrier be that has a second encoder: its group is called after it."""


def encoder_group(carrier: Carrier, backup: EncoderBackup, services: int) -> RedundancyGroup:
    """1+1 of the encoders: rows 1 to `services` of the mux listen to the port of one or the other."""
    proof = SwitchEffect(watch="service.input_state", expect="locked", when={"service.admin_state": "enabled"})
    position = Position(
        id=carrier.id,
        main=carrier.encoder,
        switch=tuple(
            SwitchedParameter(
                device=carrier.mux,
                parameter=f"service[{row}].input_port",
                main=MUX_PORT_BASE + row,
                backup=MUX_PORT_BASE + STANDBY_PORT_OFFSET + row,
                effect=proof,
            )
            for row in range(1, services + 1)
        ),
    )
    given = backup.to_json()
    backups = [given.pop("device")]
    return RedundancyGroup.model_validate(
        {"id": f"{carrier.id}-encoder", "positions": [position.to_json()], "backups": backups, **given}
    )


# ---- sections -------------------------------------------------------------------------------------------------------


class UplinkService(DocumentModel):
    """A service of the carrier. `row`: its row in the encoder's and the mux's tables, from 1.

    Its rate in clear sky, the least it is sent at and its priority are what the ladder was made from.
    """

    channel: Name
    path: Name
    rate_bps: BitRate = Field(alias="rate")
    min_rate_bps: BitRate = Field(alias="min_rate")
    priority: Whole
    name: str
    service_id: Whole
    pmt_pid: Whole
    row: Whole
    input_port: Port
    mux_port: Port


class RungService(DocumentModel):
    channel: Name
    path: Name
    rate_bps: BitRate = Field(alias="rate")


class UplinkRung(DocumentModel):
    """One operating point: what is sent at a MODCOD. `net_rate`: of the carrier; `ts_rate`: of the multiplex."""

    modcod: ModcodName
    net_rate_bps: BitRate = Field(alias="net_rate")
    ts_rate_bps: BitRate = Field(alias="ts_rate")
    services: tuple[RungService, ...] = ()


class UplinkReceiver(DocumentModel):
    site: Name
    device: SnmpDevice
    clear_es_n0_db: float = Field(alias="clear_es_n0")


class UplinkCarrier(DocumentModel):
    """A carrier with its devices and every operating point that it may come to, the best first.

    `standby`: the second encoder, set as the first; a redundancy group chooses between them.
    """

    carrier: Carrier
    uplink_hz: Frequency = Field(alias="uplink")
    encoder: SnmpDevice
    standby: SnmpDevice | None = None
    mux: SnmpDevice
    modem: SnmpDevice
    services: tuple[UplinkService, ...] = ()
    ladder: tuple[UplinkRung, ...]
    receivers: tuple[UplinkReceiver, ...] = ()
    provides: tuple[str, ...] = ()


class UplinkSection(DocumentModel):
    """Section `satellite-uplink`: the carriers that an appliance keeps on the air."""

    carriers: tuple[UplinkCarrier, ...] = ()


class SwitchRules(DocumentModel):
    """When a PoP leaves a service for its fallback by itself, and when it returns (the line-up's `failover`)."""

    detect_ms: Whole
    hold_down_ms: Whole
    max_per_hour: Whole
    failback_after_ms: Whole
    failback_approve: Literal["operator", "auto"]


class ReceivedService(DocumentModel):
    """`outputs`: the PoP's addresses on its receivers' LANs. `fallback`: the path with the same programme, as (S, G),
    or handed over at an own address (`fallback_address`) of the PoP; `fallback_encapsulation`: what the datagrams of
    (S, G) hold, TS packets or those behind an RTP header (RFC 2250)."""

    channel: Name
    path: Name
    service_id: Whole
    group: SsmGroup
    port: Port
    outputs: tuple[Address, ...]
    fallback: Name | None = None
    fallback_address: Address | None = None
    fallback_source: Address | None = None
    fallback_group: SsmGroup | None = None
    fallback_port: Port | None = None
    fallback_encapsulation: Encapsulation | None = None
    failover: SwitchRules | None = None


class ReceivedCarrier(DocumentModel):
    """What a PoP takes from one receiver. `input`: where the receiver's transport stream arrives."""

    carrier: Name
    device: SnmpDevice
    input: Address
    input_port: Port
    transport_stream_id: Whole
    margins: Margins
    services: tuple[ReceivedService, ...] = ()
    requires: tuple[str, ...] = ()


class ReceiverSection(DocumentModel):
    """Section `satellite-receiver`: the carriers that a PoP receives, and what it gives to its receivers of them."""

    carriers: tuple[ReceivedCarrier, ...] = ()


EXTENSION = Extension(
    path_types={"dvb-s2x": SatellitePath},
    sections={"satellite-receiver": ReceiverSection, "satellite-uplink": UplinkSection},
    equipment={"satellite": SatelliteEquipment},
)
