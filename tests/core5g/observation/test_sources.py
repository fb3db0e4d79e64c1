"""Sessions as the proxy, SMF and AMF tell of them; streams that break, lists that shift, answers that are none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core5g.observation.documents import InfoApi
from core5g.observation.sessions import gnb_addresses, matchable, n4_session, pdu_sessions, registrations
from core5g.observation.sources import N4Source, SmfSource
from core5g.observation.tracker import Addressed, Tracker, told_here
from nf.clock import RealClock
from nf.contracts.interception import Identity, IdentityKind
from tests.core5g.observation.world import (
    GNB,
    OTHER,
    TARGET,
    TARGET_IP,
    UPF,
    InfoServer,
    order,
    pdu_info,
    ue_info,
    until,
)

N4_EVENT: dict[str, Any] = {
    "event": "session-begin",
    "supi": TARGET,
    "ue_ip": TARGET_IP,
    "ue_ipv6": "2001:db8:cafe:1::",
    "dnn": "internet",
    "s_nssai": "1-00002a",
    "fteids": [
        {"end": "upf", "teid": 0x11, "address": str(UPF)},
        {"end": "gnb", "teid": 0x1011, "address": str(GNB)},
    ],
    "seid": 7,
    "at": 1000.5,
}


def test_a_session_of_the_smf() -> None:
    ((key, found),) = pdu_sessions(
        pdu_info({"supi": TARGET, "psi": 5, "ipv4": TARGET_IP, "ipv6": "2001:db8:cafe:1::1", "state": "inactive"})[
            "items"
        ]
    )
    assert key == f"{TARGET}/5"
    assert found.details() == {
        "supi": TARGET,
        "dnn": "internet",
        "s_nssai": {"sst": 1},
        "ue_ip": [TARGET_IP, "2001:db8:cafe:1::/64"],
        "fteids": [
            {"address": str(UPF), "teid": 0x11, "end": "upf"},
            {"address": str(GNB), "teid": 0x1011, "end": "gnb"},
        ],
        "pdu_session_id": 5,
        "active": False,
    }


def test_a_registration_of_the_amf() -> None:
    gnbs = gnb_addresses([{"gnb_id": 100, "ng": {"sctp": {"peer": f"[{GNB}]:38412"}}}, {"gnb_id": "x"}, 5])
    ((supi, found),) = registrations([ue_info(TARGET), {"supi": 3}], gnbs)
    assert (supi, found.gpsi, found.pei) == (TARGET, ("msisdn-491700000001",), "imeisv-3535938300494715")
    assert found.details()["location"] == {
        "nr_tai": {"plmn": "00101", "tac_hex": "000001", "tac": 1},
        "nr_cgi": {"plmn": "00101", "nci": 1_638_401, "gnb_id": 100, "cell_id": 1},
        "gnb_id": 100,
        "gnb_address": str(GNB),
    }
    assert found.located_at == 1_758_733_375.895512


def test_identities_that_the_core_can_match() -> None:
    good = [("supi", TARGET), ("gpsi", "msisdn-491700000001"), ("pei", "imei-353593830049477")]
    bad = [("supi", "001010000000001"), ("pei", "imei-1"), ("sip-uri", "sip:a@b"), ("gpsi", "")]
    assert all(matchable(Identity(IdentityKind(kind), value)) for kind, value in good)
    assert not any(matchable(Identity(IdentityKind(kind), value)) for kind, value in bad)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "supi",
                    "pdu",
                    "n3",
                    "upf",
                    "gnb",
                    "teid",
                    "addr",
                    "psi",
                    "ipv4",
                    "ipv6",
                    "snssai",
                    "location",
                    "msisdn",
                    "fteids",
                    "end",
                    "seid",
                    "ue_ip",
                    "ng",
                    "sctp",
                    "peer",
                    "gnb_id",
                    "timestamp",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_is_answered_is_read_or_left_out(value: Any) -> None:
    items = value if isinstance(value, list) else [value]
    list(pdu_sessions(items))
    list(registrations(items, gnb_addresses(items)))
    if isinstance(value, dict):
        try:
            n4_session(value)
        except ValueError:
            return


class Proxy:
    """The proxy's event socket: what stands first, then what a test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.standing: list[dict[str, Any]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def _serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        for event in self.standing:
            writer.write(json.dumps({**event, "standing": True}).encode() + b"\n")

    def say(self, **event: Any) -> None:
        self.writers[-1].write(json.dumps(event).encode() + b"\n")

    async def stop(self) -> None:
        for writer in self.writers:
            writer.close()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self.path.unlink(missing_ok=True)


