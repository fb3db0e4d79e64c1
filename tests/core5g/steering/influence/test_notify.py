"""Notifications: CloudEvents at a real HTTPS sink, in order, with its token; which sinks are called at all."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from core5g.steering.influence import engine as engine_module
from core5g.steering.influence import notify as notify_module
from core5g.steering.influence.settings import TrafficInfluenceSettings
from nf.trust.identity import new_identity
from nf.trust.roles import OperatorRole
from nf.trust.spiffe import SpiffeId
from tests.core5g.steering.influence.hosting import DOMAIN, Consumer, FakeHost, serving, until
from tests.core5g.steering.influence.schema import CLOUD_EVENT, EVENT, check

TOKEN = "t0p-s3cret"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "LOOK_S", 0.05)
    monkeypatch.setattr(notify_module, "_PAUSES_S", (0.01, 0.01))


class SinkServer:
    """`answers`: statuses to give, the last one for ever."""

    def __init__(self) -> None:
        self.answers = [202]
        self.taken: list[tuple[dict[str, str], Any]] = []
        self.attempts = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                outer.attempts += 1
                if status < 300 or status == 410:
                    outer.taken.append((dict(self.headers.items()), json.loads(body)))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    @property
    def states(self) -> list[str]:
        return [event["data"]["state"] for _, event in self.taken]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path, TrafficInfluenceSettings(address="127.0.0.1:0", sinks=("placeholder.test",)))
    ca = tmp_path / "sinks.pem"
    ca.write_bytes(host.authority.ca_pem)
    host.settings = host.settings.model_copy(update={"sinks": ("localhost",), "sink_ca": ca})
    return host


@pytest.fixture
def sink(host: FakeHost, tmp_path: Path) -> Iterator[SinkServer]:
    made = SinkServer()
    identity = new_identity(host.authority, SpiffeId(DOMAIN, "operator", "sink"), 3600, ["localhost"])
    file = tmp_path / "sink.pem"
    file.write_bytes(identity.key_pem + identity.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    made.server.socket = context.wrap_socket(made.server.socket, server_side=True)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
async def consumer(host: FakeHost, tmp_path: Path) -> AsyncIterator[Consumer]:
    async with serving(host):
        yield Consumer(host, tmp_path, host.operator("ada", OperatorRole.ENGINEER))


def intent(host: FakeHost, sink: SinkServer, **config: Any) -> dict[str, Any]:
    return {
        "apiConsumerId": "ada-tv",
        "appId": str(host.application().id),
        "subscriptionRequest": {
            "protocol": "HTTP",
            "sink": f"https://localhost:{sink.port}/events?of=ti",
            "types": [EVENT],
            "sinkCredential": {
                "credentialType": "ACCESSTOKEN",
                "accessToken": TOKEN,
                "accessTokenExpiresUtc": "2199-01-01T00:00:00Z",
                "accessTokenType": "bearer",
            },
            "config": {"subscriptionDetail": {}, **config},
        },
    }


async def order(consumer: Consumer, body: dict[str, Any], path: str = "/traffic-influences") -> str:
    answer = await consumer.ask("POST", path, json=body)
    assert answer.status_code == 201, answer.text
    assert TOKEN not in answer.text
    return str(answer.json()["trafficInfluenceID"])


async def test_every_change_is_told_in_order_with_the_token(
    host: FakeHost, consumer: Consumer, sink: SinkServer
) -> None:
    body = intent(host, sink, initialEvent=True)
    used = {"publicAddress": "10.45.0.7", "privateAddress": "10.45.0.7"}
    body["device"] = {"ipv4Address": used, "phoneNumber": "+123456789"}
    identity = await order(consumer, body, "/traffic-influence-devices")
    await consumer.until(identity, "active")
    await consumer.ask("DELETE", f"/traffic-influences/{identity}")
    await until(lambda: "deleted" in sink.states)
    assert sink.states == ["ordered", "created", "active", "deletion in progress", "deleted"]
    for headers, event in sink.taken:
        check(CLOUD_EVENT, event)
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        assert headers["Content-Type"] == "application/cloudevents+json"
        assert TOKEN not in json.dumps(event)
    active = sink.taken[2][1]["data"]
    assert active["deviceResponse"] == {"ipv4Address": used}
    assert active["selected_appInstanceId"] == [str(one.id) for one in host.application().instances]
    assert len({event["id"] for _, event in sink.taken}) == 5
    assert TOKEN not in json.dumps([note.detail for note in host.records.notes])


async def test_so_many_events_and_no_more(host: FakeHost, consumer: Consumer, sink: SinkServer) -> None:
    identity = await order(consumer, intent(host, sink, subscriptionMaxEvents=1))
    await consumer.until(identity, "active")
    await until(lambda: host.records.kept[identity]["events"] == 1)
    await consumer.ask("DELETE", f"/traffic-influences/{identity}")
    await consumer.until(identity, "deleted")
    assert sink.states == ["created"]


async def test_a_sink_that_wants_no_more_gets_no_more(host: FakeHost, consumer: Consumer, sink: SinkServer) -> None:
    sink.answers = [204]
    identity = await order(consumer, intent(host, sink))
    await until(lambda: host.records.kept[identity]["silent"] is True)
    await consumer.ask("DELETE", f"/traffic-influences/{identity}")
    await consumer.until(identity, "deleted")
    assert sink.states == ["created"]


async def test_a_sink_that_stumbles_is_asked_again(host: FakeHost, consumer: Consumer, sink: SinkServer) -> None:
    sink.answers = [503, 500, 202]
    await order(consumer, intent(host, sink))
    await until(lambda: sink.states == ["created", "active"])
    assert sink.attempts == 4
    assert host.alarms == {}


async def test_a_sink_that_refuses_is_an_alarm(host: FakeHost, consumer: Consumer, sink: SinkServer) -> None:
    sink.answers = [401]
    identity = await order(consumer, intent(host, sink))
    await consumer.until(identity, "active")
    await until(lambda: (notify_module.UNREACHABLE, "localhost") in host.alarms)
    assert "401" in host.alarms[notify_module.UNREACHABLE, "localhost"]


SINKS: list[tuple[dict[str, Any], str]] = [
    ({"sink": "https://169.254.169.254/latest"}, "is not one that this operator notifies"),
    ({"sink": "https://notlocalhost/x"}, "is not one that this operator notifies"),
    ({"sink": "https://localhost@evil.test/x"}, "without credentials"),
    ({"sink": "http://localhost/x"}, "sink"),
    ({"sink": "https://localhost:99999/x"}, "not a URL"),
    ({"protocol": "KAFKA"}, "protocol"),
    ({"types": [EVENT, EVENT]}, "types"),
    ({"config": {}}, "subscriptionDetail"),
    ({"sinkCredential": {"credentialType": "PLAIN", "identifier": "a", "secret": "b"}}, "credentialType"),
]


async def test_sinks_that_are_refused(host: FakeHost, consumer: Consumer, sink: SinkServer) -> None:
    for changes, told in SINKS:
        body = intent(host, sink)
        body["subscriptionRequest"].update(changes)
        answer = await consumer.ask("POST", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_ARGUMENT")
        assert told in answer.json()["message"]
        assert TOKEN not in answer.text
    assert sink.attempts == 0
