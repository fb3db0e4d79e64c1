"""What SNMP devices add to the documents: the fleet's equipment part `snmp`, and the section `snmp-devices`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field, Strict

from headend.devices.redundancy import FlapLimit, Mode, Settings
from nf.documents.model import Address, DocumentModel, Form, Name, Whole
from nf.documents.quantities import DurationMs
from nf.documents.registry import Extension

SecretRef = Annotated[
    str,
    Form(
        r"secret:[a-z][a-z0-9-]{0,38}",
        "a secret is named, never written: secret:NAME",
        "write it as secret:headend-devices",
    ),
]
AgentPort = Annotated[int, Strict(), Field(ge=1, le=65535)]
"""UDP; agents listen on 161."""

Setting = bool | int | float | str
"""A value of a parameter, as its model has it."""

TRAP_PORT = 162


class SnmpDevice(DocumentModel):
    """A device behind SNMP.

    appliance     polls it, raises its alarms and sets it
    model         a model file of `headend/devices/models`, by name
    address       of its SNMP agent, on the management network; `port` likewise
    data_address  where it takes in what it processes, on the data plane; None when nothing is sent to it
    credentials   names the file with its SNMP credentials: one line `community NAME`, or `v3 USER AUTH KEY PRIV KEY`
    parameters    what it is to be set to, by the names of its model: its service template. Nobody else sets these
    """

    id: Name
    appliance: Name
    model: Name
    address: Address
    port: AgentPort = 161
    data_address: Address | None = None
    credentials: SecretRef
    parameters: Mapping[str, Setting] = Field(default_factory=dict)


class SwitchEffect(DocumentModel):
    """What proves a switch: `watch` of the same device (and row) holds `expect` within `within`. Only looked at while
    all of `when` holds, such as a service that is on."""

    watch: str
    expect: Setting
    when: Mapping[str, Setting] = Field(default_factory=dict)
    within_ms: DurationMs = Field(alias="within", default=10_000)


class SwitchedParameter(DocumentModel):
    """One thing that a switch sets. `backup`: one value for every backup, or one for each by its name.

    `effect`: what comes of it, where the model knows no effect; without it the switch is taken back.
    """

    device: Name
    parameter: str
    main: Setting
    backup: Setting | Mapping[Name, Setting]
    effect: SwitchEffect | None = None

    def value(self, unit: str, main: str) -> Setting:
        """What it is while `unit` carries the position whose main unit is `main`."""
        if unit == main:
            return self.main
        return self.backup[unit] if isinstance(self.backup, Mapping) else self.backup


class MutedParameter(DocumentModel):
    """What keeps a position's output from being sent with errors: `muted`, and `heard` when it is over."""

    device: Name
    parameter: str
    muted: Setting
    heard: Setting


class Position(DocumentModel):
    """A service or carrier with its main unit. `switch`: in this order; what takes over first, what leaves last."""

    id: Name
    main: Name
    switch: Annotated[tuple[SwitchedParameter, ...], Field(min_length=1)]
    mute: tuple[MutedParameter, ...] = ()


class Flapping(DocumentModel):
    """At most `switches` automatic switches of one position in any `window`."""

    switches: Annotated[Whole, Field(ge=1, le=100)] = 1
    window_ms: DurationMs = Field(alias="window", default=60_000)


class RedundancyGroup(DocumentModel):
    """1+1: one position and one backup; N+M: N positions and M backups.

    mode              manual: people switch; once: to a backup, and there it stays; floating: away from what fails;
                      reverting: as floating, and back to the main when it is clean
    triggers          probable causes of alarms that count as a failure of a unit; `device-silent` is one
    switch_delay      so long a failure has to last; `switch_back_delay`: so long the main has to be clean
    backup_must_be_clean  else a backup with an alarm is better than none
    mute_on_error     a position that nothing can take over is muted rather than sent with errors
    distrust          so long a unit is not tried again after a switch to it has failed
    """

    id: Name
    mode: Mode
    positions: Annotated[tuple[Position, ...], Field(min_length=1, max_length=64)]
    backups: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    triggers: Annotated[tuple[Name, ...], Field(min_length=1)]
    switch_delay_ms: DurationMs = Field(alias="switch_delay", default=2_000)
    switch_back_delay_ms: DurationMs = Field(alias="switch_back_delay", default=30_000)
    backup_must_be_clean: bool = True
    mute_on_error: bool = False
    flap: Flapping = Flapping()
    distrust_ms: DurationMs = Field(alias="distrust", default=60_000)

    @property
    def units(self) -> tuple[str, ...]:
        return (*(position.main for position in self.positions), *self.backups)

    @property
    def settings(self) -> Settings:
        return Settings(
            self.mode,
            frozenset(self.triggers),
            self.switch_delay_ms / 1000,
            self.switch_back_delay_ms / 1000,
            backup_must_be_clean=self.backup_must_be_clean,
            mute_on_error=self.mute_on_error,
            flap=FlapLimit(self.flap.switches, self.flap.window_ms / 1000),
            distrust_s=self.distrust_ms / 1000,
        )

    def parameters(self) -> Iterator[tuple[str, str]]:
        """(device, parameter) of everything that the group sets."""
        for position in self.positions:
            yield from ((one.device, one.parameter) for one in position.switch)
            yield from ((one.device, one.parameter) for one in position.mute)


class SnmpEquipment(DocumentModel):
    """Part `snmp` of a fleet's equipment."""

    devices: tuple[SnmpDevice, ...] = ()
    groups: tuple[RedundancyGroup, ...] = ()


# ---- section --------------------------------------------------------------------------------------------------------


class ClaimedParameters(DocumentModel):
    """What somebody else sets on one of the devices: keys of its model."""

    device: Name
    parameters: tuple[str, ...]
    owner: str
    remedy: str = ""


class NotificationPlace(DocumentModel):
    """Where the appliance listens for TRAPs and INFORMs."""

    address: Address
    port: AgentPort = TRAP_PORT


class SnmpDevicesSection(DocumentModel):
    """Section `snmp-devices`: the devices that an appliance looks after."""

    devices: tuple[SnmpDevice, ...] = ()
    groups: tuple[RedundancyGroup, ...] = ()
    claims: tuple[ClaimedParameters, ...] = ()
    notifications: NotificationPlace | None = None


EXTENSION = Extension(equipment={"snmp": SnmpEquipment}, sections={"snmp-devices": SnmpDevicesSection})