@asynccontextmanager
async def running(source: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(source.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_sessions_of_n4_and_what_ended_while_the_proxy_was_away(tmp_path: Path) -> None:
    proxy, told = Proxy(tmp_path / "events.sock"), list[Addressed]()
    tracker = Tracker(told_here([], []))
    tracker.activate((1, "x1"), order(), 0.0)
    source = N4Source(proxy.path, tracker, told.extend, RealClock())
    proxy.standing = [N4_EVENT, {**N4_EVENT, "seid": 8, "supi": OTHER, "ue_ip": "10.45.0.3", "fteids": []}]
    await proxy.start()
    async with running(source):
        await until(lambda: len(told) == 1)
        assert (told[0][1].at, told[0][1].details["s_nssai"]) == (1000.5, {"sst": 1, "sd": "00002a"})
        assert told[0][1].details["ue_ip"] == [TARGET_IP, "2001:db8:cafe:1::/64"]
        proxy.say(**{**N4_EVENT, "event": "session-modify", "fteids": N4_EVENT["fteids"][:1], "at": 1001})
        proxy.say(event="of tomorrow", seid=1)
        proxy.say(event="session-begin")
        await until(lambda: len(told) == 2)
        await proxy.stop()
        await until(lambda: not source.up)
        proxy.standing = []
        await proxy.start()
        await until(lambda: len(told) == 3)
    assert [event.kind.value for _, event in told] == ["session-begin", "session-change", "session-end"]
    assert tracker.sessions_of("n4") == set()
    await proxy.stop()


async def test_pages_of_the_smf_and_one_that_slips_between_them() -> None:
    server, told = InfoServer(), list[Addressed]()
    await server.start()
    tracker = Tracker(told_here([UPF], []))
    tracker.activate((1, "x1"), order(f"imsi-{1010000000250:015}"), 0.0)
    everybody = [
        pdu_info({"supi": f"imsi-{1010000000000 + n:015}", "ipv4": f"10.45.1.{n % 250}", "teid": n + 1})["items"][0]
        for n in range(251)
    ]
    server.answers["/pdu-info"] = everybody
    source = SmfSource(InfoApi(address="127.0.0.1", port=server.port), tracker, told.extend, RealClock())
    await source._poll()
    assert len(tracker.sessions_of(source.name)) == 251
    server.answers["/pdu-info"] = everybody[:250]
    await source._poll()
    server.answers["/pdu-info"] = everybody
    await source._poll()
    assert [event.kind.value for _, event in told] == ["session-begin"]
    server.answers["/pdu-info"] = everybody[:250]
    await source._poll()
    await source._poll()
    assert [event.kind.value for _, event in told] == ["session-begin", "session-end"]
    await server.close()


async def test_an_smf_that_is_away_ends_nothing() -> None:
    server, told = InfoServer(), list[Addressed]()
    await server.start()
    server.answers["/pdu-info"] = pdu_info({"supi": TARGET, "ipv4": TARGET_IP})["items"]
    tracker = Tracker(told_here([UPF], []))
    tracker.activate((1, "x1"), order(), 0.0)
    source = SmfSource(InfoApi(address="127.0.0.1", port=server.port), tracker, told.extend, RealClock())
    async with running(source):
        await until(lambda: len(told) == 1)
        await server.close()
        await until(lambda: not source.up)
    assert tracker.sessions_of(source.name)
    assert len(told) == 1
