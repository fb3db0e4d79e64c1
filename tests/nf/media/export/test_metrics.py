"""What Prometheus gets: by its client library's own parsers, over HTTP."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nf.contracts.paths import Ranking, Verdict
from nf.contracts.telemetry import OrderState, PathSwitch
from nf.media.export.metrics import Totals, families
from nf.media.export.scraping import Metrics, MetricsSettings
from nf.telemetry.alarms import Severity
from tests.nf.media.export.host import FakePaths, FakeTelemetry, Host, serving

PAGE = Path(__file__).parents[4] / "docs" / "telemetry.md"
LABELS = {
    "node",
    "pop",
    "channel",
    "path",
    "tier",
    "result",
    "severity",
    "cause",
    "state",
    "from",
    "to",
    "reason",
    "le",
}
CH1 = {"channel": "ch1", "path": "ott"}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(MetricsSettings.model_validate({"address": "127.0.0.1:0"}), tmp_path)
    known, now = host.telemetry, host.clock.now()
    edge = {**CH1, "point": "edge"}
    served = {"packets": 100.0, "hits": 90.0, "errors": 4.0, "bitrate_bps": 8e6, "age_ms": 20.0}
    known.sample("path.hop", now, edge, served)
    known.sample("path.hop", now, {**CH1, "point": "shield"}, {"packets": 7.0, "bitrate_bps": 8e5})
    known.sample("path.hop", now, {**CH1, "point": "origin"}, {"packets": 3.0, "age_ms": 1500.0}, node="head")
    for target in ("r1", "r2"):
        labels = {"channel": "ch1", "path": "iptv", "point": "receiver", "target": target}
        known.sample("path.probe", now, labels, {"bitrate_bps": 800.0, "continuity_errors": 2.0})
    known.sample("path.hop", now - 60, {"channel": "old", "path": "ott", "point": "edge"}, {"packets": 1.0})
    known.alarm("edge1", "edge-silent", "edge1", Severity.MAJOR)
    known.alarm("", "appliance-offline", "head", Severity.MAJOR)
    known.switched.append(PathSwitch(7, now, "ch1", "pop1", "sat", "ott", "failover", "T0", "no lock"))
    known.ordered += [
        OrderState("cdn/1", "a", "purge", "ch1", "done", now - 2, now - 1.7, 0),
        OrderState("cdn/2", "b", "purge", "ch1", "owed", now, 0.0, 2),
        OrderState("cdn/3", "c", "other", "ch1", "owed", now, 0.0, 2),
    ]
    host.paths.set("ch1", "sat", "pop1", Verdict.DOWN)
    host.paths.set("ch1", "ott", "pop1", Verdict.DEGRADED)
    host.paths.set("ch1", "iptv", "pop1", Verdict.UNKNOWN)
    host.paths.ranked.append(Ranking("ch1", "pop1", ("ott", "sat", "iptv"), "ott", alert=True, number=1))
    return host


async def scrape(host: Host, **headers: str) -> tuple[str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{host.facts['port']}/metrics", headers=headers)

    def ask() -> tuple[str, str]:
        with urllib.request.urlopen(request, timeout=90) as answer:  # noqa: S310 - the test's own server
            return answer.headers["Content-Type"], answer.read().decode()

    return await asyncio.to_thread(ask)


def series(parsed: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in parsed:
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    """Of the one series with these labels, among others."""
    labels = {key.rstrip("_"): text for key, text in labels.items()}
    (one,) = (found[key] for key in found if key[0] == name and labels.items() <= dict(key[1]).items())
    return one


@pytest.mark.parametrize("openmetrics", [False, True])
async def test_what_is_known_is_told(host: Host, openmetrics: bool) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"} if openmetrics else {}
    async with serving(Metrics(), host):
        kind, text = await scrape(host, **accept)
        again = series((parse_openmetrics if openmetrics else parse_text)((await scrape(host, **accept))[1]))
    assert kind.startswith("application/openmetrics-text" if openmetrics else "text/plain")
    found = series((parse_openmetrics if openmetrics else parse_text)(text))
    assert again == found  # what has ended is counted once
    place = {"node": "edge1", "pop": "pop1", "channel": "ch1", "path": "ott"}
    requests = "streamverse_cdn_requests_total"
    assert value(found, requests, tier="edge", result="hit", **place) == 90
    assert value(found, requests, tier="edge", result="miss", **place) == 10
    assert value(found, requests, tier="shield", result="miss", **place) == 7
    assert value(found, "streamverse_cdn_errors_total", tier="edge", **place) == 4
    assert value(found, "streamverse_path_rate_bytes_per_second", tier="edge", **place) == 1e6
    assert value(found, "streamverse_path_rate_bytes_per_second", tier="receiver", path="iptv") == 200
    assert value(found, "streamverse_path_continuity_errors_total", tier="receiver") == 4
    assert value(found, "streamverse_origin_segment_age_seconds", node="head", channel="ch1") == 1.5
    assert value(found, "streamverse_appliance_online", node="edge1", pop="pop1") == 1
    assert value(found, "streamverse_appliance_online", node="head") == 0
    assert value(found, "streamverse_alarm_standing", node="edge1", severity="major", cause="edge-silent") == 1
    assert value(found, "streamverse_alarm_standing", node="", cause="appliance-offline") == 1
    here = {"channel": "ch1", "pop": "pop1"}
    assert [value(found, "streamverse_path_up", path=path, **here) for path in ("sat", "ott")] == [0, 1]
    assert value(found, "streamverse_path_degraded", path="ott", **here) == 1
    active = [value(found, "streamverse_path_active", path=path, **here) for path in ("sat", "ott", "iptv")]
    assert active == [0, 1, 0]
    assert value(found, "streamverse_path_alert", **here) == 1
    assert value(found, "streamverse_failover_total", from_="sat", to="ott", reason="failover", tier="T0", **here) == 1
    assert value(found, "streamverse_cdn_purge_pending", channel="ch1", state="owed") == 1
    took = "streamverse_cdn_purge_duration_seconds"
    assert value(found, f"{took}_count", state="done") == 1
    assert value(found, f"{took}_sum", state="done") == pytest.approx(0.3)
    assert value(found, f"{took}_bucket", state="done", le="0.25") == 0
    assert value(found, f"{took}_bucket", state="done", le="0.5") == 1
    told = {(name, dict(labels).get("path"), dict(labels).get("channel")) for name, labels in found}
    assert ("streamverse_path_up", "iptv", "ch1") not in told  # nobody knows
    assert not any(channel == "old" for _, _, channel in told)  # nobody has measured it lately


async def test_names_and_labels_keep_to_the_rules(host: Host) -> None:
    async with serving(Metrics(), host):
        _, text = await scrape(host)
    for name, labels in series(parse_text(text)):
        assert re.fullmatch(r"streamverse_[a-z0-9]+_[a-z_]+", name)
        assert dict(labels).keys() <= LABELS


async def test_only_who_may_scrape(tmp_path: Path) -> None:
    settings = MetricsSettings.model_validate({"address": "127.0.0.1:0", "scrapers": ["10.0.9.0/24", "fd00::/8"]})
    asked = {"127.0.0.1": True, "::1": True, "::ffff:10.0.9.7": True, "fd00::7": True, "10.0.8.7": False, "x": False}
    assert {address: settings.admits(address) for address in asked} == asked
    host = Host(settings, tmp_path)
    async with serving(Metrics(), host):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{host.facts['port']}/", timeout=90)


def test_an_order_that_ends_again_or_is_forgotten_is_counted_once_each() -> None:
    totals = Totals()
    order = OrderState("cdn/1", "a", "purge", "ch1", "failed", 10.0, 12.0, 0)
    for orders in ((order,), (order,), ()):
        totals.take((), orders)
    assert totals.durations_s["failed"][-2:] == [1, 2.0]


def exported(host: Host) -> dict[str, set[str]]:
    """Every series that the exporter can tell -> its labels."""
    found: dict[str, set[str]] = {}
    for family in families(host.telemetry, host.paths, Totals(), host.clock.now()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_the_page_names_what_there_is(host: Host) -> None:
    page = PAGE.read_text()
    known = exported(host)
    listed = re.findall(r"^\| `(streamverse_\w+)` \| ([a-z, ]+) \|", page, re.MULTILINE)
    base = {re.sub(r"_(bucket|sum|count)$", "", name): labels - {"le"} for name, labels in known.items()}
    assert {name: set(labels.split(", ")) for name, labels in listed} == base
    block = re.search(r"### An example of rules\n\n((?:    .*\n|\n)+)", page)
    assert block is not None
    rules = yaml.safe_load(re.sub(r"^    ", "", block[1], flags=re.MULTILINE))["groups"][0]["rules"]
    for rule in rules:
        for name, selector in re.findall(r"(?<!:)\b(streamverse_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            assert name in known, name
            assert set(re.findall(r"(\w+)=", selector)) <= known[name], rule["expr"]
    assert len(rules) >= 8


def test_a_noc_that_knows_nothing_tells_that() -> None:
    telemetry = FakeTelemetry()
    telemetry.fleet.clear()
    assert not [sample for one in families(telemetry, FakePaths(), Totals(), 0.0) for sample in one.samples]
