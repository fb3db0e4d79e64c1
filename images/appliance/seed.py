"""The factory seed: who a machine is and how it reaches its NOC, read once at the first boot.

`seed.json` on a small volume labelled NFSEED, or below /nf/seed on the ESP of the machine's own disk. It is made by
`nf image seed`; a person may write it by hand, so every problem is told with its line.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from nf.documents.loader import load_model
from nf.documents.model import Address, DocumentModel, Form, InterfaceName, RuleError
from nf.errors import DocumentError, IdentityError, Problem
from nf.trust.certificates import fingerprint

DHCP: Final = "dhcp"
_KEY_TYPES: Final = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)


def _mac(value: object) -> object:
    """Of one device: neither a group address nor zero (IEEE 802, clause 8.2)."""
    if isinstance(value, str):
        text = value.strip().lower().replace("-", ":")
        if re.fullmatch(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", text):
            if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
                raise RuleError("is a group address, which no interface has", "write the one on the machine's label")
            return text
    raise RuleError("must be a MAC address", "write six pairs of hexadecimal digits, such as 52:54:00:12:34:56")


def _address(value: object) -> object:
    if value == DHCP or isinstance(value, IPv4Interface):
        return value
    try:
        found = IPv4Interface(value) if isinstance(value, str) and re.search(r"/\d+$", value) else None
    except ValueError:
        found = None
    if found is None:
        raise RuleError("must be dhcp, or an IPv4 address with its prefix length", "write it as dhcp or 10.1.0.10/24")
    network = found.network
    if network.prefixlen < 31 and found.ip in (network.network_address, network.broadcast_address):
        raise RuleError("is the address of the network itself, or its broadcast", "write a host's address")
    return found


def _authorized_key(value: object) -> object:
    """A plain public key: an option before it could run a command."""
    rule, remedy = "must be one line of an SSH public key, without options", "copy the line from a .pub file"
    if not isinstance(value, str) or not value.isprintable():
        raise RuleError(rule, remedy)
    parts = value.split(None, 2)
    if len(parts) < 2 or parts[0] not in _KEY_TYPES:
        raise RuleError(rule, remedy)
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        raise RuleError(rule, remedy) from None
    name = parts[0].encode()
    if not blob.startswith(len(name).to_bytes(4, "big") + name):  # RFC 4253, section 6.6
        raise RuleError("the key is not of the type that it names", remedy)
    return value.strip()


Mac = Annotated[str, BeforeValidator(_mac)]
AuthorizedKey = Annotated[str, BeforeValidator(_authorized_key)]
ManagementAddress = Annotated[
    Literal["dhcp"] | IPv4Interface, BeforeValidator(_address), PlainSerializer(str, when_used="json")
]
Host = Annotated[
    str,
    Form(
        r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*",
        "must be an address or a host name",
        "write it as 10.0.0.1 or ntp.example.net",
    ),
]
Hostname = Annotated[
    str,
    Form(
        r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?",
        "a host name is at most 63 lower-case letters, digits and hyphens",
        "write it as pop1",
    ),
]
Serial = Annotated[
    str,
    Form(
        r"[!-~]{1,64}",
        "a serial number is 1 to 64 printable characters without spaces",
        "copy it from the fleet document",
    ),
]


class Management(DocumentModel):
    """The way to the NOC. Without `interface` and `mac`: the first wired interface of the machine."""

    interface: InterfaceName | None = None
    mac: Mac | None = None
    address: ManagementAddress = DHCP
    gateway: Address | None = None
    dns: tuple[Address, ...] = Field(default=(), max_length=3)
    ntp: tuple[Host, ...] = Field(default=(), max_length=8)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.interface is not None and self.mac is not None:
            raise RuleError("names the interface twice", "keep either interface or mac")
        if self.gateway is None:
            return self
        if not isinstance(self.address, IPv4Interface):
            raise RuleError("DHCP brings its own gateway", "remove gateway, or write an address with its prefix length")
        if self.gateway not in self.address.network or self.gateway == self.address.ip:
            raise RuleError(
                f"the gateway {self.gateway} is no other host of {self.address.network}", "repair address or gateway"
            )
        return self


class NamedInterface(DocumentModel):
    mac: Mac


class Enrolment(DocumentModel):
    """The file of `nf appliance enroll`."""

    appliance: str = Field(min_length=1, max_length=64)
    serial: Serial
    token: str = Field(min_length=1, max_length=512)
    domain: str = Field(min_length=1, max_length=255)
    noc: tuple[str, ...] = Field(min_length=1, max_length=16)
    enrolment: tuple[str, ...] = Field(min_length=1, max_length=16)
    ca_sha256: str
    ca_pem: str = Field(max_length=16_384)

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        rule, remedy = "its CA is not the one that it names", "make the enrolment file again: nf appliance enroll"
        try:
            found = fingerprint(self.ca_pem.encode())
        except (ValueError, IdentityError):
            raise RuleError("its CA is no certificate", remedy) from None
        if found != self.ca_sha256:
            raise RuleError(rule, remedy)
        return self


class Ssh(DocumentModel):
    """Without a key nobody can log in: SSH is off."""

    authorized_keys: tuple[AuthorizedKey, ...] = Field(default=(), max_length=32)


class Seed(DocumentModel):
    """`enrolment` is taken away once it has been used."""

    serial: Serial
    hostname: Hostname | None = None
    management: Management = Field(default_factory=Management)
    interfaces: Mapping[InterfaceName, NamedInterface] = Field(default_factory=dict)
    enrolment: Enrolment | None = None
    ssh: Ssh = Field(default_factory=Ssh)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.enrolment is not None and self.enrolment.serial != self.serial:
            raise RuleError(
                f"the enrolment is for serial {self.enrolment.serial}, the seed for {self.serial}",
                "take the enrolment file that was made for this machine",
            )
        macs = [interface.mac for interface in self.interfaces.values()]
        twice = sorted({mac for mac in macs if macs.count(mac) > 1})
        if twice:
            raise RuleError(f"two interfaces have the MAC address {twice[0]}", "give each its own")
        return self

    @property
    def host(self) -> str:
        """The host name: as written, else the appliance's, else the serial as far as it can be one."""
        if self.hostname is not None:
            return self.hostname
        wanted = self.enrolment.appliance if self.enrolment is not None else self.serial
        name = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")[:63].strip("-")
        return name or "appliance"

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def load_seed(text: str | bytes, *, file: str) -> Seed:
    """Raises DocumentError with every problem: file, line, value, rule, remedy. A token is never repeated."""
    try:
        return load_model(Seed, text, file=file)
    except DocumentError as error:
        raise DocumentError([_discreet(problem) for problem in error.problems], where=file) from None


def _discreet(problem: Problem) -> Problem:
    return replace(problem, value="[not shown]") if "token" in problem.key and problem.value else problem
