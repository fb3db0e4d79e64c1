"""What SNMP devices add to the documents: the fleet's equipment part `snmp`, and how a section refers to a device."""

from __future__ import annotations

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

    model         a model file of `headend/devices/models`, by name
    address       of its SNMP agent, on the management network; `port` likewise
    data_address  where it takes in what it processes, on the data plane; None when nothing is sent to it
    credentials   names the file with its SNMP credentials: one line `community NAME`, or `v3 USER AUTH KEY PRIV KEY`
    """

    id: Name
    model: Name
    address: Address
    port: Port = 161
    data_address: Address | None = None
    credentials: SecretRef


class SnmpEquipment(DocumentModel):
    """Part `snmp` of a fleet's equipment. `appliance` manages what is listed with it."""

    devices: tuple[SnmpDevice, ...] = ()


EXTENSION = Extension(equipment={"snmp": SnmpEquipment})
