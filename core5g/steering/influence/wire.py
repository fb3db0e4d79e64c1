"""Bodies of the API as consumers send them (schemas of traffic-influence.yaml 0.10.0), with limits of our own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    field_validator,
    model_validator,
)

from core5g.steering.influence.faults import ApiError, invalid
from nf.contracts.json import JsonObject

MAX_BODY: Final = 16 * 1024
"""Octets. The largest body that the schema describes and that means anything is a tenth of this."""

EVENT_TYPE: Final = "org.camaraproject.traffic-influence.v1.traffic-influence-change"
READ_ONLY: Final = frozenset({"trafficInfluenceID", "state"})

Port = Annotated[int, Strict(), Field(ge=0, le=65535)]
Text = Annotated[str, Strict(), Field(min_length=1, max_length=256)]
M = TypeVar("M", bound="Body")


class Body(BaseModel):
    """Unknown members are refused: what a consumer believes to be done must not be passed over."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)


class SourceTrafficFilters(Body):
    source_port: Port | None = Field(None, alias="sourcePort")


class DestinationTrafficFilters(Body):
    destination_port: Port | None = Field(None, alias="destinationPort")
    destination_protocol: Annotated[str, Strict(), Field(max_length=32)] | None = Field(
        None, alias="destinationProtocol"
    )


class DeviceIpv4(Body):
    public_address: IPv4Address = Field(alias="publicAddress")
    private_address: IPv4Address | None = Field(None, alias="privateAddress")
    public_port: Port | None = Field(None, alias="publicPort")

    @model_validator(mode="after")
    def _identifies(self) -> Self:
        if self.private_address is None and self.public_port is None:
            raise ValueError("publicAddress needs privateAddress or publicPort beside it")
        return self


class Device(Body):
    """At least one identifier."""

    phone_number: Annotated[str, Strict(), Field(pattern=r"^\+[1-9][0-9]{4,14}$")] | None = Field(
        None, alias="phoneNumber"
    )
    network_access_identifier: Text | None = Field(None, alias="networkAccessIdentifier")
    ipv4_address: DeviceIpv4 | None = Field(None, alias="ipv4Address")
    ipv6_address: IPv6Address | None = Field(None, alias="ipv6Address")

    @model_validator(mode="after")
    def _identified(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("a device has at least one identifier")
        return self


class SinkCredential(Body):
    """Only access tokens are taken, as the API says for now."""

    credential_type: Literal["ACCESSTOKEN"] = Field(alias="credentialType")
    access_token: Annotated[str, Strict(), Field(pattern=r"^[!-~]{1,4096}$")] = Field(alias="accessToken", repr=False)
    expires: AwareDatetime = Field(alias="accessTokenExpiresUtc")
    token_type: Literal["bearer"] = Field(alias="accessTokenType")


class SubscriptionConfig(Body):
    detail: dict[str, Any] = Field(alias="subscriptionDetail")
    expires: AwareDatetime | None = Field(None, alias="subscriptionExpireTime")
    max_events: Annotated[int, Strict(), Field(ge=1)] | None = Field(None, alias="subscriptionMaxEvents")
    initial_event: Annotated[bool, Strict()] | None = Field(None, alias="initialEvent")


class Subscription(Body):
    """Where changes are told, by HTTPS."""

    protocol: Literal["HTTP"]
    sink: Annotated[str, Strict(), Field(pattern=r"^https://[!-~]+$", max_length=2048)]
    credential: SinkCredential | None = Field(None, alias="sinkCredential")
    types: tuple[Literal["org.camaraproject.traffic-influence.v1.traffic-influence-change"]]
    config: SubscriptionConfig


class Changeable(Body):
    """What PATCH may change."""

    app_instance_id: UUID | None = Field(None, alias="appInstanceId")
    region: Text | None = Field(None, alias="edgeCloudRegion")
    zone_id: UUID | None = Field(None, alias="edgeCloudZoneId")
    source: SourceTrafficFilters | None = Field(None, alias="sourceTrafficFilters")
    destination: DestinationTrafficFilters | None = Field(None, alias="destinationTrafficFilters")
    subscription: Subscription | None = Field(None, alias="subscriptionRequest")

    @field_validator("*", mode="before")
    @classmethod
    def _no_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("null is no value of it: leave it out")
        return value


class Intent(Changeable):
    """PostTrafficInfluence: for any user."""

    consumer: Text = Field(alias="apiConsumerId")
    app_id: UUID = Field(alias="appId")


class DeviceIntent(Intent):
    """PostTrafficInfluenceDevice: for one user."""

    device: Device | None = None


class Patch(Changeable):
    """PatchTrafficInfluence. What cannot be changed may be repeated."""

    consumer: Text | None = Field(None, alias="apiConsumerId")
    app_id: UUID | None = Field(None, alias="appId")


def parse_json(body: bytes) -> JsonObject:
    """Raises ApiError."""
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise invalid("the body is not JSON in UTF-8") from None
    if not isinstance(found, dict):
        raise invalid("the body is no JSON object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse(model: type[M], body: JsonObject) -> tuple[M, JsonObject]:
    """The body as a model, and as it was sent without what is ours to say. Raises ApiError with all that is wrong."""
    given = {key: value for key, value in body.items() if key not in READ_ONLY}
    try:
        return model.model_validate(given), given
    except ValidationError as error:
        raise _told(error) from None


def _told(error: ValidationError) -> ApiError:
    wrong = []
    for one in error.errors(include_url=False, include_input=False)[:20]:
        place = ".".join(str(part) for part in one["loc"]) or "body"
        wrong.append(f"{place}: {one['msg'].removeprefix('Value error, ')}")
    return invalid("; ".join(wrong)[:1000])


def rfc3339(at: float) -> str:
    """Of seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
