"""Every packet that a target's calls say is delivered, once; what a killed process costs is bounded and told."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lab.interception import staff
from lab.interception.places import CHIEF, MDF, Agency
from lab.voice.phone import Phone
from lawful_intercept.configuration import load
from lawful_intercept.lemf.process import archive_of
from lawful_intercept.lemf.settings import LemfSettings
from lawful_intercept.mediation.alarms import Code
from tests.lawful_intercept.proof.counting import (
    Conversation,
    Product,
    connect,
    everything,
    hang_up,
    hush,
    product,
    speak,
)
from tests.lawful_intercept.proof.local import AGENCIES, LocalSite, interception
from tests.lawful_intercept.wire import SEEN
from tests.sip.interception.world import PHONES, PROXY, core
from tests.sip.kamailio.daemon import DOMAIN, PASSWORD

pytestmark = [pytest.mark.root, pytest.mark.daemon, pytest.mark.timeout(1200, func_only=True)]

TARGET = [{"sipUri": f"sip:alice@{DOMAIN}"}]
SETTLED_S = 1.5
"""From the answer until every party is copied: what is said sooner is told as lost, and is not what is counted here."""

BEGUN_S = 2.0
"""Of content that is lost at most of a party that speaks at once, on a machine that is busy."""

CC_LOST = r"up to ([1-9][0-9]*) CC units were lost before mediation"

HELD_S = 1.0
"""Of content that the kernel holds at most between two processes, on a machine that is busy."""


@pytest.fixture(scope="module")
def site(
    require_root: Callable[[], None],
    require_programs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalSite]:
    require_root()
    require_programs("kamailio", "rtpengine")
    folder = tmp_path_factory.mktemp("p")
    subscribers = [{"user": user, "domain": DOMAIN, "calls": 1000} for user in ("alice", "bob")]
    parts = {"media_servers": [], "services": [], "trunks": [], "plan": [], "emergency": None}
    with (
        core(folder, subscribers=subscribers, **parts) as (proxy, _, _),
        interception(folder / "li", proxy.paths.run, PROXY) as made,
    ):
        yield made
        SEEN.handed_over += everything(made)


@asynccontextmanager
async def parties() -> AsyncIterator[tuple[Phone, Phone]]:
    async with (
        Phone(PHONES, 6100, "alice", DOMAIN, PASSWORD, f"{PROXY}:5060", ports=(20000, 21998)) as alice,
        Phone(PHONES, 6101, "bob", DOMAIN, PASSWORD, f"{PROXY}:5060", ports=(22000, 23998)) as bob,
    ):
        await alice.register()
        await bob.register()
        yield alice, bob


def warrant(site: LocalSite, agency: Agency, liid: str) -> staff.Warrant:
    made = staff.submit(site, agency, TARGET, ["voice"], 600, liid=liid)
    assert staff.approve(site, made).code == 0
    site.wait("the warrant is active", lambda: staff.state(site, made) == "active")
    return made


def revoke(site: LocalSite, made: staff.Warrant) -> None:
    assert staff.nf_li(site, "warrant", "revoke", made.number, officer=staff.APPROVER).code == 0


async def delivered(site: LocalSite, agency: Agency, liid: str, ended: int) -> Product:
    """When the agency knows of the end of so many calls, and nothing comes any more."""
    await asyncio.to_thread(
        site.wait, "the ends of all calls", lambda: product(site, agency, liid).ended >= ended, 120.0
    )
    while True:
        first = await asyncio.to_thread(product, site, agency, liid)
        await asyncio.sleep(1.0)
        if (second := await asyncio.to_thread(product, site, agency, liid)) == first:
            return second


def expected(conversations: list[Conversation]) -> Counter[int]:
    return Counter({ssrc: count for one in conversations for ssrc, count in one.sent.items()})


def by_stream(found: Counter[tuple[int, int]]) -> Counter[int]:
    return Counter(ssrc for ssrc, _ in found.elements())


def check_complete(found: Product, conversations: list[Conversation]) -> None:
    received = {
        ssrc: side.media.stats().lost
        for one in conversations
        for side in (one.caller, one.called)
        for ssrc in (side.media.stats().ssrc,)
    }
    assert not any(received.values()), "the network itself has lost packets"
    assert by_stream(found.all) == expected(conversations)
    assert set(found.all.values()) == {1}, "each packet once"
    assert len(found.packets) == 2, "from and to the target, apart"
    for packets in found.packets.values():
        assert len({ssrc for ssrc, _ in packets}) == len(conversations)
    assert found.cc[1:] == found.iri[1:] == (0, 0, 0), "no gap, nothing again, nothing differing"


def test_content_is_whole_in_ten_calls_at_once(site: LocalSite) -> None:
    asyncio.run(_whole(site, AGENCIES[0], 10, 3.0))


@pytest.mark.soak
def test_content_is_whole_in_two_hundred_calls_at_once(site: LocalSite) -> None:
    asyncio.run(_whole(site, AGENCIES[1], 200, 20.0))


async def _whole(site: LocalSite, agency: Agency, count: int, seconds: float) -> None:
    liid = agency.liid
    made = await asyncio.to_thread(warrant, site, agency, liid)
    async with parties() as (alice, bob):
        conversations = await connect(alice, bob, count)
        await asyncio.sleep(SETTLED_S)
        speak(conversations)
        await asyncio.sleep(seconds)
        await hush(conversations)
        await hang_up(conversations)
    found = await delivered(site, agency, liid, count)
    print(f"    {count} calls: {found.cc[0]} packets of content, {found.iri[0]} IRI")
    check_complete(found, conversations)
    await asyncio.to_thread(revoke, site, made)


def test_what_is_said_before_it_is_copied_is_told_to_the_packet(site: LocalSite) -> None:
    """Nobody waits after the answer: what is missing at the agency is the number that officers have, and a gap."""
    asyncio.run(_at_once(site, AGENCIES[0], 4))


async def _at_once(site: LocalSite, agency: Agency, count: int) -> None:
    liid = f"{agency.liid}-4"
    made = await asyncio.to_thread(warrant, site, agency, liid)
    began = time.time_ns()
    async with parties() as (alice, bob):
        conversations = await connect(alice, bob, count, talking=True)
        await asyncio.sleep(SETTLED_S)
        await hush(conversations)
        await hang_up(conversations)
    found = await delivered(site, agency, liid, count)
    relayed = sum(expected(conversations).values())
    missing = relayed - found.all.total()
    at_pop = await asyncio.to_thread(_lost, site, f"warrant/{made.number}/{site.plan.points[0].name}", missing)
    at_mediation = await asyncio.to_thread(_lost, site, f"warrant/{made.number}/{MDF}", missing)
    print(f"    {relayed} packets relayed, {found.all.total()} delivered, {at_pop} told as lost, gaps: {at_mediation}")
    assert not any(side.media.stats().lost for one in conversations for side in (one.caller, one.called))
    assert set(found.all.values()) == {1}, "each packet once"
    assert at_pop == (0, missing, False), "what officers are told"
    assert missing <= count * 2 * 50 * BEGUN_S
    if missing:
        assert at_mediation[1] >= missing, "by its number, too"
        told = [re.fullmatch(CC_LOST, text) for text in messages(site, agency, began)]
        assert sum(int(one[1]) for one in told if one) >= missing, "and the agency"
    await asyncio.to_thread(revoke, site, made)


def _lost(site: LocalSite, thing: str, least: int) -> tuple[int, int, bool]:
    """Units of IRI and CC that the alarm of it tells, and whether others are; when it tells of so many, or of none."""

    def told() -> tuple[int, int, bool]:
        found = staff.nf_li(site, "alarms", "--json", officer=CHIEF).json()
        of_it = [one for one in found if (one["code"], one["object"]) == ("product-lost", thing)]
        return next(((one["iri_lost"], one["cc_lost"], one["uncounted_lost"]) for one in of_it), (0, 0, False))

    site.wait(f"{least} units are told as lost of {thing}", lambda: told()[1] >= least, 90.0)
    return told()


def messages(site: LocalSite, agency: Agency, since_ns: int) -> list[str]:
    """Of mediation to the agency."""
    settings = load(Path(site.home(agency.node)) / "lemf.yaml", LemfSettings)
    with archive_of(settings) as archive:
        return [text for at_ns, _, text in archive.operator_messages() if at_ns >= since_ns]


@pytest.mark.parametrize("kind", ["lemf", "mdf", "points"])
def test_a_killed_process_costs_nothing_but_what_is_told(site: LocalSite, kind: str) -> None:
    """Receiver and mediation: nothing at all. The POI: what was between it and its observation point, and no more."""
    asyncio.run(_killed(site, AGENCIES[0], kind))


async def _killed(site: LocalSite, agency: Agency, kind: str) -> None:
    liid = f"{agency.liid}-{kind}"
    made = await asyncio.to_thread(warrant, site, agency, liid)
    async with parties() as (alice, bob):
        conversations = await connect(alice, bob, 2)
        await asyncio.sleep(SETTLED_S)
        speak(conversations)
        await asyncio.sleep(1.0)
        began, killed_at = time.monotonic(), time.time()
        await asyncio.to_thread(site.kill, kind)
        await asyncio.to_thread(site.wait, "copies come again", lambda: _grows(site, agency, liid))
        away_s = time.monotonic() - began
        await asyncio.sleep(1.0)
        await hush(conversations)
        await hang_up(conversations)
    found = await delivered(site, agency, liid, 2)
    own = Counter({key: times for key, times in found.all.items() if key[0] in expected(conversations)})
    missing = sum(expected(conversations).values()) - sum(own.values())
    print(f"    {kind} killed, back after {away_s:.1f} s: {missing} packets missing, {found.cc}, {found.iri}")
    assert set(own.values()) == {1}, "each packet once"
    if kind == "points":
        assert 0 <= missing <= 4 * 50 * HELD_S
        await asyncio.to_thread(_check_told, site, agency, made, killed_at)
    else:
        assert missing == 0
    await asyncio.to_thread(revoke, site, made)


def _grows(site: LocalSite, agency: Agency, liid: str) -> bool:
    first = product(site, agency, liid).cc[0]
    time.sleep(0.3)
    return product(site, agency, liid).cc[0] > first


def _check_told(site: LocalSite, agency: Agency, made: staff.Warrant, killed_at: float) -> None:
    """That something may be missing: at mediation by its number, at the agency, and at administration."""
    gaps = [one for one in site.alarms_of_mediation() if one.code is Code.GAP and one.last >= killed_at]
    assert len({one.about for one in gaps}) == 1, "of the only task there is"
    for one in gaps:
        told = re.fullmatch(r"up to ([0-9]+) X[23] PDUs of a point did not arrive", one.text)
        assert told is not None
        assert int(told[1]) > 0
    assert any(re.fullmatch(CC_LOST, text) for text in messages(site, agency, round(killed_at * 1e9)))
    _lost(site, f"warrant/{made.number}/{MDF}", 1)
