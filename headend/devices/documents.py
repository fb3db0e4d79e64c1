"""What SNMP devices add to the documents: the fleet's equipment part `snmp`, and how a section refers to a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from nf.documents.model import Address, DocumentModel, Form, Name, Port
from nf.documents.registry import Extension

SecretRef = Annotated[
    str,
    Form(
        r"secret:[a-z][a-z0-9-]{0,38}",
        "a secret is named, never written: secret:NAME",
        "write it as secret:headend-devices",
    ),
]


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
    port: Port = 161
    data_address: Address | None = None
    credentials: SecretRef
    parameters: Mapping[str, bool | int | float | str] = Field(default_factory=dict)


class SnmpEquipment(DocumentModel):
    """Part `snmp` of a fleet's equipment."""

    devices: tuple[SnmpDevice, ...] = ()


class SnmpDevicesSection(DocumentModel):
    """Section `snmp-devices`: the devices that an appliance looks after."""

    devices: tuple[SnmpDevice, ...] = ()


EXTENSION = Extension(equipment={"snmp": SnmpEquipment}, sections={"snmp-devices": SnmpDevicesSection})
