"""A small fleet with a voice core on it, for tests of planners and rules."""

from __future__ import annotations

from typing import Any

from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from sip.documents import Voice

DOMAIN = "voice.streamverse.test"


def voice(**changed: Any) -> Voice:
    data: dict[str, Any] = {
        "domains": [DOMAIN],
        "accounts": "secret:voice-accounts",
        "proxies": [
            {"id": "p1", "appliance": "core1", "address": "10.0.0.1"},
            {"id": "p2", "appliance": "core2", "address": "10.0.0.2"},
        ],
        "relays": [
            {"id": "r1", "appliance": "core1", "address": "10.0.0.11", "partner": "r2"},
            {"id": "r2", "appliance": "core2", "address": "10.0.0.12", "partner": "r1"},
        ],
        "media_servers": [{"id": "m1", "appliance": "core1", "address": "10.1.0.1", "password": "secret:esl"}],
        "services": [{"number": "9001", "kind": "echo"}],
        "trunks": [{"id": "carrier", "gateways": [{"address": "192.0.2.1"}, {"address": "192.0.2.2"}]}],
        "plan": [{"prefix": "00", "trunks": ["carrier"], "strip": 2, "prepend": "+"}],
        "emergency": {"numbers": ["112", "110"], "trunks": ["carrier"]},
        "subscribers": [
            {"user": "alice", "domain": DOMAIN, "numbers": ["+4930100"]},
            {"user": "bob", "domain": DOMAIN, "numbers": ["+4930101"]},
        ],
        "virtual_addresses": [
            {"id": "vip", "address": "10.0.0.9/24", "interface": "eth1", "proxies": ["p1", "p2"], "vrid": 9}
        ],
    }
    return Voice.model_validate({**data, **changed})


def fleet(core: Voice) -> Fleet:
    appliances = [
        {
            "id": f"core{number}",
            "site": "hq",
            "role": "core",
            "serial": f"S{number}",
            "management": f"172.16.0.{number}",
            "loopback": f"10.1.0.{number}",
            "interfaces": [{"name": "eth1", "address": f"10.0.0.{number}/24"}],
        }
        for number in (1, 2)
    ]
    made = Fleet.model_validate(
        {
            "apiVersion": "streamverse.nf/v1",
            "kind": "Fleet",
            "metadata": {"name": "test"},
            "spec": {"sites": [{"id": "hq"}], "appliances": appliances},
        }
    )
    spec = made.spec.model_copy(update={"equipment": {"voice": core}})
    return made.model_copy(update={"spec": spec})


def lineup() -> LineUp:
    """It says nothing of the voice core."""
    empty = {
        "apiVersion": "streamverse.nf/v1",
        "kind": "LineUp",
        "metadata": {"name": "empty"},
        "spec": {"channels": []},
    }
    return LineUp.model_validate(empty)
