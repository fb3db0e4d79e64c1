"""The routes to sources, against a kernel that is a dictionary and loses what leads over an interface that is down."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from headend.multicast.output import sources as module
from headend.multicast.output.channel import Channel
from headend.multicast.output.config import SINGLE, FeedConfig, OutputConfig
from headend.multicast.output.sources import Sources
from headend.multicast.output.steering import HOLD_S, PROOF_S, REST_S, TRY_S

SOURCE, NEIGHBOUR = IPv4Address("10.1.0.10"), IPv4Address("10.1.2.0")
FEED = FeedConfig(SOURCE, IPv4Address("232.1.1.1"), 5000, alternates=(NEIGHBOUR,))
OUTPUT = OutputConfig("ch1", "iptv", SINGLE, (FEED,), (), IPv4Address("232.2.1.1"), 5000)


class Router:
    """`routes`: the kernel's. `believed`: zebra's, which hears of a route that is put in or deleted, and not of one
    that goes with its interface."""

    def __init__(self) -> None:
        self.up = True
        self.routes: dict[IPv4Address, IPv4Address] = {}
        self.believed: dict[IPv4Address, IPv4Address] = {}

    def lead(self, source: IPv4Address, via: IPv4Address) -> None:
        if not self.up:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        self.routes[source] = self.believed[source] = via

    def release(self, source: IPv4Address) -> bool:
        if source not in self.routes:
            return False
        del self.routes[source], self.believed[source]
        return True

    def release_all(self) -> None:
        for source in list(self.routes):
            self.release(source)

    def stands(self, source: IPv4Address, via: IPv4Address) -> bool:
        return self.routes.get(source) == via

    def down(self) -> None:
        self.up = False
        self.routes.clear()


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Router:
    router = Router()
    monkeypatch.setattr(module, "hostroute", router)
    monkeypatch.setattr(module.ways, "read", dict)
    return router


class Stage:
    def __init__(self) -> None:
        self.now = 100.0
        self.channel = Channel(OUTPUT)
        self.sources = Sources()
        self.sources.use([self.channel], self.now)

    def run(self, seconds: float, *, flows: bool) -> None:
        beat, until = self.channel.beat, self.now + seconds
        assert beat is not None
        while self.now < until:
            self.now += 0.01
            if flows:
                beat.take(self.now)
            self.sources.tick(self.now)

    @property
    def state(self) -> object:
        return self.sources.status()[0]["state"]


@pytest.fixture
def stage(router: Router) -> Iterator[Stage]:
    stage = Stage()
    stage.run(2, flows=True)
    stage.run(0.2, flows=False)
    stage.run(1, flows=True)
    assert (stage.state, router.believed) == ("moved", {SOURCE: NEIGHBOUR})
    yield stage
    stage.channel.close()


def test_a_route_that_went_with_its_interface_is_put_in_again(router: Router, stage: Stage) -> None:
    router.routes.clear()
    stage.run(2, flows=True)
    assert router.routes == {SOURCE: NEIGHBOUR}
    stage.run(HOLD_S + PROOF_S + 1, flows=True)
    assert (stage.state, router.believed) == ("home", {})


def test_a_route_that_was_not_there_to_be_taken_away_does_not_come_back_with_its_interface(
    router: Router, stage: Stage
) -> None:
    router.down()
    stage.run(TRY_S, flows=False)
    stage.run(REST_S, flows=True)
    assert (stage.state, router.believed) == ("home", {SOURCE: NEIGHBOUR})
    router.up = True
    stage.run(2, flows=True)
    assert (stage.state, router.believed) == ("home", {})
