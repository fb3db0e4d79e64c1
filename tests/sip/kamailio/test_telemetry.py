"""Readings become samples, and what lasts an alarm that is said once and taken back."""

from __future__ import annotations

from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from sip.kamailio.live import Calls, Peer, RelayNode
from sip.kamailio.tables import DRAINED, OPENED, STARTING
from sip.kamailio.telemetry import (
    CLOSED,
    DRAINED_ALARM,
    NO_MEMORY,
    PEER_DOWN,
    RELAY_DOWN,
    SILENT,
    ProxyWatch,
    Reading,
)
from tests.sip.kamailio.proxy import section

WELL = {"shmem.free_size": 900.0, "shmem.real_used_size": 100.0, "usrloc.registered_users": 7.0}
PEERS = (
    Peer(1, "sip:10.77.0.11:5080", "AP", "kind=m;name=m1;calls=0;rweight=50"),
    Peer(9, "sip:10.77.0.21:5060", "AP", "kind=t;name=carrier;calls=0;rweight=50"),
)
RELAYS = (RelayNode("udp:10.77.0.2:2223", 1, 50, drained=False, down=False),)


def reading(
    drain: int = OPENED,
    statistics: dict[str, float] | None = None,
    peers: tuple[Peer, ...] = PEERS,
    relays: tuple[RelayNode, ...] = RELAYS,
) -> Reading:
    return Reading(Calls(1, 12), drain, WELL if statistics is None else statistics, peers, relays)


def alarms(watch: ProxyWatch, found: Reading | None) -> dict[str, AlarmEvent]:
    events = watch.take(section(), found, 1.0)
    return {event.cause: event for event in events if isinstance(event, AlarmEvent)}


def test_samples() -> None:
    found = [one for one in ProxyWatch("k").take(section(), reading(), 1.0) if isinstance(one, Sample)]
    proxy = next(one for one in found if one.kind == "sip.proxy")
    assert proxy.values["calls"] == 12.0
    assert proxy.values["registered_users"] == 7.0
    assert proxy.values["drained"] == 0.0
    relay = next(one for one in found if one.kind == "sip.relay")
    assert (relay.labels["relay"], relay.values["up"]) == ("r1", 1.0)
    peers = [one.labels for one in found if one.kind == "sip.peer"]
    assert peers[0]["media_server"] == "m1"
    assert peers[1]["trunk"] == "carrier"
    assert "sip:" not in str([one.labels for one in found])


def test_each_alarm_is_said_once_and_taken_back() -> None:
    down = RelayNode("udp:10.77.0.2:2223", 1, 50, drained=False, down=True)
    silent = Peer(1, "sip:10.77.0.11:5080", "IP", "kind=m;name=m1;calls=0;rweight=50")
    cases = {
        SILENT: None,
        CLOSED: reading(STARTING),
        DRAINED_ALARM: reading(DRAINED),
        NO_MEMORY: reading(statistics={"shmem.free_size": 5.0, "shmem.real_used_size": 95.0}),
        RELAY_DOWN: reading(relays=(down,)),
        PEER_DOWN: reading(peers=(silent,)),
    }
    for cause, found in cases.items():
        watch = ProxyWatch("k")
        assert alarms(watch, reading()) == {}
        (raised,) = alarms(watch, found).values()
        assert (raised.cause, raised.severity is not Severity.CLEARED) == (cause, True)
        assert raised.remedy
        assert alarms(watch, found) == {}
        (cleared,) = alarms(watch, reading()).values()
        assert (cleared.cause, cleared.severity) == (cause, Severity.CLEARED)


def test_what_is_drained_is_not_down() -> None:
    rests = RelayNode("udp:10.77.0.2:2223", 1, 50, drained=True, down=False)
    resting = Peer(1, "sip:10.77.0.11:5080", "DX", "kind=m;name=m1;calls=0;rweight=50")
    assert alarms(ProxyWatch("k"), reading(peers=(resting,), relays=(rests,))) == {}


def test_a_proxy_that_is_removed_takes_its_alarms_along() -> None:
    watch = ProxyWatch("k")
    alarms(watch, None)
    (cleared,) = watch.take(None, None, 2.0)
    assert isinstance(cleared, AlarmEvent)
    assert cleared.severity is Severity.CLEARED
