"""What every service for players and partners is set to (`nf noc service set NAME address=HOST:PORT ...`)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from nf.documents.model import DocumentModel, Form, Name, RuleError

Prefix: TypeAlias = IPv4Network | IPv6Network


def _prefix(value: object) -> object:
    try:
        return ip_network(value) if isinstance(value, str) else value
    except ValueError:
        raise RuleError("a prefix is ADDRESS/LENGTH, without bits of a host", "write it as 198.51.100.0/24") from None


ClientPrefix = Annotated[Prefix, BeforeValidator(_prefix), PlainSerializer(str, when_used="json")]


class HttpSettings(DocumentModel):
    """`address`: where it listens.

    certificate, key  PEM files: with them it speaks HTTPS, and a renewed one is shown without a restart. Without, HTTP:
                      for a place behind a cache or a load balancer
    """

    address: Annotated[
        str,
        Form(
            r"(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9.-]+):[0-9]{1,5}",
            "an address to listen on is HOST:PORT",
            "write it as 10.0.0.5:7490 or [::]:7490",
        ),
    ]
    certificate: Path | None = None
    key: Path | None = None

    @property
    def listen(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)

    @model_validator(mode="after")
    def _both_files(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise RuleError("a certificate has a key, and a key a certificate", "set both, or neither")
        return self


class PlayerSettings(HttpSettings):
    """Of a service whose answer depends on where a client is.

    clients  site -> prefixes of clients there, beside the subnets that the fleet has at the site's PoPs
    proxies  prefixes of caches and load balancers in front of it: only theirs is the word of X-Forwarded-For taken
    """

    clients: Mapping[Name, tuple[ClientPrefix, ...]] = Field(default_factory=dict)
    proxies: tuple[ClientPrefix, ...] = ()
