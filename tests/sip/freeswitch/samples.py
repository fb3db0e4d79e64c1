"""A voice core with two proxies and a media server, and what the media server is given of it."""

from __future__ import annotations

from typing import Any

from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from sip.documents import Voice
from sip.freeswitch.documents import FreeswitchSection
from sip.freeswitch.planner import FreeswitchPlanner

PASSWORD = "hunter2"
ACCOUNTS = "alice:voice.test:0123456789abcdef0123456789abcdef\nbob:voice.test:00\n# no account\n"
DOMAIN = "voice.test"
SERVICES = [
    {"number": "9000", "kind": "echo"},
    {"number": "9001", "kind": "conference"},
    {"number": "9002", "kind": "ivr", "options": {"1": "9001", "2": "+4930123456", "#": "9000"}},
    {"number": "*97", "kind": "voicemail"},
]


def voice_data(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "domains": [DOMAIN],
        "accounts": "secret:voice-accounts",
        "proxies": [
            {"id": "proxy1", "appliance": "pop1", "address": "10.1.0.1"},
            {
                "id": "proxy2",
                "appliance": "pop2",
                "address": "10.2.0.1",
                "listeners": [{"transport": "tls", "port": 5061}, {"transport": "tcp", "port": 5070}],
            },
        ],
        "relays": [{"id": "relay1", "appliance": "pop1", "address": "10.1.0.1"}],
        "media_servers": [
            {"id": "media1", "appliance": "pop1", "address": "10.1.0.1", "password": "secret:event-socket"}
        ],
        "services": SERVICES,
    }
    return data | changes


def voice(**changes: Any) -> Voice:
    return Voice.model_validate(voice_data(**changes))


def fleet(data: dict[str, Any]) -> Fleet:
    boxes = [
        {
            "id": f"pop{n}",
            "site": "s",
            "role": "pop",
            "serial": f"s{n}",
            "management": f"192.0.2.{n}",
            "loopback": f"10.255.0.{n}",
            "interfaces": [{"name": "eth1", "address": f"10.{n}.0.1/24"}],
        }
        for n in (1, 2)
    ]
    spec = {"sites": [{"id": "s"}], "appliances": boxes, "equipment": {"voice": Voice.model_validate(data)}}
    return Fleet.model_validate(
        {"apiVersion": "streamverse.nf/v1", "kind": "Fleet", "metadata": {"name": "f"}, "spec": spec}
    )


def lineup() -> LineUp:
    return LineUp.model_validate(
        {
            "apiVersion": "streamverse.nf/v1",
            "kind": "LineUp",
            "metadata": {"name": "l"},
            "spec": {"channels": []},
        }
    )


def section(**changes: Any) -> FreeswitchSection:
    """`changes`: of the section, but `server` of the media server in it."""
    (found,) = FreeswitchPlanner().plan(lineup(), fleet(voice_data())).sections["pop1"].values()
    assert isinstance(found, FreeswitchSection)
    data = found.to_json()
    server = changes.pop("server", {})
    return FreeswitchSection.model_validate({**data, **changes, "server": {**found.server.to_json(), **server}})
