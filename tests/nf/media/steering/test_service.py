"""The steering server over HTTP: who is where, what may be kept, what is counted, what is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nf.contracts.paths import Verdict
from nf.media.steering import service as module
from nf.media.steering.service import Steering, SteeringSettings
from tests.nf.media.hosting_players import Answer, Host, ask, lab_lineup, serving


@pytest.fixture
async def host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    settings = SteeringSettings.model_validate(
        {"address": "127.0.0.1:0", "clients": {"pop2": ["127.0.0.0/8", "198.51.100.0/24"]}, "proxies": ["127.0.0.0/8"]}
    )
    host = Host(settings)
    async with serving(Steering(), host):
        yield host


def read(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = json.loads(answer.body)
    return found


async def test_a_manifest_follows_the_site_and_the_health(host: Host) -> None:
    first = read(await ask(host, "/steering/v1/hls/ch1?path=ott&site=pop1"))
    assert first == {
        "VERSION": 1,
        "TTL": 300,
        "RELOAD-URI": "/steering/v1/hls/ch1?path=ott&site=pop1",
        "PATHWAY-PRIORITY": ["pop1", "pop2", "any"],
    }
    host.paths.set("ch1", "ott", "pop1", Verdict.DOWN)
    then = read(await ask(host, first["RELOAD-URI"]))
    assert (then["TTL"], then["PATHWAY-PRIORITY"]) == (10, ["pop2", "any", "pop1"])
    host.paths.set("ch1", "ott", "pop1", Verdict.UP)
    assert read(await ask(host, first["RELOAD-URI"])) == first


async def test_the_client_s_address_says_where_it_is_and_a_proxy_s_word_for_it_is_taken(host: Host) -> None:
    by_address = read(await ask(host, "/steering/v1/dash/ch1"))
    assert by_address["PATHWAY-PRIORITY"][0] == "pop2"
    assert by_address["RELOAD-URI"].endswith("&site=pop2")
    for forwarded, first in (("10.3.1.10", "pop1"), ("10.3.1.10, 198.51.100.9", "pop2"), ("192.0.2.1", "any")):
        made = read(await ask(host, "/steering/v1/dash/ch1", X_Forwarded_For=forwarded))
        assert made["PATHWAY-PRIORITY"][0] == first, forwarded


async def test_answers_may_be_kept_for_a_moment_and_asked_for_conditionally(host: Host) -> None:
    named = await ask(host, "/steering/v1/hls/ch1?site=pop1")
    assert named.headers["cache-control"] == "public, max-age=2"
    assert named.headers["access-control-allow-origin"] == "*"
    assert (await ask(host, "/steering/v1/hls/ch1")).headers["cache-control"] == "private, max-age=2"
    again = await ask(host, "/steering/v1/hls/ch1?site=pop1", If_None_Match=named.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    host.paths.rank("ch1", "pop1", "iptv", "ott", alert=True)
    changed = await ask(host, "/steering/v1/hls/ch1?site=pop1", If_None_Match=named.headers["etag"])
    assert changed.status == 200


async def test_another_revision_is_served_as_soon_as_it_is_committed(host: Host) -> None:
    host.commit(lab_lineup(steered=False))
    assert (await ask(host, "/steering/v1/hls/ch1")).status == 404
    host.commit(lab_lineup())
    assert (await ask(host, "/steering/v1/hls/ch1")).status == 200


async def test_players_are_counted_by_what_they_say_and_nobody_s_words_become_labels(host: Host) -> None:
    for query in (
        "_HLS_pathway=pop1&_HLS_throughput=4500000",
        "_HLS_pathway=%22pop1%22",
        "_HLS_pathway=" + "x" * 500,
        "_HLS_throughput=nonsense",
    ):
        read(await ask(host, f"/steering/v1/hls/ch1?site=pop1&{query}"))
    read(await ask(host, "/steering/v1/dash/ch1?site=pop2&_DASH_pathway=%22pop2,any%22&_DASH_throughput=10,20"))
    text = (await ask(host, "/metrics")).body.decode()
    asked = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in text.splitlines() if "_total{" in line}
    name = "streamverse_steering_requests_total"
    labels = 'channel="ch1",form="{}",pathway="{}",site="{}"'
    assert asked == {
        f"{name}{{{labels.format('hls', 'pop1', 'pop1')}}}": "2.0",
        f"{name}{{{labels.format('hls', 'other', 'pop1')}}}": "1.0",
        f"{name}{{{labels.format('hls', 'none', 'pop1')}}}": "1.0",
        f"{name}{{{labels.format('dash', 'pop2', 'pop2')}}}": "1.0",
        f"{name}{{{labels.format('dash', 'any', 'pop2')}}}": "1.0",
    }
    assert 'throughput_bits_per_second_count{channel="ch1",form="hls"} 1.0' in text


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/steering/v1/hls/none", 404),
        ("GET", "/steering/v1/smooth/ch1", 404),
        ("GET", "/steering/v1/hls/ch1?path=iptv", 404),
        ("GET", "/steering/v1/hls/ch1?site=nowhere", 404),
        ("GET", "/", 404),
        ("POST", "/steering/v1/hls/ch1", 405),
        ("HEAD", "/steering/v1/hls/ch1", 200),
    ],
)
async def test_what_is_not_there_is_refused_in_words(host: Host, method: str, target: str, status: int) -> None:
    answer = await ask(host, target, method)
    assert answer.status == status
    if status >= 400:
        assert json.loads(answer.body)["message"]


async def test_a_service_whose_address_is_taken_says_so(host: Host) -> None:
    other = Host(SteeringSettings.model_validate({"address": f"127.0.0.1:{host.port}"}))
    async with serving(Steering(), other) as task:
        assert "cannot listen" in str(task.exception())
