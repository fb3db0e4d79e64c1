"""Steering on a real kernel; `ogstun` is a stand-in for the UPF's TUN device (see network.py)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core5g.steering.n6 import units
from core5g.steering.n6.documents import N6Section
from core5g.steering.n6.driver import N6Driver, create
from core5g.steering.n6.operations import EXPLAIN, INFLUENCE, LIST
from nf.contracts.driver import Checkpoint
from nf.contracts.json import JsonObject
from nf.errors import InputError, RefusedError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.core5g.steering.n6.network import (
    CDN,
    CDN6,
    HERE,
    OTHER,
    THERE,
    UE,
    UE6,
    Web,
    changed_by_drivers,
    get,
    network,
    section,
)
from tests.core5g.steering.n6.tls import certificate
from tests.headend.multicast.tree.network import Node, commit, context, ip, take_back, until

pytestmark = [pytest.mark.root, pytest.mark.daemon]
LOCAL = pytest.mark.parametrize("local", [True, False], ids=["local", "remote"])


@pytest.fixture(scope="module")
def net(require_root: Callable[[], None], require_programs: Callable[..., None]) -> Iterator[dict[str, Node]]:
    require_root()
    require_programs("ip", "nft", "nsenter")
    with network() as made:
        made["r"].drivers["n6"] = create(made["r"].context())
        webs = [Web(made["i"], "origin", 80)]
        try:
            yield made
        finally:
            for web in webs:
                web.close()


@pytest.fixture
def caches(net: dict[str, Node]) -> Iterator[dict[bool, Web]]:
    made = {True: Web(net["r"], "cache", 8080), False: Web(net["c"], "cache", 80)}
    yield made
    for web in made.values():
        web.close()


@pytest.fixture
def before(net: dict[str, Node]) -> Iterator[None]:
    """The machine is found as it was, whatever the test committed."""
    node = net["r"]
    texts = changed_by_drivers(node)
    yield
    node.call(commit, node.drivers["n6"], None)
    assert changed_by_drivers(node) == texts
    assert node.call(node.context().units.list) == ()


def committed(net: dict[str, Node], wanted: N6Section) -> list[Any]:
    return net["r"].call(commit, net["r"].drivers["n6"], wanted)


async def asked(driver: N6Driver, name: str, arguments: JsonObject) -> JsonObject:
    return await driver.operations[name].run(arguments, Checkpoint({}, lambda _: None), context())


def ask(net: dict[str, Node], name: str, **arguments: Any) -> JsonObject:
    driver = net["r"].drivers["n6"]
    assert isinstance(driver, N6Driver)
    return net["r"].call(asked, driver, name, arguments)


def is_open(net: dict[str, Node], wanted: bool) -> None:
    async def told() -> bool:
        answer = await units.ask_gate(net["r"].run_dir)
        return answer is not None and answer["open"] is wanted

    net["r"].call(until, told)


def observed(net: dict[str, Node]) -> JsonObject:
    value = net["r"].call(net["r"].drivers["n6"].observe).value
    assert value is not None
    return value


@LOCAL
def test_what_the_cdn_is_asked_goes_to_the_cache_and_all_else_by_the_default_exit(
    net: dict[str, Node], caches: dict[bool, Web], before: None, local: bool
) -> None:
    texts = changed_by_drivers(net["r"])
    undos = committed(net, section(local=local))
    is_open(net, True)
    ue = net["u"]
    assert [ue.call(get, one) for one in (CDN, CDN6, OTHER)] == ["cache", "cache", "origin"]
    cache = HERE if local else THERE
    told = ask(net, EXPLAIN, ue=UE, destination=CDN)
    assert (told["exit"], told["rule"], told["cache"]) == ("cache", "prefix 203.0.113.0/24", cache)
    assert ask(net, EXPLAIN, ue=UE6, destination=CDN6)["exit"] == "cache"
    assert ask(net, EXPLAIN, ue=UE, destination=OTHER)["exit"] == "default"
    assert ask(net, EXPLAIN, ue="192.0.2.9", destination=CDN)["exit"] == "unknown-ue"
    assert ask(net, EXPLAIN, ue="imsi-999700000000001", destination=CDN)["exit"] == "unknown-ue"
    listed = ask(net, LIST)
    assert (listed["mechanism"], listed["upf"], listed["open"], listed["prefixes"]) == ("n6", "upf1", True, 2)
    assert int(str(listed["steered_packets"])) > 0 < int(str(listed["default_packets"]))
    net["r"].call(take_back, net["r"].drivers["n6"], undos)
    assert changed_by_drivers(net["r"]) == texts
    assert ue.call(get, CDN) == "origin"


@LOCAL
def test_a_thousand_ues_that_wait_for_a_hung_cache_are_reset_and_go_to_the_origin(
    net: dict[str, Node], caches: dict[bool, Web], before: None, local: bool
) -> None:
    committed(net, section(local=local))
    is_open(net, True)
    sources = [f"10.45.{4 + number // 250}.{1 + number % 250}" for number in range(1000)]

    async def crowd() -> list[str]:
        return await asyncio.gather(*(get(CDN, "/slow", source) for source in sources))

    async def steered() -> bool:
        text = await asyncio.to_thread(net["r"].shell, "ss", "-Htn", "state", "established") if local else "\n" * 2000
        return local is False or text.count(":8080") >= 1000

    waiting = net["u"].start(crowd)
    net["r"].call(until, steered)
    if not local:
        _until_counted(net, 3000)
    caches[local].signal(signal.SIGSTOP)
    try:
        assert set(waiting.result(240)) == {"ConnectionResetError"}
        assert net["u"].call(get, CDN) == "origin"
        told = ask(net, EXPLAIN, ue=UE, destination=CDN)
        assert told["exit"] == "default"
        assert "the gate is shut" in str(told["why"])
    finally:
        caches[local].signal(signal.SIGCONT)
    is_open(net, True)
    assert net["u"].call(get, CDN) == "cache"


@LOCAL
def test_https_goes_to_the_caches_own_listener_while_that_answers_too(
    net: dict[str, Node], caches: dict[bool, Web], before: None, tmp_path: Path, local: bool
) -> None:
    pem, (where, port) = certificate(tmp_path), (("r", 8443) if local else ("c", 443))
    origin, cache = Web(net["i"], "origin", 443, pem), Web(net[where], "cache", port, pem)
    forwards = {"forwards": [{"port": 80, "to": 8080}, {"port": 443, "to": 8443}]} if local else {}
    base = section(local=local)
    place = base.cache.to_json()
    health = {**base.cache.health.to_json(), "tls_port": port}
    try:
        committed(net, section(local=local, cache={**place, **forwards, "health": health}))
        is_open(net, True)

        def asked(address: str) -> str:
            return net["u"].call(partial(get, trusted=pem), address)

        assert [asked(one) for one in (CDN, CDN6)] == ["cache", "cache"]
        assert net["u"].call(get, CDN) == "cache"
        cache.close()
        is_open(net, False)
        assert asked(CDN) == "origin", "http alone is not the whole cache"
        cache.again()
        is_open(net, True)
        assert asked(CDN) == "cache"
    finally:
        for web in (origin, cache):
            web.close()


def _until_counted(net: dict[str, Node], packets: int) -> None:
    async def counted() -> bool:
        answer = await units.ask_gate(net["r"].run_dir)
        return answer is not None and answer["packets"]["steered"] >= packets  # type: ignore[index,call-overload,operator]

    net["r"].call(until, counted)


@LOCAL
def test_a_killed_cache_is_left_and_taken_again(
    net: dict[str, Node], caches: dict[bool, Web], before: None, local: bool
) -> None:
    committed(net, section(local=local))
    is_open(net, True)
    caches[local].close()
    is_open(net, False)
    assert [net["u"].call(get, one) for one in (CDN, CDN6)] == ["origin", "origin"]
    caches[local].again()
    is_open(net, True)
    assert [net["u"].call(get, one) for one in (CDN, CDN6)] == ["cache", "cache"]


def test_a_link_that_goes_down_shuts_the_gate_and_its_route_is_put_back(
    net: dict[str, Node], caches: dict[bool, Web], before: None
) -> None:
    committed(net, section(local=False))
    is_open(net, True)
    waiting = [net["u"].start(get, one, "/slow") for one in (CDN, CDN6)]

    async def connected() -> bool:
        text = await asyncio.to_thread(net["u"].shell, "ss", "-Htn", "state", "established")
        return CDN in text and CDN6 in text

    net["u"].call(until, connected)
    _until_counted(net, 8)
    ip("-n", net["r"].namespace, "link", "set", "cache0", "down")
    assert [one.result(240) for one in waiting] == ["ConnectionResetError"] * 2
    is_open(net, False)
    assert [net["u"].call(get, one) for one in (CDN, CDN6)] == ["origin", "origin"]
    assert [net["r"].shell("ip", family, "route", "show", "table", "5306") for family in ("-4", "-6")] == ["", ""]
    assert "altered" not in observed(net), "what the gate puts back is no drift"
    ip("-n", net["r"].namespace, "link", "set", "cache0", "up")
    ip("-n", net["r"].namespace, "address", "replace", "2001:db8:9::1/64", "dev", "cache0", "nodad")
    is_open(net, True)
    assert [net["u"].call(get, one) for one in (CDN, CDN6)] == ["cache", "cache"]
    for family, via in (("-4", "10.9.0.2"), ("-6", "2001:db8:9::2")):
        assert f"via {via} dev cache0" in net["r"].shell("ip", family, "route", "show", "table", "5306")


def test_everything_stays_as_it_was_while_the_gate_is_dead_and_it_takes_up_where_it_was(
    net: dict[str, Node], caches: dict[bool, Web], before: None
) -> None:
    committed(net, section(local=True))
    is_open(net, True)

    async def pid() -> int | None:
        status = await net["r"].context().units.status(units.GATE)
        return status.pid if status is not None else None

    first = net["r"].call(pid)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert net["u"].call(get, CDN) == "cache"

    async def another() -> bool:
        answer = await units.ask_gate(net["r"].run_dir)
        return answer is not None and answer["pid"] != first

    net["r"].call(until, another)
    is_open(net, True)
    assert net["u"].call(get, CDN) == "cache"
    net["r"].call(commit, net["r"].drivers["n6"], section(local=True))


DAMAGE = {
    "prefix": ("nft", "delete element inet nf_steer cdn4 { 203.0.113.0/24 }"),
    "rules": ("nft", "flush chain inet nf_steer choose"),
    "chain": ("nft", "add chain inet nf_steer other"),
    "table": ("nft", "delete table inet nf_steer"),
    "rule": ("ip", "rule", "del", "pref", "5306"),
    "gate": ("nft", "flush set inet nf_steer open"),
}


def test_drift_by_hand_is_seen_and_made_good(net: dict[str, Node], caches: dict[bool, Web], before: None) -> None:
    wanted, driver = section(local=False), net["r"].drivers["n6"]
    committed(net, wanted)
    for what, command in DAMAGE.items():
        is_open(net, True)
        net["r"].shell(*command)
        assert driver.plan(net["r"].call(driver.observe), wanted) != (), what
        net["r"].call(commit, driver, wanted)
        is_open(net, True)
        assert net["u"].call(get, CDN) == "cache", what


def test_an_influence_steers_some_ues_and_outlives_a_commit(
    net: dict[str, Node], caches: dict[bool, Web], before: None
) -> None:
    committed(net, section(local=True))
    is_open(net, True)
    one = {"id": "app-1", "prefixes": ["198.51.100.0/24"], "ues": ["10.45.4.0/24"], "ports": [80]}
    assert ask(net, INFLUENCE, action="add", **one) == {"state": "active"}
    assert net["u"].call(get, OTHER, "/", "10.45.4.7") == "cache"
    assert net["u"].call(get, OTHER) == "origin"
    told = ask(net, EXPLAIN, ue="10.45.4.7", destination=OTHER)
    assert (told["exit"], told["rule"]) == ("cache", "influence app-1")
    committed(net, section(local=True, prefixes=["203.0.113.0/25"]))
    assert net["u"].call(get, OTHER, "/", "10.45.4.7") == "cache"
    assert [i["id"] for i in ask(net, LIST)["influences"]] == ["app-1"]  # type: ignore[index,union-attr,call-overload]
    with pytest.raises(InputError):
        ask(net, INFLUENCE, action="add", id="x", prefixes=["nonsense"])
    assert ask(net, INFLUENCE, action="remove", id="app-1") == {"state": "active"}
    assert net["u"].call(get, OTHER, "/", "10.45.4.7") == "origin"


def test_nothing_is_asked_of_steering_that_is_not_there(net: dict[str, Node]) -> None:
    with pytest.raises(RefusedError, match="nothing is steered here"):
        ask(net, LIST)


def test_quic_of_the_cdn_is_refused_so_that_players_take_tcp(
    net: dict[str, Node], caches: dict[bool, Web], before: None
) -> None:
    async def datagram(address: str) -> str:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (address, 443))
            await loop.sock_sendall(sock, b"initial")
            try:
                async with asyncio.timeout(90):
                    await loop.sock_recv(sock, 100)
            except OSError as error:
                return type(error).__name__
            return "answered"

    committed(net, section(local=True))
    is_open(net, True)
    assert net["u"].call(datagram, CDN) == "ConnectionRefusedError"
    told = net["r"].shell("nft", "list", "counter", "inet", "nf_steer", "refused")
    assert "packets 1 " in told


def test_a_strict_reverse_path_filter_would_eat_the_answers_and_is_refused(net: dict[str, Node]) -> None:
    file = "/proc/sys/net/ipv4/conf/cache0/rp_filter"
    driver = net["r"].drivers["n6"]
    wanted = section(local=False)
    net["r"].shell("sh", "-c", f"echo 1 > {file}")
    try:
        steps = driver.plan(net["r"].call(driver.observe), wanted)
        with pytest.raises(RefusedError, match="rp_filter of cache0 is strict"):
            net["r"].call(driver.check, steps, wanted)
    finally:
        net["r"].shell("sh", "-c", f"echo 0 > {file}")


def test_it_is_measured_and_an_alarm_stands_while_the_gate_is_shut(
    net: dict[str, Node], caches: dict[bool, Web], before: None
) -> None:
    committed(net, section(local=True, paths=[{"channel": "ch1", "path": "mobile", "of": "ott", "rate": "1M"}]))
    is_open(net, True)
    caches[True].close()
    is_open(net, False)

    async def first() -> tuple[AlarmEvent, Sample, Sample]:
        events = net["r"].drivers["n6"].events()
        return await anext(events), await anext(events), await anext(events)  # type: ignore[return-value]

    alarm, sample, hop = net["r"].call(first)
    assert (alarm.cause, alarm.severity) == ("steering-shut", Severity.MAJOR)
    assert (sample.kind, sample.values["open"]) == ("steering.n6", 0.0)
    assert hop.labels == {"channel": "ch1", "path": "mobile", "point": "n6-steering"}
