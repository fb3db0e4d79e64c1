"""The schemas of traffic-influence.yaml 0.10.0 (CAMARA TrafficInfluence, r1.3), restated as JSON Schema.

Names, types and what is required are the definition's; descriptions and examples are left out. OpenAPI's `readOnly`
means that what is required of an answer is not required of a request.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

STATES = ["ordered", "created", "active", "error", "deletion in progress", "deleted"]
EVENT = "org.camaraproject.traffic-influence.v1.traffic-influence-change"
CODES = {
    400: ["INVALID_ARGUMENT", "OUT_OF_RANGE"],
    401: ["UNAUTHENTICATED"],
    403: ["PERMISSION_DENIED"],
    404: ["NOT_FOUND", "IDENTIFIER_NOT_FOUND"],
    409: ["ABORTED", "ALREADY_EXISTS", "CONFLICT", "DENIED_WAIT"],
    422: ["SERVICE_NOT_APPLICABLE", "MISSING_IDENTIFIER", "UNNECESSARY_IDENTIFIER"],
    429: ["QUOTA_EXCEEDED", "TOO_MANY_REQUESTS"],
}
CORRELATOR = r"^[a-zA-Z0-9\-_:;.\/<>{}]{0,256}$"
_PORT = {"type": "integer", "minimum": 0, "maximum": 65535}
_UUID = {"type": "string", "format": "uuid"}
_IPV4 = {"type": "string", "format": "ipv4"}

SUBSCRIPTION: dict[str, Any] = {
    "type": "object",
    "required": ["sink", "protocol", "config", "types"],
    "properties": {
        "protocol": {"enum": ["HTTP", "MQTT3", "MQTT5", "AMQP", "NATS", "KAFKA"]},
        "sink": {"type": "string", "format": "uri", "pattern": r"^https:\/\/.+$"},
        "sinkCredential": {"type": "object", "required": ["credentialType"]},
        "types": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"enum": [EVENT]}},
        "config": {
            "type": "object",
            "required": ["subscriptionDetail"],
            "properties": {
                "subscriptionDetail": {"type": "object"},
                "subscriptionExpireTime": {"type": "string", "format": "date-time"},
                "subscriptionMaxEvents": {"type": "integer", "minimum": 1},
                "initialEvent": {"type": "boolean"},
            },
        },
    },
}
DEVICE: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "properties": {
        "phoneNumber": {"type": "string", "pattern": r"^\+[1-9][0-9]{4,14}$"},
        "networkAccessIdentifier": {"type": "string"},
        "ipv4Address": {
            "type": "object",
            "properties": {"publicAddress": _IPV4, "privateAddress": _IPV4, "publicPort": _PORT},
            "anyOf": [
                {"required": ["publicAddress", "privateAddress"]},
                {"required": ["publicAddress", "publicPort"]},
            ],
        },
        "ipv6Address": {"type": "string", "format": "ipv6"},
    },
}
RESOURCE: dict[str, Any] = {
    "type": "object",
    "required": ["apiConsumerId", "appId", "trafficInfluenceID", "state"],
    "properties": {
        "trafficInfluenceID": {"type": "string"},
        "apiConsumerId": {"type": "string"},
        "appId": _UUID,
        "appInstanceId": _UUID,
        "edgeCloudRegion": {"type": "string"},
        "edgeCloudZoneId": _UUID,
        "state": {"enum": STATES},
        "sourceTrafficFilters": {"type": "object", "properties": {"sourcePort": _PORT}},
        "destinationTrafficFilters": {
            "type": "object",
            "properties": {"destinationPort": _PORT, "destinationProtocol": {"type": "string"}},
        },
        "subscriptionRequest": SUBSCRIPTION,
    },
    # Stricter than the definition, which forbids nothing: an answer has no member that it does not name.
    "additionalProperties": False,
}
NOTIFICATION: dict[str, Any] = {
    "type": "object",
    "required": ["apiConsumerId", "appId"],
    "properties": {
        **RESOURCE["properties"],
        "selected_appInstanceId": {"type": "array", "items": _UUID},
        "deviceResponse": {"allOf": [DEVICE, {"maxProperties": 1}]},
    },
    "additionalProperties": False,
}
CLOUD_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["id", "source", "specversion", "type", "time"],
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "type": {"enum": [EVENT]},
        "specversion": {"enum": ["1.0"]},
        "datacontenttype": {"enum": ["application/json"]},
        "data": NOTIFICATION,
        "time": {"type": "string", "format": "date-time"},
    },
}


def error_info(status: int) -> dict[str, Any]:
    codes: dict[str, Any] = {"enum": CODES[status]} if status in CODES else {"type": "string"}
    return {
        "type": "object",
        "required": ["status", "code", "message"],
        "properties": {"status": {"enum": [status]}, "code": codes, "message": {"type": "string", "minLength": 1}},
        "additionalProperties": False,
    }


def check(schema: dict[str, Any], value: object) -> None:
    """Raises jsonschema's ValidationError."""
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(value)
