"""The API judged by an independent client over mutual TLS, its answers by the definition's schemas."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import requests

from core5g.steering.influence import api as api_module
from core5g.steering.influence import engine as engine_module
from core5g.steering.influence import server as server_module
from core5g.steering.influence.settings import TrafficInfluenceSettings
from nf.clock import RealClock
from nf.errors import UnavailableError
from nf.trust.authority import Authority
from nf.trust.identity import new_identity
from nf.trust.roles import OperatorRole
from nf.trust.spiffe import SpiffeId
from tests.core5g.steering.influence.hosting import DOMAIN, ROOT, Consumer, FakeHost, serving, until
from tests.core5g.steering.influence.schema import CORRELATOR, RESOURCE, check, error_info
from tests.core5g.steering.samples import breakout, lineup_data


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due is looked at more often."""
    monkeypatch.setattr(engine_module, "LOOK_S", 0.05)
    monkeypatch.setattr(engine_module, "_SHORTEST_S", 0.1)
    monkeypatch.setattr(server_module, "_LOOK_S", 0.05)
    monkeypatch.setattr(server_module, "REQUEST_S", 2.0)
    monkeypatch.setattr(api_module, "BODY_S", 2.0)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, TrafficInfluenceSettings(address="127.0.0.1:0", resources=5, rate=200.0))


@pytest.fixture
async def consumer(host: FakeHost, tmp_path: Path) -> AsyncIterator[Consumer]:
    async with serving(host):
        yield Consumer(host, tmp_path, host.operator("ada", OperatorRole.ENGINEER))


def intent(host: FakeHost, **changes: Any) -> dict[str, Any]:
    return {"apiConsumerId": "ada-tv", "appId": str(host.application().id), **changes}


def device(address: str = "10.45.0.7") -> dict[str, Any]:
    return {"ipv4Address": {"publicAddress": address, "privateAddress": address}}


