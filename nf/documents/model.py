"""The base of every document model: frozen, unknown keys forbidden, keys as written in the document (aliases)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from nf.contracts.json import JsonObject
from nf.errors import InputError

API_VERSION = "streamverse.nf/v1"


class RuleError(ValueError):
    """A value breaks a rule. Validators raise it so that the problem shown carries a remedy of its own."""

    def __init__(self, rule: str, remedy: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Form:
    """Text of a fixed form: `Annotated[str, Form(pattern, rule, remedy)]`. The whole text has to match."""

    pattern: str
    rule: str
    remedy: str

    def check(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise RuleError(self.rule, self.remedy)
        return text

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^{self.pattern}$", "description": f"{self.rule}: {self.remedy}"}


def _text_address(value: object) -> object:
    """Python takes 5 for 0.0.0.5; a person never means that."""
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise RuleError("must be an IPv4 address", "write four numbers with dots, such as 10.1.0.10") from None


def _text_address6(value: object) -> object:
    if isinstance(value, IPv6Address):
        return value
    try:
        return IPv6Address(value if isinstance(value, str) else "")
    except ValueError:
        raise RuleError("must be an IPv6 address", "write it as 2001:db8:1::10") from None


def _host_address6(value: IPv6Address) -> IPv6Address:
    special = value.is_loopback or value.is_link_local or value.is_multicast or value.is_unspecified
    if special or value.scope_id is not None or value.ipv4_mapped is not None:
        raise RuleError("no host can be reached by this IPv6 address", "write a unicast one, such as 2001:db8:1::10")
    return value


def _text_interface(value: object) -> object:
    if isinstance(value, IPv4Interface):
        return value
    try:
        if isinstance(value, str) and re.search(r"/\d+$", value):
            return IPv4Interface(value)
    except ValueError:
        pass
    raise RuleError("must be an IPv4 address with its prefix length", "write it as 10.1.0.10/24")


Name = Annotated[
    str,
    Form(
        r"[a-z][a-z0-9-]{0,38}",
        "a name is lower-case letters, digits and hyphens, begins with a letter and has at most 39 characters",
        "choose a name such as pop1 or channel-one",
    ),
]
InterfaceName = Annotated[
    str,
    Form(
        r"[a-z][a-z0-9._-]{0,14}",
        "an interface name is at most 15 lower-case letters, digits, dots, hyphens and underscores",
        "use the name that `ip link` shows, such as eth1",
    ),
]
Whole = Annotated[int, Strict()]
"""A whole number: neither `true` nor `"5"`, which Python would take for one."""

Port = Annotated[int, Strict(), Field(ge=1024, le=65535)]
"""A UDP port that needs no privilege."""

Address = Annotated[IPv4Address, BeforeValidator(_text_address)]
Address6 = Annotated[IPv6Address, BeforeValidator(_text_address6)]
HostAddress6 = Annotated[Address6, AfterValidator(_host_address6)]
"""By which others reach a host: unicast, and of more than one link."""

InterfaceAddress = Annotated[IPv4Interface, BeforeValidator(_text_interface)]
"""An address with the prefix length of its subnet."""


class DocumentModel(BaseModel):
    """Python names carry units (`rate_bps`), documents use the alias (`rate: 8M`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, str_strip_whitespace=True)

    def to_json(self) -> JsonObject:
        """Canonical JSON with document keys. The loader's functions read it back into an equal model."""
        data: JsonObject = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return data

    @classmethod
    def narrowed(cls, want: DocumentModel | None) -> Self | None:
        """What a driver is to make true, as its own section's model. Raises InputError when it is another one."""
        if want is not None and not isinstance(want, cls):
            raise InputError(f"a {type(want).__name__} in place of a {cls.__name__}", where="section")
        return want


class Metadata(DocumentModel):
    name: Name
    description: str = ""


class Document(DocumentModel):
    """Head of every document that a person writes."""

    api_version: Literal["streamverse.nf/v1"] = Field(alias="apiVersion")
    metadata: Metadata
