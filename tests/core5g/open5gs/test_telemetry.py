"""Readings as samples, and what lasts as alarms that are said once."""

from __future__ import annotations

from core5g.open5gs.documents import ManagedFunction
from core5g.open5gs.n6.tun import Tun
from core5g.open5gs.poller import PduSession, RegisteredUe, read_ue
from core5g.open5gs.telemetry import CoreWatch, Reading, Readings, read_all
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.core5g.open5gs.samples import open5gs, planned
from tests.core5g.open5gs.test_poller import METRICS, gnb, serving, ue


def function(kind: str, appliance: str = "c1") -> ManagedFunction:
    return next(one for one in open5gs(planned(), appliance).functions if one.kind == kind)


def taken(watch: CoreWatch, kind: str, reading: Reading, at: float = 1.0) -> list[Sample | AlarmEvent]:
    return [*watch.take([function(kind)], Readings({kind: reading}), at)]


def alarms(events: list[Sample | AlarmEvent]) -> list[tuple[str, str, Severity]]:
    return [(one.cause, one.object, one.severity) for one in events if isinstance(one, AlarmEvent)]


def samples(events: list[Sample | AlarmEvent]) -> dict[str, dict[str, float]]:
    return {one.kind: dict(one.values) for one in events if isinstance(one, Sample)}


def test_silence_is_said_once_and_taken_back() -> None:
    watch = CoreWatch("c1")
    assert alarms(taken(watch, "smf", Reading())) == [("core5g-function-silent", "c1/smf", Severity.MAJOR)]
    assert alarms(taken(watch, "smf", Reading())) == []
    assert alarms(taken(watch, "smf", Reading({"pfcp_peers_active": 2.0}))) == [
        ("core5g-function-silent", "c1/smf", Severity.CLEARED)
    ]


def test_a_function_that_goes_takes_its_alarms_along() -> None:
    watch = CoreWatch("c1")
    taken(watch, "smf", Reading())
    assert alarms([*watch.take([], Readings(), 2.0)]) == [("core5g-function-silent", "c1/smf", Severity.CLEARED)]


def test_a_lost_upf_is_worse_when_it_was_the_last() -> None:
    watch = CoreWatch("c1")
    assert alarms(taken(watch, "smf", Reading({"pfcp_peers_active": 1.0}))) == [
        ("core5g-upf-lost", "c1/smf", Severity.MAJOR)
    ]
    assert alarms(taken(watch, "smf", Reading({"pfcp_peers_active": 0.0}))) == [
        ("core5g-upf-lost", "c1/smf", Severity.CRITICAL)
    ]
    assert alarms(taken(watch, "smf", Reading({"pfcp_peers_active": 2.0}))) == [
        ("core5g-upf-lost", "c1/smf", Severity.CLEARED)
    ]


def test_a_core_that_never_had_a_gnb_lacks_none() -> None:
    watch = CoreWatch("c1")
    assert alarms(taken(watch, "amf", Reading({"gnb": 0.0}))) == []
    assert alarms(taken(watch, "amf", Reading({"gnb": 1.0}))) == []
    assert alarms(taken(watch, "amf", Reading({"gnb": 0.0}))) == [("core5g-no-gnb", "c1/amf", Severity.CRITICAL)]
    assert alarms(taken(watch, "amf", Reading({}, gnbs=2))) == [("core5g-no-gnb", "c1/amf", Severity.CLEARED)]


def test_samples_count_and_name_nobody() -> None:
    sessions = tuple(
        PduSession(f"imsi-{n}", 1, "internet" if n else "ims", state="active" if n == 1 else "inactive")
        for n in range(3)
    )
    found = taken(CoreWatch("c1"), "smf", Reading({"pfcp_sessions_active": 3.0, "ues_active": 2.0}, sessions=sessions))
    assert samples(found)["core5g.smf"] == {"sessions": 3.0, "ues": 2.0}
    by_dnn = {one.labels["dnn"]: one.values for one in found if isinstance(one, Sample) and one.kind == "core5g.dnn"}
    assert by_dnn == {"ims": {"sessions": 1.0, "active": 0.0}, "internet": {"sessions": 2.0, "active": 1.0}}
    assert "imsi" not in str(found)


def test_an_amf_tells_its_ues() -> None:
    ues = (RegisteredUe("a", connected=True), RegisteredUe("b", connected=False))
    found = samples(taken(CoreWatch("c1"), "amf", Reading({"gnb": 2.0, "ran_ue": 1.0}, ues=ues, gnbs=2)))
    assert found["core5g.amf"] == {"ues": 2.0, "connected": 1.0, "gnbs": 2.0}


def tun(rx: int, tx: int) -> Tun:
    return Tun("ogstun", 5, ours=True, tun=True, up=True, mtu=1400, rx_bytes=rx, tx_bytes=tx)


def test_throughput_is_that_of_the_device() -> None:
    watch = CoreWatch("pop1")
    upf = function("upf", "pop1")
    metrics = {"fivegs_upffunction_upf_sessionnbr": 2.0, "fivegs_ep_n3_gtp_indatapktn3upf": 0.0}

    def take(rx: int, tx: int, at: float) -> dict[str, dict[str, float]]:
        return samples([*watch.take([upf], Readings({"upf": Reading(metrics)}, (tun(rx, tx),)), at)])

    assert "core5g.n6" not in take(0, 0, 10.0)
    assert take(1000, 5000, 12.0)["core5g.n6"] == {"uplink_bps": 4000.0, "downlink_bps": 20000.0}
    assert "core5g.n6" not in take(10, 10, 14.0)
    assert take(10, 10, 15.0)["core5g.upf"] == {"sessions": 2.0}


def at(address: str, kind: str) -> ManagedFunction:
    """The function, with its metrics there."""
    host, _, port = address.partition(":")
    found = function(kind)
    metrics = {"server": [{"address": host, "port": int(port)}]}
    return found.model_copy(update={"config": {**found.config, kind: {**found.config[kind], "metrics": metrics}}})


async def test_an_amf_tells_its_ues_and_gnbs() -> None:
    ues = [ue(1), ue(2)]
    with serving({"/metrics": METRICS, "/ue-info": ues, "/gnb-info": [gnb(1), gnb(2), gnb(3)]}) as address:
        asked = at(address, "amf")
        readings = await read_all([asked])
        brief = await read_all([asked], detail=False)
    found = readings.functions["amf"]
    assert found.ues == tuple(map(read_ue, ues))
    assert (found.gnbs, found.sessions) == (3, None)
    assert (brief.functions["amf"].ues, brief.functions["amf"].gnbs) == (None, None)
    assert brief.functions["amf"].metrics == found.metrics


async def test_an_amf_without_an_info_api_tells_its_metrics() -> None:
    with serving({"/metrics": METRICS}) as address:
        found = (await read_all([at(address, "amf")])).functions["amf"]
    assert found.metrics is not None
    assert (found.ues, found.gnbs) == (None, None)


async def test_functions_are_asked_where_their_file_says() -> None:
    with serving({"/metrics": METRICS, "/pdu-info": []}) as address:
        asked = at(address, "smf")
        readings = await read_all([asked, function("nrf")])
        assert readings.functions["smf"].sessions == ()
        assert list(readings.functions) == ["smf"]
        brief = await read_all([asked], detail=False)
        assert brief.functions["smf"].sessions is None