def refused(answer: requests.Response, status: int, code: str) -> str:
    """The message; the body is the definition's ErrorInfo."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(CORRELATOR, answer.headers["x-correlator"])
    body = answer.json()
    check(error_info(status), body)
    assert body["code"] == code
    return str(body["message"])


async def test_a_resource_is_ordered_becomes_active_and_is_deleted(host: FakeHost, consumer: Consumer) -> None:
    correlator = str(uuid.uuid4())
    answer = await consumer.ask("POST", json=intent(host), headers={"x-correlator": correlator})
    assert answer.status_code == 201
    assert answer.headers["x-correlator"] == correlator
    check(RESOURCE, answer.json())
    identity = answer.json()["trafficInfluenceID"]
    assert answer.json() == {**intent(host), "trafficInfluenceID": identity, "state": "ordered"}
    assert answer.headers["Location"] == f"{ROOT}/traffic-influences/{identity}"
    await consumer.until(identity, "active")
    order = host.upfs["edge1"].held[identity]
    assert order == host.upfs["edge2"].held[identity]
    assert order == {"id": identity, "action": "add", "prefixes": ["203.0.113.0/24"], "ues": [], "ports": []}

    listed = (await consumer.ask("GET")).json()
    assert [one["state"] for one in listed] == ["active"]
    check(RESOURCE, listed[0])
    assert (await consumer.ask("GET", params={"appId": str(uuid.uuid4())})).json() == []
    assert len((await consumer.ask("GET", params={"appId": intent(host)["appId"].upper()})).json()) == 1

    answer = await consumer.ask("DELETE", f"/traffic-influences/{identity}")
    assert (answer.status_code, answer.content) == (202, b"")
    await consumer.until(identity, "deleted")
    assert host.upfs["edge1"].held == host.upfs["edge2"].held == {}
    assert (await consumer.ask("GET")).json() == []
    refused(await consumer.ask("DELETE", f"/traffic-influences/{identity}"), 404, "NOT_FOUND")
    acts = [note.action.removeprefix("traffic-influence.") for note in host.records.notes]
    assert acts == ["create", "prepared", "applied", "delete", "removed"]
    assert {note.actor for note in host.records.notes} == {f"spiffe://{DOMAIN}/operator/ada"}


async def test_zone_instance_port_and_region_narrow_it(host: FakeHost, consumer: Consumer) -> None:
    (one, two) = host.application().instances
    assert {one.zone_name, two.zone_name} == {"pop1", "pop2"}
    filters = {"destinationPort": 80, "destinationProtocol": "TCP"}
    body = intent(
        host, edgeCloudZoneId=str(two.zone_id), edgeCloudRegion="streamverse-lab", destinationTrafficFilters=filters
    )
    answer = await consumer.ask("POST", json=body)
    identity = answer.json()["trafficInfluenceID"]
    await consumer.until(identity, "active")
    assert host.upfs["edge1"].held == {}
    assert host.upfs["edge2"].held[identity]["ports"] == [80]
    chosen = await consumer.ask("POST", json=intent(host, appInstanceId=str(one.id)))
    await consumer.until(chosen.json()["trafficInfluenceID"], "active")
    assert [*host.upfs["edge1"].held] == [chosen.json()["trafficInfluenceID"]]


async def test_a_change_takes_it_from_one_upf_and_gives_it_to_another(host: FakeHost, consumer: Consumer) -> None:
    (one, two) = host.application().instances
    answer = await consumer.ask("POST", json=intent(host, edgeCloudZoneId=str(one.zone_id)))
    identity = answer.json()["trafficInfluenceID"]
    await consumer.until(identity, "active")
    path = f"/traffic-influences/{identity}"
    same = await consumer.ask("PATCH", path, json={"edgeCloudZoneId": str(one.zone_id), "apiConsumerId": "ada-tv"})
    assert (same.status_code, same.json()["state"]) == (200, "active")
    changed = await consumer.ask("PATCH", path, json={"edgeCloudZoneId": str(two.zone_id)})
    assert (changed.status_code, changed.json()["state"]) == (200, "ordered")
    check(RESOURCE, changed.json())
    await consumer.until(identity, "active")
    assert host.upfs["edge1"].held == {}
    assert [*host.upfs["edge2"].held] == [identity]
    assert "cannot be changed" in refused(
        await consumer.ask("PATCH", path, json={"appId": str(uuid.uuid4())}), 400, "INVALID_ARGUMENT"
    )
    refused(await consumer.ask("PATCH", path, json={"edgeCloudZoneId": str(uuid.uuid4())}), 400, "OUT_OF_RANGE")


async def test_what_is_not_active_yet_cannot_be_changed_but_deleted(host: FakeHost, consumer: Consumer) -> None:
    upf = host.upfs["edge1"]
    upf.gate = asyncio.Event()
    answer = await consumer.ask("POST", json=intent(host))
    identity = answer.json()["trafficInfluenceID"]
    await asyncio.wait_for(upf.reached.wait(), 90)
    path = f"/traffic-influences/{identity}"
    refused(await consumer.ask("PATCH", path, json={"edgeCloudRegion": "streamverse-lab"}), 409, "DENIED_WAIT")
    assert (await consumer.ask("DELETE", path)).status_code == 202
    assert await consumer.state(identity) == "deletion in progress"
    upf.gate.set()
    await consumer.until(identity, "deleted")
    assert upf.held == host.upfs["edge2"].held == {}


async def test_a_device_is_influenced_alone_and_never_shown(host: FakeHost, consumer: Consumer) -> None:
    answer = await consumer.ask("POST", "/traffic-influence-devices", json=intent(host, device=device()))
    assert answer.status_code == 201
    check(RESOURCE, answer.json())
    identity = answer.json()["trafficInfluenceID"]
    await consumer.until(identity, "active")
    assert host.upfs["edge1"].held[identity]["ues"] == ["10.45.0.7/32"]
    later = intent(host, device={"ipv6Address": "2001:db8:45:7::9", "phoneNumber": "+123456789"})
    answer = await consumer.ask("POST", "/traffic-influence-devices", json=later)
    await consumer.until(answer.json()["trafficInfluenceID"], "active")
    assert host.upfs["edge1"].held[answer.json()["trafficInfluenceID"]]["ues"] == ["2001:db8:45:7::/64"]
    assert "device" not in json.dumps((await consumer.ask("GET")).json())


DEVICES: list[tuple[dict[str, Any] | None, int, str]] = [
    (None, 422, "MISSING_IDENTIFIER"),
    (device("192.0.2.9"), 404, "IDENTIFIER_NOT_FOUND"),
    ({"ipv4Address": {"publicAddress": "192.0.2.9", "publicPort": 4000}}, 422, "SERVICE_NOT_APPLICABLE"),
    ({"phoneNumber": "+123456789"}, 422, "SERVICE_NOT_APPLICABLE"),
    ({"phoneNumber": "123"}, 400, "INVALID_ARGUMENT"),
    ({"ipv4Address": {"publicAddress": "10.45.0.7"}}, 400, "INVALID_ARGUMENT"),
    ({}, 400, "INVALID_ARGUMENT"),
]


async def test_devices_that_are_refused(host: FakeHost, consumer: Consumer) -> None:
    for identifiers, status, code in DEVICES:
        body = intent(host) if identifiers is None else intent(host, device=identifiers)
        refused(await consumer.ask("POST", "/traffic-influence-devices", json=body), status, code)
    assert host.records.kept == {}


INTENTS: list[tuple[dict[str, Any], str, str]] = [
    ({"appId": "no-uuid"}, "INVALID_ARGUMENT", "appId"),
    ({"appId": "6b29fc40-ca47-1067-b31d-00dd010662da"}, "INVALID_ARGUMENT", "no application"),
    ({"apiConsumerId": ""}, "INVALID_ARGUMENT", "apiConsumerId"),
    ({"apiConsumerId": "x" * 300}, "INVALID_ARGUMENT", "apiConsumerId"),
    ({"edgeCloudZoneId": None}, "INVALID_ARGUMENT", "edgeCloudZoneId"),
    ({"edgeCloudRegion": "elsewhere"}, "OUT_OF_RANGE", "streamverse-lab"),
    ({"appInstanceId": "6b29fc40-ca47-1067-b31d-00dd010662da"}, "OUT_OF_RANGE", "no instance"),
    ({"sourceTrafficFilters": {"sourcePort": 5000}}, "OUT_OF_RANGE", "not supported"),
    ({"destinationTrafficFilters": {"destinationPort": 443}}, "OUT_OF_RANGE", "443"),
    ({"destinationTrafficFilters": {"destinationProtocol": "UDP"}}, "OUT_OF_RANGE", "TCP"),
    ({"destinationTrafficFilters": {"destinationPort": 65536}}, "INVALID_ARGUMENT", "destinationPort"),
    ({"destinationTrafficFilters": {"destinationPort": "80"}}, "INVALID_ARGUMENT", "destinationPort"),
    ({"device": {"phoneNumber": "+123456789"}}, "INVALID_ARGUMENT", "device"),
    ({"bogus": 1}, "INVALID_ARGUMENT", "bogus"),
]


async def test_intents_that_are_refused(host: FakeHost, consumer: Consumer) -> None:
    for changes, code, told in INTENTS:
        assert told in refused(await consumer.ask("POST", json=intent(host, **changes)), 400, code)


async def test_bodies_that_are_none(consumer: Consumer) -> None:
    headers = {"content-type": "application/json"}
    large = b'{"x": "' + b"y" * 20_000 + b'"}'
    for body in (b"", b"{", b"[]", b"\xff\xfe", b'{"appId": NaN}', b"[" * 8000, large):
        refused(await consumer.ask("POST", data=body, headers=headers), 400, "INVALID_ARGUMENT")


async def test_other_media_methods_and_paths(consumer: Consumer) -> None:
    refused(await consumer.ask("POST", data=b"a=b"), 415, "UNSUPPORTED_MEDIA_TYPE")
    answer = await consumer.ask("PUT", json={})
    refused(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, POST"
    refused(await consumer.ask("GET", "/elsewhere"), 404, "NOT_FOUND")
    refused(await consumer.ask("GET", f"/traffic-influences/{uuid.uuid4()}"), 404, "NOT_FOUND")
    refused(await consumer.ask("GET", headers={"x-correlator": "not allowed!"}), 400, "INVALID_ARGUMENT")
    refused(await consumer.ask("GET", params={"appId": "x"}), 400, "INVALID_ARGUMENT")


async def test_a_mistake_of_ours_says_nothing_of_the_inside(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_engine: object, _owner: str) -> None:
        raise KeyError("the inside")

    monkeypatch.setattr(engine_module.Engine, "of", broken)
    assert refused(await consumer.ask("GET"), 500, "INTERNAL") == "internal error"


async def test_who_says_nothing_is_cut_off(host: FakeHost, consumer: Consumer, tmp_path: Path) -> None:
    """Without a certificate too, a connection could be kept for ever otherwise."""
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    context.check_hostname = False
    silent_one = await asyncio.open_connection("127.0.0.1", host.port, ssl=context)
    slow = await asyncio.open_connection("127.0.0.1", host.port, ssl=context)
    slow[1].write(b"GET /traffic-influence/v0.10/traffic-influences HTTP/1.1\r\nHo")
    certificate = str(consumer.session.cert)
    context.load_cert_chain(certificate)
    stalled = await asyncio.open_connection("127.0.0.1", host.port, ssl=context)
    head = f"POST {ROOT}/traffic-influences HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    stalled[1].write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    async with asyncio.timeout(90):
        for reader, _ in (silent_one, slow):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        assert b" 408 " in await stalled[0].readline()
    for _, writer in (silent_one, slow, stalled):
        writer.transport.abort()
    assert (await consumer.ask("GET")).status_code == 200


async def test_who_may_do_what(host: FakeHost, consumer: Consumer, tmp_path: Path) -> None:
    answer = await consumer.ask("POST", json=intent(host))
    identity = answer.json()["trafficInfluenceID"]
    viewer = Consumer(host, tmp_path, host.operator("vic", OperatorRole.VIEWER))
    assert (await viewer.ask("GET")).json() == []
    refused(await viewer.ask("POST", json=intent(host)), 403, "PERMISSION_DENIED")
    assert host.denied == ["post-traffic-influence"]
    other = Consumer(host, tmp_path, host.operator("eve", OperatorRole.ENGINEER))
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        refused(await other.ask(method, f"/traffic-influences/{identity}", json=body), 404, "NOT_FOUND")
    assert (await other.ask("POST", json=intent(host))).status_code == 201
    nobody = Consumer(host, tmp_path, new_identity(host.authority, SpiffeId(DOMAIN, "operator", "nobody"), 60))
    refused(await nobody.ask("GET"), 401, "UNAUTHENTICATED")
    bare = Consumer(host, tmp_path, None)
    assert "certificate" in refused(await bare.ask("GET"), 401, "UNAUTHENTICATED")


async def test_a_certificate_of_another_authority_ends_at_the_handshake(
    host: FakeHost, consumer: Consumer, tmp_path: Path
) -> None:
    foreign = Authority.create(tmp_path / "foreign", DOMAIN, RealClock())
    stranger = Consumer(host, tmp_path, new_identity(foreign, SpiffeId(DOMAIN, "operator", "ada"), 60))
    with pytest.raises(requests.exceptions.ConnectionError):
        await stranger.ask("GET")
    assert (await consumer.ask("GET")).status_code == 200


async def test_a_renewed_certificate_is_shown(host: FakeHost, consumer: Consumer) -> None:
    def shown() -> bytes:
        return ssl.get_server_certificate(("127.0.0.1", host.port)).encode()

    assert await asyncio.to_thread(shown) == host.noc.certificate_pem
    host.noc = new_identity(host.authority, host.noc.spiffe_id, 3600, ["localhost"], ["127.0.0.1"])
    async with asyncio.timeout(90):
        while await asyncio.to_thread(shown) != host.noc.certificate_pem:  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.01)
    assert (await consumer.ask("GET")).status_code == 200
    assert [*host.state_dir.glob(".identity-*")] == []


async def test_the_same_intent_twice_and_too_many(host: FakeHost, consumer: Consumer) -> None:
    zones = [str(one.zone_id) for one in host.application().instances]
    bodies = [intent(host), *(intent(host, edgeCloudZoneId=zone) for zone in zones)]
    for body in bodies:
        assert (await consumer.ask("POST", json=body)).status_code == 201
    refused(await consumer.ask("POST", json={**intent(host), "apiConsumerId": "other"}), 409, "ALREADY_EXISTS")
    for number in (1, 2):
        answer = await consumer.ask(
            "POST", "/traffic-influence-devices", json=intent(host, device=device(f"10.45.0.{number}"))
        )
        assert answer.status_code == 201
    last = intent(host, device=device("10.45.0.3"))
    refused(await consumer.ask("POST", "/traffic-influence-devices", json=last), 429, "QUOTA_EXCEEDED")
    identity = answer.json()["trafficInfluenceID"]
    await consumer.ask("DELETE", f"/traffic-influences/{identity}")
    await consumer.until(identity, "deleted")
    assert (await consumer.ask("POST", "/traffic-influence-devices", json=last)).status_code == 201


async def test_too_many_requests(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, TrafficInfluenceSettings(address="127.0.0.1:0", rate=0.001))
    host.roles["ada"] = OperatorRole.ENGINEER
    async with serving(host):
        consumer = Consumer(host, tmp_path, host.operator("ada", OperatorRole.ENGINEER))
        refused(await consumer.ask("GET"), 429, "TOO_MANY_REQUESTS")


async def test_a_upf_that_fails_makes_it_an_error_and_takes_it_back(host: FakeHost, consumer: Consumer) -> None:
    host.upfs["edge2"].fault = "its table is full"
    answer = await consumer.ask("POST", json=intent(host))
    identity = answer.json()["trafficInfluenceID"]
    await consumer.until(identity, "error")
    assert host.upfs["edge1"].held == {}
    assert any("its table is full" in text for text in host.alarms.values())
    host.upfs["edge2"].fault = ""
    await consumer.ask("DELETE", f"/traffic-influences/{identity}")
    await consumer.until(identity, "deleted")
    assert host.alarms == {}


async def test_a_upf_that_is_away_gets_it_when_it_returns(host: FakeHost, consumer: Consumer) -> None:
    away = host.upfs["edge2"]
    away.away = True
    answer = await consumer.ask("POST", json=intent(host))
    identity = answer.json()["trafficInfluenceID"]
    await until(lambda: identity in host.upfs["edge1"].held and bool(away.owed))
    assert await consumer.state(identity) == "created"
    away.back()
    await consumer.until(identity, "active")
    assert identity in away.held


async def test_what_is_made_good_in_the_wrong_order_is_put_right(host: FakeHost, consumer: Consumer) -> None:
    away = host.upfs["edge2"]
    away.away = True
    answer = await consumer.ask("POST", json=intent(host))
    identity = answer.json()["trafficInfluenceID"]
    await until(lambda: bool(away.owed) and bool(host.records.kept[identity]["unsettled"]))
    await consumer.ask("DELETE", f"/traffic-influences/{identity}")
    await until(lambda: any(order["action"] == "remove" for order in away.owed))
    away.back(newest_first=True)
    assert identity in away.held  # the removal came first
    await consumer.until(identity, "deleted")
    assert away.held == {}


async def test_it_goes_on_after_a_restart(host: FakeHost, tmp_path: Path) -> None:
    upf = host.upfs["edge1"]
    upf.gate = asyncio.Event()
    async with serving(host):
        consumer = Consumer(host, tmp_path, host.operator("ada", OperatorRole.ENGINEER))
        answer = await consumer.ask("POST", json=intent(host))
        identity = answer.json()["trafficInfluenceID"]
        await asyncio.wait_for(upf.reached.wait(), 90)
    assert host.records.kept[identity]["state"] == "created"
    upf.gate = None
    async with serving(host):
        consumer.session.close()
        await consumer.until(identity, "active")
        assert identity in upf.held


async def test_another_line_up_changes_what_is_influenced(host: FakeHost, consumer: Consumer) -> None:
    answer = await consumer.ask("POST", json=intent(host))
    identity = answer.json()["trafficInfluenceID"]
    await consumer.until(identity, "active")
    host.commit(lineup_data(breakout(prefixes=["198.51.100.0/24"])))
    await until(lambda: host.upfs["edge1"].held[identity]["prefixes"] == ["198.51.100.0/24"])
    await consumer.until(identity, "active")
    host.commit(lineup_data())
    await consumer.until(identity, "error")
    assert host.upfs["edge1"].held == host.upfs["edge2"].held == {}
    host.commit(lineup_data(breakout()))
    await consumer.until(identity, "active")
    assert identity in host.upfs["edge2"].held


async def test_an_address_that_is_taken_ends_the_service_with_the_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = FakeHost(tmp_path, TrafficInfluenceSettings(address=f"127.0.0.1:{taken.getsockname()[1]}"))
        async with serving(host) as task:
            with pytest.raises(UnavailableError, match="cannot listen"):
                await task
